"""Stand-ins for the two models: they say what they are told to say, token by token."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from edge_et.budget import ImageCost
from edge_et.chain import Chain
from edge_et.clock import Clock
from edge_et.config import ImageLimits, SamplingConfig
from edge_et.extractor import ExtractionRun
from edge_et.image import LoadedImage
from edge_et.rates import ExtractorSpeed, ReasonerSpeed
from edge_et.reasoner import ReasonerRun
from edge_et.reflexive import IntArray, ReflexiveIds, find_reflexive
from edge_et.thinking import Demand, plan_budgets, reason
from edge_et.token_model import Nudge
from edge_et.types import Chunk, ImageReport

OPEN, CLOSE, EOS = "<think>", "</think>", "<|im_end|>"
LAST_LINE = ("\n", "Time to answer.")
_CLOSING = ("\n", CLOSE, "\n\n")
_ANSWER = ("Answer", ":")


class FakeVocabulary:
    """A token is a word; ids are handed out as words turn up."""

    think_marks: tuple[int, int] | None

    def __init__(self, *, thinks: bool = True) -> None:
        self._words: list[str] = []
        self.think_marks = (self.id(OPEN), self.id(CLOSE)) if thinks else None
        closing = _CLOSING if thinks else ("\n", *_ANSWER)
        self.closing = tuple(map(self.id, closing))
        self.landing = tuple(map(self.id, (*LAST_LINE, *closing)))
        self.line_break = self.id("\n")
        self.answer_opening = tuple(map(self.id, _ANSWER))
        self.stop_ids = frozenset({self.id(EOS)})

    def id(self, word: str) -> int:
        if word not in self._words:
            self._words.append(word)
        return self._words.index(word)

    def word(self, token: int) -> str:
        return self._words[token]

    @property
    def reflexive(self) -> ReflexiveIds:
        return find_reflexive(len(self._words), self.piece)

    def is_stop(self, token: int) -> bool:
        return token in self.stop_ids

    def piece(self, token: int) -> bytes:
        return b"" if token in self.stop_ids else self._words[token].encode("utf-8")

    def tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self.id(word) for word in re.findall(r"\n|\w+|[^\w\s]| ", text))


class FakeModel:
    """Says `script`, then `rest` for ever; a banned word is passed over, "." at worst.

    From `yields_at` logits on it says the word it is nudged to instead. With `heeds_closing` it
    goes on behind its own closing mark when one is written for it.
    """

    def __init__(
        self,
        vocabulary: FakeVocabulary,
        script: Sequence[str],
        rest: str = EOS,
        room: int = 10_000,
        yields_at: float = float("inf"),
        pause_s: float = 0.0,
        heeds_closing: bool = False,
    ) -> None:
        self.yields_at, self.pause_s, self.heeds_closing = yields_at, pause_s, heeds_closing
        self.masks: list[frozenset[int]] = []
        """What was banned, at each sampling."""
        self.read_before: list[int] = []
        """How much had been read, at each sampling."""
        self.vocabulary, self.script, self.rest = vocabulary, list(script), rest
        self.room_tokens = room
        self.read: list[str] = []
        self.sampled = 0
        self.grammar: str | None = None

    def sample(self, banned: IntArray, nudge: Nudge | None = None) -> int:
        time.sleep(self.pause_s)
        self.sampled += 1
        self.masks.append(frozenset(banned.tolist()))
        self.read_before.append(len(self.read))
        if nudge is not None and nudge.logits >= self.yields_at:
            return nudge.token
        words = [*self.script, self.rest, "."]
        for place, word in enumerate(words):
            if self.vocabulary.id(word) not in self.masks[-1]:
                del self.script[: place + 1]
                return self.vocabulary.id(word)
        raise AssertionError("everything is banned")

    def constrain(self, grammar: str | None) -> None:
        """It says what it is told all the same."""
        self.grammar = grammar

    def feed(self, tokens: Sequence[int]) -> None:
        assert len(tokens) <= self.room_tokens
        self.room_tokens -= len(tokens)
        words = [self.vocabulary.word(token) for token in tokens]
        self.read += words
        if self.heeds_closing and len(words) > 1:
            # without marks, the last token of the closing is the marker's
            mark = CLOSE if self.vocabulary.think_marks else _ANSWER[-1]
            if mark in words and mark in self.script:
                del self.script[: self.script.index(mark) + 1]


@dataclass
class FakeExtractor:
    """Writes `words` whatever it is shown."""

    words: Sequence[str] = ("a red ", "star ", "left of a blue ring")
    pause_s: float = 0.0
    tile_s: float = 0.0
    """What it measures; no tile is ever looked at."""
    measured: int = 0
    device: str = "cpu"
    threads: int = 1
    asked: list[str] = field(default_factory=list)
    limits: list[ImageLimits] = field(default_factory=list)
    closed: bool = False
    running: int = 0

    def stream(
        self,
        image: LoadedImage,
        user_text: str,
        *,
        budget_tokens: int,
        sampling: SamplingConfig,
        limits: ImageLimits,
        cancelled: Callable[[], bool],
        over: Callable[[int], bool],
        ignore_stop: bool = False,
    ) -> Generator[str, None, ExtractionRun]:
        from edge_et.errors import Cancelled

        self.asked.append(user_text)
        self.limits.append(limits)
        started_s = time.perf_counter()
        self.running += 1
        assert self.running == 1, "two calls at once"
        late = False
        try:
            words: list[str] = []
            for word in self.words[:budget_tokens]:
                if cancelled():
                    raise Cancelled("stopped")
                if late := over(len(words)):
                    break
                time.sleep(self.pause_s)
                words.append(word)
                yield word
        finally:
            self.running -= 1
        height, width = image.rgb.height, image.rgb.width
        return ExtractionRun(
            text="".join(words).strip(),
            image=ImageReport(
                original_height_px=image.original_height_px,
                original_width_px=image.original_width_px,
                used_height_px=height,
                used_width_px=width,
                tiles=1,
                image_tokens=64,
                notes=image.notes,
            ),
            prompt_tokens=100,
            generated_tokens=len(words),
            finish_reason=(
                "extraction_deadline"
                if late
                else "stop"
                if len(words) == len(self.words)
                else "extraction_length"
            ),
            tile_s=0.0,
            vision_s=0.0,
            prefill_s=0.0,
            decode_s=time.perf_counter() - started_s,
        )

    def image_costs(self, image: LoadedImage, limits: ImageLimits) -> tuple[ImageCost, ...]:
        return tuple(ImageCost(None, tiles, 64 * tiles) for tiles in (5, 2, 1))

    def measure(self, cancelled: Callable[[], bool]) -> ExtractorSpeed:
        self.measured += 1
        return ExtractorSpeed(tile_s=self.tile_s, prefill_token_s=0.0, decode_token_s=self.pause_s)

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeReasoner:
    """Says `thinking`, closes it, says `answer` and stops; `rest` instead of stopping."""

    thinking: Sequence[str] = ("One ", "star", ".")
    answer: Sequence[str] = ("Answer", ":", " red")
    rest: str = EOS
    has_think_marks: bool = True
    says_missing: bool = False
    pause_s: float = 0.0
    measured: int = 0
    context_tokens: int = 4096
    device: str = "cpu"
    threads: int = 1
    asked: list[str] = field(default_factory=list)
    sampled_with: list[SamplingConfig | None] = field(default_factory=list)
    suppressed: list[bool] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    closed: bool = False

    def stream(
        self,
        user_text: str,
        *,
        think: bool,
        think_budget_tokens: int,
        answer_budget_tokens: int,
        sampling: SamplingConfig | None,
        suppress_reflexive: bool,
        clock: Clock,
        cancelled: Callable[[], bool],
        demand: Demand | None = None,
        ignore_stop: bool = False,
    ) -> Generator[Chunk, None, ReasonerRun]:
        self.asked.append(user_text)
        self.sampled_with.append(sampling)
        self.suppressed.append(suppress_reflexive)
        vocabulary = FakeVocabulary(thinks=self.has_think_marks)
        closing = (CLOSE,) if self.has_think_marks else ("\n",)
        script = [*self.thinking, *closing, *self.answer] if think else [*self.answer]
        model = FakeModel(vocabulary, script, self.rest, pause_s=self.pause_s, heeds_closing=True)
        budgets = plan_budgets(
            prompt=len(user_text.split()),
            limit=self.context_tokens,
            think=think_budget_tokens,
            answer=answer_budget_tokens,
            closing=len(vocabulary.landing),
        )
        done = yield from reason(
            model,
            vocabulary,
            budgets,
            thinking=think,
            suppress_reflexive=suppress_reflexive,
            demand=demand,
            ignore_stop=ignore_stop,
            clock=clock,
            cancelled=cancelled,
        )
        return ReasonerRun(
            thinking=done.thinking,
            answer=done.answer,
            held=done.held,
            prompt_tokens=len(user_text.split()),
            reused_tokens=0,
            think_tokens=done.think_tokens,
            answer_tokens=done.answer_tokens,
            finish_reason=done.finish_reason,
            handoff_s=0.0,
            prefill_s=0.0,
            think_s=done.think_s,
            answer_s=done.answer_s,
        )

    def measure(self, room_tokens: int, cancelled: Callable[[], bool]) -> ReasonerSpeed:
        self.measured += 1
        return ReasonerSpeed(prefill_token_s=0.0, decode_token_s=self.pause_s)

    def read_ahead(
        self, opening: str, *, think: bool, reserve_tokens: int, cancelled: Callable[[], bool]
    ) -> int:
        self.read.append(opening)
        return 0

    def close(self) -> None:
        self.closed = True


def fake_chain(extractor: Any = None, reasoner: Any = None, *, pair: str = "fakes") -> Chain:
    return Chain(extractor or FakeExtractor(), reasoner or FakeReasoner(), pair=pair)


def picture() -> Image.Image:
    return Image.new("RGB", (48, 32), "white")
