"""THINK -> CLOSE -> ANSWER over tokens: budgets, what may not be sampled, an answer in any case.

    THINK   until the model closes its thinking or stops, goes round in circles, or the budget or
            the time is spent; near the end of these the closing gains weight
    CLOSE   unless the model wrote the closing itself, it is written for it
    ANSWER  with its own budget; thinking marks cannot be sampled any more

A model with thinking marks closes with its mark, one without by the "Answer:" line that the prompt
asks for.
An answer that must have a shape is written under its grammar, from its start or, where another form
came, behind an "Answer:" of its own (`Demand`).

An answer that comes out blank is insisted on: "Answer:" is written and the end of text masked until
something visible comes. If that fails too, the last line of the thinking stands in for it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_et.clock import Clock, NoClock
from edge_et.constrained import write_held
from edge_et.errors import Cancelled, ContextOverflow
from edge_et.landing import Landing
from edge_et.loops import LoopWatch
from edge_et.marker import MarkerWatch
from edge_et.reflexive import IntArray
from edge_et.shapes import Shape
from edge_et.texts import Text, Thought
from edge_et.token_model import Nudge, TokenModel, Vocabulary
from edge_et.types import Chunk, FinishReason

INSIST_TOKENS = 24
"""Room kept for insisting on an answer."""
_HURRY_TOKENS = 8
"""Of an answer that time ran out for, behind its marker."""
_MIN_ANSWER_TOKENS = 32
NO_ANSWER = "no answer"
_BLANK_ANSWER = re.compile(r"[\W_]*(?:answer[\W_]*)*", re.IGNORECASE)
_MARKED = re.compile(r"(?:\banswer\b|^\W*missing\b)\W*[:：]\W*(\w?)", re.IGNORECASE | re.MULTILINE)
_SIGN = re.compile(r"\w")

Cancel = Callable[[], bool]
ThinkEnd = Literal["stop", "think_budget", "think_loop", "think_deadline"]
_AnswerEnd = Literal["stop", "cut", "late"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the answer is held to."""

    shape: Shape
    at_once: bool
    """From its first sign on; else only when what was written is not accepted."""
    accepts: Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """How many tokens each part may take, and the context that holds prompt and all of them."""

    think_tokens: int
    answer_tokens: int
    answer_cut: Literal["length", "context"]
    """What has been hit when the answer takes all its tokens."""
    context_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoned:
    """What came of one run of the state machine."""

    thinking: str
    """The model's own; what is written to close it is left out."""
    answer: str
    """As written, marker included. Never blank."""
    think_tokens: int
    """Without the closing mark, or with the answer's marker where that closed it."""
    answer_tokens: int
    held: str | None
    """Of the answer, what was written under the grammar of a demand; None: nothing was."""
    finish_reason: FinishReason
    think_s: float
    answer_s: float


