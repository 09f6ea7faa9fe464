"""`edge-et cache info|clear`: what `--disk-cache` left on disk."""

from __future__ import annotations

from dataclasses import asdict

import typer

from edge_et.cli import options as o
from edge_et.cli.failures import failures
from edge_et.cli.output import print_json

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="What --disk-cache left on disk: look at it, remove it.",
)


@app.command()
def info(as_json: o.JSON = False, debug: o.DEBUG = False) -> None:
    """Say where it lies, and what it takes."""
    with failures(as_json=as_json, debug=debug):
        from edge_et.caching.disk import DiskCache, default_folder
        from edge_et.config import RuntimeConfig

        disk = DiskCache(default_folder(), RuntimeConfig().disk_cache_bytes)
        contents = disk.contents()
        size_bytes = sum(one.size_bytes for one in contents)
        if as_json:
            print_json({
                "folder": str(disk.folder), "size_bytes": size_bytes,
                "limit_bytes": disk.limit_bytes, "contents": [asdict(one) for one in contents],
            })  # fmt: skip
            return
        typer.echo(disk.folder)
        for one in contents:
            typer.echo(f"{one.kind:<11}{one.entries:>5}{one.size_bytes / 1e6:>11,.1f} MB")
        limit = f"of at most {disk.limit_bytes / 1e6:,.0f} MB"
        typer.echo(f"{'together':<16}{size_bytes / 1e6:>11,.1f} MB {limit}")


@app.command()
def clear(as_json: o.JSON = False, debug: o.DEBUG = False) -> None:
    """Remove all of it. Models stay."""
    with failures(as_json=as_json, debug=debug):
        from edge_et.caching.disk import DiskCache, default_folder

        disk = DiskCache(default_folder(), 0)
        size_bytes = sum(one.size_bytes for one in disk.contents())
        disk.clear()
        if as_json:
            print_json({"folder": str(disk.folder), "freed_bytes": size_bytes})
        else:
            typer.echo(f"{size_bytes / 1e6:,.1f} MB removed from {disk.folder}")
