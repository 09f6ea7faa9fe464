"""Greedy tokens after a prompt: what transformers itself computes, and what our runtime does."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_et import decoding
from edge_et.extractor import Extractor


def greedy(model: Any, inputs: dict[str, Any], count: int) -> tuple[np.ndarray, list[int]]:
    """Return transformers' first logits [V] and `count` greedy ids, going on past stop tokens."""
    import torch

    ids: list[int] = []
    first: np.ndarray | None = None
    with torch.no_grad():
        out = model(**inputs, use_cache=True)
        while len(ids) < count:
            logits = out.logits[0, -1].numpy()
            first = logits if first is None else first
            ids.append(int(logits.argmax()))
            out = model(
                input_ids=torch.tensor([ids[-1:]]),
                past_key_values=out.past_key_values,
                use_cache=True,
            )
    assert first is not None
    return first, ids


def runtime_greedy(
    extractor: Extractor, prompt: np.ndarray, count: int
) -> tuple[np.ndarray, list[int]]:
    """Return the same of our decoder after the prompt embeddings [P, H]."""
    step = extractor._loaded()[1].start(len(prompt) + count)
    logits = decoding.prefill(step, prompt, lambda: False)
    first = logits.copy()
    ids = decoding.generate(
        step,
        logits,
        past_tokens=len(prompt),
        budget_tokens=count,
        embed=extractor._embed,
        choose=lambda scores: int(np.argmax(scores)),
        stop_ids=frozenset(),
        cancelled=lambda: False,
    )
    return first, list(ids)
