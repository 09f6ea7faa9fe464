"""Commands of the sibling packages, imported when they are called."""

from __future__ import annotations

from importlib import import_module

import typer

from edge_et.cli.failures import failures
from edge_et.errors import MissingDependency


def mount(app: typer.Typer, name: str, *, target: str, extra: str, summary: str) -> None:
    """Mount the typer app at `target` ("module:attribute"), which needs the extra `extra`.

    All arguments, --help included, go to it unread.
    """

    @app.command(
        name,
        help=summary,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def command(ctx: typer.Context) -> None:
        with failures(debug="--debug" in ctx.args):
            arguments = [a for a in ctx.args if a != "--debug"]
            try:
                module, attribute = target.split(":")
                mounted = getattr(import_module(module), attribute)
                typer.main.get_command(mounted)(
                    args=arguments, prog_name=f"edge-et {name}", standalone_mode=True
                )
            except ModuleNotFoundError as exc:
                raise MissingDependency(
                    f"edge-et {name} needs {exc.name}, which is not installed",
                    hint=f'pip install "edge-et[{extra}]"',
                ) from exc
