"""`edge-et bench loop` on the starter. It prints a measurement: only its bounds are held."""

from __future__ import annotations

import re

from tests.e2e.starter import Run


def test_both_loops_are_measured(edge_et: Run) -> None:
    done = edge_et("bench", "loop", "--prompt", "130", "--decode", "8", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    outside = [float(share) for share in re.findall(r"([\d.]+)% of decode outside", done.stdout)]
    assert len(outside) == 2
    assert all(0 < share < 100 for share in outside)
    assert re.search(r"\([\d.]+ and [\d.]+ tokens/s\)", done.stdout)
