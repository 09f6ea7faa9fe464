"""Runs of one configuration on one workload, put together: what reports and comparisons read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import get_args

from edge_et_bench import ceiling, metrics
from edge_et_bench.metrics import Spread, spread
from edge_et_bench.records import Quality, Run, Sample, StageName

USER_METRICS = ("ttft_extract_s", "ttft_think_s", "ttfa_s", "total_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSummary:
    name: StageName
    seconds: Spread
    tokens_per_s: float | None
    """All tokens over all seconds."""
    seconds_per_step: float | None
    """A tile in vision."""
    peak_bytes: int | None
    read_share: float | None
    """Of the measured memory bandwidth, at the median; likewise below."""
    macs_share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All rounds of one configuration on one workload."""

    run: Run
    """The first round's: environment, what was loaded, ceiling."""
    load_s: Spread
    user: dict[str, Spread]
    """By metric; absent where no such token came."""
    stages: tuple[StageSummary, ...]
    peak_bytes: int
    others_share: float
    """Of the cores, taken by other processes: the mean over the samples."""
    throttling: float | None
    """The last repeat over the first, of the round where this is largest."""
    quality: Quality | None

    @property
    def title(self) -> str:
        return f"{self.run.configuration.label} · {self.run.workload.name}"


def summarize(runs: Iterable[Run]) -> tuple[Summary, ...]:
    """Put runs of the same label and workload together, in the order they first appear."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.configuration.label, run.workload.name), []).append(run)
    return tuple(_summary(group) for group in groups.values())


def user_metric(sample: Sample, name: str) -> float | None:
    value: float | None = getattr(sample.outcome, name)
    return value


def stage_seconds(sample: Sample, name: str) -> float | None:
    return next((s.seconds for s in sample.outcome.stages if s.name == name), None)


def _summary(runs: list[Run]) -> Summary:
    samples = [sample for run in runs for sample in run.samples]
    user = {name: _values(samples, partial(user_metric, name=name)) for name in USER_METRICS}
    slowdowns = [metrics.throttling([s.outcome.total_s for s in run.samples]) for run in runs]
    return Summary(
        run=runs[0],
        load_s=spread([run.load.seconds for run in runs]),
        user={name: spread(values) for name, values in user.items() if values},
        stages=tuple(
            _stage(name, runs[0], samples)
            for name in get_args(StageName)
            if any(stage_seconds(sample, name) is not None for sample in samples)
        ),
        peak_bytes=max(run.memory.peak_bytes for run in runs),
        others_share=sum(s.others_share for s in samples) / len(samples),
        throttling=max((s for s in slowdowns if s is not None), default=None),
        quality=next((run.quality for run in runs if run.quality), None),
    )


def _values(samples: list[Sample], of: Callable[[Sample], float | None]) -> list[float]:
    return [value for sample in samples if (value := of(sample)) is not None]


def _stage(name: StageName, run: Run, samples: list[Sample]) -> StageSummary:
    stages = [s for sample in samples for s in sample.outcome.stages if s.name == name]
    total_s = sum(stage.seconds for stage in stages)
    tokens = sum(stage.tokens or 0 for stage in stages)
    steps = sum(stage.steps or 0 for stage in stages)
    peaks = [s.stage_peaks_bytes[name] for s in samples if name in s.stage_peaks_bytes]
    demand = next((d for d in run.demands if d.stage == name), None)
    shares: dict[str, float] = {}
    found = next((c for c in run.ceilings if demand and c.threads == demand.threads), None)
    if demand is not None and found is not None:
        median = sorted(stages, key=lambda stage: stage.seconds)[len(stages) // 2]
        shares = ceiling.share(median, demand, found)
    return StageSummary(
        name=name,
        seconds=spread([stage.seconds for stage in stages]),
        tokens_per_s=tokens / total_s if tokens and total_s > 0 else None,
        seconds_per_step=total_s / steps if name == "vision" and steps else None,
        peak_bytes=max(peaks, default=None),
        read_share=shares.get("read"),
        macs_share=shares.get("macs"),
    )
