"""`edge-et bench cancel` on the starter. How long a cancel takes is a measurement, no test."""

from __future__ import annotations

import edge_et
from edge_et.config import GenerationConfig, RuntimeConfig
from edge_et_bench.cancel import STAGES, measure
from tests.e2e.starter import ROOT, Run

IMAGE = ROOT / "examples" / "shapes.png"


def test_cancelled_calls_return_and_leave_a_chain_that_answers():
    forced = GenerationConfig(
        extraction_budget_tokens=64, think_budget_tokens=64, answer_budget_tokens=64,
        ignore_stop=True,
    )  # fmt: skip
    with edge_et.load("starter", runtime=RuntimeConfig(cache_bytes=0)) as chain:
        found = measure(chain, IMAGE, "What colour is the star?", forced, repeats=2)
        assert [one.stage for one in found] == list(STAGES.values())
        assert any(one.waits_s for one in found)
        assert chain.ask(IMAGE, "What colour is the star?").text == "orange"


def test_a_row_for_each_stage(edge_et: Run) -> None:
    done = edge_et("bench", "cancel", str(IMAGE), "What colour is the star?", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]]
    assert rows == list(STAGES.values())
