"""The one-token step on a GPU: every buffer keeps its place there, so it can be captured.

A step this small costs more in launching its few hundred kernels than in running them. Captured
once as a CUDA graph it is launched whole. That needs fixed addresses and fixed shapes: the mask
spans the whole cache, and counts the tokens by its ones. Per token the row goes in, the mask (8
bytes a token of capacity) and the logits come out; the KV cache stays where it is.
"""

from __future__ import annotations

import itertools
import logging

import numpy as np
import numpy.typing as npt

from edge_et.errors import InferenceFailed
from edge_et.ort import Binding, Session

F32 = npt.NDArray[np.float32]

EMBEDDINGS, MASK, LOGITS = "inputs_embeds", "attention_mask", "logits"
_graph_numbers = itertools.count(1)
_log = logging.getLogger(__name__)


class FixedStep:
    """One row after another over the KV cache of `prompt`, the binding of a conversation."""

    def __init__(
        self,
        session: Session,
        prompt: Binding,
        cache_names: list[tuple[str, str]],
        *,
        hidden_size: int,
        vocab_size: int,
        capacity_tokens: int,
    ) -> None:
        self._binding = session.bind()
        self._mask = np.zeros((1, capacity_tokens), np.int64)
        self._row = np.zeros((1, 1, hidden_size), session.input_dtypes[EMBEDDINGS])
        self._binding.place(MASK, self._mask)
        self._binding.place(EMBEDDINGS, self._row)
        self._binding.place_output(LOGITS, (1, 1, vocab_size))
        for past, present in cache_names:
            self._binding.share_with(prompt, past, present)
        self._graph: int | None = next(_graph_numbers) if session.captures else None

    @property
    def captured(self) -> bool:
        """Whether the step is replayed as a whole, from its second run on."""
        return self._graph is not None

    def __call__(self, row: F32, past_tokens: int) -> F32:
        """Run one row [1, hidden] and return its logits [vocabulary]. Raises InferenceFailed."""
        self._row[0] = row
        self._mask[0, : past_tokens + 1] = 1
        self._mask[0, past_tokens + 1 :] = 0
        self._binding.write(EMBEDDINGS, self._row)
        self._binding.write(MASK, self._mask)
        self._run()
        logits: F32 = self._binding.read(LOGITS)[0, 0].astype(np.float32, copy=False)
        return logits

    def _run(self) -> None:
        try:
            self._binding.run(graph=self._graph)
        except InferenceFailed as exc:
            if self._graph is None:
                raise
            # running the row again writes the same place of the cache again
            _log.warning("the step cannot be captured, it runs kernel by kernel: %s", exc)
            self._graph = None
            self._binding.run(graph=None)
