"""Comparisons of runs made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_et.errors import InputError
from edge_et_bench.compare import compare
from tests.bench import WORKLOAD, run_of

A = [1.00, 1.01, 0.99, 1.02, 1.00]


def verdicts(a, b):
    return {c.metric: c.verdict for c in compare(a, b)}


def test_a_slower_run_is_found_in_every_metric_it_has():
    slow = [x * 1.2 + d for x, d in zip(A, (0, 0.01, -0.01, 0, 0.01), strict=True)]
    found = verdicts([run_of(A)], [run_of(slow)])
    assert found == dict.fromkeys(
        ("ttfa_s", "total_s", "vision", "answer_decode", "other"), "slower"
    )
    assert set(verdicts([run_of(slow)], [run_of(A)]).values()) == {"faster"}


def test_noise_is_no_difference():
    assert set(verdicts([run_of(A)], [run_of(A[::-1])]).values()) == {"no difference"}


def test_a_sure_but_tiny_change_is_no_difference():
    barely = [x * 1.01 for x in A]
    (total,) = [c for c in compare([run_of(A)], [run_of(barely)]) if c.metric == "total_s"]
    assert total.ratio.p < 0.001
    assert total.verdict == "no difference"


def test_many_metrics_are_not_many_chances():
    # p = 0.03 by itself, and five metrics are asked
    noisy = [1.2, 1.06, 1.1, 1.25, 1.03]
    (total,) = [c for c in compare([run_of(A)], [run_of(noisy)]) if c.metric == "total_s"]
    assert 0.01 < total.ratio.p < 0.05
    assert total.verdict == "no difference"


def test_configurations_pair_by_label_and_single_ones_with_each_other():
    a = [run_of(A, label="x"), run_of(A, label="y")]
    b = [run_of(A, label="y"), run_of(A, label="z")]
    assert {(c.a, c.b) for c in compare(a, b)} == {("y", "y")}
    assert {(c.a, c.b) for c in compare(a[:1], b[:1])} == {("x", "y")}


def test_rounds_are_taken_in_order():
    first, second = [1.0, 1.01], [2.0, 2.01]
    a = [run_of(first), run_of(second, run_id="r1", number=1)]
    b = [run_of(second, run_id="s1", number=1), run_of(first, run_id="s0")]
    (total,) = [c for c in compare(a, b) if c.metric == "total_s"]
    assert (total.ratio.n, total.ratio.low, total.ratio.high) == (4, 1, 1)


@pytest.mark.parametrize(
    "other",
    [
        run_of(A, workload=replace(WORKLOAD, question="Who?")),
        run_of(A, workload=replace(WORKLOAD, image_sha256="0")),
        run_of(A, workload=replace(WORKLOAD, name="another")),
        run_of(A, cpu="another processor"),
        run_of([1.0]),
    ],
    ids=["question", "image", "workload", "machine", "one repeat"],
)
def test_what_cannot_be_compared_is_refused(other):
    with pytest.raises(InputError):
        compare([run_of(A)], [other])
