"""What went wrong -> stderr, stdout where a program reads it, and the exit code."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator

import typer

from edge_et.errors import EdgeETError

_INTERRUPTED = 130
_PIPE_CLOSED = 141
"""128 + SIGPIPE, as a shell reports it."""


@contextlib.contextmanager
def failures(*, as_json: bool = False, debug: bool = False) -> Iterator[None]:
    """Run a command. `debug` shows tracebacks and the library's log."""
    if debug:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    try:
        yield
        sys.stdout.flush()
    except EdgeETError as exc:
        _report(exc.code, exc.message, exc.hint, as_json=as_json, debug=debug)
        raise typer.Exit(exc.exit_code) from exc
    except KeyboardInterrupt as exc:
        raise typer.Exit(_INTERRUPTED) from exc
    except BrokenPipeError as exc:
        _silence_stdout()
        raise typer.Exit(_PIPE_CLOSED) from exc
    except (typer.Exit, typer.Abort):
        raise
    except Exception as exc:
        what = f"{type(exc).__name__}: {exc}"
        hint = None if debug else "this is a bug; --debug shows where it happened"
        _report("internal", what, hint, as_json=as_json, debug=debug)
        raise typer.Exit(1) from exc


def _silence_stdout() -> None:
    """After the reader went away: what is still buffered must not fail again when Python exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(code: str, message: str, hint: str | None, *, as_json: bool, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    typer.echo(f"error[{code}]: {message}" + (f"\n  {hint}" if hint else ""), err=True)
    if as_json:
        error = {"code": code, "message": message, "hint": hint}
        typer.echo(json.dumps({"error": error}, ensure_ascii=False))
