"""Logits -> token. Pure: all randomness comes from the generator that is passed in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_et.config import SamplingConfig


def make_rng(config: SamplingConfig) -> np.random.Generator:
    return np.random.default_rng(config.seed)


def choose_token(
    logits: npt.NDArray[np.float32], config: SamplingConfig, rng: np.random.Generator
) -> int:
    """Return the next token id for `logits` [vocabulary].

    Greedy at temperature 0 (the lowest id wins a tie). Otherwise temperature, then top_k, then
    top_p, in transformers' order.
    """
    if config.temperature == 0:
        return int(np.argmax(logits))
    ids, probabilities = candidates(logits, config)
    return int(rng.choice(ids, p=probabilities))


def candidates(
    logits: npt.NDArray[np.float32], config: SamplingConfig
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the ids that may be sampled, most likely first, and their probabilities (sum 1)."""
    ids = _top_k(logits, config.top_k)
    scaled = logits[ids].astype(np.float64) / config.temperature
    weights = np.exp(scaled - scaled[0])
    probabilities = weights / weights.sum()
    # Keep the shortest head whose mass reaches top_p; the first token always stays.
    before = np.cumsum(probabilities) - probabilities
    keep = max(1, int(np.count_nonzero(before < config.top_p)))
    kept = probabilities[:keep]
    return ids[:keep], kept / kept.sum()


def _top_k(logits: npt.NDArray[np.float32], top_k: int) -> npt.NDArray[np.int64]:
    """Return the ids of the `top_k` largest logits (all of them for 0), largest first."""
    if 0 < top_k < len(logits):
        head = np.argpartition(logits, -top_k)[-top_k:]
        head.sort()
    else:
        head = np.arange(len(logits))
    order: npt.NDArray[np.int64] = head[np.argsort(-logits[head], kind="stable")]
    return order
