"""Right and wrong answers, and the files they are read from."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from edge_et.errors import InputError
from edge_et_bench.quality import BUILT_IN, check_images, is_right, judge, read_items
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
        ("1,000", ("1000",), "How many are there?", True),
        ("-3", ("3",), "What is the temperature?", False),
        ("light-blue", ("light blue",), "What colour is it?", True),
        ("", ("A",), "Is it A or B?", False),
        ("the", ("A",), "Is it A or B?", False),
        ("a", ("A",), "Is it A or B?", True),
        ("B", ("star",), "Which?\n(A) a circle\n(B) a star", True),
        ("A", ("star",), "Which?\n(A) a circle\n(B) a star", False),
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


def question(**changes):
    return json.dumps({"image": "i.png", "question": "Which?", "answer": "x"} | changes)


def test_what_a_line_may_hold(tmp_path):
    """A question that holds U+2028 was once split in two: JSON allows it, and Python's lines end
    there."""
    data = write(
        tmp_path,
        question(answer=["two", 2, 2.5]),
        "",
        question(choices=["ring", "star", 3], answer="star"),
        '{"image": "i.png", "question": "one\u2028two", "answer": "x"}',
    )
    data.write_text("\ufeff" + data.read_text(encoding="utf-8"), encoding="utf-8")
    first, second, third = read_items(data)
    assert first.accepted == ("two", "2", "2.5")
    assert first.image == tmp_path / "i.png"
    assert second.question == "Which?\n(A) ring\n(B) star\n(C) 3"
    assert second.where == f"{data}:3"
    assert is_right("B", second.accepted, second.question)
    assert third.question == "one\u2028two"


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"image": "i.png", "question": "?"}',
        question(image=1),
        question(question=" "),
        question(answer=[]),
        question(answer=True),
        question(answer=[["x"]]),
        question(answer=""),
        question(choices="ab"),
        question(choices=["a"]),
        question(choices=["a", None]),
    ],
)
def test_lines_that_are_no_question(tmp_path, line):
    with pytest.raises(InputError, match=r"data\.jsonl:2\b"):
        read_items(write(tmp_path, question(), line))


def test_a_file_without_questions(tmp_path):
    with pytest.raises(InputError, match=r"data\.jsonl holds no questions"):
        read_items(write(tmp_path, "", ""))


def test_every_bad_line_is_named_up_to_ten(tmp_path):
    with pytest.raises(InputError) as raised:
        read_items(write(tmp_path, question(), "no", question(), *["no"] * 11))
    told = raised.value.message.splitlines()
    assert [line.partition(":")[2].split()[0] for line in told[:3]] == ["2", "4", "5"]
    assert told[10:] == ["and 2 more"]


def test_images_that_cannot_be_read_are_named_before_anything_runs(tmp_path):
    data = write(tmp_path, *(question(image=i) for i in ("i.png", "gone.png", "cut.png")))
    (tmp_path / "cut.png").write_bytes((tmp_path / "i.png").read_bytes()[:40])
    with pytest.raises(InputError) as raised:
        check_images(read_items(data))
    told = raised.value.message.splitlines()
    assert [line.split()[0] for line in told] == [f"{data}:2:", f"{data}:3:"]
    assert "gone.png" in told[0] and "cut.png" in told[1]


def test_an_image_that_goes_away_is_named(tmp_path):
    data = write(tmp_path, question(image="gone.png"))
    with pytest.raises(InputError, match=r"data\.jsonl:1: .*gone\.png"):
        judge(FakeAdapter(Configuration(label="x")), data)


def test_the_built_in_questions_are_whole():
    items = read_items(BUILT_IN)
    assert len(items) == 40
    check_images(items)
