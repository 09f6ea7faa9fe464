"""The token loop over a step that only counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_et import decoding
from edge_et.errors import Cancelled, InferenceFailed

VOCABULARY, STOP = 50, 9


class CountingStep:
    """After n tokens its best next token is n % VOCABULARY."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(
        self, embeddings: np.ndarray, past_tokens: int, cancelled: object = None
    ) -> np.ndarray:
        self.calls.append((len(embeddings), past_tokens))
        logits = np.zeros(VOCABULARY, np.float32)
        logits[(past_tokens + len(embeddings)) % VOCABULARY] = 1
        return logits


def embed(ids: list[int]) -> np.ndarray:
    return np.zeros((len(ids), 4), np.float32)


def run(
    step: CountingStep,
    budget_tokens: int,
    prompt_tokens: int = 5,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[list[int], str]:
    logits = decoding.prefill(step, np.zeros((prompt_tokens, 4), np.float32), cancelled)
    tokens = decoding.generate(
        step,
        logits,
        past_tokens=prompt_tokens,
        budget_tokens=budget_tokens,
        embed=embed,
        choose=lambda scores: int(np.argmax(scores)),
        stop_ids=frozenset({STOP}),
        cancelled=cancelled,
    )
    found = []
    while True:
        try:
            found.append(next(tokens))
        except StopIteration as end:
            return found, end.value


def test_it_ends_at_the_stop_token_and_does_not_yield_it() -> None:
    step = CountingStep()
    assert run(step, 20) == ([5, 6, 7, 8], "stop")
    assert step.calls == [(5, 0), (1, 5), (1, 6), (1, 7), (1, 8)]


def test_the_budget_bounds_tokens_and_runs_no_step_too_many() -> None:
    step = CountingStep()
    assert run(step, 2) == ([5, 6], "length")
    assert len(step.calls) == 2


def test_a_long_prompt_is_prefilled_in_chunks() -> None:
    step = CountingStep()
    size = decoding.PREFILL_CHUNK_TOKENS
    run(step, 1, prompt_tokens=2 * size + 3)
    assert step.calls == [(size, 0), (size, size), (3, 2 * size)]


def test_a_cancel_is_seen_within_one_token() -> None:
    step = CountingStep()
    seen: list[int] = []
    tokens = decoding.generate(
        step,
        np.eye(VOCABULARY, dtype=np.float32)[1],
        past_tokens=20,
        budget_tokens=100,
        embed=embed,
        choose=lambda scores: int(np.argmax(scores)),
        stop_ids=frozenset(),
        cancelled=lambda: len(seen) == 3,
    )
    with pytest.raises(Cancelled):
        seen.extend(token for token in tokens if seen.append(token))  # type: ignore[func-returns-value]
    assert len(seen) == 3
    assert len(step.calls) == 2


def test_a_cancel_stops_the_prefill() -> None:
    step = CountingStep()
    with pytest.raises(Cancelled):
        run(step, 5, prompt_tokens=4000, cancelled=lambda: bool(step.calls))
    assert len(step.calls) == 1


def test_broken_logits_are_an_error_not_text() -> None:
    def broken(embeddings: np.ndarray, past_tokens: int, cancelled: object = None) -> np.ndarray:
        return np.full(VOCABULARY, np.nan, np.float32)

    with pytest.raises(InferenceFailed, match="nan"):
        run(broken, 5)  # type: ignore[arg-type]
