"""One tiny checkpoint of each extractor family, odd in what an exporter can get wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests import llava_next
from tests.e2e.starter import ROOT
from tests.tiny import make_extractor, make_smolvlm

REASONER = str(ROOT / "edge_et" / "models" / "starter" / "reasoner" / "reasoner.gguf")


@dataclass(frozen=True, kw_only=True)
class Family:
    make: Callable[[Path], object]
    options: tuple[str, ...] = ("--preset", "cpu")


FAMILIES = {
    # 80 wide, which no block fills; one KV head, an untied head, the tower in a folder of its own
    "llava_qwen_3": Family(
        make=lambda folder: llava_next.make(folder, "untied_tower_elsewhere"),
        options=("--preset", "cpu", "--vision", "int8,fp32", "--decoder", "int8,q4"),
    ),
    # files of at most 400 KB with their index
    "llava_onevision": Family(make=lambda folder: make_extractor(folder, "anyres_shrunk")),
    # 6 heads over 3 KV heads, an untied head
    "smolvlm": Family(make=lambda folder: make_smolvlm(folder, "idefics3_untied")),
}
"""All are padded past their vocabulary, and no width is a multiple of 128."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    checkpoint: Path
    folder: Path
    command: tuple[str, ...]
    """That made `folder` of `checkpoint`."""
    stdout: str
    stderr: str


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by its name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
