"""Runs as one self-contained page: charts as SVG inside it, the tables below."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edge_et_bench import charts
from edge_et_bench.records import Run
from edge_et_bench.report import markdown
from edge_et_bench.summary import Summary, summarize

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}"
    "svg{max-width:100%;height:auto}table{border-collapse:collapse;font-size:13px}"
    "td,th{border:1px solid #ccc;padding:.15rem .5rem;text-align:right}"
    "td:first-child,th:first-child{text-align:left}"
)


def page(runs: Sequence[Run]) -> str:
    """Return the page. Raises MissingDependency without matplotlib."""
    from markdown_it import MarkdownIt

    summaries = summarize(runs)
    figures = [("Seconds by stage", charts.stage_bars(summaries))]
    if (chart := charts.frontier(summaries)) is not None:
        figures.append(("Accuracy, seconds and memory", chart))
    for summary in summaries:
        figures += _charts_of(summary)
    body = "".join(f"<h2>{escape(title)}</h2>\n{svg}\n" for title, svg in figures)
    tables = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(runs))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>edge-et bench</title>'
        f"<style>{_STYLE}</style><h1>edge-et bench</h1>\n{body}{tables}</html>\n"
    )


def _charts_of(summary: Summary) -> list[tuple[str, str]]:
    found = [(f"Memory: {summary.title}", charts.memory_over_time(summary.run))]
    if (roofline := charts.roofline(summary)) is not None:
        found.append((f"Roofline: {summary.title}", roofline))
    return found
