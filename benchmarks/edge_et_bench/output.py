"""What the commands hand out: runs in a format, to a file or to stdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from edge_et_bench.records import Run


def rendered(runs: tuple[Run, ...], format: str) -> str:
    from edge_et_bench import record_files, report

    renderers = {
        "md": report.markdown,
        "json": record_files.to_json,
        "jsonl": record_files.to_jsonl,
        "csv": report.table_csv,
    }
    return renderers[format](runs)


def write(text: str, out: Path | None) -> None:
    """Write to the file, and say so on stderr, or to stdout."""
    from edge_et.errors import InputError

    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise InputError(f"{out} cannot be written: {exc}") from exc
    typer.echo(f"wrote {out}", err=True)
