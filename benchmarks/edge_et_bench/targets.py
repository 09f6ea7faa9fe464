"""What was aimed at, and where it stands: a row a target, from committed result files.

A target is a number that a figure has to reach: a ratio to a peer's, a share of a ceiling, or a
finding (`findings.py`). Why one is missed stands in causes.toml beside the result files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_et_bench import findings
from edge_et_bench.findings import Finding
from edge_et_bench.record_files import read_runs
from edge_et_bench.records import StageName
from edge_et_bench.report import table
from edge_et_bench.summary import StageSummary, Summary, summarize

CAUSES = "causes.toml"
_HEADS = (
    "stage", "target", "edge-et", "peer", "ratio or share", "ceiling", "", "why, where missed",
)  # fmt: skip
Unit = Literal["times", "%"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A stage of ours against a peer's, of the same weights' size: labels end in these words."""

    name: str
    stage: StageName
    ours: str
    peer: str
    times: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OfRead:
    """A stage's share of the memory's measured rate."""

    name: str
    stage: StageName
    ours: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A finding that has to reach a bound, from below or from above."""

    name: str
    finding: findings.Name
    bound: float
    unit: Unit
    at_most: bool = False


Target = Beside | OfRead | Found
TARGETS: tuple[Target, ...] = (
    Beside(name="vision, one tile", stage="vision", ours="w8a8", peer="q8_0", times=2),
    Found(name="vision over fp32", finding="vision over fp32", bound=2.2, unit="times"),
    Found(name="vision cosine", finding="vision cosine", bound=0.999, unit="times"),
    Beside(name="prefill at 4 bits", stage="extract_prefill", ours="q4", peer="q4_0", times=1.6),
    Beside(name="prefill at 8 bits", stage="extract_prefill", ours="w8a8", peer="q8_0", times=2.5),
    Beside(name="decode at 4 bits", stage="extract_decode", ours="q4", peer="q4_0", times=1.2),
    Beside(name="decode at 8 bits", stage="extract_decode", ours="w8a8", peer="q8_0", times=1.2),
    OfRead(name="decode at 4 bits, of memory", stage="extract_decode", ours="q4", share=0.7),
    OfRead(name="decode at 8 bits, of memory", stage="extract_decode", ours="w8a8", share=0.7),
    Found(name="reasoner's prefill", finding="reasoner prefill", bound=0.98, unit="%"),
    Found(name="reasoner's decode", finding="reasoner decode", bound=0.98, unit="%"),
    Found(
        name="reasoner outside its kernels", finding="reasoner outside", bound=0.03, unit="%",
        at_most=True,
    ),
    Found(
        name="extractor outside its kernels", finding="extractor outside", bound=0.03, unit="%",
        at_most=True,
    ),
    Found(name="another question, same image", finding="another question", bound=10, unit="times"),
    Found(name="same question: no extraction", finding="same question", bound=1, unit="%"),
    Found(name="handoff: description hidden", finding="handoff hidden", bound=0.8, unit="%"),
    Found(
        name="memory: error of the prediction", finding="memory error", bound=0.1, unit="%",
        at_most=True,
    ),
)  # fmt: skip
_PEER = "llama.cpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A target and what was found for it; texts are for people."""

    name: str
    target: str
    ours: str = ""
    peer: str = ""
    figure: str = ""
    ceiling: str = ""
    reached: bool | None = None
    """None: nothing was measured."""
    cause: str = ""


def rows(files: Sequence[Path]) -> tuple[Row, ...]:
    """Hold result files against the targets.

    A finding that was made on several models is there once for each. Raises InputError on files
    that hold neither runs nor findings.
    """
    found: list[Finding] = []
    measured: list[tuple[Summary, ...]] = []
    for file in files:
        if findings.is_findings(file):
            found += findings.read(file)
        else:
            measured.append(summarize(read_runs(file)))
    causes = _causes(files)
    made = [row for target in TARGETS for row in _rows_of(target, measured, found)]
    return tuple(_explained(row, causes) for row in made)


def markdown(shown: Sequence[Row]) -> str:
    words = {True: "reached", False: "missed", None: "not measured"}
    cells = [
        (r.name, r.target, r.ours, r.peer, r.figure, r.ceiling, words[r.reached], r.cause)
        for r in shown
    ]
    return table(_HEADS, cells)


