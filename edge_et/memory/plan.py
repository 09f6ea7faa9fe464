"""The plan: what stays in memory beside what, so that the peak keeps to a budget.

Pure arithmetic over footprints. In order of preference: everything stays; the weights stay and the
halves take turns with their working memory; the reasoner's weights stay and the extractor's graphs
come and go; one graph at a time; then shorter contexts; then fewer tiles; then a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from edge_et.decoding import PREFILL_CHUNK_TOKENS
from edge_et.errors import MemoryImpossible
from edge_et.memory.footprint import ExtractorFootprint, ReasonerFootprint

Residency = Literal["all", "weights", "reasoner", "one"]
RESIDENCIES: dict[Residency, str] = {
    "all": "everything stays",
    "weights": "the weights stay, the halves take turns with their working memory",
    "reasoner": "the reasoner's weights stay, the extractor's graphs are loaded for each call",
    "one": "one graph at a time, each loaded for each call",
}
MIB = 1024 * 1024

_QUESTION_TOKENS = 128
"""Of instruction and question in the extractor's prompt."""
_REASONER_PROMPT_TOKENS = 384
"""Of template, instruction and question beside the extraction."""
_LEAST_EXTRACTION_TOKENS = 128
_LEAST_REASONING_TOKENS = 256
"""Of thinking and answer together."""
_CONTEXT_STEP_TOKENS = 256
"""llama.cpp rounds contexts up to this."""
_RGB_BYTES = 3
_FEATURE_COPIES = 2
"""The image's features, and the prompt that they are put into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The largest call that is planned for."""

    think_tokens: int
    answer_tokens: int
    extraction_tokens: int
    max_tiles: int | None = None
    image_px: int
    """Height x width of the image as stored."""
    cache_bytes: int = 0
    """What the extractor may keep of earlier calls; given up before anything else is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    name: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What lies in memory at one time."""

    name: str
    lines: tuple[Line, ...]

    @property
    def total_bytes(self) -> int:
        return sum(line.bytes for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """How the pair will be run, and what that takes at each time."""

    residency: Residency
    budget_bytes: int | None
    extractor_context_tokens: int | None
    """Most tokens of the extractor's KV cache; None in a chain without that half."""
    reasoner_context_tokens: int | None
    max_tiles: int | None
    """The most that a call may have; None in a chain without that half."""
    image_px: int
    """Height x width of the largest image that a call may have."""
    cache_bytes: int
    phases: tuple[Phase, ...]

    @property
    def one_graph(self) -> bool:
        """Whether the vision tower and the decoder are never there together."""
        return self.residency in ("reasoner", "one")

    @property
    def peak(self) -> Phase:
        return max(self.phases, key=lambda phase: phase.total_bytes)

    @property
    def peak_bytes(self) -> int:
        return self.peak.total_bytes

    def describe(self) -> list[str]:
        """Return the plan in lines of text, the largest phase in detail."""
        budget = "" if self.budget_bytes is None else f" of {_mib(self.budget_bytes)}"
        lines = [
            f"memory: {RESIDENCIES[self.residency]}; {_mib(self.peak_bytes)}{budget} "
            f"while {self.peak.name}",
            *(f"  {line.name:<28}{_mib(line.bytes):>12}" for line in self.peak.lines),
        ]
        limits = [
            ("extractor's context", self.extractor_context_tokens, "tokens"),
            ("reasoner's context", self.reasoner_context_tokens, "tokens"),
            ("tiles", self.max_tiles, "at most"),
        ]
        lines += [f"  {name:<28}{n:>6} {unit}" for name, n, unit in limits if n is not None]
        return lines


def plan_memory(
    extractor: ExtractorFootprint | None,
    reasoner: ReasonerFootprint | None,
    *,
    base_bytes: int,
    demand: Demand,
    budget_bytes: int | None = None,
) -> MemoryPlan:
    """Return the first plan, in the order of preference, whose peak keeps to the budget.

    `base_bytes`: what the process holds before any model is loaded. Raises MemoryImpossible with
    the smallest budget that works.
    """
    make = _Planner(extractor, reasoner, base_bytes=base_bytes, budget_bytes=budget_bytes)
    for plan in make.candidates(demand):
        if budget_bytes is None or plan.peak_bytes <= budget_bytes:
            return plan
    least = make.least(demand)
    assert budget_bytes is not None
    raise MemoryImpossible(
        f"the pair does not fit into {_mib(budget_bytes)}: even with one graph at a time, "
        f"{least.max_tiles or 1} tile(s) and the shortest contexts it takes "
        f"{_mib(least.peak_bytes)} while {least.peak.name} ("
        + ", ".join(f"{line.name} {_mib(line.bytes)}" for line in least.peak.lines)
        + ")",
        hint=f"allow --max-memory {-(-least.peak_bytes // MIB)}MiB, or take a smaller pair or "
        "precision",
    )


def plan_least(
    extractor: ExtractorFootprint | None,
    reasoner: ReasonerFootprint | None,
    *,
    base_bytes: int,
    demand: Demand,
) -> MemoryPlan:
    """Return the plan that takes least; its peak is the smallest budget that works."""
    return _Planner(extractor, reasoner, base_bytes=base_bytes, budget_bytes=None).least(demand)


@dataclass(frozen=True, slots=True)
class _Size:
    """One choice of contexts and tiles."""

    tiles: int
    extraction_tokens: int
    reasoner_tokens: int


class _Planner:
    def __init__(
        self,
        extractor: ExtractorFootprint | None,
        reasoner: ReasonerFootprint | None,
        *,
        base_bytes: int,
        budget_bytes: int | None,
    ) -> None:
        self._extractor, self._reasoner = extractor, reasoner
        engines = sum(half.engine_bytes for half in (extractor, reasoner) if half is not None)
        self._base_bytes = base_bytes + engines
        self._budget_bytes = budget_bytes

    def candidates(self, demand: Demand) -> Iterator[MemoryPlan]:
        """Yield plans, the best first. Halves that are not there make some of them equal."""
        full = self._full(demand)
        if demand.cache_bytes:
            yield self._plan("all", full, demand)
        demand = replace(demand, cache_bytes=0)
        for residency in RESIDENCIES:
            yield self._plan(residency, full, demand)
        reasoner_tokens = self._longest(
            full.reasoner_tokens,
            self._least_reasoner_tokens(demand),
            lambda n: self._plan("one", replace(full, reasoner_tokens=n), demand).phases[-1],
        )
        for tiles in self._tile_counts(demand):
            for extraction in _halved(demand.extraction_tokens, _LEAST_EXTRACTION_TOKENS):
                yield self._plan("one", _Size(tiles, extraction, reasoner_tokens), demand)

    def least(self, demand: Demand) -> MemoryPlan:
        """Return the plan that takes least."""
        size = _Size(
            min(self._tile_counts(demand), default=0),
            min(demand.extraction_tokens, _LEAST_EXTRACTION_TOKENS),
            self._least_reasoner_tokens(demand),
        )
        return self._plan("one", size, replace(demand, cache_bytes=0))

    def _full(self, demand: Demand) -> _Size:
        wanted = (
            _REASONER_PROMPT_TOKENS
            + demand.extraction_tokens
            + demand.think_tokens
            + demand.answer_tokens
        )
        if self._reasoner is not None:
            wanted = min(wanted, self._reasoner.context_tokens)
        tiles = max(self._tile_counts(demand), default=0)
        return _Size(tiles, demand.extraction_tokens, _rounded(wanted))

    def _least_reasoner_tokens(self, demand: Demand) -> int:
        fixed = _REASONER_PROMPT_TOKENS + min(demand.extraction_tokens, _LEAST_EXTRACTION_TOKENS)
        asked = demand.think_tokens + demand.answer_tokens
        return _rounded(fixed + min(_LEAST_REASONING_TOKENS, asked))

    def _tile_counts(self, demand: Demand) -> list[int]:
        """List the numbers of tiles that the extractor's grids have within the demand, most first.

        The smallest grid is there in any case: a call refuses what is smaller still.
        """
        if self._extractor is None:
            return []
        counts = sorted(self._extractor.image_tokens, reverse=True)
        limit = demand.max_tiles or self._extractor.default_max_tiles
        return [n for n in counts if limit is None or n <= limit] or counts[-1:]

    def _longest(self, most: int, least: int, phase: Callable[[int], Phase]) -> int:
        """Return the longest context that keeps `phase` within the budget, never below `least`."""
        for tokens in range(most, least, -_CONTEXT_STEP_TOKENS):
            if self._budget_bytes is None or phase(tokens).total_bytes <= self._budget_bytes:
                return tokens
        return min(most, least)

    def _plan(self, residency: Residency, size: _Size, demand: Demand) -> MemoryPlan:
        phases = tuple(self._phases(residency, size, demand))
        eyes, thinker = self._extractor, self._reasoner
        return MemoryPlan(
            residency=residency,
            budget_bytes=self._budget_bytes,
            extractor_context_tokens=None if eyes is None else _extractor_tokens(eyes, size),
            reasoner_context_tokens=None if thinker is None else size.reasoner_tokens,
            max_tiles=None if eyes is None else size.tiles,
            image_px=demand.image_px,
            cache_bytes=demand.cache_bytes,
            phases=phases,
        )

    def _phases(self, residency: Residency, size: _Size, demand: Demand) -> Iterator[Phase]:
        """Yield what lies in memory in each phase; the thinking comes last."""
        base = [Line(name="process and libraries", bytes=self._base_bytes)]
        if demand.cache_bytes:
            base.append(Line(name="cache", bytes=demand.cache_bytes))
        eyes = self._extractor
        thinker = [] if self._reasoner is None else _weights(self._reasoner)
        context = [] if self._reasoner is None else _context(self._reasoner, size)
        beside = thinker if residency != "one" else []
        if residency == "all":
            beside = beside + context
        if eyes is not None:
            yield from _seeing(eyes, base + beside, residency, size, demand)
        kept: list[Line] = []
        if eyes is not None and residency in ("all", "weights"):
            kept = [_tower(eyes), _decoder(eyes)]
        if self._reasoner is not None:
            yield Phase(name="thinking", lines=(*base, *kept, *thinker, *context))


def _seeing(
    eyes: ExtractorFootprint, base: list[Line], residency: Residency, size: _Size, demand: Demand
) -> Iterator[Phase]:
    """Yield the phases of the extractor beside `base`."""
    tower, decoder = [_tower(eyes)], [_decoder(eyes)]
    working = Line(name="vision tower's activations", bytes=eyes.vision_work_bytes)
    features = _FEATURE_COPIES * eyes.image_tokens[size.tiles] * eyes.row_bytes
    pixels = max(demand.image_px, size.tiles * eyes.tile_px)
    image = [Line(name="image", bytes=2 * _RGB_BYTES * pixels + features)]
    stay = residency in ("all", "weights")
    loading = Line(name="copies made while loading", bytes=eyes.decoder_load_bytes)
    reads, writes = _prompt_tokens(eyes, size), _extractor_tokens(eyes, size)
    # While tokens are written, as much as a prompt's run takes is not given back (measured).
    activations = Line(name="decoder's activations", bytes=_decoder_work_bytes(eyes, size))
    prompt = [
        Line(name="extractor's KV cache", bytes=reads * eyes.kv_bytes_per_token),
        activations,
    ]
    text = [
        Line(name="extractor's KV cache", bytes=writes * eyes.kv_bytes_per_token),
        Line(name="the same in int8", bytes=writes * eyes.kv_int8_bytes_per_token),
        Line(name="copies made while rounding", bytes=eyes.rounding_bytes),
        activations,
    ]
    reading = Line(name="copies made while loading", bytes=eyes.vision_load_bytes)
    yield Phase(name="loading the vision tower", lines=(*base, *tower, reading))
    beside = decoder if stay else []
    yield Phase(name="seeing", lines=(*base, *tower, working, *beside, *image))
    before = tower if stay else []
    yield Phase(name="loading the decoder", lines=(*base, *before, *decoder, *image, loading))
    for name, work in (("reading the prompt", prompt), ("writing the extraction", text)):
        yield Phase(name=name, lines=(*base, *before, *decoder, *image, *work))


def _tower(eyes: ExtractorFootprint) -> Line:
    return Line(name="vision tower", bytes=eyes.vision_bytes)


def _decoder(eyes: ExtractorFootprint) -> Line:
    return Line(name="extractor's decoder", bytes=eyes.decoder_bytes)


def _weights(thinker: ReasonerFootprint) -> list[Line]:
    return [
        Line(name="reasoner's weights", bytes=thinker.weights_bytes),
        Line(name="reasoner's vocabulary", bytes=thinker.vocabulary_bytes),
    ]


def _context(thinker: ReasonerFootprint, size: _Size) -> list[Line]:
    kv_bytes = size.reasoner_tokens * thinker.kv_bytes_per_token
    return [
        Line(name="reasoner's KV cache", bytes=kv_bytes),
        Line(name="reasoner's activations", bytes=thinker.work_bytes),
    ]


def _extractor_tokens(eyes: ExtractorFootprint, size: _Size) -> int:
    wanted = eyes.image_tokens[size.tiles] + _QUESTION_TOKENS + size.extraction_tokens
    return min(eyes.context_tokens, wanted)


def _prompt_tokens(eyes: ExtractorFootprint, size: _Size) -> int:
    return min(eyes.context_tokens, eyes.image_tokens[size.tiles] + _QUESTION_TOKENS)


def _decoder_work_bytes(eyes: ExtractorFootprint, size: _Size) -> int:
    """Return the activations of the largest run of a prefill: its rows, and their scores."""
    tokens, chunk = _prompt_tokens(eyes, size), PREFILL_CHUNK_TOKENS
    whole, rest = divmod(tokens, chunk)
    scores = max(whole * chunk * chunk, rest * tokens)
    return min(chunk, tokens) * eyes.decoder_bytes_per_row + scores * eyes.decoder_bytes_per_score


def _halved(most: int, least: int) -> Iterator[int]:
    while most > least:
        yield most
        most //= 2
    yield min(most, least) if most < least else least


def _rounded(tokens: int) -> int:
    return -(-tokens // _CONTEXT_STEP_TOKENS) * _CONTEXT_STEP_TOKENS


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:,.0f} MiB"
