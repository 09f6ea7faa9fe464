"""Charts of the report, drawn by matplotlib, as SVG elements to stand in a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from edge_et.errors import MissingDependency
from edge_et_bench.records import Ceiling, Run, StageName
from edge_et_bench.summary import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN = 9.0
_MB = 1e6
_STAGES = get_args(StageName)
_PALETTE = "tab10"


def stage_bars(summaries: Sequence[Summary]) -> str:
    """Mean seconds of each stage, stacked, a bar for each configuration and workload."""
    figure, axes = _figure(0.9 + 0.45 * len(summaries))
    starts_s = [0.0] * len(summaries)
    places = range(len(summaries))
    for index, name in enumerate(_STAGES):
        widths = [_mean_s(summary, name) for summary in summaries]
        if any(widths):
            axes.barh(places, widths, left=starts_s, label=name, color=_colour(index))
        starts_s = [start + width for start, width in zip(starts_s, widths, strict=True)]
    axes.set_yticks(places, [summary.title for summary in summaries])
    axes.invert_yaxis()
    axes.set_xlabel("seconds, mean")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    return _svg(figure)


def memory_over_time(run: Run) -> str:
    """Resident memory of the process tree from the load to the last repeat."""
    figure, axes = _figure(2.6)
    points = run.memory.timeline
    seconds = [point.at_s for point in points]
    if all(p.anonymous_bytes is not None and p.file_bytes is not None for p in points):
        parts = [
            [(point.anonymous_bytes or 0) / _MB for point in points],
            [(point.file_bytes or 0) / _MB for point in points],
        ]
        axes.stackplot(seconds, *parts, labels=["anonymous", "file-backed"])
    else:
        axes.plot(seconds, [point.rss_bytes / _MB for point in points], label="resident")
    if any(point.gpu_bytes is not None for point in points):
        axes.plot(seconds, [(p.gpu_bytes or 0) / _MB for p in points], label="GPU", color="black")
    base_mb = run.memory.baseline_bytes / _MB
    axes.axhline(base_mb, linestyle=":", color="black", label="before the load")
    axes.set_xlabel("seconds from the start of the load")
    axes.set_ylabel("MB")
    axes.legend(loc="lower right", fontsize="small")
    return _svg(figure)


def roofline(summary: Summary) -> str | None:
    """Each stage's multiply-adds a second over those per byte read, under what was measured.

    None without a ceiling, or when no stage's demand is known whole.
    """
    run = summary.run
    if not run.ceilings:
        return None
    figure, axes = _figure(3.4)
    drawn = 0
    for demand in run.demands:
        stage = next((s for s in run.samples[-1].outcome.stages if s.name == demand.stage), None)
        if stage is None or not demand.bytes_per_step or not stage.steps or stage.seconds <= 0:
            continue
        macs = (demand.macs_per_token or 0) * (stage.tokens or 0)
        macs += (demand.macs_per_step or 0) * stage.steps
        intensity = macs / (demand.bytes_per_step * stage.steps)
        axes.plot(intensity, macs / stage.seconds / 1e9, "o", label=demand.stage)
        drawn += 1
    if not drawn:
        return None
    for ceiling in run.ceilings:
        _draw_roofs(axes, ceiling)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("multiply-adds per byte read")
    axes.set_ylabel("G multiply-adds/s")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    return _svg(figure)


def frontier(summaries: Sequence[Summary]) -> str | None:
    """Accuracy over seconds to the answer, the area of a point its memory; None below two."""
    judged = [s for s in summaries if s.quality is not None and "total_s" in s.user]
    if len(judged) < 2:
        return None
    figure, axes = _figure(3.4)
    for summary in judged:
        assert summary.quality is not None
        q, x = summary.quality, summary.user["total_s"].p50
        below, above = q.accuracy - q.low, q.high - q.accuracy
        axes.errorbar(x, q.accuracy, yerr=[[below], [above]], color="grey", capsize=3)
        axes.scatter(x, q.accuracy, s=summary.peak_bytes / _MB / 4, label=summary.title, alpha=0.7)
    axes.set_xlabel("seconds to the whole answer, median")
    axes.set_ylabel("accuracy, Wilson 95 %")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small", markerscale=0.4)
    return _svg(figure)


def _draw_roofs(axes: Axes, ceiling: Ceiling) -> None:
    reach = [2.0**power for power in range(-3, 14)]
    for kind, rate in ceiling.macs_per_s.items():
        roof = [min(rate, x * ceiling.read_bytes_per_s) / 1e9 for x in reach]
        axes.plot(reach, roof, label=f"measured, {kind}, threads {ceiling.threads}")


def _mean_s(summary: Summary, name: str) -> float:
    return next((stage.seconds.mean for stage in summary.stages if stage.name == name), 0.0)


def _colour(index: int) -> Any:
    from matplotlib import colormaps

    return colormaps[_PALETTE](index % 10)


def _figure(height_in: float) -> tuple[Figure, Axes]:
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise MissingDependency(
            "the HTML report needs matplotlib, which is not installed",
            hint='pip install "edge-et[bench]"',
        ) from exc
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
