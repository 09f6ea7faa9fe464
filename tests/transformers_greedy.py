"""What transformers itself computes: the reference of the golden tests."""

from __future__ import annotations

from typing import Any

import numpy as np


def greedy(model: Any, inputs: dict[str, Any], count: int) -> tuple[np.ndarray, list[int]]:
    """Return the first logits [V] and `count` greedy ids, going on past stop tokens."""
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
