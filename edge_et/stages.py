"""The two stages of the chain, each a stream of chunks that ends in a record, and their clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from edge_et.answer_spec import AnswerSpec
from edge_et.answers import Reading
from edge_et.clock import Clock, NoClock
from edge_et.config import GenerationConfig, ImageLimits, SamplingConfig
from edge_et.deadline import Pace
from edge_et.evidence import evidence_of
from edge_et.focus import Focus
from edge_et.missing import not_seen, said_missing
from edge_et.notes import notes_of
from edge_et.prompts import reasoning_prompt
from edge_et.rates import ExtractorSpeed, Rates, ReasonerSpeed
from edge_et.relay import relay
from edge_et.thinking import Demand
from edge_et.types import Answer, Chunk, ChunkKind, Extraction, FinishReason, Timings

if TYPE_CHECKING:
    from edge_et.budget import ImageCost
    from edge_et.image import LoadedImage
    from edge_et.reasoner import ReasonerRun
    from edge_et.runs import ExtractionRun

Cancel = Callable[[], bool]
_PROMPT_TOKENS = 512
"""Room for the reasoner's prompt, so that measuring makes the context that the call needs."""
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
        over: Callable[[int], bool],
        cancelled: Cancel,
    ) -> Generator[str, None, ExtractionRun]: ...

    def image_costs(self, image: LoadedImage, limits: ImageLimits) -> tuple[ImageCost, ...]: ...

    def measure(self, cancelled: Cancel) -> ExtractorSpeed: ...

    def close(self) -> None: ...


class ReasonerLike(Protocol):
    """What the chain needs of a reasoner."""

    @property
    def says_missing(self) -> bool: ...

    def stream(
        self,
        user_text: str,
        *,
        think: bool,
        think_budget_tokens: int,
        answer_budget_tokens: int,
        sampling: SamplingConfig | None,
        suppress_reflexive: bool,
        demand: Demand | None,
        ignore_stop: bool,
        clock: Clock,
        cancelled: Cancel,
    ) -> Generator[Chunk, None, ReasonerRun]: ...

    def measure(self, room_tokens: int, cancelled: Cancel) -> ReasonerSpeed: ...

    def read_ahead(
        self, opening: str, *, think: bool, reserve_tokens: int, cancelled: Cancel
    ) -> int: ...

    def close(self) -> None: ...


