"""The focus of one call: made by rule, by the reasoner, by the caller, or left out.

What a model writes is checked before it is used: it must be about the question, and neither an
answer option nor an answer may slip into it, because the extractor sees what it is told to see.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TYPE_CHECKING, TypeVar

from edge_et.clock import NoClock
from edge_et.config import SamplingConfig
from edge_et.focus import Focus, focus_phrase, leak_of, strip_options
from edge_et.words import words

if TYPE_CHECKING:
    from edge_et.stages import Call, ReasonerLike
    from edge_et.types import Chunk

BUDGET_TOKENS = 32
_MAX_WORDS = 24
_PROMPT = """\
Name what in an image must be observed to answer the question: one short phrase, not the answer.

Question: How many red pins are left of the switch?
Phrase: the number of red pins left of the switch

Question: What does the sign above the door say?
Phrase: the text on the sign above the door

Question: Is the man's jacket darker than the wall?
Phrase: the colour of the man's jacket and the colour of the wall

Question: Why is the road closed?
Phrase: the road, and signs or obstacles on it

Question: {question}
Phrase:"""
_OPENING = re.compile(
    r"^[\s*\"'`>-]*(?:(?:phrase|focus|answer|observe)\s*:)?[\s*\"'`]*", re.IGNORECASE
)
_END = " \t*\"'`.:;,"
_RecordT = TypeVar("_RecordT")


def choose_focus(wanted: str, question: str, reasoner: ReasonerLike, call: Call) -> Focus:
    """Return the focus that `wanted` (`GenerationConfig.focus`, no longer auto) means."""
    if wanted == "none":
        return Focus(phrase="", source="none")
    if wanted == "question":
        return Focus(phrase=focus_phrase(question), source="question")
    if wanted != "reasoner":
        return Focus(phrase=" ".join(wanted.split()), source="given")
    phrase = _written(question, reasoner, call)
    fault = fault_of(phrase, question)
    if fault is None:
        return Focus(phrase=phrase, source="reasoner")
    note = f"the reasoner's focus phrase {fault}; the rule's was taken"
    return Focus(phrase=focus_phrase(question), source="question", notes=(note,))


def fault_of(phrase: str, question: str) -> str | None:
    """Return what is wrong with a phrase that a model wrote for `question`, or None.

    >>> fault_of("the red star", "What colour is the star?")
    "names 'red', which the question does not"
    """
    asked = {word.form for word in words(strip_options(question))}
    said = [word for word in words(phrase) if word.is_content]
    if not said:
        return "is empty"
    if len(phrase.split()) > _MAX_WORDS:
        return "is too long"
    if phrase.endswith("?") or "question" in phrase.lower():
        return "asks instead of naming"
    if not any(word.form in asked for word in said):
        return "has nothing to do with the question"
    told = leak_of(phrase, question)
    return None if told is None else f"names {told!r}, which the question does not"


def _written(question: str, reasoner: ReasonerLike, call: Call) -> str:
    """Return the first line that the reasoner writes, without decoration."""
    run = _drained(
        reasoner.stream(
            _PROMPT.format(question=" ".join(strip_options(question).split())),
            think=False,
            think_budget_tokens=0,
            answer_budget_tokens=BUDGET_TOKENS,
            sampling=SamplingConfig(),
            suppress_reflexive=False,
            demand=None,
            ignore_stop=False,
            clock=NoClock(),
            cancelled=call.cancelled,
        )
    )
    call.spent(focus_s=run.handoff_s + run.prefill_s + run.think_s + run.answer_s)
    line = next((line for line in run.answer.splitlines() if line.strip(_END)), "")
    return " ".join(_OPENING.sub("", line).strip(_END).split())


def _drained(chunks: Generator[Chunk, None, _RecordT]) -> _RecordT:
    while True:
        try:
            next(chunks)
        except StopIteration as end:
            record: _RecordT = end.value
            return record


__all__ = ["BUDGET_TOKENS", "choose_focus", "fault_of"]
