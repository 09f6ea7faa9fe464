from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_et.config import SamplingConfig
from edge_et.sampling import candidates, choose_token, make_rng

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))


def test_greedy_takes_the_first_of_equals() -> None:
    config = SamplingConfig()
    assert choose_token(LOGITS, config, make_rng(config)) == 1
    assert choose_token(np.array([1, 5, 5], np.float32), config, make_rng(config)) == 1


def test_temperature_one_keeps_the_distribution() -> None:
    ids, probabilities = candidates(LOGITS, SamplingConfig(temperature=1.0))
    assert ids.tolist() == [1, 3, 2, 0]
    np.testing.assert_allclose(probabilities, [0.4, 0.3, 0.2, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [(2, 1.0, [1, 3]), (0, 0.5, [1, 3]), (0, 0.39, [1]), (0, 1e-6, [1]), (3, 0.99, [1, 3, 2]),
     (9, 1.0, [1, 3, 2, 0]), (1, 1.0, [1])],
)  # fmt: skip
def test_top_k_and_top_p(top_k: int, top_p: float, kept: list[int]) -> None:
    config = SamplingConfig(temperature=1.0, top_k=top_k, top_p=top_p)
    ids, probabilities = candidates(LOGITS, config)
    assert ids.tolist() == kept
    np.testing.assert_allclose(probabilities.sum(), 1)


def test_the_seed_decides() -> None:
    config = SamplingConfig(temperature=1.0, seed=7)
    draws = []
    for _ in range(2):
        rng = make_rng(config)
        draws.append([choose_token(LOGITS, config, rng) for _ in range(50)])
    assert draws[0] == draws[1]
    assert len(set(draws[0])) > 1


def test_frequencies_follow_the_probabilities() -> None:
    config = SamplingConfig(temperature=1.0, top_k=2)
    rng = make_rng(config)
    draws = [choose_token(LOGITS, config, rng) for _ in range(2000)]
    assert abs(draws.count(1) / 2000 - 4 / 7) < 0.04


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40),
    st.floats(0.05, 3),
    st.integers(0, 50),
    st.floats(0.01, 1),
)
def test_any_settings_give_a_distribution(
    logits: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    config = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    array = np.array(logits, np.float32)
    ids, probabilities = candidates(array, config)
    assert 1 <= len(ids) <= (top_k or len(logits))
    assert array[ids[0]] == array.max()
    assert np.isfinite(probabilities).all() and abs(probabilities.sum() - 1) < 1e-9
