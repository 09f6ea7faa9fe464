"""Measured numbers that are no stage of a run, each with what it took to get it: files of lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edge_et.errors import InputError
from edge_et.plain import Mismatch, build

Name = Literal[
    "vision over fp32",  # onnxruntime's fp32 encoder's time over ours
    "vision cosine",  # of our features with those of fp32, the smallest of the tokens
    "reasoner prefill",  # our speed over that of bare llama.cpp calls
    "reasoner decode",
    "reasoner outside",  # share of the decode's wall clock outside llama.cpp
    "extractor outside",  # outside onnxruntime
    "another question",  # a first question's time to its first token over that of another one
    "same question",  # the share of calls in which no model of the extractor ran
    "handoff hidden",  # share of the description's tokens that were read while it was written
    "handoff total",  # time of the whole call without over with
    "memory error",  # prediction over the measured peak, less 1; the largest of a matrix
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The median of `n` repeats, both sides in turn, in one process."""

    name: Name
    subject: str
    """Models and setting, for people."""
    value: float
    least: float
    most: float
    """Of the repeats."""
    n: int
    cpu: str
    versions: dict[str, str]
    commit: str | None


def finding(name: Name, subject: str, values: Iterable[float]) -> Finding:
    """Return the record of the repeats' values, of this machine and these libraries."""
    import statistics

    from edge_et_bench.environment import describe

    found, machine = list(values), describe()
    return Finding(
        name=name, subject=subject, value=statistics.median(found), least=min(found),
        most=max(found), n=len(found), cpu=machine.cpu, versions=machine.versions,
        commit=machine.commit,
    )  # fmt: skip


def add(file: Path, found: Iterable[Finding]) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write("".join(json.dumps({"kind": "finding"} | asdict(one)) + "\n" for one in found))


def is_findings(file: Path) -> bool:
    """Return whether the file's first line is a finding; raises InputError if it has none."""
    try:
        with file.open(encoding="utf-8") as lines:
            return '"kind": "finding"' in lines.readline()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{file} cannot be read: {exc}") from exc


def read(file: Path) -> tuple[Finding, ...]:
    """Raises InputError, naming the line that is none."""
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            raw = json.loads(line)
            raw.pop("kind", None)
            found.append(build(Finding, raw, f"{file}:{number}"))
        except (Mismatch, json.JSONDecodeError, AttributeError) as exc:
            raise InputError(f"{file}:{number} is no finding: {exc}") from exc
    return tuple(found)


def markdown(found: Iterable[Finding]) -> str:
    from edge_et_bench.report import table

    rows = [
        (f.name, f.subject, f"{f.value:.3f}", f"{f.least:.3f} to {f.most:.3f}", str(f.n))
        for f in found
    ]
    return table(("found", "of", "median", "least to most", "n"), rows)
