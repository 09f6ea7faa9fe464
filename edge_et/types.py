"""What the chain gives back: frozen records, nothing that acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ChunkKind = Literal["extraction", "thinking", "answer"]
FinishReason = Literal[
    "stop",  # the model ended by itself
    "think_budget",  # thinking was closed at its budget; the answer is complete
    "extraction_length",  # the extraction was cut at its limit; what follows used the cut text
    "length",  # the answer was cut at its limit
    "context",  # the context was full before the answer ended
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One piece of the stream. Concatenating the `text` of one kind gives that part whole."""

    kind: ChunkKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReport:
    """What was done to the image before the vision tower saw it."""

    original_height_px: int
    original_width_px: int
    used_height_px: int
    """Height of the picture content over all tiles, after resize, without padding."""
    used_width_px: int
    tiles: int
    """Crops that went through the vision tower, the thumbnail included."""
    image_tokens: int
    """Positions the image takes in the extractor's prompt."""
    notes: tuple[str, ...] = ()
    """Each conversion applied, e.g. `exif orientation 6`, `alpha over white`, `16-bit to 8-bit`,
    and what a budget of tiles or image tokens changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds per stage; the stages add up to `total_s` but for the loop's own bookkeeping.

    A stage that did not run is 0.0. The three times to a first token count from the call and are
    None when no such token came.
    """

    queue_s: float = 0.0
    """Waiting for another call on the same chain to end."""
    image_s: float = 0.0
    """Decode, orientation, tiling, normalisation."""
    vision_s: float = 0.0
    extract_prefill_s: float = 0.0
    extract_decode_s: float = 0.0
    handoff_s: float = 0.0
    """Reasoner prompt: template, tokens."""
    reason_prefill_s: float = 0.0
    think_decode_s: float = 0.0
    answer_decode_s: float = 0.0
    reason_prefill_hidden_s: float = 0.0
    """Not a stage: prefill of the reasoner while the extractor was at work (docs/handoff.md)."""
    total_s: float = 0.0
    ttft_extract_s: float | None = None
    ttft_think_s: float | None = None
    ttfa_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What the extractor wrote down. `text` may be edited and thought over again."""

    text: str
    focus_phrase: str
    """Empty: the whole image was asked for."""
    image: ImageReport | None
    """None when the text did not come from an image."""
    prompt_tokens: int
    generated_tokens: int
    finish_reason: FinishReason
    timings: Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer with everything it rests on."""

    text: str
    """The short answer, without the `Answer:` marker. Never empty."""
    thinking: str
    extraction: Extraction
    prompt_tokens: int
    """Of the reasoner."""
    reused_tokens: int = 0
    """Of the prompt: not read again, because the reasoner held them from an earlier call or had
    read them while the extractor wrote."""
    think_tokens: int
    answer_tokens: int
    finish_reason: FinishReason
    timings: Timings
    pair: str

    @property
    def image(self) -> ImageReport | None:
        return self.extraction.image