def _rows_of(
    target: Target, measured: list[tuple[Summary, ...]], found: list[Finding]
) -> list[Row]:
    """Return the target's rows. Stages are compared within a file only: another one may hold other
    models and workloads; the first that holds both sides counts."""
    match target:
        case Beside():
            return [_first_measured([_beside(target, one) for one in measured or [()]])]
        case OfRead():
            return [_first_measured([_of_read(target, one) for one in measured or [()]])]
        case Found():
            mine = [one for one in found if one.name == target.finding]
            return [_found(target, one) for one in mine] or [_unmeasured(target)]


def _first_measured(made: list[Row]) -> Row:
    return next((row for row in made if row.reached is not None), made[0])


def _beside(target: Beside, summaries: tuple[Summary, ...]) -> Row:
    wanted = f"{target.times:g} times {_PEER}"
    ours = _stage(summaries, "edge-et", target.ours, target.stage)
    peer = _stage(summaries, _PEER, target.peer, target.stage)
    if ours is None or peer is None:
        return Row(name=target.name, target=wanted)
    ratio = _speed(ours) / _speed(peer)
    return Row(
        name=target.name,
        target=wanted,
        ours=_figure(ours),
        peer=f"{_figure(peer)} ({_PEER} {target.peer})",
        figure=f"{ratio:.2f} times",
        ceiling=_ceiling(ours),
        reached=ratio >= target.times,
    )


def _of_read(target: OfRead, summaries: tuple[Summary, ...]) -> Row:
    wanted = f"{target.share:.0%} of what memory reads"
    ours = _stage(summaries, "edge-et", target.ours, target.stage)
    if ours is None or ours.read_share is None:
        return Row(name=target.name, target=wanted)
    return Row(
        name=target.name,
        target=wanted,
        ours=_figure(ours),
        figure=f"{ours.read_share:.0%}",
        ceiling=_ceiling(ours),
        reached=ours.read_share >= target.share,
    )


def _found(target: Found, one: Finding) -> Row:
    reached = one.value <= target.bound if target.at_most else one.value >= target.bound
    spread = f"{_amount(one.least, target.unit)} to {_amount(one.most, target.unit)}, n {one.n}"
    return Row(
        name=target.name,
        target=_wanted(target),
        ours=one.subject,
        figure=f"{_amount(one.value, target.unit)} ({spread})",
        reached=reached,
    )


def _unmeasured(target: Found) -> Row:
    return Row(name=target.name, target=_wanted(target))


def _wanted(target: Found) -> str:
    return f"at {'most' if target.at_most else 'least'} {_amount(target.bound, target.unit)}"


def _amount(value: float, unit: Unit) -> str:
    if unit == "%":
        return f"{value:.1%}"
    return f"{value:.4g}"


def _stage(
    summaries: tuple[Summary, ...], runtime: str, label_end: str, name: StageName
) -> StageSummary | None:
    """Return the stage of the first configuration of that runtime whose label ends so."""
    for summary in summaries:
        configuration = summary.run.configuration
        if configuration.runtime.startswith(runtime) and configuration.label.endswith(label_end):
            for stage in summary.stages:
                if stage.name == name:
                    return stage
    return None


def _figure(stage: StageSummary) -> str:
    """Return tokens a second at the median, or seconds where a stage has no tokens."""
    if stage.name == "vision" or not stage.tokens_per_s:
        return f"{stage.seconds.p50:.2f} s"
    return f"{_speed(stage):.1f} tokens/s"


def _speed(stage: StageSummary) -> float:
    """Return tokens a second at the median: runtimes count a prompt's tokens differently. Of a
    stage without tokens, runs a second."""
    if stage.name == "vision" or not stage.tokens_per_s:
        return 1 / stage.seconds.p50
    return stage.tokens_per_s * stage.seconds.mean / stage.seconds.p50


def _ceiling(stage: StageSummary) -> str:
    """Return how much of the hardware's measured rate the stage reaches."""
    if stage.name == "extract_decode" and stage.read_share is not None:
        return f"{stage.read_share:.0%} of memory's rate"
    if stage.macs_share is not None:
        return f"{stage.macs_share:.0%} of multiply-adds"
    return ""


def _causes(files: Sequence[Path]) -> dict[str, str]:
    causes: dict[str, str] = {}
    for folder in dict.fromkeys(file.parent for file in files):
        if (folder / CAUSES).is_file():
            causes |= tomllib.loads((folder / CAUSES).read_text(encoding="utf-8"))
    return causes


def _explained(row: Row, causes: dict[str, str]) -> Row:
    from dataclasses import replace

    return row if row.reached else replace(row, cause=causes.get(row.name, ""))
