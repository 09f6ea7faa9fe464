"""Looking again: while the notes lack what the question needs, the extractor runs once more.

Two ways show that they do. The floor: not one of the things that the question names is in them;
then it is looked again before any thinking. And the reasoner's own word, an answer that opens with
`Missing:`; then the thinking goes on over the notes of all looks. `GenerationConfig.looks` caps
both together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from edge_et.answer_spec import AnswerSpec
from edge_et.evidence import evidence_of
from edge_et.focus import Focus
from edge_et.missing import focus_on, may_become_missing, names_nothing_asked
from edge_et.relay import relay
from edge_et.stages import Call
from edge_et.types import Answer, Chunk, Extraction
from edge_et.words import words

if TYPE_CHECKING:
    from edge_et.regions import Region

Look = Callable[[Focus, "Region | None"], Generator[Chunk, None, Extraction]]
"""Runs the extractor on the image, or on that part of it."""
Closer = Callable[[str, Sequence[Extraction]], "Region | None"]
"""(what is missing, the extractions so far) -> the part of the image to look at closer."""
Think = Callable[[tuple[Extraction, ...]], Generator[Chunk, None, Answer]]
"""Thinks over the first extraction and these further looks."""
_RecordT = TypeVar("_RecordT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    focus: Focus
    region: Region | None


def answer(
    first: Extraction,
    look: Look,
    closer: Closer,
    think: Think,
    spec: AnswerSpec,
    call: Call,
) -> Generator[Chunk, None, Answer]:
    """Think over `first`, look again while something is missing and looks are left, and answer."""
    left = call.config.looks_again
    seen = [first]
    earlier: list[Answer] = []
    plan = _plan("", spec, seen, closer, call) if left and _lacks(spec, seen) else None
    while True:
        while plan is not None:
            left -= 1
            if call.pace is not None:
                call.pace.share_anew()
            notes = yield from _numbered(look(plan.focus, plan.region), len(seen))
            seen.append(replace(notes, region=plan.region))
            lacking = left and not earlier and _lacks(spec, seen)
            plan = _plan("", spec, seen, closer, call) if lacking else None
        held = _Held()
        answer = yield from _numbered(held.passing(think(tuple(seen[1:]))), len(seen) - 1)
        if left and answer.missing is not None:
            plan = _plan(answer.missing, spec, seen, closer, call)
        if plan is None:
            yield from (replace(chunk, look=len(seen) - 1) for chunk in held.rest())
            return _whole(earlier, answer, spec.question)
        call.unanswered()
        earlier.append(answer)


def _lacks(spec: AnswerSpec, seen: Sequence[Extraction]) -> bool:
    notes = "\n".join(notes.text for notes in seen)
    return names_nothing_asked(spec.question, spec.form, notes)


def _plan(
    missing: str, spec: AnswerSpec, seen: Sequence[Extraction], closer: Closer, call: Call
) -> Plan | None:
    """Return what to look at next: with another focus the whole image, else a part of it closer.

    None when the extractor would see what it has seen, and when time does not allow a look.
    """
    if not call.may_look_again:
        return None
    focus = focus_on(missing, spec.question)
    whole = [_said(notes.focus_phrase) for notes in seen if notes.region is None]
    if not any(_said(focus.phrase) <= old for old in whole):
        return Plan(focus=focus, region=None)
    started_s = time.perf_counter()
    region = closer(focus.phrase, seen)
    call.spent(image_s=time.perf_counter() - started_s)
    return None if region is None else Plan(focus=focus, region=region)


def _said(phrase: str) -> set[str]:
    return {word.form for word in words(phrase) if word.is_content}


def _whole(earlier: Sequence[Answer], last: Answer, question: str) -> Answer:
    """Return the last answer with the thinking and the tokens of all."""
    every = [*earlier, last]
    thinking = "\n\n".join(one.thinking for one in every if one.thinking)
    seen = (last.extraction, *last.looks)
    return replace(
        last,
        thinking=thinking,
        evidence=evidence_of(seen, question, thinking=thinking, answer=last.text),
        prompt_tokens=sum(one.prompt_tokens for one in every),
        reused_tokens=sum(one.reused_tokens for one in every),
        think_tokens=sum(one.think_tokens for one in every),
        answer_tokens=sum(one.answer_tokens for one in every),
        copied_tokens=sum(one.copied_tokens for one in every),
    )


class _Held:
    """Holds back the part of an answer that may yet become `Missing: …`."""

    def __init__(self) -> None:
        self._line = ""
        self._chunks: list[Chunk] = []

    def passing(self, chunks: Generator[Chunk, None, Answer]) -> Generator[Chunk, None, Answer]:
        return relay(chunks, self._passed)

    def _passed(self, chunk: Chunk) -> Sequence[Chunk]:
        if chunk.kind != "answer":
            return (chunk,)
        self._line = (self._line + chunk.text).rpartition("\n")[2]
        self._chunks.append(chunk)
        return () if may_become_missing(self._line) else self.rest()

    def rest(self) -> Sequence[Chunk]:
        """Return what is held back: it is an answer after all."""
        held, self._chunks = self._chunks, []
        return held


def _numbered(
    chunks: Generator[Chunk, None, _RecordT], look: int
) -> Generator[Chunk, None, _RecordT]:
    return relay(chunks, lambda chunk: (replace(chunk, look=look),))
