"""`import edge_et` is light, and its names are there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edge_et

HEAVY = ("torch", "transformers", "onnxruntime", "llama_cpp", "typer", "numpy", "PIL")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_importing_loads_nothing_heavy_and_is_quick():
    code = (
        "import sys, time; start = time.process_time(); import edge_et; "
        "print(time.process_time() - start, [m for m in " + repr(HEAVY) + " if m in sys.modules])"
    )
    # of its own processor time, and the least of a few: what else runs here is not its fault
    runs = [run(code).split(" ", 1) for _ in range(3)]
    assert [loaded for _, loaded in runs] == ["[]"] * 3
    assert min(float(seconds) for seconds, _ in runs) < 0.2


def test_the_command_line_loads_no_models_to_print_its_help():
    code = (
        "import sys; sys.argv = ['edge-et', '--help']\n"
        "from edge_et.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'onnxruntime', 'llama_cpp', 'edge_et_export')"
        " if m in sys.modules])"
    )
    output = run(code)
    assert "export" in output
    assert output.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", edge_et.__all__)
def test_each_public_name_exists(name):
    assert getattr(edge_et, name) is not None
    assert name in dir(edge_et)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_such"):
        edge_et.nothing_such  # noqa: B018
