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
        candidates = np.zeros(1, _CANDIDATE)
        candidates["id"] = token
        self._apply(candidates)
        return bool(np.isfinite(candidates["logit"][0]))

    def mask(self, logits: npt.NDArray[np.float32]) -> None:
        """Put out, in place, every token that may not come next."""
        candidates = np.zeros(len(logits), _CANDIDATE)
        candidates["id"] = np.arange(len(logits))
        candidates["logit"] = logits
        self._apply(candidates)
        logits[:] = candidates["logit"]

    def accept(self, token: int) -> None:
        """Go on by a token that is allowed; llama.cpp ends the process at any other."""
        self._api.llama_sampler_accept(self._sampler, token)

    def _apply(self, candidates: npt.NDArray[Any]) -> None:
        data = candidates.ctypes.data_as(ctypes.POINTER(self._api.llama_token_data))
        array = self._api.llama_token_data_array(
            data=data, size=len(candidates), selected=-1, sorted=False
        )
        self._api.llama_sampler_apply(self._sampler, ctypes.byref(array))
