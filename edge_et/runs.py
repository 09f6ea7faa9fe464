"""One extraction: what was asked, the clock over it, its text from tokens, and its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_et.caching.seen import Place, Shown, Written
from edge_et.decoding import raise_if
from edge_et.image import LoadedImage
from edge_et.layout import Layout
from edge_et.manifest import ImagePolicy
from edge_et.tokenization import Detokenizer, Stripper
from edge_et.types import FinishReason, ImageReport, Served

Ended = Literal["stop", "length", "extraction_deadline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionRun:
    """One finished extraction. The four times add up to the run's wall clock."""

    text: str
    """Without surrounding white space; the streamed pieces joined."""
    image: ImageReport
    prompt_tokens: int
    generated_tokens: int
    """Without the stop token."""
    finish_reason: FinishReason
    """stop, extraction_length, extraction_deadline, or context when the context was smaller than
    the budget."""
    tile_s: float
    """Cutting the image into tiles."""
    vision_s: float
    """Vision tower, projector and splicing."""
    prefill_s: float
    """Tokenization, looking into the caches, prefill of the prompt, KV cache set-up."""
    decode_s: float
    """From the first logits to the end, the reader's own time between two pieces included."""
    served: Served = Served()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call, laid out."""

    image: LoadedImage
    policy: ImagePolicy
    note: str | None
    """What the budget changed of the image."""
    layout: Layout
    room_tokens: int
    full: FinishReason
    """What to report when the room is used up."""


class Clock:
    """Laps without gaps: each starts where the last one ended, so they add up to the whole."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.spent_s = dict.fromkeys(("tile", "vision", "prefill", "decode"), 0.0)

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to that of `stage`."""
        last, self._last = self._last, time.perf_counter()
        self.spent_s[stage] += self._last - last


def detokenized(
    decode: Callable[[Sequence[int]], str],
    tokens: Generator[int, None, Literal["stop", "length"]],
    over: Callable[[int], bool],
) -> Generator[str, None, tuple[tuple[str, ...], int, Ended]]:
    """Yield the text of `tokens` in pieces; return those, the tokens' count and ending."""
    detokenizer, stripper = Detokenizer(decode), Stripper()
    pieces: list[str] = []
    count = 0
    while True:
        if over(count):
            tokens.close()
            ended: Ended = "extraction_deadline"
            break
        try:
            token = next(tokens)
        except StopIteration as end:
            ended = end.value
            break
        count += 1
        if piece := stripper.push(detokenizer.push(token)):
            pieces.append(piece)
            yield piece
    if piece := stripper.push(detokenizer.finish()):
        pieces.append(piece)
        yield piece
    return tuple(pieces), count, ended


def replay(
    asked: Asked, written: Written, place: Place, clock: Clock, cancelled: Callable[[], bool]
) -> Generator[str, None, ExtractionRun]:
    """Yield the pieces of an extraction that was kept."""
    for piece in written.pieces:
        raise_if(cancelled)
        yield piece
    clock.lap("decode")
    return record(
        asked, written.shown,
        Served(extraction=place, image_prefill=None, image_features=None), clock,
        text="".join(written.pieces),
        generated_tokens=written.generated_tokens,
        finish_reason=asked.full if written.cut else "stop",
    )  # fmt: skip


def record(
    asked: Asked,
    shown: Shown,
    served: Served,
    clock: Clock,
    *,
    text: str,
    generated_tokens: int,
    finish_reason: FinishReason,
) -> ExtractionRun:
    image, notes = asked.image, asked.image.notes
    return ExtractionRun(
        text=text,
        image=ImageReport(
            original_height_px=image.original_height_px,
            original_width_px=image.original_width_px,
            used_height_px=shown.used_height_px,
            used_width_px=shown.used_width_px,
            tiles=shown.tiles,
            image_tokens=asked.layout.image_tokens,
            notes=notes if asked.note is None else (*notes, asked.note),
        ),
        prompt_tokens=asked.layout.prompt_tokens,
        generated_tokens=generated_tokens,
        finish_reason=finish_reason,
        tile_s=clock.spent_s["tile"],
        vision_s=clock.spent_s["vision"],
        prefill_s=clock.spent_s["prefill"],
        decode_s=clock.spent_s["decode"],
        served=served,
    )
