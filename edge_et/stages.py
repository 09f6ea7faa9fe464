"""The two stages of the chain, each a stream of chunks that ends in a record, and their clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from edge_et.answers import answer_form, parse_answer
from edge_et.config import GenerationConfig, ImageLimits, SamplingConfig
from edge_et.prompts import reasoning_prompt
from edge_et.types import Answer, Chunk, ChunkKind, Extraction, FinishReason, Timings

if TYPE_CHECKING:
    from edge_et.extractor import ExtractionRun
    from edge_et.image import LoadedImage
    from edge_et.reasoner import ReasonerRun

Cancel = Callable[[], bool]
_T = TypeVar("_T")


class ExtractorLike(Protocol):
    """What the chain needs of an extractor."""

    def stream(
        self,
        image: LoadedImage,
        user_text: str,
        *,
        budget_tokens: int,
        sampling: SamplingConfig,
        limits: ImageLimits,
        ignore_stop: bool,
        cancelled: Cancel,
    ) -> Generator[str, None, ExtractionRun]: ...

    def close(self) -> None: ...


class ReasonerLike(Protocol):
    """What the chain needs of a reasoner."""

    @property
    def can_think(self) -> bool: ...

    def stream(
        self,
        user_text: str,
        *,
        think: bool,
        think_budget_tokens: int,
        answer_budget_tokens: int,
        sampling: SamplingConfig | None,
        ignore_stop: bool,
        cancelled: Cancel,
    ) -> Generator[Chunk, None, ReasonerRun]: ...

    def read_ahead(
        self, opening: str, *, think: bool, reserve_tokens: int, cancelled: Cancel
    ) -> int: ...

    def close(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Call:
    """One call on a chain: its settings and its clock, which runs from the making of this."""

    config: GenerationConfig
    cancelled: Cancel
    _started_s: float = field(default_factory=time.perf_counter)
    _timings: Timings = field(default_factory=Timings)

    def queued(self) -> None:
        """Note that the waiting is over."""
        self.spent(queue_s=time.perf_counter() - self._started_s)

    def spent(self, **seconds: float) -> None:
        """Add seconds to stages."""
        self._timings = replace(
            self._timings, **{k: getattr(self._timings, k) + v for k, v in seconds.items()}
        )

    def seen(self, kind: ChunkKind) -> None:
        """Note a chunk; the first of its kind sets the time to it."""
        names = {"extraction": "ttft_extract_s", "thinking": "ttft_think_s", "answer": "ttfa_s"}
        if getattr(self._timings, names[kind]) is None:
            passed_s = time.perf_counter() - self._started_s
            self._timings = replace(self._timings, **{names[kind]: passed_s})

    def timings(self) -> Timings:
        return replace(self._timings, total_s=time.perf_counter() - self._started_s)


def extract(
    extractor: ExtractorLike,
    load: Callable[[], LoadedImage],
    user_text: str,
    focus: str,
    call: Call,
) -> Generator[Chunk, None, Extraction]:
    """Stage 1: what of the image matters, written down."""
    started_s = time.perf_counter()
    image = load()
    call.spent(image_s=time.perf_counter() - started_s)
    pieces = extractor.stream(
        image,
        user_text,
        budget_tokens=call.config.extraction_budget_tokens,
        sampling=call.config.extraction_sampling,
        limits=call.config.image_limits,
        ignore_stop=call.config.ignore_stop,
        cancelled=call.cancelled,
    )
    run = yield from _noted(_as_chunks(pieces), call)
    call.spent(
        image_s=run.tile_s,
        vision_s=run.vision_s,
        extract_prefill_s=run.prefill_s,
        extract_decode_s=run.decode_s,
    )
    return Extraction(
        text=run.text,
        focus_phrase=focus,
        image=run.image,
        prompt_tokens=run.prompt_tokens,
        generated_tokens=run.generated_tokens,
        finish_reason=run.finish_reason,
        timings=call.timings(),
    )


def think(
    reasoner: ReasonerLike, notes: Extraction, question: str, pair: str, call: Call
) -> Generator[Chunk, None, Answer]:
    """Stage 2: thinking over the extraction, and the answer."""
    config = call.config
    thinks = config.think and reasoner.can_think
    chunks = reasoner.stream(
        reasoning_prompt(notes.text, question, think=thinks, form=answer_form(question).value),
        think=thinks,
        think_budget_tokens=config.think_budget_tokens,
        answer_budget_tokens=config.answer_budget_tokens,
        sampling=config.reasoner_sampling,
        ignore_stop=config.ignore_stop,
        cancelled=call.cancelled,
    )
    run = yield from _noted(chunks, call)
    call.spent(
        handoff_s=run.handoff_s,
        reason_prefill_s=run.prefill_s,
        think_decode_s=run.think_s,
        answer_decode_s=run.answer_s,
    )
    return Answer(
        text=parse_answer(run.answer, question),
        thinking=run.thinking,
        extraction=notes,
        prompt_tokens=run.prompt_tokens,
        reused_tokens=run.reused_tokens,
        think_tokens=run.think_tokens,
        answer_tokens=run.answer_tokens,
        finish_reason=_finish_reason(notes, run.finish_reason),
        timings=call.timings(),
        pair=pair,
    )


def _as_chunks(pieces: Generator[str, None, _T]) -> Generator[Chunk, None, _T]:
    try:
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            yield Chunk(kind="extraction", text=piece)
    finally:
        pieces.close()


def _noted(chunks: Generator[Chunk, None, _T], call: Call) -> Generator[Chunk, None, _T]:
    """Pass the chunks on and time the first of each kind."""
    try:
        while True:
            try:
                chunk = next(chunks)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            call.seen(chunk.kind)
            yield chunk
    finally:
        chunks.close()


def _finish_reason(notes: Extraction, reasoner: FinishReason) -> FinishReason:
    """Return the limit that harmed the answer most: its own, the extraction's, the thinking's."""
    if reasoner in ("length", "context"):
        return reasoner
    return reasoner if notes.finish_reason == "stop" else "extraction_length"
