"""Right and wrong answers, and the files they are read from."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from edge_et.errors import InputError
from edge_et_bench.quality import BUILT_IN, is_right, judge, read_items
from edge_et_bench.records import Configuration
from tests.bench import FakeAdapter


@pytest.mark.parametrize(
    ("answer", "accepted", "question", "right"),
    [
        ("Red.", ("red",), "What colour is it?", True),
        ("the red circle", ("red circle",), "What is it?", True),
        ("Answer: (B)", ("B",), "Which? (A) a (B) b", True),
        ("two", ("2",), "How many are there?", True),
        ("3.5", ("35",), "How many are there?", False),
        ("grey", ("gray", "grey"), "What colour?", True),
        ("dark red", ("red",), "What colour is it?", False),
        ("yes", ("no",), "Is it red?", False),
    ],
)
def test_right_answers(answer, accepted, question, right):
    assert is_right(answer, accepted, question) is right


def write(tmp_path, *lines):
    Image.new("RGB", (4, 4)).save(tmp_path / "i.png")
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_accuracy_with_its_interval(tmp_path):
    lines = [
        json.dumps({"image": "i.png", "question": "What colour?", "answer": answer})
        for answer in ("red", "blue", ["green", "red"], "RED")
    ]
    told = []
    adapter = FakeAdapter(Configuration(label="x"))
    found = judge(adapter, write(tmp_path, *lines), told=lambda *p: told.append(p))
    assert (found.correct, found.n, found.accuracy) == (3, 4, 0.75)
    assert [one.right for one in found.items] == [True, False, True, True]
    assert found.low == pytest.approx(0.3006, abs=1e-3)
    assert found.high == pytest.approx(0.9544, abs=1e-3)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(request.forced is None for request in adapter.requests)


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"image": "i.png", "question": "?"}',
        "",
        '{"image": "i", "question": "?", "answer": []}',
    ],
)
def test_lines_that_are_no_question(tmp_path, line):
    with pytest.raises(InputError, match=r"data\.jsonl"):
        read_items(write(tmp_path, line))


def test_a_missing_image_is_named(tmp_path):
    data = write(tmp_path, json.dumps({"image": "gone.png", "question": "?", "answer": "x"}))
    with pytest.raises(InputError, match=r"gone\.png"):
        judge(FakeAdapter(Configuration(label="x")), data)


def test_the_built_in_questions_are_whole():
    items = read_items(BUILT_IN)
    assert len(items) == 40
    assert all(item.image.is_file() for item in items)
