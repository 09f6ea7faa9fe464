"""THINK -> CLOSE -> ANSWER over tokens: budgets, what may not be sampled, an answer in any case.

    THINK   until the model closes its thinking or stops, or the budget is spent
    CLOSE   unless the model wrote the closing itself, it is written for it
    ANSWER  with its own budget; thinking marks cannot be sampled any more

An answer that must have a shape is written under its grammar, from its start or, where another form
came, behind an "Answer:" of its own (`Demand`).

An answer that comes out blank is insisted on: "Answer:" is written and the end of text masked until
something visible comes. If that fails too, the last line of the thinking stands in for it.
"""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from edge_et.constrained import write_held
from edge_et.errors import Cancelled, ContextOverflow
from edge_et.shapes import Shape
from edge_et.types import Chunk, FinishReason

INSIST_TOKENS = 24
"""Room kept for insisting on an answer."""
_MIN_ANSWER_TOKENS = 32
NO_ANSWER = "no answer"
_BLANK_ANSWER = re.compile(r"[\W_]*(?:answer\b[\W_]*)?", re.IGNORECASE)
_SIGN = re.compile(r"\w")

Cancel = Callable[[], bool]


class TokenModel(Protocol):
    """A language model whose prompt has been read."""

    @property
    def room_tokens(self) -> int:
        """How many more tokens fit into the context."""

    def sample(self, banned: Collection[int] = ()) -> int:
        """Return the next token, none of `banned`; it is not read until it is fed."""

    def feed(self, tokens: Sequence[int]) -> None: ...

    def constrain(self, grammar: str | None) -> None:
        """Hold the tokens sampled from here on to a grammar in GBNF; None sets them free."""


class Vocabulary(Protocol):
    """What the state machine must know of the model's tokens."""

    @property
    def think_marks(self) -> tuple[int, int] | None:
        """The opening and the closing mark; None for a model that does not think apart."""

    @property
    def closing(self) -> tuple[int, ...]:
        r"""The tokens of "\n</think>\n\n"."""

    @property
    def answer_opening(self) -> tuple[int, ...]:
        """The tokens of "Answer:"."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """All tokens that end a text, to be masked."""

    def is_stop(self, token: int) -> bool: ...

    def piece(self, token: int) -> bytes: ...

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text in which nothing is special."""


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
    answer: str
    """As written, marker included. Never blank."""
    think_tokens: int
    answer_tokens: int
    held: str | None
    """Of the answer, what was written under the grammar of a demand; None: nothing was."""
    finish_reason: FinishReason
    think_s: float
    answer_s: float


def plan_budgets(*, prompt: int, limit: int, think: int, answer: int, closing: int) -> Budgets:
    """Share out the context (all counts in tokens; `limit` is the most the model can hold).

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


def reason(
    model: TokenModel,
    vocabulary: Vocabulary,
    budgets: Budgets,
    *,
    thinking: bool,
    demand: Demand | None = None,
    ignore_stop: bool = False,
    cancelled: Cancel = lambda: False,
) -> Generator[Chunk, None, Reasoned]:
    """Run the state machine. `thinking`: the prompt ends inside an open thinking block.

    With `ignore_stop` both parts take their whole budgets and nothing more is insisted on. Raises
    Cancelled within one token.
    """
    marks = frozenset(vocabulary.think_marks or ())
    ends = marks | vocabulary.stop_ids if ignore_stop else frozenset()
    run = _Run(model, vocabulary, ends, cancelled)
    started_s = time.perf_counter()
    ended: FinishReason = "stop"
    if thinking:
        ended = yield from run.think(budgets.think_tokens)
    answer_started_s = time.perf_counter()
    stopped = True
    if demand is None or not demand.at_once:
        stopped = yield from run.answer(budgets.answer_tokens)
    if demand is not None and not (run.said.whole and demand.accepts(run.said.whole)):
        room = budgets.answer_tokens if demand.at_once else INSIST_TOKENS
        stopped = (yield from run.hold(demand.shape, room)) and stopped
    if not stopped:
        ended = budgets.answer_cut
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


class _Text:
    """One part of the output: bytes of tokens -> chunks of whole characters."""

    def __init__(self, kind: Literal["thinking", "answer"]) -> None:
        self._kind = kind
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.whole = ""
        self.tokens = 0

    def add(self, piece: bytes) -> Generator[Chunk, None, None]:
        self.tokens += 1
        yield from self._emit(self._decoder.decode(piece))

    def write(self, text: str) -> Generator[Chunk, None, None]:
        """Add text that no token of the model's own stands for."""
        yield from self._emit(self._decoder.decode(b"", True) + text)

    def takes(self, piece: bytes) -> bool:
        """Return whether the bytes go on in UTF-8."""
        begun, _ = self._decoder.getstate()
        try:
            codecs.getincrementaldecoder("utf-8")().decode(begun + piece)
        except UnicodeDecodeError:
            return False
        return True

    def drop_cut_character(self) -> None:
        """Forget the bytes of a character that is not whole yet."""
        self._decoder.reset()

    def end(self) -> Generator[Chunk, None, None]:
        """Emit what is left of a character cut in its middle."""
        yield from self.write("")

    def _emit(self, text: str) -> Generator[Chunk, None, None]:
        if not self.whole:
            text = text.lstrip()
        if text:
            self.whole += text
            yield Chunk(kind=self._kind, text=text)


