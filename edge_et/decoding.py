"""The token loop: prefill in chunks, then one token a step. Knows no tokenizer and no graph."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from edge_et.errors import Cancelled, InferenceFailed

F32 = npt.NDArray[np.float32]

PREFILL_CHUNK_TOKENS = 256
"""Rows of one prefill run: bounds the attention scores in memory. Larger ones are slower, too: the
CPU's attention computes the upper triangle of a chunk's scores (docs/decisions/0010)."""


class Step(Protocol):
    """A language model with a KV cache that it updates in place."""

    def __call__(
        self, embeddings: F32, past_tokens: int, cancelled: Callable[[], bool] | None = None
    ) -> F32:
        """Run `embeddings` [rows, hidden] after the `past_tokens` that the cache holds.

        Many rows take long: `cancelled` is asked meanwhile, and Cancelled raised.
        Returns the logits [vocabulary] of the last row; they are valid until the next call.
        """


def prefill(step: Step, prompt: F32, cancelled: Callable[[], bool], *, past_tokens: int = 0) -> F32:
    """Run the prompt [tokens, hidden] after what the cache holds and return its last logits.

    Raises Cancelled within a chunk, too.
    """
    for start in range(0, len(prompt), PREFILL_CHUNK_TOKENS):
        raise_if(cancelled)
        logits = step(prompt[start : start + PREFILL_CHUNK_TOKENS], past_tokens + start, cancelled)
    return logits


def generate(
    step: Step,
    logits: F32,
    *,
    past_tokens: int,
    budget_tokens: int,
    embed: Callable[[list[int]], F32],
    choose: Callable[[F32], int],
    stop_ids: frozenset[int],
    cancelled: Callable[[], bool],
) -> Generator[int, None, Literal["stop", "length"]]:
    """Yield up to `budget_tokens` token ids that follow `logits`; the stop token is not yielded.

    Returns why it ended. Raises Cancelled within one token, InferenceFailed on logits that are
    not finite.
    """
    for count in range(1, budget_tokens + 1):
        raise_if(cancelled)
        token = choose(logits)
        if not np.isfinite(logits[token]):
            raise InferenceFailed(
                f"the decoder gave {logits[token]} as its best logit after {past_tokens} tokens",
                hint="a precision that overflows does this: export the extractor in another one",
            )
        if token in stop_ids:
            return "stop"
        yield token
        if count < budget_tokens:
            raise_if(cancelled)
            logits = step(embed([token]), past_tokens)
            past_tokens += 1
    return "length"


def raise_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("the extraction was cancelled")
