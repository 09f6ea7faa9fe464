"""Which rows of the two caches are up to date, through any order of runs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_et import int8_cache
from edge_et.int8_cache import FLAG, Int8Cache

CAPACITY, SHAPE = 24, (1, 2, 24, 8)


class FakeBinding:
    """Holds what the graph would read, as onnxruntime's binding does."""

    def __init__(self):
        self.inputs, self.shared = {}, {}

    def bind_input(self, name, array):
        self.inputs[name] = array

    def share(self, name, _, shape):
        self.shared[name] = np.zeros(shape, np.int8)
        return self.shared[name]


def conversation():
    binding = FakeBinding()
    exact = [np.zeros(SHAPE, np.float32) for _ in range(4)]
    return SimpleNamespace(binding=binding, exact=exact, cache=Int8Cache(binding, exact, threads=2))


def run(c, rng, truth, past, count):
    """Do what the graph does: read all rows before, write `count` more, on the side in use."""
    if count == 1:
        c.cache.before_one(past)
    else:
        c.cache.before_many(past, past + count)
    small = [c.binding.shared[past_name] for past_name, _ in int8_cache.int8_names(2)]
    steps = [c.binding.inputs[name] for name in int8_cache.scale_names(2)]
    for part, (exact, int8, step) in enumerate(zip(c.exact, small, steps, strict=True)):
        on = bool(c.binding.inputs[FLAG])
        seen = int8[:, :, :past] * step if on else exact[:, :, :past]
        # written rows may be cut off; the prompt's are within half a step
        np.testing.assert_allclose(seen, truth[part][:, :, :past], atol=0.2)
        new = rng.uniform(-1, 1, (1, 2, count, 8)).astype(np.float32)
        truth[part][:, :, past : past + count] = new
        if on:
            int8[:, :, past : past + count] = np.rint(new / step).clip(-128, 127)
        else:
            exact[:, :, past : past + count] = new


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, CAPACITY), st.sampled_from([1, 1, 1, 2, 5])), max_size=25),
    st.integers(0, 3),
)
def test_every_run_reads_the_rows_that_were_written(runs, exact_runs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_cache, "_EXACT_RUNS", exact_runs)
        patch.setattr(int8_cache, "_SMALL_BYTES", 0)
        rng, c = np.random.default_rng(0), conversation()
        truth = [np.zeros(SHAPE, np.float32) for _ in range(4)]
        run(c, rng, truth, 0, 8)  # a prompt, so that the steps fit
        length = 8
        for back, count in runs:
            past = max(8, length - back)
            if past + count <= CAPACITY:
                run(c, rng, truth, past, count)
                length = past + count
        c.cache.make_exact(length)
        for part, exact in enumerate(c.exact):
            np.testing.assert_allclose(exact[:, :, :length], truth[part][:, :, :length], atol=0.2)


@pytest.mark.parametrize("rows", [12, 16, 17])  # fewer, as many and more than are reduced at once
def test_rows_are_rounded_to_within_half_a_step(monkeypatch, rows):
    monkeypatch.setattr(int8_cache, "_EXACT_RUNS", 0)
    monkeypatch.setattr(int8_cache, "_SMALL_BYTES", 0)
    c = conversation()
    rng = np.random.default_rng(1)
    scales = 10.0 ** rng.integers(-3, 3, (1, 2, 1, 8))  # channels of very different sizes
    for exact in c.exact:
        exact[:, :, :rows] = rng.standard_normal((1, 2, rows, 8)) * scales
    c.cache.before_many(0, rows)
    c.cache.before_one(rows)
    for exact, (name, _), scale in zip(
        c.exact, int8_cache.int8_names(2), int8_cache.scale_names(2), strict=True
    ):
        step = c.binding.inputs[scale]
        back = c.binding.shared[name][:, :, :rows] * step
        assert (np.abs(back - exact[:, :, :rows]) <= step * 0.501).all()
        largest = np.abs(exact[:, :, :rows]).max(axis=2, keepdims=True)
        np.testing.assert_allclose(step * 127, largest * 1.5, rtol=1e-5)


def test_rows_written_by_others_are_taken_as_exact(monkeypatch):
    monkeypatch.setattr(int8_cache, "_EXACT_RUNS", 0)
    monkeypatch.setattr(int8_cache, "_SMALL_BYTES", 0)
    c = conversation()
    c.exact[0][:, :, :6] = 1
    c.cache.before_many(0, 6)
    c.cache.before_one(6)
    c.exact[0][:, :, :6] = 3
    c.cache.replaced(6)
    c.cache.before_one(6)
    step = c.binding.inputs["int8_scale.0.key"]
    back = c.binding.shared["past_int8.0.key"][:, :, :6] * step
    np.testing.assert_allclose(back, 3, rtol=0.02)


def test_a_conversation_may_begin_with_a_single_row(monkeypatch):
    monkeypatch.setattr(int8_cache, "_EXACT_RUNS", 4)
    monkeypatch.setattr(int8_cache, "_SMALL_BYTES", 0)
    c, rng = conversation(), np.random.default_rng(0)
    truth = [np.zeros(SHAPE, np.float32) for _ in range(4)]
    for past in range(12):
        run(c, rng, truth, past, 1)
        assert bool(c.binding.inputs[FLAG]) == (past >= 4)


def test_int8_rows_count_once_they_are_written(monkeypatch):
    monkeypatch.setattr(int8_cache, "_EXACT_RUNS", 0)
    monkeypatch.setattr(int8_cache, "_SMALL_BYTES", 0)
    c = conversation()
    c.cache.before_many(0, 6)
    assert c.cache.held_bytes == 0
    c.cache.before_one(6)
    assert c.cache.held_bytes == 7 * 4 * 2 * 8  # rows, buffers, heads, channels
