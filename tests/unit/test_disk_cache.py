"""What is kept on disk for the next process: found again, checked, bounded, private."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from edge_et.caching.disk import DiskCache, Entry
from edge_et.caching.keys import artifact_key
from edge_et.caching.seen import Caches
from edge_et.config import RuntimeConfig
from edge_et.types import Served
from tests.caching import (
    PLENTY_BYTES,
    Rig,
    alone,
    picture,
)
from tests.unit.test_extractor import (
    manifest,
)


def test_another_process_goes_on_from_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "seen"
    pieces, _ = Rig(folder=folder).ask(picture())
    asked: list[tuple[str, Served]] = [
        ("abc", Served(extraction="disk", image_prefill=None, image_features=None)),
        ("abcdef", Served(image_prefill="disk", image_features=None)),
    ]
    for text, served in asked:
        rig = Rig(folder=folder)
        _, run = rig.ask(picture(), text)
        assert (run.served, run.text) == (served, alone(picture(), text)[1])
        assert rig.vision.tiles == 0
    for path in folder.glob("prefix-*"):
        path.unlink()
    _, run = Rig(folder=folder).ask(picture(), "abcdefg")
    assert run.served == Served(image_features="disk")
    assert run.text == alone(picture(), "abcdefg")[1]
    assert "".join(pieces) == alone(picture())[1]


def test_what_was_cut_is_found_by_the_next_process(tmp_path: Path) -> None:
    _, cut = Rig(folder=tmp_path).ask(picture(), budget_tokens=2)
    _, again = Rig(folder=tmp_path).ask(picture(), budget_tokens=2)
    assert (again.served.extraction, again.finish_reason) == ("disk", "extraction_length")
    assert again.text == cut.text
    assert Rig(folder=tmp_path).ask(picture())[1].finish_reason == "stop"


def test_another_extractor_finds_nothing(tmp_path: Path) -> None:
    Rig(folder=tmp_path).ask(picture())
    assert Rig(folder=tmp_path, artifact="b").ask(picture())[1].served == Served()
    one = artifact_key(manifest(), (), device="cpu", threads=2, engine="e 1")
    others = [
        artifact_key(manifest(), (), device="cpu", threads=1, engine="e 1"),
        artifact_key(manifest(), (), device="cuda", threads=2, engine="e 1"),
        artifact_key(manifest(), (), device="cpu", threads=2, engine="e 2"),
        artifact_key(manifest(context_tokens=99), (), device="cpu", threads=2, engine="e 1"),
    ]
    assert len({one, *others}) == 5


@pytest.mark.parametrize("kind", ["extraction", "prefix", "features"])
@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_damaged_entry_is_made_again(tmp_path: Path, kind: str, place: int) -> None:
    Rig(folder=tmp_path).ask(picture())
    for path in tmp_path.iterdir():
        if path.name.startswith(kind):
            data = bytearray(path.read_bytes())
            data[place] ^= 1
            path.write_bytes(data)
        elif kind == "features" or not path.name.startswith("features"):
            path.unlink()  # so that the damaged one is asked for
    _, run = Rig(folder=tmp_path).ask(picture())
    assert run.text == alone(picture())[1]
    found = {"extraction": run.served.extraction, "prefix": run.served.image_prefill,
             "features": run.served.image_features}  # fmt: skip
    assert found[kind] == "computed"
    assert Rig(folder=tmp_path).ask(picture())[1].served.extraction == "disk"


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, PLENTY_BYTES)
    whole = np.random.default_rng(0).standard_normal((1, 2, 9, 3)).astype(np.float32)
    arrays = (whole[:, :, :4], np.arange(6, dtype=np.float16).reshape(2, 3).T, np.arange(3))
    disk.write("prefix", "k", Entry(about={"a": "\n"}, arrays=arrays))
    read = disk.read("prefix", "k", lambda entry: entry)
    assert read is not None and read.about == {"a": "\n"}
    for wrote, found in zip(arrays, read.arrays, strict=True):
        assert wrote.dtype == found.dtype
        np.testing.assert_array_equal(wrote, found)


def test_a_truncated_entry_and_an_unknown_one_are_dropped(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, PLENTY_BYTES)
    path = tmp_path / "features-k.seen"

    def known(entry: Entry) -> int:
        return int(entry.about["n"])

    disk.write("features", "k", Entry(about={"n": 3}, arrays=(np.arange(5),)))
    assert disk.read("features", "k", known) == 3
    path.write_bytes(path.read_bytes()[:-4])
    assert disk.read("features", "k", known) is None
    assert not path.exists()
    disk.write("features", "k", Entry(about={}))
    assert disk.read("features", "k", known) is None
    assert not path.exists()


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    old = os.umask(0)
    try:
        Rig(folder=folder).ask(picture())
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {0o600}


def test_the_disk_is_bounded_and_the_oldest_entry_goes(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, 10_000)
    keys = ["a", "b", "c", "d"]
    for age, key in enumerate(keys):
        disk.write("features", key, Entry(about={}, arrays=(np.zeros(3000, np.uint8),)))
        path = tmp_path / f"features-{key}.seen"
        if path.exists():
            os.utime(path, (age, age))
        if key == "c":
            assert disk.read("features", "a", lambda entry: 1) == 1  # used just now
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "features-a.seen", "features-c.seen", "features-d.seen",
    ]  # fmt: skip
    assert sum(one.size_bytes for one in disk.contents()) <= 10_000
    disk.write("features", "e", Entry(about={}, arrays=(np.zeros(10_001, np.uint8),)))
    assert sorted(p.name[9] for p in tmp_path.iterdir()) == ["a", "c", "d"]
    disk.clear()
    assert disk.contents() == () and not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    old, new = tmp_path / "x.part", tmp_path / "y.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    DiskCache(tmp_path, PLENTY_BYTES).write("features", "k", Entry(about={}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["features-k.seen", "y.part"]


def test_a_folder_that_cannot_be_written_fails_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    rig = Rig(folder=tmp_path / "file" / "seen")
    assert rig.ask(picture())[1].text == alone(picture())[1]
    assert "nothing was cached" in caplog.text


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert RuntimeConfig().disk_cache is None
    rig = Rig()
    rig.extractor.caches = Caches.load("a", RuntimeConfig())
    rig.ask(picture())
    assert rig.extractor.caches.held_bytes and not list(tmp_path.iterdir())
