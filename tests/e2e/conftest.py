"""The command line in real processes, with the pair that ships."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from tests.e2e.starter import ROOT, SCRIPT, Run, read_examples


@pytest.fixture(scope="session")
def edge_et() -> Run:
    """Return a function that runs `edge-et` in a process of its own."""

    def run(
        *arguments: str,
        stdin: str | bytes | None = None,
        env: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> subprocess.CompletedProcess[str]:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*prefix, str(SCRIPT), *arguments],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env={**os.environ, **(env or {})},
            cwd=ROOT,
            timeout=120,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


@pytest.fixture(scope="session")
def example() -> dict[str, Any]:
    """One example, with the image as a path from the root."""
    first = read_examples()[0]
    return {**first, "image": f"examples/{first['image']}"}
