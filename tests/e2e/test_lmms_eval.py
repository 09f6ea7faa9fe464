"""lmms-eval's own command line with edge-et as its model.

Runs where lmms-eval is installed (benchmarks/README.md): it cannot share the pinned versions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import edge_et
from edge_et.config import GenerationConfig, RuntimeConfig
from edge_et.errors import InputError
from edge_et_bench.quality import BUILT_IN
from tests.e2e.starter import ROOT

pytest.importorskip("lmms_eval")
pytest.importorskip("accelerate")

AT_ONCE = "\nAnswer with the option's letter from the given choices directly."
SCENES = [json.loads(line) for line in BUILT_IN.read_text(encoding="utf-8").splitlines()[:5]]


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    """Run lmms-eval over five scenes, offline; return the folder of what it wrote."""
    out = tmp_path / "out"
    done = subprocess.run(
        [
            sys.executable, "-m", "lmms_eval", "--model", "edge_et",
            "--model_args", "pair=starter,threads=2", "--tasks", "edge_et_scenes", "--limit", "5",
            "--include_path", "benchmarks/lmms_eval_task", "--log_samples",
            "--output_path", str(out),
        ],
        capture_output=True, text=True, timeout=300, check=False, cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


def test_its_answers_are_those_of_the_chain(evaluated: Path):
    (samples,) = evaluated.rglob("*_samples_edge_et_scenes.jsonl")
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    rows.sort(key=lambda row: row["doc_id"])
    with edge_et.load("starter", runtime=RuntimeConfig(threads=2)) as chain:
        answers = [
            chain.ask(str(BUILT_IN.parent / scene["image"]), scene["question"]) for scene in SCENES
        ]
    assert [row["filtered_resps"] for row in rows] == [answer.text for answer in answers]
    for row, answer in zip(rows, answers, strict=True):
        assert row["token_counts"] == [
            {
                "input_tokens": answer.extraction.prompt_tokens + answer.prompt_tokens,
                "output_tokens": answer.extraction.generated_tokens
                + answer.think_tokens
                + answer.answer_tokens,
                "reasoning_tokens": answer.think_tokens,
            }
        ]
    (results,) = evaluated.rglob("*_results.json")
    found = json.loads(results.read_text(encoding="utf-8"))["results"]["edge_et_scenes"]
    right = sum(a.text == scene["answer"] for a, scene in zip(answers, SCENES, strict=True))
    assert found["exact_match,none"] == pytest.approx(right / 5)
    assert right >= 4


@pytest.fixture(scope="module")
def model():
    from edge_et_bench.lmms_eval_model import EdgeET

    model = EdgeET(think_budget_tokens=0, answer_budget_tokens=1)
    yield model
    model.clean()


def request(model: Any, images: list[Any]) -> Any:
    from lmms_eval.api.instance import Instance

    model.task_dict["t"] = {"test": [images]}
    return Instance(
        request_type="generate_until",
        arguments=("What is it?", {}, lambda document: document, 0, "t", "test"),
        idx=0,
        metadata={"task": "t", "doc_id": 0, "repeats": 1},
    )


@pytest.mark.parametrize("count", [0, 2])
def test_other_than_one_image_is_refused(model, count: int):
    image = Image.new("RGB", (64, 64), "red")
    with pytest.raises(InputError, match=f"question 0 of t has {count} images"):
        model.generate_until([request(model, [image] * count)])


def test_a_cut_answer_is_told(model):
    from loguru import logger

    told: list[str] = []
    sink = logger.add(told.append, level="WARNING", format="{message}")
    try:
        (result,) = model.generate_until([request(model, [Image.new("RGB", (64, 64), "red")])])
    finally:
        logger.remove(sink)
    assert result.token_counts.reasoning_tokens == 0
    assert told == ["1 of 1 answers hit a limit: 1 length\n"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("loglikelihood", "no likelihood of a given answer"),
        ("generate_until_multi_round", "one image for one question"),
    ],
)
def test_other_kinds_of_task_are_refused_with_the_reason(model, kind: str, reason: str):
    with pytest.raises(InputError, match=reason) as raised:
        getattr(model, kind)([])
    assert "generate_until" in (raised.value.hint or "")


def test_what_a_task_closes_its_questions_with():
    from edge_et_bench.lmms_eval_model import question_of, until

    question = "Which?\n(A) a\n(B) b"
    for closing in (
        AT_ONCE,
        " Answer with the option letter only.",
        "\nPlease answer directly with only the letter of the correct option and nothing else.",
    ):
        assert question_of(question + closing) == question
    assert question_of("How many?\nAnswer the question using a single word or phrase.") == (
        "How many?"
    )
    kept = "Which answer does the poster give?"
    assert question_of(kept) == kept
    assert until("red\n\nand more", ["\n\n"]) == until("red", "\n\n") == "red"
    assert until("red", None) == "red"


def test_a_batch_is_refused():
    from edge_et_bench.lmms_eval_model import EdgeET

    with pytest.raises(InputError, match="one question at a time"):
        EdgeET(batch_size=8)


def test_the_options_reach_the_chain(monkeypatch):
    from edge_et_bench.lmms_eval_model import EdgeET

    model = EdgeET(think=False, answer_budget_tokens=7, seed=3)
    asked = []

    def ask(image: Any, question: str, generation: GenerationConfig) -> Any:
        asked.append(generation)
        return chain_ask(image, question, generation)

    chain_ask = model._chain.ask
    monkeypatch.setattr(model._chain, "ask", ask)
    model.generate_until([request(model, [Image.new("RGB", (64, 64), "red")])])
    model.clean()
    (given,) = asked
    assert (given.think, given.answer_budget_tokens) == (False, 7)
    assert given.reasoner_sampling.seed == 3
