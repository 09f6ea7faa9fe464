"""Runtimes in one table, the ones that did not run with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_et_bench.records import Run, StageName
from edge_et_bench.report import environment_lines, table
from edge_et_bench.runner import WorkerFailed
from edge_et_bench.summary import StageSummary, Summary, summarize

_HEADS = (
    "runtime", "load s", "vision s", "prefill s", "prefill tokens/s", "decode s",
    "decode tokens/s", "first token s", "n", "peak MB", "others",
)  # fmt: skip


def side_by_side(runs: Sequence[Run], failures: Mapping[str, WorkerFailed]) -> str:
    """Return the machine, a table for each workload, and what did not run.

    Seconds are medians, rates all tokens over all seconds; `others` is the share of the cores that
    other processes used meanwhile: where it is large, times mislead.
    """
    summaries = summarize(runs)
    names = dict.fromkeys(summary.run.workload.name for summary in summaries)
    sections = [
        environment_lines(runs[0].environment),
        *(_section(name, summaries) for name in names),
        not_run(failures),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def not_run(failures: Mapping[str, WorkerFailed]) -> str:
    """Return a line for each configuration that failed; empty without any."""
    lines = []
    for label, error in failures.items():
        missing = error.code == "missing_dependency"
        hint = f" ({error.hint})" if error.hint else ""
        verdict = "not installed: " if missing else "did not run: "
        lines.append(f"- {label} {verdict}{error.message}{hint}")
    return "\n".join(lines)


def _section(name: str, summaries: Sequence[Summary]) -> str:
    chosen = [summary for summary in summaries if summary.run.workload.name == name]
    return f"### {name}: {chosen[0].run.workload.summary}\n\n" + table(
        _HEADS, [_row(summary) for summary in chosen]
    )


def _row(summary: Summary) -> tuple[str, ...]:
    stages = {stage.name: stage for stage in summary.stages}
    first = summary.user.get("ttft_extract_s")
    return (
        summary.run.configuration.label,
        f"{summary.load_s.p50:.2f}",
        _seconds(stages, "vision"),
        _seconds(stages, "extract_prefill"),
        _rate(stages, "extract_prefill"),
        _seconds(stages, "extract_decode"),
        _rate(stages, "extract_decode"),
        f"{first.p50:.3f}" if first else "",
        str(summary.stages[0].seconds.n),
        f"{summary.peak_bytes / 1e6:.0f}",
        f"{summary.others_share:.0%}",
    )


def _seconds(stages: Mapping[StageName, StageSummary], name: StageName) -> str:
    return f"{stages[name].seconds.p50:.3f}" if name in stages else ""


def _rate(stages: Mapping[StageName, StageSummary], name: StageName) -> str:
    rate = stages[name].tokens_per_s if name in stages else None
    return "" if rate is None else f"{rate:.1f}"
