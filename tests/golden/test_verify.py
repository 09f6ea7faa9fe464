"""`edge-et verify` on an artifact that is whole, and on ones that are not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import make_extractor

pytest.importorskip("torch")
pytest.importorskip("onnxruntime_genai")

COMMAND = [sys.executable, "-c", "from edge_et.cli import main; main()", "verify"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edge_et_export import ExtractorOptions, export_extractor
    from edge_et_export.precisions import Precisions

    folder = tmp_path_factory.mktemp("verify")
    checkpoint = make_extractor(folder / "checkpoint", "anyres_untied")
    precisions = Precisions(vision=("int8", "fp16"), decoder=("int8", "q4", "q4f16"))
    options = ExtractorOptions(precisions=precisions)
    export_extractor(checkpoint, folder / "artifact", options)
    return folder / "artifact"


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "copy"))


def verify(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, str(folder), *options], capture_output=True, text=True, check=False
    )


def test_a_whole_artifact(artifact: Path) -> None:
    done = verify(artifact, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    stored = json.loads((artifact / "edge_et.json").read_text())["parity"]
    measured = {(r["part"], r["precision"]): r for r in found["parity"]}
    assert set(measured) == {(r["part"], r["precision"]) for r in stored}
    assert set(measured) == {
        *(("vision_encoder", p) for p in ("int8", "fp16")),
        *((part, p) for part in ("decoder", "end_to_end") for p in ("int8", "q4", "q4f16")),
    }
    for result in stored:
        again = measured[result["part"], result["precision"]]
        assert again["relative_error"] == pytest.approx(result["relative_error"], rel=1e-3)
    half = measured["vision_encoder", "fp16"]["relative_error"]
    assert 0 < half < measured["vision_encoder", "int8"]["relative_error"]


def test_the_precision_asked_for_is_the_one_that_runs(artifact: Path) -> None:
    texts = {}
    for decoder in ("int8", "q4", "fp32"):
        command = [*COMMAND[:-1], "extract", "examples/shapes.png", "--extractor", str(artifact)]
        done = subprocess.run(
            [*command, "--decoder", decoder, "--extract-budget", "24"],
            capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        texts[decoder] = (done.returncode, done.stdout or done.stderr)
    assert texts["int8"][1] != texts["q4"][1]
    assert texts["fp32"][0] == 4
    assert "no decoder in fp32; it has int8, q4, q4f16" in texts["fp32"][1]


def test_torch_is_not_needed(artifact: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from pathlib import Path; from edge_et_export.verification import verify\n"
        "print(len(verify(Path(sys.argv[1])).parity))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(artifact)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 8  # two vision encoders; three decoders, each alone and end to end


def test_a_flipped_byte_and_a_truncated_file(copy: Path) -> None:
    path = copy / "onnx" / "vision_encoder_int8.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = verify(copy)
    assert done.returncode == 4
    assert "error[checksum_mismatch]" in done.stderr and path.name in done.stderr
    path.write_bytes(data[:-1])
    assert verify(copy).returncode == 4


def test_graphs_that_compute_something_else(copy: Path) -> None:
    """Hashes that hold for wrong numbers: the table of another model, say."""
    from edge_et.manifest import (
        ExtractorManifest,
        describe_part,
        read_manifest,
        write_manifest,
    )

    manifest = read_manifest(copy, ExtractorManifest)
    old = manifest.part("embed_tokens")
    path = copy / old.path
    np.save(path, np.load(path)[::-1])
    new = describe_part(copy, path, role="embed_tokens", precision=old.precision)
    parts = tuple(new if part == old else part for part in manifest.parts)
    write_manifest(copy, replace(manifest, parts=parts))
    done = verify(copy)
    assert done.returncode == 1
    assert "error[end_to_end_drift]" in done.stderr and "end_to_end int8" in done.stderr
    assert verify(copy, "--allow-drift").returncode == 0


def test_folders_that_are_no_artifact(tmp_path: Path) -> None:
    done = verify(tmp_path)
    assert done.returncode == 4
    assert "error[missing_artifact]" in done.stderr
    (tmp_path / "edge_et.json").write_text("[1]")
    assert "error[bad_manifest]" in verify(tmp_path).stderr
