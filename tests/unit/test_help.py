"""Every command explains itself: its help is printed whole, whatever characters stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

APPS = {
    "edge-et": "edge_et.cli.app",
    "edge-et export": "edge_et_export.cli",
    "edge-et verify": "edge_et_export.verify_cli",
    "edge-et bench": "edge_et_bench.cli",
    "edge_et_tuning": "edge_et_tuning.cli",
}
MOUNTED = {"export", "verify", "bench"}
"""Commands of the first app that pass --help on to an app of their own."""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def all_commands() -> Iterator[Any]:
    for program, module in APPS.items():
        app = import_module(module).app
        for path in commands(typer.main.get_command(app)):
            if not (program == "edge-et" and MOUNTED.intersection(path)):
                yield pytest.param(app, path, id=" ".join((program, *path)))


@pytest.mark.parametrize(("app", "path"), all_commands())
def test_help(app: typer.Typer, path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"])
    assert (shown.exit_code, shown.exception) == (0, None), shown.output
    assert "Usage:" in shown.stdout
    assert "--help" in shown.stdout
