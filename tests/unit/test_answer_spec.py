"""What a call asks of its answer, from the question and from the settings."""

from __future__ import annotations

import json

import pytest

from edge_et.answer_spec import answer_spec
from edge_et.config import GenerationConfig
from edge_et.errors import InputError
from edge_et.shapes import Words
from tests.fakes import CLOSE, EOS, FakeExtractor, FakeReasoner, fake_chain, picture

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def spec(question="What is it?", **asked):
    return answer_spec(question, GenerationConfig(**asked))


def test_an_open_question_is_held_to_nothing():
    asked = spec()
    assert (asked.form, asked.shape, asked.question) == ("short", None, "What is it?")
    assert spec("Is it red?").shape is None
    assert spec("How many?").shape is None


def test_choices_are_lettered_in_the_prompt_and_answered_by_their_text():
    asked = spec(choices=("a ring", "star"))
    assert asked.question == "What is it? (A) a ring (B) star"
    assert (asked.form, asked.wording) == ("choice", "letter answer")
    assert asked.shape == Words(spellings=("A", "B"))
    assert asked.read("Answer: b", None).text == "star"
    reading = asked.read("Answer: D\nAnswer: A", "A")
    assert (reading.text, reading.found) == ("a ring", "constrained")


def test_choices_that_stand_in_the_question_are_not_written_twice():
    question = "What is it? (A) ring (B) star"
    assert spec(question, choices=("ring", "star")).question == question
    assert spec(question, choices=("ring", "disc")).question.endswith("(A) ring (B) disc")


def test_options_without_letters_are_asked_for_and_answered_by_text():
    asked = spec("What is it? Options: ring, star")
    assert (asked.wording, asked.shape) == ("option", Words(spellings=("ring", "star")))
    assert asked.read("Answer: Star.", None).text == "star"


def test_a_form_that_is_asked_for_is_held():
    assert spec(form="yes_no").shape == Words(spellings=("yes", "no"))
    assert spec(form="number").shape is not None
    assert spec("How many?", form="free").wording == ""
    with pytest.raises(InputError, match="no options"):
        spec(form="choice")


def test_a_schema_stands_in_the_prompt_and_gives_data():
    asked = spec(schema=SCHEMA)
    assert asked.form == "json"
    assert '"integer"' in asked.prompt
    assert asked.data('{"n": 3}') == {"n": 3}


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"form": "poem"}, "unknown form"),
        ({"form": "json"}, "needs a schema"),
        ({"choices": ("a",)}, "two or more"),
        ({"choices": ("a", "a")}, "two or more"),
        ({"choices": ("a", " ")}, "two or more"),
        ({"choices": "ab"}, "tuple"),
        ({"choices": ("a", "b"), "schema": SCHEMA}, "give one"),
        ({"choices": ("a", "b"), "ignore_stop": True}, "ignore_stop"),
    ],
)
def test_settings_that_contradict_are_refused(asked, what):
    with pytest.raises(InputError, match=what):
        GenerationConfig(**asked)


def test_a_bad_schema_is_refused_before_any_work():
    extractor = FakeExtractor()
    with pytest.raises(InputError, match="uses pattern"):
        fake_chain(extractor).ask(
            picture(), "What?", GenerationConfig(schema={"type": "string", "pattern": "a"})
        )
    assert extractor.asked == []


def ask(answer, question="Which? (A) ring (B) star", **asked):
    reasoner = FakeReasoner(answer=answer)
    return fake_chain(reasoner=reasoner).ask(picture(), question, GenerationConfig(**asked))


def test_a_letter_that_does_not_exist_is_asked_for_again():
    answer = ask(("Answer", ":", " D", EOS, " B"))
    assert (answer.text, answer.found, answer.finish_reason) == ("B", "constrained", "stop")
    answer = ask(("Answer", ":", " A", EOS, " B"))
    assert (answer.text, answer.found) == ("A", "marker")


def test_the_answer_is_taken_from_the_answer_alone():
    """What is said while thinking, in the form of an answer or not, does not count."""
    reasoner = FakeReasoner(thinking=("Answer", ":", " A", "\n"), answer=("Answer", ":", " B"))
    answer = fake_chain(reasoner=reasoner).ask(picture(), "Which? (A) ring (B) star")
    assert (answer.text, answer.thinking) == ("B", "Answer: A")
    extractor = FakeExtractor(words=("Answer: A",))
    assert fake_chain(extractor, reasoner).ask(picture(), "Which? (A) ring (B) star").text == "B"


def test_a_form_that_was_not_asked_for_is_reported_and_left():
    answer = ask(("Answer", ":", " unclear", EOS, " no"), "Is it red?")
    assert (answer.text, answer.form) == ("unclear", "yes_no")
    answer = ask(("Answer", ":", " unclear", EOS, " no"), "Is it red?", form="yes_no")
    assert (answer.text, answer.found) == ("no", "constrained")


def test_an_answer_by_a_schema():
    words = ("{", '"n"', ": ", "3", "}")
    answer = ask((EOS, *words)[1:], "What is it?", schema=SCHEMA)
    assert (answer.text, answer.data, answer.found) == ('{"n": 3}', {"n": 3}, "constrained")
    assert (answer.form, answer.finish_reason) == ("json", "stop")
    cut = ask(words, "What is it?", schema=SCHEMA, answer_budget_tokens=1)
    assert (cut.finish_reason, json.loads(cut.text)) == ("length", cut.data)
    assert CLOSE not in cut.text
