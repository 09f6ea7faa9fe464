"""From a SmolVLM checkpoint to an answer, by commands alone; and its image budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.starter import ROOT, Run
from tests.tiny import make_smolvlm

pytest.importorskip("torch")
pytest.importorskip("onnxruntime_genai")

REASONER = str(ROOT / "edge_et" / "models" / "starter" / "reasoner" / "reasoner.gguf")
ASK = ("ask", "examples/shapes.png", "How many red circles are there?", "--json")
SHORT = ("--extract-budget", "4", "--think-budget", "8", "--answer-budget", "8")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, edge_et: Run) -> Path:
    folder = tmp_path_factory.mktemp("smolvlm")
    checkpoint = make_smolvlm(folder / "checkpoint", "idefics3_untied")
    out = folder / "artifact"
    done = edge_et("export", "extractor", str(checkpoint), "--out", str(out), "--preset", "cpu")
    assert (done.returncode, done.stdout.strip()) == (0, str(out)), done.stderr
    assert "end_to_end int8" in done.stderr
    return out


@pytest.fixture
def ask(artifact: Path, edge_et: Run) -> Any:
    def run(*limits: str) -> Any:
        return edge_et(*ASK, *SHORT, "--extractor", str(artifact), "--reasoner", REASONER, *limits)

    return run


def test_a_cpu_sees_the_default_and_says_so(ask: Any) -> None:
    image = json.loads(ask().stdout)["image"]
    assert image["tiles"] == 5
    (note,) = image["notes"]
    seen = f"2 x 2 tiles ({image['image_tokens']} image tokens)"
    assert note.startswith(f"{seen} by max_tiles 5, 3 x 3 tiles (")


def test_a_larger_budget_lifts_it(ask: Any) -> None:
    image = json.loads(ask("--max-tiles", "10").stdout)["image"]
    assert (image["tiles"], image["notes"]) == (10, [])


def test_a_budget_of_image_tokens_counts_the_marks(ask: Any) -> None:
    full = json.loads(ask("--max-tiles", "10").stdout)["image"]["image_tokens"]
    same = json.loads(ask("--max-image-tokens", str(full)).stdout)["image"]
    assert (same["image_tokens"], same["notes"]) == (full, [])
    less = json.loads(ask("--max-image-tokens", str(full - 1)).stdout)["image"]
    assert less["image_tokens"] < full and less["tiles"] == 5 and less["notes"]


def test_an_impossible_budget_names_the_smallest(ask: Any) -> None:
    done = ask("--max-image-tokens", "1")
    assert done.returncode == 3
    assert "the smallest is one tile" in done.stdout + done.stderr
