"""What an export tells while it runs, and what it takes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from edge_et.errors import ArtifactError, ExportError
from edge_et.towers import named_tower, remote_tower
from edge_et_export import bars
from edge_et_export.origin import bring
from edge_et_export.progress import SILENT, writing


class Told:
    def __init__(self) -> None:
        self.parts: list[tuple[str, int | None]] = []
        self.bytes: list[int] = []

    def part(self, name: str, total_bytes: int | None) -> None:
        self.parts.append((name, total_bytes))

    def advance(self, more_bytes: int) -> None:
        self.bytes.append(more_bytes)


def test_bytes_are_told_once_and_never_back(tmp_path: Path) -> None:
    (tmp_path / "before").write_bytes(b"x" * 500)
    told = Told()
    with writing(told, "vision", tmp_path, 1000):
        (tmp_path / "scratch").write_bytes(b"x" * 700)
        time.sleep(0.5)
        (tmp_path / "scratch").unlink()
        (tmp_path / "graph").write_bytes(b"x" * 800)
    assert told.parts == [("vision", 1000)]
    assert told.bytes == [700, 100]
    with writing(SILENT, "vision", tmp_path, None):
        pass


def test_lines_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with bars.shown() as progress:
        progress.part("load", None)
        progress.part("vision", 1_500_000)
        progress.advance(10)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "part: load\npart: vision, writes about 1.5 MB\n"


def test_bars_where_a_person_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with bars.shown() as progress:
        progress.part("load", None)
        progress.part("vision", 2_000_000)
        progress.advance(1_000_000)
        time.sleep(0.3)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "load" in captured.err and "vision" in captured.err
    assert "1.0/2.0 MB" in captured.err


def nobody(*_: object) -> Any:
    raise AssertionError("nothing is to be fetched")


@pytest.mark.parametrize(
    ("text", "kind", "error", "message"),
    [
        ("pypi:a==1/m/r.gguf", "extractor", ExportError, "names one file; the checkpoint of an"),
        ("hf:a/b/model.safetensors", "reasoner", ExportError, "names one file that is no GGUF"),
        ("hf:a", "reasoner", ArtifactError, "is not hf:OWNER/NAME"),
        ("https://a.b/r.gguf", "reasoner", ArtifactError, "does not end with #sha256="),
        ("pypi:a==1/m/r.bin", "reasoner", ArtifactError, "names a pickle"),
    ],
)
def test_sources_that_hold_no_checkpoint(
    text: str, kind: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bring(text, kind, nobody, nobody)  # type: ignore[arg-type]


def test_a_path_that_exists_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hf:a").mkdir()
    found = bring("hf:a", "reasoner", nobody, nobody)  # type: ignore[arg-type]
    assert (found.path, found.revision) == (Path("hf:a"), None)


def write_llava(folder: Path, *tensors: str, tower: str = "google/siglip") -> Path:
    (folder / "config.json").write_text(json.dumps({"mm_vision_tower": tower}))
    header = json.dumps({name: {"dtype": "F32", "shape": [1]} for name in tensors}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def test_a_tower_is_named_where_its_weights_are_missing(tmp_path: Path) -> None:
    assert named_tower(tmp_path) is None
    own = "model.vision_tower.vision_tower.vision_model.x"
    assert named_tower(write_llava(tmp_path, "model.embed_tokens.weight", own)) is None
    assert named_tower(write_llava(tmp_path, "model.embed_tokens.weight")) == "google/siglip"
    record = remote_tower(tmp_path)
    assert record is not None
    assert (record.source, record.form) == ("hf:google/siglip", "checkpoint")
    index = {"weight_map": {own: "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert named_tower(tmp_path) is None


def test_a_tower_in_a_folder_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "siglip").mkdir()
    (tmp_path / "siglip" / "config.json").write_text("{}")
    assert remote_tower(write_llava(tmp_path, "a", tower="siglip")) is None
    assert remote_tower(write_llava(tmp_path, "a", tower="/nowhere/siglip")) is None
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    assert named_tower(tmp_path) is None