class _Run:
    def __init__(
        self, model: TokenModel, vocabulary: Vocabulary, ends: frozenset[int], cancelled: Cancel
    ) -> None:
        """`ends`: tokens that may not be sampled at all, so that every budget is used up."""
        self._model = model
        self._vocabulary = vocabulary
        self._ends = ends
        self._cancelled = cancelled
        self._marks = frozenset(vocabulary.think_marks or ())
        self.thought = _Text("thinking")
        self.said = _Text("answer")
        self.held: str | None = None

    def think(self, budget: int) -> Generator[Chunk, None, Literal["stop", "think_budget"]]:
        """THINK, then CLOSE."""
        assert self._vocabulary.think_marks is not None
        _, close = self._vocabulary.think_marks
        ended: Literal["stop", "think_budget"] = "think_budget"
        while self.thought.tokens < budget:
            token = self._sample(self._ends)
            if token == close:
                self._model.feed((token,))
                yield from self.thought.end()
                return "stop"
            if self._vocabulary.is_stop(token):
                ended = "stop"
                break
            self._model.feed((token,))
            # a second opening mark is read by the model and shown to nobody
            yield from self.thought.add(
                b"" if token in self._marks else self._vocabulary.piece(token)
            )
        yield from self.thought.end()
        self._model.feed(self._vocabulary.closing)
        return ended

    def answer(self, budget: int) -> Generator[Chunk, None, bool]:
        """ANSWER until something visible stands there; return whether the model ended it."""
        stopped = yield from self._answer(budget, banned=self._marks | self._ends)
        if not self._ends and _BLANK_ANSWER.fullmatch(self.said.whole):
            stopped = yield from self._insist(cut=not stopped)
        if _BLANK_ANSWER.fullmatch(self.said.whole):
            stopped = False
            gap = " " if self.said.whole else ""
            yield from self.said.write(gap + _last_line(self.thought.whole))
        yield from self.said.end()
        return stopped

    def hold(self, shape: Shape, budget: int) -> Generator[Chunk, None, bool]:
        """Write "Answer:" and what has the shape; return whether the model ended it."""
        gap = "\n" if self.said.whole else ""
        opening = self._vocabulary.tokens(f"{gap}Answer:")
        if len(opening) <= self._model.room_tokens:
            self._model.feed(opening)
        yield from self.said.write(f"{gap}Answer:")
        held = yield from write_held(
            self._model,
            self._vocabulary,
            shape,
            self.said,
            budget_tokens=budget,
            banned=self._marks,
            over=self._never_over,
        )
        self.held = held.text
        return held.by_itself

    def _never_over(self) -> bool:
        self._raise_if_cancelled()
        return False

    def _answer(self, budget: int, *, banned: Collection[int]) -> Generator[Chunk, None, bool]:
        """Sample up to `budget` tokens; return whether the model stopped by itself."""
        for _ in range(min(budget, self._model.room_tokens)):
            token = self._sample(banned)
            if self._vocabulary.is_stop(token):
                return True
            self._model.feed((token,))
            yield from self.said.add(self._vocabulary.piece(token))
        return False

    def _insist(self, *, cut: bool) -> Generator[Chunk, None, bool]:
        """Write "Answer:" unless it stands there, then let no end of text come before a sign.

        Where the budget cut the blank answer, one sign is all it gets. Returns whether the model
        stopped by itself.
        """
        opening = self._vocabulary.answer_opening
        if self._model.room_tokens < len(opening) + 1:
            return False
        if not _SIGN.search(self.said.whole):
            self._model.feed(opening)
            yield from self.said.write("Answer:")
        masked = self._marks | self._vocabulary.stop_ids
        budget = INSIST_TOKENS - len(opening)
        while budget > 0 and _BLANK_ANSWER.fullmatch(self.said.whole):
            yield from self._answer(1, banned=masked)
            budget -= 1
        if cut:
            return False
        return (yield from self._answer(budget, banned=self._marks))

    def _sample(self, banned: Collection[int] = ()) -> int:
        self._raise_if_cancelled()
        return self._model.sample(banned)

    def _raise_if_cancelled(self) -> None:
        if self._cancelled():
            raise Cancelled("the reasoner was stopped by its caller")


def _last_line(thinking: str) -> str:
    """Return the last line that says something: what a cut-off train of thought arrived at."""
    lines = (line.strip() for line in reversed(thinking.splitlines()))
    return next((line for line in lines if _SIGN.search(line)), NO_ANSWER)