def plan_budgets(*, prompt: int, limit: int, think: int, answer: int, closing: int) -> Budgets:
    """Share out the context (all counts in tokens; `limit` is the most the model can hold,
    `closing` the most that is written to close the thinking).

    When it is short, thinking shrinks first, so that it never eats the answer. Raises
    ContextOverflow when the prompt leaves no room for an answer.
    """
    fixed = prompt + closing + INSIST_TOKENS
    room = limit - fixed
    least = min(answer, _MIN_ANSWER_TOKENS)
    if room < least:
        raise ContextOverflow(
            f"the reasoner's prompt has {prompt} tokens and its context {limit}: "
            f"{least} tokens of answer do not fit",
            hint="shorten the extraction (extraction budget) or the question",
        )
    kept = min(answer, max(least, room // 4))
    think = min(think, room - kept)
    fits = answer <= room - think
    answer = min(answer, room - think)
    return Budgets(
        think_tokens=think,
        answer_tokens=answer,
        answer_cut="length" if fits else "context",
        context_tokens=fixed + think + answer,
    )


_NO_CLOCK = NoClock()


def reason(
    model: TokenModel,
    vocabulary: Vocabulary,
    budgets: Budgets,
    *,
    thinking: bool,
    suppress_reflexive: bool = False,
    demand: Demand | None = None,
    ignore_stop: bool = False,
    clock: Clock = _NO_CLOCK,
    cancelled: Cancel = lambda: False,
) -> Generator[Chunk, None, Reasoned]:
    """Run the state machine. `thinking`: the prompt ends inside an open thinking block, or asks a
    model without marks to reason.

    With `ignore_stop` both parts take their whole budgets and nothing more is insisted on. Raises
    Cancelled within one token.
    """
    run = _Run(
        model, vocabulary, clock, cancelled, suppress=suppress_reflexive, to_the_end=ignore_stop
    )
    started_s = time.perf_counter()
    ended: FinishReason = "stop"
    if thinking:
        ended = yield from run.think(budgets.think_tokens)
    answer_started_s = time.perf_counter()
    said: _AnswerEnd = "stop"
    if demand is None or not demand.at_once:
        said = yield from run.answer(budgets.answer_tokens)
    if demand is not None and not (run.said.whole and demand.accepts(run.said.whole)):
        room = budgets.answer_tokens if demand.at_once else INSIST_TOKENS
        held = yield from run.hold(demand.shape, room)
        said = held if said == "stop" else said
    if said != "stop":
        ended = "deadline" if said == "late" else budgets.answer_cut
    return Reasoned(
        thinking=run.thought.whole.strip(),
        answer=run.said.whole.strip(),
        think_tokens=run.thought.tokens,
        answer_tokens=run.said.tokens,
        held=run.held,
        finish_reason=ended,
        think_s=answer_started_s - started_s,
        answer_s=time.perf_counter() - answer_started_s,
    )


class _Run:
    def __init__(
        self,
        model: TokenModel,
        vocabulary: Vocabulary,
        clock: Clock,
        cancelled: Cancel,
        *,
        suppress: bool,
        to_the_end: bool,
    ) -> None:
        self._model, self._vocabulary, self._cancelled = model, vocabulary, cancelled
        self._to_the_end = to_the_end
        self._clock: Clock = NoClock() if to_the_end else clock
        marks = vocabulary.think_marks
        self._close_mark = marks[1] if marks else None
        ends = {*(marks or ()), *vocabulary.stop_ids} if to_the_end else set[int]()
        self._marks = _ids(marks or ())
        self._think_masks = self._masks_of_thinking(ends, suppress)
        self._answer_mask = _ids({*(marks or ()), *ends})
        self._landing, self._loops = Landing(vocabulary), LoopWatch()
        self.thought = Thought(None if marks or to_the_end else MarkerWatch())
        self.said = Text("answer")
        self.held: str | None = None

    def think(self, budget: int) -> Generator[Chunk, None, ThinkEnd]:
        """THINK, then CLOSE."""
        ended, closed = yield from self._think(budget)
        yield from self.thought.end()
        if self.thought.answer is not None:
            yield from self.said.write(self.thought.answer)
        elif not closed:
            yield from self._close(ended, whole=budget > 0)
        return ended

    def answer(self, budget: int) -> Generator[Chunk, None, _AnswerEnd]:
        """ANSWER until something visible stands there; return what ended it."""
        ended = yield from self._answer(budget, self._answer_mask, self._clock)
        if ended == "late":
            yield from self._hurry()
        elif not self._to_the_end and _BLANK_ANSWER.fullmatch(self.said.whole):
            ended = yield from self._insist(cut=ended == "cut")
        if _BLANK_ANSWER.fullmatch(self.said.whole):
            ended = "late" if ended == "late" else "cut"
            gap = " " if self.said.whole else ""
            yield from self.said.write(gap + _last_line(self.thought.whole))
        yield from self.said.end()
        return ended

    def _think(self, budget: int) -> Generator[Chunk, None, tuple[ThinkEnd, bool]]:
        """Sample thinking; return what ended it, and whether the model closed it itself."""
        while self.thought.tokens < budget:
            spent = self._clock.think_spent(self.thought.tokens)
            if spent >= 1:
                return "think_deadline", False
            spent = max(spent, self.thought.tokens / budget)
            pull = self._landing.pull(spent, at_line_start=self.thought.at_line_start)
            banned = self._think_masks[self.thought.in_word]
            token = self._sample(banned, None if self._to_the_end else pull)
            if self._vocabulary.is_stop(token):
                return "stop", False
            self._model.feed((token,))
            if token == self._close_mark:
                return "stop", True
            # a second opening mark is read by the model and shown to nobody
            yield from self.thought.add(
                b"" if token in self._marks else self._vocabulary.piece(token)
            )
            if self.thought.answer is not None:
                return "stop", True
            self._landing.add(token)
            if self._loops.add(token) and not self._to_the_end:
                return "think_loop", False
        return "think_budget", False

    def _close(self, ended: ThinkEnd, *, whole: bool) -> Generator[Chunk, None, None]:
        """CLOSE: write the end of the thinking; `whole`, when it has been cut, with a last line.

        Where time is short the answer's marker is written too: some models explain first.
        """
        cut = ended != "stop" and whole and not self._to_the_end
        self._read(self._vocabulary.landing if cut else self._vocabulary.closing)
        if self._close_mark is None:
            yield from self.said.write("Answer:")
        elif ended == "think_deadline":
            self._read(self._vocabulary.answer_opening)
            yield from self.said.write("Answer:")

    def hold(self, shape: Shape, budget: int) -> Generator[Chunk, None, _AnswerEnd]:
        """Write "Answer:", unless it stands there alone, and what has the shape; return what ended
        it."""
        if not (self.said.whole and _BLANK_ANSWER.fullmatch(self.said.whole)):
            gap = "\n" if self.said.whole else ""
            opening = self._vocabulary.tokens(f"{gap}Answer:")
            if len(opening) <= self._model.room_tokens:
                self._read(opening)
            yield from self.said.write(f"{gap}Answer:")
        held = yield from write_held(
            self._model,
            self._vocabulary,
            shape,
            self.said,
            budget_tokens=budget,
            banned=self._marks,
            over=self._over,
        )
        self.held = held.text
        if held.by_itself:
            return "stop"
        return "late" if self._over() else "cut"

    def _over(self) -> bool:
        self._raise_if_cancelled()
        return self._clock.answer_over(self.said.tokens)

    def _answer(
        self, budget: int, banned: IntArray, clock: Clock = _NO_CLOCK
    ) -> Generator[Chunk, None, _AnswerEnd]:
        """Sample up to `budget` tokens; return what ended that."""
        for _ in range(min(budget, self._model.room_tokens)):
            if clock.answer_over(self.said.tokens):
                return "late"
            token = self._sample(banned)
            if self._vocabulary.is_stop(token):
                return "stop"
            self._model.feed((token,))
            yield from self.said.add(self._vocabulary.piece(token))
        return "cut"

    def _insist(self, *, cut: bool) -> Generator[Chunk, None, _AnswerEnd]:
        """Write "Answer:" unless it stands there, then let no end of text come before a sign.

        Where the budget cut the blank answer, one sign is all it gets.
        """
        opening = self._vocabulary.answer_opening
        if self._model.room_tokens < len(opening) + 1:
            return "cut"
        if not _SIGN.search(self.said.whole):
            self._read(opening)
            yield from self.said.write("Answer:")
        budget = INSIST_TOKENS - len(opening)
        while budget > 0 and _BLANK_ANSWER.fullmatch(self.said.whole):
            yield from self._answer(1, self._no_end)
            budget -= 1
        if cut:
            return "cut"
        return (yield from self._answer(budget, self._marks))

    def _hurry(self) -> Generator[Chunk, None, None]:
        """Time is up: unless the answer is being said, write "Answer:" and give it a few tokens."""
        marked = list(_MARKED.finditer(self.said.whole))
        if marked and marked[-1][1]:
            return
        if not marked:
            self._read((self._vocabulary.line_break, *self._vocabulary.answer_opening))
            yield from self.said.write("\nAnswer:")
        start = len(self.said.whole)
        for _ in range(_HURRY_TOKENS):
            told = _SIGN.search(self.said.whole, start)
            ended = yield from self._answer(1, self._marks if told else self._no_end)
            if ended == "stop" or (told and self.said.whole.endswith("\n")):
                return

    @property
    def _no_end(self) -> IntArray:
        return _ids({*self._marks.tolist(), *self._vocabulary.stop_ids})

    def _masks_of_thinking(self, ends: set[int], suppress: bool) -> tuple[IntArray, IntArray]:
        """Return what may not be sampled in THINK: not in a word, and in the middle of one."""
        if not suppress:
            return _ids(ends), _ids(ends)
        words = self._vocabulary.reflexive
        begun, between = words.masked(in_word=True), words.masked(in_word=False)
        return _ids({*ends, *between.tolist()}), _ids({*ends, *begun.tolist()})

    def _sample(self, banned: IntArray, nudge: Nudge | None = None) -> int:
        self._raise_if_cancelled()
        return self._model.sample(banned, nudge)

    def _read(self, tokens: Sequence[int]) -> None:
        """Feed tokens that the model did not write."""
        self._raise_if_cancelled()
        self._model.feed(tokens)

    def _raise_if_cancelled(self) -> None:
        if self._cancelled():
            raise Cancelled("the reasoner was stopped by its caller")


def _ids(tokens: Iterable[int]) -> IntArray:
    return np.fromiter(tokens, dtype=np.intp)


def _last_line(thinking: str) -> str:
    """Return the last line that says something: what a cut-off train of thought arrived at."""
    lines = (line.strip() for line in reversed(thinking.splitlines()))
    return next((line for line in lines if not _BLANK_ANSWER.fullmatch(line)), NO_ANSWER)