class ResidencyLike(Protocol):
    """Who frees what a half no longer needs, between the halves of a call and after it."""

    def extracted(self) -> None: ...

    def thought(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Call:
    """One call on a chain: its settings and its clock, which runs from the making of this."""

    config: GenerationConfig
    cancelled: Cancel
    rates: Rates
    suppress_reflexive: bool = False
    """What holds unless `config` says otherwise."""
    answers: bool = True
    """Whether the call ends in an answer, and not in an extraction."""
    pace: Pace | None = field(default=None, init=False)
    """Where there is a deadline."""
    _started_s: float = field(default_factory=lambda: time.perf_counter())
    _timings: Timings = field(default_factory=Timings)

    def __post_init__(self) -> None:
        if (deadline_s := self.config.deadline_s) is not None:
            self.pace = Pace(
                rates=self.rates,
                due_s=self._started_s + deadline_s,
                deadline_s=deadline_s,
                thinks=self.answers and self.config.thinks,
                answers=self.answers,
                answer_budget_tokens=self.config.answer_tokens,
            )

    @property
    def suppresses(self) -> bool:
        asked = self.config.suppress_reflexive
        return self.suppress_reflexive if asked is None else asked

    @property
    def may_look_again(self) -> bool:
        """Whether time allows another look: with a deadline, while half of it is left."""
        spent_s = time.perf_counter() - self._started_s
        return self.pace is None or spent_s < self.pace.deadline_s / 2

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

    def unanswered(self) -> None:
        """Note that what was seen of an answer was none."""
        self._timings = replace(self._timings, ttfa_s=None)

    def timings(self) -> Timings:
        return replace(self._timings, total_s=time.perf_counter() - self._started_s)


def measure(extractor: ExtractorLike | None, reasoner: ReasonerLike | None, call: Call) -> None:
    """Learn how fast the halves are, where a deadline needs it and no call has told."""
    if call.pace is None:
        return
    started_s = time.perf_counter()
    if extractor is not None and not call.rates.knows("extract_decode"):
        call.rates.extractor_measured(extractor.measure(call.cancelled))
    if reasoner is not None and not call.rates.knows("reason_decode"):
        room_tokens = _PROMPT_TOKENS + call.config.think_tokens + call.config.answer_tokens
        call.rates.reasoner_measured(reasoner.measure(room_tokens, call.cancelled))
    call.spent(measure_s=time.perf_counter() - started_s)


def extract(
    extractor: ExtractorLike,
    load: Callable[[], LoadedImage],
    user_text: str,
    focus: Focus,
    call: Call,
) -> Generator[Chunk, None, Extraction]:
    """Stage 1: what of the image matters, written down."""
    started_s = time.perf_counter()
    image = load()
    call.spent(image_s=time.perf_counter() - started_s)
    limits = call.config.image_limits
    pace = call.pace
    if pace is not None and (costs := extractor.image_costs(image, limits)):
        limits = pace.image_limits(costs, limits)
    pieces = extractor.stream(
        image,
        user_text,
        budget_tokens=call.config.extraction_budget_tokens,
        sampling=call.config.extraction_sampling,
        limits=limits,
        ignore_stop=call.config.ignore_stop,
        over=_never_over if pace is None else pace.extraction_over,
        cancelled=call.cancelled,
    )
    run = yield from _noted(_as_chunks(pieces), call)
    call.rates.extracted(run)
    call.spent(
        image_s=run.tile_s,
        vision_s=run.vision_s,
        extract_prefill_s=run.prefill_s,
        extract_decode_s=run.decode_s,
    )
    return Extraction(
        text=run.text,
        focus_phrase=focus.phrase,
        focus_source=focus.source,
        notes=focus.notes,
        image=run.image,
        prompt_tokens=run.prompt_tokens,
        generated_tokens=run.generated_tokens,
        finish_reason=run.finish_reason,
        timings=call.timings(),
        served=run.served,
    )


def think(
    reasoner: ReasonerLike,
    notes: Extraction,
    spec: AnswerSpec,
    pair: str,
    call: Call,
    looks: tuple[Extraction, ...] = (),
) -> Generator[Chunk, None, Answer]:
    """Stage 2: thinking over the extraction and the further looks, and the answer."""
    config = call.config
    text = notes_of(notes, looks)
    chunks = reasoner.stream(
        reasoning_prompt(
            text,
            spec.prompt,
            think=config.thinks,
            form=spec.wording,
            or_missing=config.looks_again > 0 and spec.may_miss and not reasoner.says_missing,
        ),
        think=config.thinks,
        think_budget_tokens=config.think_tokens,
        answer_budget_tokens=config.answer_tokens,
        sampling=config.reasoner_sampling,
        suppress_reflexive=call.suppresses,
        demand=_demand(spec, text, may_miss=config.looks_again > 0),
        ignore_stop=config.ignore_stop,
        clock=NoClock() if call.pace is None else call.pace,
        cancelled=call.cancelled,
    )
    run = yield from _noted(chunks, call)
    call.rates.reasoned(run)
    if not looks:
        call.rates.answered(run, notes)
    call.spent(
        handoff_s=run.handoff_s,
        reason_prefill_s=run.prefill_s,
        think_decode_s=run.think_s,
        answer_decode_s=run.answer_s,
    )
    # what is held to a grammar has no such way out
    missing = said_missing(run.answer, text) if run.held is None else None
    reading = spec.read(run.answer, run.held) if missing is None else _unread(missing)
    return Answer(
        text=reading.text,
        thinking=run.thinking,
        extraction=notes,
        prompt_tokens=run.prompt_tokens,
        reused_tokens=run.reused_tokens,
        think_tokens=run.think_tokens,
        answer_tokens=run.answer_tokens,
        copied_tokens=run.copied_tokens,
        finish_reason=(
            _finish_reason(notes, run.finish_reason) if missing is None else "insufficient"
        ),
        timings=call.timings(),
        pair=pair,
        form=spec.form,
        found=reading.found,
        data=spec.data(run.held),
        evidence=evidence_of(
            (notes, *looks), spec.question, thinking=run.thinking, answer=reading.text
        ),
        looks=looks,
        missing=missing,
    )


def _demand(spec: AnswerSpec, notes: str, *, may_miss: bool) -> Demand | None:
    """Return what the answer is held to; with `may_miss`, to say what `notes` lack is accepted in
    its place."""
    if spec.shape is None:
        return None
    return Demand(
        shape=spec.shape,
        at_once=not spec.may_miss,
        accepts=lambda text: (
            (may_miss and said_missing(text, notes) is not None) or spec.accepts(text)
        ),
    )


def _unread(missing: str) -> Reading:
    return Reading(text=not_seen(missing), found="whole", holds=False)


def _as_chunks(pieces: Generator[str, None, _T]) -> Generator[Chunk, None, _T]:
    return relay(pieces, lambda piece: (Chunk(kind="extraction", text=piece),))


def _noted(chunks: Generator[Chunk, None, _T], call: Call) -> Generator[Chunk, None, _T]:
    """Pass the chunks on and time the first of each kind."""

    def note(chunk: Chunk) -> tuple[Chunk]:
        call.seen(chunk.kind)
        return (chunk,)

    return relay(chunks, note)


def _never_over(tokens: int) -> bool:
    return False


def _finish_reason(notes: Extraction, reasoner: FinishReason) -> FinishReason:
    """Return the limit that harmed the answer most: its own, the extraction's, the thinking's."""
    if reasoner in ("length", "context", "deadline") or notes.finish_reason == "stop":
        return reasoner
    by_time = notes.finish_reason == "extraction_deadline"
    return "extraction_deadline" if by_time else "extraction_length"
