"""Grammars of llama.cpp: which tokens may come next."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_et.errors import InferenceFailed
from edge_et.llama_library import complaints, forget_errors, runtime

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""llama_token_data."""
_TRIED_FIRST = 512


class Grammar:
    """A grammar in GBNF and how far the text has come in it."""

    def __init__(self, vocab: Any, gbnf: str) -> None:
        """`vocab`: llama.cpp's handle. Raises InferenceFailed for what is no GBNF."""
        self._api = runtime()
        forget_errors()
        self._sampler = self._api.llama_sampler_init_grammar(vocab, gbnf.encode(), b"root")
        if not self._sampler:
            raise InferenceFailed(f"llama.cpp cannot read a grammar: {complaints()}\n{gbnf}")

    def close(self) -> None:
        if self._sampler:
            self._api.llama_sampler_free(self._sampler)
            self._sampler = None

    def allows(self, token: int) -> bool:
        return bool(self._allowed(np.array([token]))[0])

    def mask(self, logits: npt.NDArray[np.float32]) -> None:
        """Put out, in place, every token that may not come next.

        The likeliest are tried first, and when any of them may come, no others: trying a whole
        vocabulary takes as long as a small model needs for the token.
        """
        tokens = np.flatnonzero(np.isfinite(logits))
        if len(tokens) > _TRIED_FIRST:
            first = tokens[np.argpartition(logits[tokens], -_TRIED_FIRST)[-_TRIED_FIRST:]]
            allowed = first[self._allowed(first)]
            tokens = allowed if len(allowed) else tokens[self._allowed(tokens)]
        else:
            tokens = tokens[self._allowed(tokens)]
        kept = logits[tokens]
        logits[:] = -np.inf
        logits[tokens] = kept

    def accept(self, token: int) -> None:
        """Go on by a token that is allowed; llama.cpp ends the process at any other."""
        self._api.llama_sampler_accept(self._sampler, token)

    def _allowed(self, tokens: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        candidates = np.zeros(len(tokens), _CANDIDATE)
        candidates["id"] = tokens
        data = candidates.ctypes.data_as(ctypes.POINTER(self._api.llama_token_data))
        array = self._api.llama_token_data_array(
            data=data, size=len(candidates), selected=-1, sorted=False
        )
        self._api.llama_sampler_apply(self._sampler, ctypes.byref(array))
        allowed: npt.NDArray[np.bool_] = np.isfinite(candidates["logit"])
        return allowed
