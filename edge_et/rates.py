"""How fast this device runs a pair: learned from what its calls took, kept with the chain."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edge_et.extractor import ExtractionRun
    from edge_et.reasoner import ReasonerRun
    from edge_et.types import Extraction

Rated = Literal[
    "vision",  # of a tile, cutting and splicing included
    "extract_prefill",
    "extract_decode",
    "reason_prefill",
    "reason_decode",
]
_KEPT = 8
_LEAST_READ_TOKENS = 64
_LEAST_ANSWER_TOKENS, _MOST_ANSWER_TOKENS = 16, 64
_UNSEEN_ANSWER_TOKENS, _UNSEEN_PROMPT_TOKENS = 32, 160


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorSpeed:
    """Seconds of one tile through the vision tower, and of one token."""

    tile_s: float
    prefill_token_s: float
    decode_token_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonerSpeed:
    """Seconds of one token."""

    prefill_token_s: float
    decode_token_s: float


class Rates:
    """Seconds a tile or a token takes: the slowest of the last eight calls, since a promise about
    time is to hold on a busy machine too. What was measured stands in until the first call."""

    def __init__(self) -> None:
        self._measured: dict[Rated, float] = {}
        self._seconds: dict[Rated, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._answers: deque[int] = deque(maxlen=_KEPT)
        self._prompts: deque[int] = deque(maxlen=_KEPT)

    def knows(self, rated: Rated) -> bool:
        return rated in self._seconds or rated in self._measured

    def of(self, rated: Rated) -> float:
        """Return seconds a tile or token; 0.0 where nothing is known."""
        if rated in self._seconds:
            return max(self._seconds[rated])
        return self._measured.get(rated, 0.0)

    @property
    def answer_tokens(self) -> int:
        """The median of the last answers, between 16 and 64 tokens: a long one is cut short in
        time by itself."""
        seen = statistics.median_high(self._answers) if self._answers else _UNSEEN_ANSWER_TOKENS
        return min(max(seen, _LEAST_ANSWER_TOKENS), _MOST_ANSWER_TOKENS)

    @property
    def prompt_tokens(self) -> int:
        """Of the reasoner's prompt, what does not come from the extraction."""
        return max(self._prompts, default=_UNSEEN_PROMPT_TOKENS)

    def extractor_measured(self, speed: ExtractorSpeed) -> None:
        self._measured["vision"] = speed.tile_s
        self._measured["extract_prefill"] = speed.prefill_token_s
        self._measured["extract_decode"] = speed.decode_token_s

    def reasoner_measured(self, speed: ReasonerSpeed) -> None:
        self._measured["reason_prefill"] = speed.prefill_token_s
        self._measured["reason_decode"] = speed.decode_token_s

    def extracted(self, run: ExtractionRun) -> None:
        """Take in what was computed; what came from a cache says nothing of the device."""
        served = run.served
        if served.image_features == "computed":
            self._learn("vision", run.tile_s + run.vision_s, run.image.tiles)
        if served.image_prefill == "computed":
            self._learn("extract_prefill", run.prefill_s, run.prompt_tokens)
        if served.extraction == "computed":
            self._learn("extract_decode", run.decode_s, run.generated_tokens)

    def reasoned(self, run: ReasonerRun) -> None:
        read_tokens = run.prompt_tokens - run.reused_tokens
        # a short rest of a prompt that was mostly held tells of overhead, not of speed
        if not run.reused_tokens or read_tokens >= _LEAST_READ_TOKENS:
            self._learn("reason_prefill", run.handoff_s + run.prefill_s, read_tokens)
        spent_s = run.think_s + run.answer_s
        self._learn("reason_decode", spent_s, run.think_tokens + run.answer_tokens)

    def answered(self, run: ReasonerRun, notes: Extraction) -> None:
        """Take in how long the answer to a real question was, and the prompt around the notes."""
        self._answers.append(run.answer_tokens)
        if notes.generated_tokens:  # else the notes are a text of unknown length
            self._prompts.append(max(0, run.prompt_tokens - notes.generated_tokens))

    def _learn(self, rated: Rated, seconds: float, units: int) -> None:
        if units:
            self._seconds[rated].append(seconds / units)
