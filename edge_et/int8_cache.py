"""A KV cache in int8, read while single tokens are written: a quarter of the bytes of float32.

Each channel of each head has a step size of its own, taken from the rows of the prompt. The prompt
itself is read in float32 (docs/decisions/0008). Graphs that can do this take the inputs named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from edge_et.ort import Array, Binding

F32 = npt.NDArray[np.float32]

FLAG = "int8_cache"
"""Input [] bool: whether this run reads and writes the int8 cache, or the exact one."""
_LEVELS = 127
_MARGIN = 1.5
"""Room above the prompt's largest value in a channel: what is written later may be larger, and is
cut off there."""
_EXACT_RUNS = 16
"""Tokens that are written exactly before. They are not like the prompt's (image rows, most of
them), and the steps should fit them too: without them 289 of 300 extractions of the starter came
out the same, with them 298. By then the rounding pays, which costs what seven tokens save."""
_SMALL_BYTES = 16 * 1024 * 1024
"""An exact cache up to that size is a small part of what a token reads, and stays in use."""
_TINY = 1e-12
_ROWS_AT_ONCE = 16
"""numpy reduces long rows faster than short ones: so many tokens count as one row."""
_COPY_BYTES = 4 * 1024 * 1024
"""Of a copy in float32 of rows to be rounded, a thread."""
_MOST_THREADS = 4
"""More read no faster than memory gives, and each takes a copy."""


class Int8Cache:
    """The int8 side of one conversation's KV cache, and which rows are up to date on which side.

    Buffers of both sides are [1, kv_heads, capacity, head_dim], one a layer and part.
    """

    def __init__(self, binding: Binding, exact: Sequence[Array], *, threads: int) -> None:
        """Bind int8 buffers beside the `exact` ones; they take memory once rows are written.

        `threads`: that there are to round with; numpy leaves the interpreter free meanwhile.
        """
        self._exact, self._threads = exact, min(threads, _MOST_THREADS)
        self._on = np.array(False)
        binding.bind_input(FLAG, self._on)
        self._int8: list[Array] = []
        self._steps: list[F32] = []
        layers, (_, kv_heads, _, head_dim) = len(exact) // 2, exact[0].shape
        for (past, present), scale in zip(int8_names(layers), scale_names(layers), strict=True):
            small = binding.share(past, present, exact[0].shape)
            assert small is not None  # such graphs are for CPUs
            self._int8.append(small)
            self._steps.append(np.ones((1, kv_heads, 1, head_dim), np.float32))
            binding.bind_input(scale, self._steps[-1])
        self._token_bytes = sum(buffer[:, :, 0].nbytes for buffer in exact)
        self._exact_tokens = self._int8_tokens = self._exact_runs = self._touched_tokens = 0

    @property
    def held_bytes(self) -> int:
        """What the int8 buffers take: only rows that were ever written are resident."""
        return self._touched_tokens * sum(small[:, :, 0].nbytes for small in self._int8)

    def before_many(self, past_tokens: int, total_tokens: int) -> None:
        """Prepare for a run that reads the first rows exactly and writes the others so."""
        self.make_exact(past_tokens)
        self._on[...] = False
        self._exact_tokens, self._int8_tokens, self._exact_runs = total_tokens, 0, 0

    def before_one(self, past_tokens: int) -> None:
        """Prepare for a run of one row: exact at first, in int8 after some of them."""
        if self._int8_tokens == 0 or self._int8_tokens < past_tokens:
            if self._exact_runs < _EXACT_RUNS or past_tokens * self._token_bytes < _SMALL_BYTES:
                self._exact_runs += 1
                self.make_exact(past_tokens)
                self._on[...], self._exact_tokens = False, past_tokens + 1
                return
            with ThreadPoolExecutor(self._threads) as pool:
                work = partial(_round, tokens=past_tokens)
                for _ in pool.map(work, self._exact, self._int8, self._steps):
                    pass
        self._on[...] = True
        self._exact_tokens = min(self._exact_tokens, past_tokens)
        self._int8_tokens = past_tokens + 1
        self._touched_tokens = max(self._touched_tokens, self._int8_tokens)

    def make_exact(self, tokens: int) -> None:
        """Bring the first rows of the exact buffers up to date."""
        stale = slice(self._exact_tokens, tokens)
        if stale.start >= stale.stop:
            return
        for target, small, step in zip(self._exact, self._int8, self._steps, strict=True):
            np.multiply(small[:, :, stale], step, out=target[:, :, stale])
        self._exact_tokens = tokens

    def replaced(self, tokens: int) -> None:
        """Note that others wrote the first rows of the exact buffers, and only those are valid."""
        self._exact_tokens, self._int8_tokens = tokens, 0


def rounding_bytes(threads: int) -> int:
    """Return what the copies take while the cache is rounded."""
    return min(threads, _MOST_THREADS) * _COPY_BYTES


def int8_names(layers: int) -> list[tuple[str, str]]:
    """List the (past, present) names of the int8 cache, keys and values of each layer."""
    return [
        (f"past_int8.{layer}.{part}", f"present_int8.{layer}.{part}")
        for layer in range(layers)
        for part in ("key", "value")
    ]


def scale_names(layers: int) -> list[str]:
    """List the inputs with the step sizes, in the order of `int8_names`."""
    return [f"int8_scale.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def _round(exact: Array, buffer: Array, step: F32, tokens: int) -> None:
    """Round the rows of all heads, some heads at a time: their copy is what this takes in memory.

    Not one at a time: threads that return to the interpreter so often wait for each other.
    """
    at_once = max(1, _COPY_BYTES // exact[0, 0, :tokens].nbytes)
    for first in range(0, exact.shape[1], at_once):
        heads = slice(first, first + at_once)
        rows: F32 = exact[0, heads, :tokens]
        step[0, heads] = np.maximum(_largest(rows) * (_MARGIN / _LEVELS), _TINY)
        scaled = rows * (1 / step[0, heads])
        np.rint(scaled, out=scaled)
        buffer[0, heads, :tokens] = scaled


def _largest(rows: F32) -> F32:
    """Return the largest absolute value of each channel of the rows [heads, n, head_dim], as
    [heads, 1, head_dim]."""
    heads, tokens, head_dim = rows.shape
    whole = tokens // _ROWS_AT_ONCE * _ROWS_AT_ONCE
    wide = rows[:, :whole].reshape(heads, -1, _ROWS_AT_ONCE * head_dim)
    ends = np.concatenate([wide.max(axis=1, initial=0), -wide.min(axis=1, initial=0)], axis=1)
    few = np.concatenate([ends.reshape(heads, -1, head_dim), np.abs(rows[:, whole:])], axis=1)
    largest: F32 = few.max(axis=1, keepdims=True)
    return largest
