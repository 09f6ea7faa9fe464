"""Faults of checkpoints and artifacts, met by the commands: each its own words and codes, and
nothing half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import llava_next
from tests.e2e.exports import FAMILIES, REASONER, Exported, snapshot
from tests.e2e.starter import ROOT, SCRIPT, Run
from tests.killing import kill_at_work

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

Export = Callable[[str], Exported]
Change = Callable[[Path], None]
NEWLINE = "model.image_newline"
ASK = ("ask", "examples/shapes.png", "How many?", "--extract-budget", "1", "--reasoner", REASONER)


@dataclass(frozen=True, kw_only=True)
class Fault:
    change: Change
    exit_code: int = 1
    code: str = "export_failed"
    words: str


def setting(name: str, value: Any, file: str = "config.json") -> Change:
    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

    return change


def tensors(edit: Callable[[dict[str, Any]], object]) -> Change:
    """Edit the file that holds the newline."""

    def change(folder: Path) -> None:
        for path in folder.glob("*.safetensors"):
            weights = safetensors.load_file(path)
            if NEWLINE in weights:
                edit(weights)
                safetensors.save_file(weights, path, metadata={"format": "pt"})

    return change


def pickled(suffix: str) -> Change:
    def change(folder: Path) -> None:
        for path in folder.glob("*.safetensors"):
            torch.save(safetensors.load_file(path), path.with_suffix(suffix))
            path.unlink()

    return change


def truncated(pattern: str) -> Change:
    def change(folder: Path) -> None:
        path = sorted(folder.glob(pattern))[-1]
        path.write_bytes(path.read_bytes()[:-100])

    return change


def flipped(pattern: str, place: int) -> Change:
    def change(folder: Path) -> None:
        (path,) = folder.glob(pattern)
        data = bytearray(path.read_bytes())
        data[place] ^= 0xFF
        path.write_bytes(data)

    return change


def removed(pattern: str) -> Change:
    return lambda folder: next(iter(folder.glob(pattern))).unlink()


CHECKPOINTS = {
    "a truncated file": Fault(
        change=truncated("*.safetensors"), words="is damaged or not all there"
    ),
    "a missing file": Fault(change=removed("*00002-of*"), words="lacks the tensor"),
    "a missing tensor": Fault(
        change=tensors(lambda weights: weights.pop(NEWLINE)),
        words=f"lacks the tensor {NEWLINE}",
    ),
    "a surplus tensor": Fault(
        change=tensors(lambda weights: weights.update(extra=torch.ones(2))),
        words="has the tensor extra",
    ),
    "a wrong shape": Fault(
        change=tensors(lambda weights: weights.update({NEWLINE: torch.ones(97)})),
        words="is not of shape [96]",
    ),
    "no numbers": Fault(
        change=tensors(lambda weights: weights[NEWLINE].fill_(torch.nan)),
        words="values that are not finite",
    ),
    "an unknown aspect policy": Fault(
        change=setting("image_aspect_ratio", "highres"), words="image_aspect_ratio is 'highres'"
    ),
    "an unknown merge type": Fault(
        change=setting("mm_patch_merge_type", "unpad"), words="mm_patch_merge_type is 'unpad'"
    ),
    "a pickle": Fault(change=pickled(".bin"), words="as a pickle"),
    "a torch file": Fault(change=pickled(".pt"), words="as a pickle"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authors' checkpoint in three files."""
    folder = tmp_path_factory.mktemp("faults") / "checkpoint"
    return llava_next.make(folder, "three_kv_heads_sharded").folder


def check_refusal(done: subprocess.CompletedProcess[str], fault: Fault) -> None:
    assert done.returncode == fault.exit_code, done.stderr
    assert f"error[{fault.code}]" in done.stderr
    assert fault.words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_exported(
    edge_et: Run, checkpoint: Path, tmp_path: Path, name: str
) -> None:
    fault, copy = CHECKPOINTS[name], tmp_path / "checkpoint"
    shutil.copytree(checkpoint, copy)
    fault.change(copy)
    done = edge_et("export", "extractor", str(copy), "--out", str(tmp_path / "out"))
    check_refusal(done, fault)
    assert list(tmp_path.iterdir()) == [copy]


MISMATCH, LOAD_FAILED = "checksum_mismatch", "load_failed"
ARTIFACTS = {
    # change, code of `verify`, code of `ask` (which compares sizes, and hashes nothing), words
    "a truncated file": (truncated("onnx/*_data"), MISMATCH, MISMATCH, "bytes"),
    "a flipped byte": (
        flipped("onnx/vision_encoder_int8.onnx", 0), MISMATCH, LOAD_FAILED, "vision_encoder_int8",
    ),
    "a flipped byte of a table": (
        flipped("embed_tokens_fp16.npy", 0), MISMATCH, LOAD_FAILED, "embed_tokens_fp16.npy",
    ),
    "a flipped byte of the tokenizer": (
        flipped("tokenizer.json", 0), MISMATCH, LOAD_FAILED, "tokenizer.json",
    ),
    "a missing file": (
        removed("onnx/*_data"), "missing_artifact", "missing_artifact", "is missing from",
    ),
    "an unknown template": (
        setting("template", "chatty", "edge_et.json"), "bad_manifest", "bad_manifest", "'chatty'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARTIFACTS)
def test_an_artifact_that_is_broken(
    edge_et: Run, exported: Export, tmp_path: Path, name: str
) -> None:
    change, verify_code, ask_code, words = ARTIFACTS[name]
    copy = tmp_path / "copy"
    shutil.copytree(exported("smolvlm").folder, copy)
    change(copy)
    done = edge_et("verify", str(copy))
    check_refusal(done, Fault(change=change, exit_code=4, code=verify_code, words=words))
    done = edge_et(*ASK, "--extractor", str(copy))
    check_refusal(done, Fault(change=change, exit_code=4, code=ask_code, words=words))


def test_a_second_run_keeps_what_is_right(edge_et: Run, exported: Export) -> None:
    made = exported("smolvlm")
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*")}
    done = edge_et(*made.command)
    assert (done.returncode, done.stdout) == (0, made.stdout), done.stderr
    assert f"{made.folder} is already this export" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in made.folder.rglob("*")} == before


def test_a_killed_export_leaves_the_old_artifact_whole(
    edge_et: Run, exported: Export, tmp_path: Path
) -> None:
    made, out = exported("smolvlm"), tmp_path / "artifact"
    shutil.copytree(made.folder, out)
    before = snapshot(out)
    options = FAMILIES["smolvlm"].options
    command = ("export", "extractor", str(made.checkpoint), "--out", str(out), *options, "--force")
    process = subprocess.Popen(
        [str(SCRIPT), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    kill_at_work(process, lambda: list(tmp_path.glob(".*/**/*.npy")))
    assert snapshot(out) == before
    assert len(list(tmp_path.iterdir())) == 2, "nothing was left, so nothing can be cleared"
    done = edge_et(*command)
    assert (done.returncode, done.stdout.strip()) == (0, str(out)), done.stderr
    assert list(tmp_path.iterdir()) == [out]
    assert edge_et("verify", str(out)).returncode == 0
