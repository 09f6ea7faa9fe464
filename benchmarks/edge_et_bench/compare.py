"""Two sets of runs, sample against sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from edge_et.errors import InputError
from edge_et_bench.metrics import Ratio, paired_ratio
from edge_et_bench.records import Run, Sample, StageName
from edge_et_bench.summary import USER_METRICS, stage_seconds, user_metric

TOLERANCE = 0.02
"""Smaller changes are called no difference, however sure they are."""
SIGNIFICANT = 0.05
LEAST_S = 0.001
"""Stages that take less than this on both sides are left out: they decide nothing."""

Verdict = Literal["faster", "slower", "no difference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One metric of one workload: how many times as long B takes as A."""

    workload: str
    a: str
    b: str
    """Labels of the configurations."""
    metric: str
    a_s: float
    b_s: float
    """Means."""
    a_others: float
    b_others: float
    """Mean share of the cores that other processes used."""
    ratio: Ratio
    verdict: Verdict
    """Of B. Holm's correction over the metrics of this workload."""


def compare(a: Sequence[Run], b: Sequence[Run]) -> tuple[Comparison, ...]:
    """Compare workload by workload, pairing samples by configuration, round and repeat.

    Configurations pair by label; where each side has a single one for a workload, those two pair.
    Raises InputError when nothing pairs, or the machines' processors differ.
    """
    _require_same_cpu(a, b)
    comparisons = [
        comparison
        for left, right in _pair_groups(_groups(a), _groups(b))
        for comparison in _compare_group(left, right)
    ]
    if not comparisons:
        raise InputError(
            "the two files have no workload and configuration in common with two repeats or more",
            hint="run both sides with the same --workload",
        )
    return tuple(comparisons)


Groups = dict[tuple[str, str], list[Run]]
"""(workload, label) -> rounds."""


def _groups(runs: Sequence[Run]) -> Groups:
    groups: Groups = {}
    for run in runs:
        groups.setdefault((run.workload.name, run.configuration.label), []).append(run)
    return groups


def _pair_groups(a: Groups, b: Groups) -> list[tuple[list[Run], list[Run]]]:
    pairs: list[tuple[list[Run], list[Run]]] = []
    for workload in dict.fromkeys(workload for workload, _ in a):
        left = {label: runs for (name, label), runs in a.items() if name == workload}
        right = {label: runs for (name, label), runs in b.items() if name == workload}
        if len(left) == len(right) == 1:
            pairs += zip(left.values(), right.values(), strict=True)
        else:
            pairs += [(runs, right[label]) for label, runs in left.items() if label in right]
    return pairs


def _compare_group(a: list[Run], b: list[Run]) -> list[Comparison]:
    if _definition(a[0]) != _definition(b[0]):
        raise InputError(
            f"the workload {a[0].workload.name} is not the same in both files",
            hint="run both sides with the same image, question, token counts and seed",
        )
    pairs = list(zip(_ordered(a), _ordered(b), strict=False))
    found: list[tuple[str, float, float, Ratio]] = []
    for name, of in _metrics().items():
        values = [(x, y) for left, right in pairs if (x := of(left)) and (y := of(right))]
        if len(values) < 2:
            continue
        first, second = [x for x, _ in values], [y for _, y in values]
        means = sum(first) / len(first), sum(second) / len(second)
        if max(means) >= LEAST_S:
            found.append((name, *means, paired_ratio(first, second)))
    sure = _holm([ratio.p for *_, ratio in found])
    return [
        Comparison(
            workload=a[0].workload.name,
            a=a[0].configuration.label,
            b=b[0].configuration.label,
            metric=name,
            a_s=a_s,
            b_s=b_s,
            a_others=_others_share(a),
            b_others=_others_share(b),
            ratio=ratio,
            verdict=_verdict(ratio, is_sure),
        )
        for (name, a_s, b_s, ratio), is_sure in zip(found, sure, strict=True)
    ]


def _metrics() -> dict[str, Callable[[Sample], float | None]]:
    return {name: _reader(user_metric, name) for name in USER_METRICS} | {
        name: _reader(stage_seconds, name) for name in get_args(StageName)
    }


def _reader(
    of: Callable[[Sample, str], float | None], name: str
) -> Callable[[Sample], float | None]:
    return lambda sample: of(sample, name)


def _ordered(runs: list[Run]) -> list[Sample]:
    return [sample for run in sorted(runs, key=lambda run: run.round) for sample in run.samples]


def _others_share(runs: list[Run]) -> float:
    samples = _ordered(runs)
    return sum(sample.others_share for sample in samples) / len(samples)


def _holm(p_values: list[float]) -> list[bool]:
    """Return which hold at SIGNIFICANT when all of them are asked at once."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    holds = [False] * len(p_values)
    for rank, index in enumerate(order):
        if p_values[index] > SIGNIFICANT / (len(p_values) - rank):
            break
        holds[index] = True
    return holds


def _verdict(ratio: Ratio, is_sure: bool) -> Verdict:
    if not is_sure or abs(ratio.value - 1) < TOLERANCE:
        return "no difference"
    return "slower" if ratio.value > 1 else "faster"


def _definition(run: Run) -> tuple[object, ...]:
    """Return what must be the same for times to be comparable."""
    w = run.workload
    return (
        w.question, w.image_sha256, w.image_height_px, w.image_width_px, w.extraction_tokens,
        w.thinking_tokens, w.answer_tokens, w.max_tiles, w.seed,
    )  # fmt: skip


def _require_same_cpu(a: Sequence[Run], b: Sequence[Run]) -> None:
    cpus = [
        {(run.environment.cpu, run.environment.usable_cores) for run in runs} for runs in (a, b)
    ]
    if cpus[0] != cpus[1]:
        raise InputError(
            f"the files come from different machines: {sorted(cpus[0])} and {sorted(cpus[1])}",
            hint="run both sides on the same machine",
        )
