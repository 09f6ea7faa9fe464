"""Result files that are committed, and the tables in documents that are rendered from them.

A document marks the place, by a path relative to itself, and a command fills it in:

    <!-- results: ../benchmarks/results/language-half.jsonl -->
    <!-- end of results -->

`targets:` and one or several files give the table of targets in its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_et.errors import InputError
from edge_et_bench import targets
from edge_et_bench.record_files import read_runs
from edge_et_bench.records import Configuration, Run, StageName
from edge_et_bench.report import environment_lines, table
from edge_et_bench.summary import StageSummary, Summary, summarize

_PLACE = re.compile(
    r"(?P<start><!-- (?P<what>results|targets): (?P<paths>[^>]+) -->\n)"
    r".*?(?P<end><!-- end of (?P=what) -->)",
    re.DOTALL,
)
_STAGES: tuple[StageName, ...] = ("vision", "extract_prefill", "extract_decode")
_HEADS = (
    "runtime", "vision s", "prefill tokens/s", "decode tokens/s", "first token s", "peak MB",
    "vision of multiply-adds", "prefill of multiply-adds", "decode of read", "n",
)  # fmt: skip
_OWN = "edge-et"


def publishable(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Return the runs without what is of this machine alone or fills files: folders, timelines."""
    return tuple(
        replace(
            run,
            configuration=_shortened(run.configuration),
            workload=replace(run.workload, image=_name(run.workload.image) or ""),
            memory=replace(run.memory, timeline=()),
        )
        for run in runs
    )


def filled(document: Path) -> str:
    """Return the document's text with its tables rendered anew.

    Raises InputError when it marks no place, or names a file that holds no runs.
    """
    text = document.read_text(encoding="utf-8")
    if not _PLACE.search(text):
        raise InputError(
            f"{document} marks no place for results",
            hint="write <!-- results: FILE.jsonl --> and <!-- end of results --> where they go",
        )

    def fill(place: re.Match[str]) -> str:
        files = [document.parent / path for path in place["paths"].split()]
        if place["what"] == "targets":
            body = targets.markdown(targets.rows(files))
        else:
            body = results_table([run for file in files for run in read_runs(file)])
        return f"{place['start']}{body}\n{place['end']}"

    return _PLACE.sub(fill, text)


def results_table(runs: Sequence[Run]) -> str:
    """Return a row for each configuration, edge-et's first, and the machine below.

    Columns that no row fills are left out. Seconds, and the rates and shares of them, are medians;
    shares are of the ceiling measured in the same process.
    """
    summaries = sorted(summarize(runs), key=_order)
    rows = [_row(summary) for summary in summaries]
    kept = [i for i in range(len(_HEADS)) if any(row[i] for row in rows)]
    body = table([_HEADS[i] for i in kept], [[row[i] for i in kept] for row in rows])
    machine = environment_lines(runs[0].environment).replace("\n", "; ")
    return f"{body}\n\n{machine}"


def _order(summary: Summary) -> tuple[bool, str]:
    configuration = summary.run.configuration
    return not configuration.runtime.startswith(_OWN), configuration.label


def _row(summary: Summary) -> tuple[str, ...]:
    stages = {stage.name: stage for stage in summary.stages}
    vision, prefill, decode = (stages.get(name) for name in _STAGES)
    first = summary.user.get("ttft_extract_s")
    return (
        summary.run.configuration.label,
        f"{vision.seconds.p50:.2f}" if vision else "",
        _rate(prefill),
        _rate(decode),
        f"{first.p50:.2f}" if first else "",
        f"{summary.peak_bytes / 1e6:.0f}",
        _share(vision.macs_share if vision else None),
        _share(prefill.macs_share if prefill else None),
        _share(decode.read_share if decode else None),
        str(summary.stages[0].seconds.n),
    )


def _rate(stage: StageSummary | None) -> str:
    """Return tokens a second at the median, so that one disturbed sample does not count."""
    if stage is None or not stage.tokens_per_s:
        return ""
    return f"{stage.tokens_per_s * stage.seconds.mean / stage.seconds.p50:.1f}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _shortened(configuration: Configuration) -> Configuration:
    options = configuration.options
    return replace(
        configuration,
        extractor=_name(configuration.extractor),
        reasoner=_name(configuration.reasoner),
        options=options and {key: _name(value) or "" for key, value in options.items()},
    )


def _name(path: str | None) -> str | None:
    return path and path.rstrip("/").rpartition("/")[2]
