"""Which sentences of the extraction the thinking and the answer rest on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_et.evidence import find_evidence
from edge_et.words import sentences, words

STREET = (
    "A woman in a blue coat stands at a bus stop. Behind her, Dr. Who's shop has a sign that reads "
    "'OPEN 24 hours'. The bus, number 38, is red."
)
DRAWN = (
    "From left to right: first a solid blue cross, second an outlined orange diamond, third a "
    "solid gray ring. In all 3 objects. The outlined diamond is orange."
)


def quoted(extraction: str, question: str, thinking: str, answer: str) -> list[tuple[str, ...]]:
    """Return (part, words of the extraction, words of the other text) of every quotation."""
    found = find_evidence(extraction, question, thinking=thinking, answer=answer)
    used = {"thinking": thinking, "answer": answer}
    for sentence in found:
        assert extraction[sentence.start : sentence.end] == sentence.text
        for one in sentence.quotations:
            assert sentence.start <= one.start < one.end <= sentence.end
    return [
        (one.part, extraction[one.start : one.end], used[one.part][one.used_start : one.used_end])
        for sentence in found
        for one in sentence.quotations
    ]


def test_general_text_is_traced_to_its_sentences():
    thinking = "There is a bus, number 38, which is red. I need no sign for that."
    found = find_evidence(STREET, "Which bus is it?", thinking=thinking, answer="38")
    assert [(one.sentence, one.text) for one in found] == [(2, "The bus, number 38, is red.")]
    assert quoted(STREET, "Which bus is it?", thinking, "38") == [
        ("thinking", "bus, number 38, is red", "bus, number 38, which is red"),
        ("answer", "38", "38"),
    ]


def test_terse_lists_are_quoted_with_words_left_out():
    thinking = "I look for the diamond: first cross, no; second diamond, yes. Its colour is orange."
    assert quoted(DRAWN, "What colour is the diamond?", thinking, "orange") == [
        ("thinking", "first a solid blue cross", "first cross"),
        ("thinking", "second an outlined orange diamond", "second diamond"),
        ("answer", "orange", "orange"),
    ]


def test_sentences_come_in_their_order_with_the_quotations_of_both_parts():
    thinking = "The sign reads OPEN 24 hours. A woman stands there, in a blue coat."
    found = find_evidence(STREET, "When is it open?", thinking=thinking, answer="24 hours")
    assert [one.sentence for one in found] == [0, 1]
    assert [one.part for one in found[1].quotations] == ["thinking", "answer"]


@pytest.mark.parametrize(
    ("thinking", "answer"),
    [
        ("", ""),
        ("I cannot tell from this.", "no answer"),
        ("It is the one that is in the and of a.", "the"),  # words that carry nothing
        ("Is it red? Is it blue? A woman, maybe.", "green"),  # one word alone
        ("The woman behind the stop reads.", "green"),  # in another order
        ("Which bus number is it?", "none"),  # an echo of the question
        ("First, 3 things. Second, 8 things.", "none"),  # digits that count steps
    ],
)
def test_what_is_no_quotation(thinking, answer):
    assert find_evidence(STREET, "Which bus number is it?", thinking=thinking, answer=answer) == ()


def test_numbers_count():
    text = "In all 7 boats. The mast is 120 feet."
    assert quoted(text, "How many are there?", "I see seven boats.", "seven") == [
        ("thinking", "7 boats", "seven boats"),
        ("answer", "7", "seven"),
    ]
    assert quoted(text, "How tall?", "That makes 120.", "?") == [("thinking", "120", "120")]
    assert quoted(text, "How tall?", "That makes 12.", "12") == []
    assert quoted(text, "How tall?", "Step 7. Then 7.", "12") == []


def test_an_echo_of_the_question_counts_when_it_is_the_whole_sentence():
    question, thinking = "Is there a red star?", "I look for the red star."
    assert quoted("There is a red star.", question, thinking, "yes") == [
        ("thinking", "red star", "red star")
    ]
    assert quoted("A big red star shines above the old farm.", question, thinking, "yes") == []


def test_the_answers_word_comes_from_the_clause_that_was_quoted_last():
    text = "First a red ring, second a red star, third a red box."
    thinking = "first ring, no; second star, yes"
    place = text.index("red star")
    (found,) = find_evidence(text, "What colour is the star?", thinking=thinking, answer="red")
    last = found.quotations[-1]
    assert (last.part, last.start, last.end) == ("answer", place, place + 3)


def test_a_quotation_does_not_run_from_one_sentence_or_step_into_the_next():
    text = "A tall green tower. Windows glow softly."
    assert quoted(text, "?", "green tower windows glow", "") == [
        ("thinking", "green tower", "green tower"),
        ("thinking", "Windows glow", "windows glow"),
    ]
    assert quoted(text, "?", "It is green. Tower of what?", "") == []


def test_words_are_left_out_within_a_clause_alone():
    assert quoted("A tower with tall windows.", "?", "tower windows", "") != []
    assert quoted("A tower, tall windows.", "?", "tower windows", "") == []
    assert quoted("A tower, tall windows.", "?", "tower tall", "") != []


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_any_text_has_evidence_or_none_and_its_spans_hold(text, thinking, answer, question):
    quoted(text, question, thinking, answer)
    assert {one.text for one in find_evidence(text, "", thinking=text, answer="")} <= {
        text[start:end] for start, end in sentences(text)
    }


def test_words_are_compared_without_case_plural_and_spelling():
    assert [word.form for word in words("Two GREY boxes, berries; the glass's glasses")] == [
        "2", "gray", "box", "berry", "the", "glass", "glass",
    ]  # fmt: skip


def test_sentences_end_at_stops_and_lines():
    text = "Mr. X. Lee pays 3.5 $.  It rains!\n\n- one\n- two"
    assert [text[start:end] for start, end in sentences(text)] == [
        "Mr. X. Lee pays 3.5 $.", "It rains!", "- one", "- two",
    ]  # fmt: skip
