"""Runs as Markdown for people and as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from edge_et_bench.compare import Comparison
from edge_et_bench.metrics import BUSY, THROTTLED, Spread
from edge_et_bench.records import Environment, Quality, Run
from edge_et_bench.summary import USER_METRICS, StageSummary, Summary, summarize

_MB = 1e6
_STAGE_HEADS = (
    "stage", "p50 s", "p90 s", "mean s", "sd s", "n", "tokens/s", "of read", "of multiply-adds",
    "peak MB",
)  # fmt: skip


def markdown(runs: Sequence[Run]) -> str:
    """Return the whole report: the machine, then each configuration on each workload."""
    summaries = summarize(runs)
    sections = [
        environment_lines(runs[0].environment),
        *(_section(summary) for summary in summaries),
    ]
    if len(summaries) > 1:
        sections.insert(1, _overview(summaries))
    return "\n\n".join(sections) + "\n"


def comparison_markdown(comparisons: Sequence[Comparison]) -> str:
    rows = [
        (
            c.workload, c.metric, f"{c.a_s:.4f}", f"{c.b_s:.4f}", f"{c.ratio.value:.3f}",
            f"{c.ratio.low:.3f} to {c.ratio.high:.3f}", f"{c.ratio.p:.3g}", str(c.ratio.n),
            c.verdict,
        )
        for c in comparisons
    ]  # fmt: skip
    heads = ("workload", "metric", "A mean s", "B mean s", "B/A", "95 %", "p", "n", "B is")
    names = dict.fromkeys(f"A = {c.a}, B = {c.b}{_busy_sides(c)}" for c in comparisons)
    return "\n".join(names) + "\n\n" + table(heads, rows) + "\n"


def table_csv(runs: Sequence[Run]) -> str:
    """Return a row for each sample; a stage or metric that a run lacks is an empty cell."""
    stages = list(
        dict.fromkeys(s.name for r in runs for sample in r.samples for s in sample.outcome.stages)
    )
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["run_id", "label", "workload", "round", "repeat", *USER_METRICS]
        + [f"{name}_s" for name in stages]
        + [f"{name}_tokens" for name in stages]
        + ["load_s", "peak_bytes"]
    )
    for run in runs:
        for sample in run.samples:
            by_name = {stage.name: stage for stage in sample.outcome.stages}
            given = [by_name.get(name) for name in stages]
            writer.writerow(
                [run.run_id, run.configuration.label, run.workload.name, run.round, sample.repeat]
                + [getattr(sample.outcome, name) for name in USER_METRICS]
                + [stage.seconds if stage else None for stage in given]
                + [stage.tokens if stage else None for stage in given]
                + [run.load.seconds, run.memory.peak_bytes]
            )
    return out.getvalue()


def environment_lines(environment: Environment) -> str:
    e = environment
    gpus = "".join(f", {gpu.name} (driver {gpu.driver})" for gpu in e.gpus)
    governor = f", governor {e.governor}" if e.governor else ""
    versions = ", ".join(f"{name} {number}" for name, number in e.versions.items())
    return (
        f"{e.cpu}, {e.usable_cores} usable cores{governor}, {e.ram_bytes / 1e9:.1f} GB{gpus}; "
        f"{e.os}, Python {e.python}\n{versions}{f'; commit {e.commit}' if e.commit else ''}"
    )


def _overview(summaries: Sequence[Summary]) -> str:
    rows = [
        (
            summary.title,
            *(_seconds(summary.user[n].p50) if n in summary.user else "" for n in USER_METRICS),
            f"{summary.peak_bytes / _MB:.0f}",
            accuracy(summary.quality) if summary.quality else "",
        )
        for summary in summaries
    ]
    return table(("configuration", *USER_METRICS, "peak MB", "accuracy"), rows)


def _section(summary: Summary) -> str:
    stages = [("load", summary.load_s), *summary.user.items()]
    rows = [
        *((name, *_spread(values), "", "", "", "") for name, values in stages),
        *(_stage_row(stage) for stage in summary.stages),
    ]
    return "\n\n".join(
        [
            f"### {summary.title}\n{summary.run.workload.summary}",
            table(_STAGE_HEADS, rows),
            "\n".join(_notes(summary)),
        ]
    )


def _stage_row(stage: StageSummary) -> tuple[str, ...]:
    return (
        stage.name,
        *_spread(stage.seconds),
        "" if stage.tokens_per_s is None else f"{stage.tokens_per_s:.1f}",
        _percent(stage.read_share),
        _percent(stage.macs_share),
        "" if stage.peak_bytes is None else f"{stage.peak_bytes / _MB:.0f}",
    )


def _notes(summary: Summary) -> list[str]:
    run, memory = summary.run, summary.run.memory
    halves = [
        f"{half} on {device}, threads {run.used.threads.get(half, 'unknown')}"
        for half, device in run.used.devices.items()
    ]
    parts = [
        f"{part.path} {part.precision} {part.sha256[:12]}"
        for part in run.used.parts
        if part.precision != "none"
    ]
    split = _split(memory.peak_anonymous_bytes, memory.peak_file_bytes)
    resident = _resident(run.load.resident_fraction)
    lines = [
        "; ".join(halves) if halves else "device unknown",
        f"files: {', '.join(parts) or 'unknown'}",
        f"memory: peak {memory.peak_bytes / _MB:.0f} MB, of it "
        f"{memory.baseline_bytes / _MB:.0f} MB before the load{split}",
        f"load with a {run.load.page_cache} page cache{resident}",
    ]
    lines += [f"vision: {s.seconds_per_step:.4f} s a tile" for s in summary.stages
              if s.seconds_per_step is not None]  # fmt: skip
    for ceiling in run.ceilings:
        rates = ", ".join(f"{k} {v / 1e9:.0f}" for k, v in ceiling.macs_per_s.items())
        lines.append(
            f"ceiling, threads {ceiling.threads}: reads {ceiling.read_bytes_per_s / 1e9:.1f} GB/s; "
            f"{rates} G multiply-adds/s"
        )
    if summary.quality is not None:
        lines.append(f"quality on {summary.quality.data}: {accuracy(summary.quality)}")
    if summary.throttling is not None:
        warning = ": THROTTLED?" if summary.throttling > THROTTLED else ""
        lines.append(f"last repeat over first: {summary.throttling:.2f}{warning}")
    busy = ": a BUSY machine, times mislead" if summary.others_share > BUSY else ""
    lines.append(f"other processes used {summary.others_share:.0%} of the cores{busy}")
    lines.append(f"energy: {_energy(run)}")
    return [f"- {line}" for line in lines]


def accuracy(quality: Quality) -> str:
    return (
        f"{quality.correct} of {quality.n} ({quality.accuracy:.1%}, "
        f"95 % {quality.low:.1%} to {quality.high:.1%})"
    )


def _busy_sides(comparison: Comparison) -> str:
    a, b = comparison.a_others, comparison.b_others
    if max(a, b) <= BUSY:
        return ""
    return f": other processes used {a:.0%} and {b:.0%} of the cores, so this may judge them"


def _energy(run: Run) -> str:
    counted = [sample.energy_joules for sample in run.samples if sample.energy_joules]
    if not counted:
        return "no counter on this machine"
    mean = {name: sum(e.get(name, 0.0) for e in counted) / len(counted) for name in counted[0]}
    idle = {name: f", idle {watts:.1f} W" for name, watts in (run.idle_watts or {}).items()}
    return "; ".join(f"{n} {joules:.2f} J a repeat{idle.get(n, '')}" for n, joules in mean.items())


def _split(anonymous: int | None, mapped: int | None) -> str:
    if anonymous is None or mapped is None:
        return ""
    return f"; anonymous {anonymous / _MB:.0f} MB, file-backed {mapped / _MB:.0f} MB at most"


def _resident(fraction: float | None) -> str:
    return "" if fraction is None else f" ({fraction:.0%} of the files in it)"


def _spread(values: Spread) -> tuple[str, ...]:
    sd = "" if values.sd is None else _seconds(values.sd)
    return (*map(_seconds, (values.p50, values.p90, values.mean)), sd, str(values.n))


def _seconds(value: float) -> str:
    return f"{value:.4f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
