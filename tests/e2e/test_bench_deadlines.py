"""`edge-et bench deadlines` on the starter. Whether one is kept is a measurement, no test."""

from __future__ import annotations

from pathlib import Path

import edge_et
from edge_et.config import RuntimeConfig
from edge_et_bench.deadlines import keep
from tests.e2e.starter import Run

IMAGE = Path("examples/shapes.png")
QUESTION = "What colour is the star?"


def test_every_call_does_all_of_its_work():
    answers = []

    def ask(chain, deadline_s):
        answers.append(chain.ask(IMAGE, QUESTION))
        return answers[-1]

    kept = keep(lambda: edge_et.load("starter", runtime=RuntimeConfig(cache_bytes=0)), ask, 60.0, 3)
    assert [a.reused_tokens for a in answers] == [0, 0, 0]
    assert all(a.served.image_features == "computed" for a in answers)
    assert (len(kept.totals_s), kept.in_time, kept.reasons) == (3, 3, (("stop", 3),))


def test_a_row_for_each_deadline(edge_et: Run) -> None:
    done = edge_et(
        "bench", "deadlines", str(IMAGE), QUESTION, "--deadline", "20s", "--deadline", "1ms",
        "--calls", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()[2:]]
    assert [row[1:4] for row in rows] == [["20", "2", "2"], ["0.001", "2", "0"]]
