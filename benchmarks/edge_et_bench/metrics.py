"""Numbers from samples: spread, intervals, a paired test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
BUSY = 0.1
"""Share of the cores that others used, from which a machine counts as busy."""
_ROUNDING = 1e-12
THROTTLED = 1.1
"""Last repeat over first, from which a run counts as throttled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    n: int
    mean: float
    sd: float | None
    """Of the sample (n - 1); None for a single value."""
    p50: float
    p90: float
    """Between the neighbouring values, linearly; of five values it is nearly the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times as long B takes as A: the geometric mean over pairs."""

    value: float
    low: float
    high: float
    """Paired t interval of the logarithms, 95 %."""
    p: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    array = np.asarray(values, np.float64)
    return Spread(
        n=len(values),
        mean=float(array.mean()),
        sd=float(array.std(ddof=1)) if len(values) > 1 else None,
        p50=float(np.percentile(array, 50)),
        p90=float(np.percentile(array, 90)),
    )


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Return the Wilson interval of a proportion, 95 %."""
    from scipy.stats import binomtest

    found = binomtest(correct, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> Ratio:
    """Compare times (s, positive) that belong together pair by pair.

    A t test of the logarithms: times are skewed and differences grow with them. A test by signs or
    ranks could not reach p = 0.05 with five pairs. Raises ValueError below two pairs.
    """
    from scipy.stats import ttest_rel

    if len(a) != len(b) or len(a) < 2:
        raise ValueError("a paired test needs at least two pairs")
    logs = np.log(np.asarray(b, np.float64)), np.log(np.asarray(a, np.float64))
    mean = float(np.mean(logs[0] - logs[1]))
    if np.ptp(logs[0] - logs[1]) < _ROUNDING:  # every pair says the same: nothing to test
        same = math.exp(mean)
        return Ratio(value=same, low=same, high=same, p=float(abs(mean) < _ROUNDING), n=len(a))
    test = ttest_rel(*logs)
    interval = test.confidence_interval(CONFIDENCE)
    return Ratio(
        value=math.exp(mean),
        low=math.exp(interval.low),
        high=math.exp(interval.high),
        p=float(test.pvalue),
        n=len(a),
    )


def throttling(totals_s: Sequence[float]) -> float | None:
    """Return the last repeat's time over the first's; None below two repeats."""
    return totals_s[-1] / totals_s[0] if len(totals_s) > 1 and totals_s[0] > 0 else None
