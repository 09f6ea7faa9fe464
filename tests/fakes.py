"""Stand-ins for the two models: they say what they are told to say, token by token."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from edge_et.chain import Chain
from edge_et.config import ImageLimits, SamplingConfig
from edge_et.extractor import ExtractionRun
from edge_et.image import LoadedImage
from edge_et.reasoner import ReasonerRun
from edge_et.thinking import plan_budgets, reason
from edge_et.types import Chunk, ImageReport

OPEN, CLOSE, EOS = "<think>", "</think>", "<|im_end|>"
_CLOSING = ("\n", CLOSE, "\n\n")
_ANSWER = ("Answer", ":")


class FakeVocabulary:
    """A token is a word; ids are handed out as words turn up."""

    think_marks: tuple[int, int] | None

    def __init__(self, *, thinks: bool = True) -> None:
        self._words: list[str] = []
        self.think_marks = (self.id(OPEN), self.id(CLOSE)) if thinks else None
        self.closing = tuple(map(self.id, _CLOSING))
        self.answer_opening = tuple(map(self.id, _ANSWER))
        self.stop_ids = frozenset({self.id(EOS)})

    def id(self, word: str) -> int:
        if word not in self._words:
            self._words.append(word)
        return self._words.index(word)

    def word(self, token: int) -> str:
        return self._words[token]

    def is_stop(self, token: int) -> bool:
        return token in self.stop_ids

    def piece(self, token: int) -> bytes:
        return b"" if token in self.stop_ids else self._words[token].encode("utf-8")


class FakeModel:
    """Says `script`, then `rest` for ever; a banned word is passed over, "." at worst."""

    def __init__(
        self, vocabulary: FakeVocabulary, script: Sequence[str], rest: str = EOS, room: int = 10_000
    ) -> None:
        self.vocabulary, self.script, self.rest = vocabulary, list(script), rest
        self.room_tokens = room
        self.read: list[str] = []
        self.sampled = 0

    def sample(self, banned: Collection[int] = ()) -> int:
        self.sampled += 1
        words = [*self.script, self.rest, "."]
        for place, word in enumerate(words):
            if self.vocabulary.id(word) not in banned:
                del self.script[: place + 1]
                return self.vocabulary.id(word)
        raise AssertionError("everything is banned")

    def feed(self, tokens: Sequence[int]) -> None:
        assert len(tokens) <= self.room_tokens
        self.room_tokens -= len(tokens)
        self.read += [self.vocabulary.word(token) for token in tokens]


@dataclass
class FakeExtractor:
    """Writes `words` whatever it is shown."""

    words: Sequence[str] = ("a red ", "star ", "left of a blue ring")
    pause_s: float = 0.0
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
        ignore_stop: bool = False,
    ) -> Generator[str, None, ExtractionRun]:
        from edge_et.errors import Cancelled

        self.asked.append(user_text)
        self.limits.append(limits)
        started_s = time.perf_counter()
        self.running += 1
        assert self.running == 1, "two calls at once"
        try:
            words = self.words[:budget_tokens]
            for word in words:
                if cancelled():
                    raise Cancelled("stopped")
                time.sleep(self.pause_s)
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
            finish_reason="stop" if len(words) == len(self.words) else "extraction_length",
            tile_s=0.0,
            vision_s=0.0,
            prefill_s=0.0,
            decode_s=time.perf_counter() - started_s,
        )

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeReasoner:
    """Says `thinking`, closes it, says `answer` and stops; `rest` instead of stopping."""

    thinking: Sequence[str] = ("One ", "star", ".")
    answer: Sequence[str] = ("Answer", ":", " red")
    rest: str = EOS
    can_think: bool = True
    context_tokens: int = 4096
    device: str = "cpu"
    threads: int = 1
    asked: list[str] = field(default_factory=list)
    sampled_with: list[SamplingConfig | None] = field(default_factory=list)
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
        cancelled: Callable[[], bool],
        ignore_stop: bool = False,
    ) -> Generator[Chunk, None, ReasonerRun]:
        self.asked.append(user_text)
        self.sampled_with.append(sampling)
        vocabulary = FakeVocabulary(thinks=self.can_think)
        script = [*self.thinking, CLOSE, *self.answer] if think else [*self.answer]
        model = FakeModel(vocabulary, script, self.rest)
        budgets = plan_budgets(
            prompt=len(user_text.split()),
            limit=self.context_tokens,
            think=think_budget_tokens,
            answer=answer_budget_tokens,
            closing=len(vocabulary.closing),
        )
        done = yield from reason(
            model, vocabulary, budgets, thinking=think, ignore_stop=ignore_stop, cancelled=cancelled
        )
        return ReasonerRun(
            thinking=done.thinking,
            answer=done.answer,
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
