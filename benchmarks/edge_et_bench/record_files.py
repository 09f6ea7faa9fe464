"""Runs to JSON and jsonl, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edge_et.errors import InputError
from edge_et.plain import Mismatch, build
from edge_et_bench.records import Run, Sample

_WRITE = "write some: edge-et bench --format jsonl --out FILE"


def to_json(runs: Iterable[Run]) -> str:
    return json.dumps([asdict(run) for run in runs], ensure_ascii=False, indent=1) + "\n"


def to_jsonl(runs: Iterable[Run]) -> str:
    """Return a line for each run, without its samples, then a line for each sample."""
    return "".join(
        json.dumps(record, ensure_ascii=False) + "\n" for run in runs for record in _lines(run)
    )


def _lines(run: Run) -> Iterator[dict[str, Any]]:
    yield {"kind": "run"} | asdict(replace(run, samples=()))
    for sample in run.samples:
        yield {"kind": "sample"} | asdict(sample)


def read_runs(path: Path) -> tuple[Run, ...]:
    """Read what `to_json` or `to_jsonl` wrote. Raises InputError, naming the line and the field."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{path} cannot be read: {exc}") from exc
    try:
        if text.lstrip().startswith("["):
            runs = tuple(run_of(raw, f"{path}[{i}]") for i, raw in enumerate(json.loads(text)))
        else:
            runs = _of_lines(path, text)
    except (Mismatch, json.JSONDecodeError) as exc:
        raise InputError(f"{path} holds no benchmark runs: {exc}", hint=_WRITE) from exc
    if not runs:
        raise InputError(f"{path} holds no benchmark runs", hint=_WRITE)
    return runs


def _of_lines(path: Path, text: str) -> tuple[Run, ...]:
    runs: dict[str, Run] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where, raw = f"{path}:{number}", json.loads(line)
        kind = raw.pop("kind", None) if isinstance(raw, dict) else None
        if kind == "run":
            run = run_of(raw, where)
            runs[run.run_id] = run
        elif kind == "sample":
            sample = build(Sample, raw, where)
            if sample.run_id not in runs:
                raise Mismatch(f"{where}: a sample of the unknown run {sample.run_id}")
            run = runs[sample.run_id]
            runs[run.run_id] = replace(run, samples=(*run.samples, sample))
        else:
            raise Mismatch(f"{where}: neither a run nor a sample")
    return tuple(runs.values())


def run_of(raw: Any, where: str) -> Run:
    """Build a run from parsed JSON. Raises `edge_et.plain.Mismatch`."""
    return build(Run, raw, where)
