"""Metrics of samples whose results are known beforehand."""

from __future__ import annotations

import math

import pytest

from edge_et_bench import metrics
from edge_et_bench.ceiling import share
from edge_et_bench.records import Ceiling, Demand, Stage

CEILING = Ceiling(threads=1, read_bytes_per_s=1e9, macs_per_s={"int8": 2e9}, method="-")


def test_the_spread_of_five_values():
    found = metrics.spread([5, 1, 2, 4, 3])
    assert (found.n, found.mean, found.p50) == (5, 3, 3)
    assert found.p90 == pytest.approx(4.6)
    assert found.sd == pytest.approx(math.sqrt(2.5))


def test_one_value_has_no_spread():
    found = metrics.spread([2.0])
    assert (found.mean, found.p50, found.p90, found.sd) == (2, 2, 2, None)
    with pytest.raises(ValueError, match="no values"):
        metrics.spread([])


def test_wilson():
    # 8 of 10: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.96
    low, high = metrics.wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-3), pytest.approx(0.9433, abs=1e-3))
    low, high = metrics.wilson(10, 10)
    assert low == pytest.approx(0.7225, abs=1e-3)
    assert high == 1


def test_a_slowdown_is_found_with_five_pairs():
    found = metrics.paired_ratio([1.0, 1.01, 0.99, 1.0, 1.02], [1.21, 1.2, 1.19, 1.22, 1.2])
    assert found.value == pytest.approx(1.2, abs=0.01)
    assert 1.15 < found.low < found.value < found.high < 1.25
    assert found.p < 0.001


def test_pairing_takes_out_what_both_sides_share():
    a = [1.0, 2.0, 4.0, 8.0]
    assert (
        metrics.paired_ratio(a, [x * f for x, f in zip(a, (1.1, 1.11, 1.09, 1.1), strict=True)]).p
        < 0.01
    )
    assert metrics.paired_ratio(a, a[::-1]).p > 0.9


def test_the_ratio_turns_round_with_its_sides():
    a, b = [1.0, 1.1, 0.9], [1.3, 1.2, 1.4]
    there, back = metrics.paired_ratio(a, b), metrics.paired_ratio(b, a)
    assert there.value == pytest.approx(1 / back.value)
    assert there.low == pytest.approx(1 / back.high)
    assert there.p == pytest.approx(back.p)


def test_pairs_that_all_say_the_same():
    assert metrics.paired_ratio([1, 2], [1, 2]).p == 1
    twice = metrics.paired_ratio([1, 1], [2, 2])
    assert (twice.value, twice.p) == (pytest.approx(2), 0)


@pytest.mark.parametrize(("a", "b"), [([1], [2]), ([], []), ([1, 2], [1, 2, 3])])
def test_too_few_pairs(a, b):
    with pytest.raises(ValueError, match="pairs"):
        metrics.paired_ratio(a, b)


def test_throttling_is_last_over_first():
    assert metrics.throttling([1.0, 5.0, 1.5]) == 1.5
    assert metrics.throttling([1.0]) is None


def test_shares_of_the_ceiling():
    decode = Stage(name="answer_decode", seconds=2.0, tokens=10, steps=10)
    demand = Demand(
        stage="answer_decode", threads=1, bytes_per_step=100_000_000, macs_per_token=40_000_000
    )
    assert share(decode, demand, CEILING) == {
        "read": pytest.approx(0.5),
        "macs": pytest.approx(0.1),
    }
    vision = Stage(name="vision", seconds=0.5, tokens=700, steps=3)
    seen = share(vision, Demand(stage="vision", threads=1, macs_per_step=100_000_000), CEILING)
    assert seen == {"macs": pytest.approx(0.3)}


def test_a_share_that_cannot_be_known_is_absent():
    demand = Demand(stage="vision", threads=1, macs_per_step=1, compute="fp32")
    assert share(Stage(name="vision", seconds=1.0, steps=1), demand, CEILING) == {}
    assert share(Stage(name="vision", seconds=0.0, steps=1), demand, CEILING) == {}
