"""What our token loops cost beside the kernels they drive.

Reasoner: the same random prompt and as many tokens through bare llama_decode calls (what
llama-bench times: no sampling, no text) and through our own loop, in turn in one process, a few
tokens at a time.
Extractor: the share of its decode that is not spent inside onnxruntime's runs.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from edge_et import llama
from edge_et.config import SamplingConfig
from edge_et.extractor import Extractor
from edge_et.image import load_image
from edge_et.reasoner import Reasoner
from edge_et.thinking import Budgets, reason
from edge_et_bench.findings import Finding, finding

_BATCH_TOKENS = 512
_STRETCH_TOKENS = 4
_GREEDY = SamplingConfig()


@dataclass
class _Timed:
    """Passes everything on to `inner`; times the calls of the method `watched`."""

    inner: Any
    watched: str
    spans_s: list[float] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        return self._call if name == self.watched else found

    def _call(self, *arguments: Any) -> Any:
        started_s = time.perf_counter()
        try:
            return getattr(self.inner, self.watched)(*arguments)
        finally:
            self.spans_s.append(time.perf_counter() - started_s)


def reasoner_loop(
    reasoner: Reasoner, *, prompt_tokens: int, decode_tokens: int, repeats: int
) -> tuple[Finding, ...]:
    """Measure `repeats` times in turn, after one that is thrown away.

    Returns our speed over the bare one's in prefill and decode (1: nothing is lost), and the share
    of our decode's wall clock that was not spent in llama_decode: sampling, text, the loop.

    A machine's own speed changes within a second by more than is looked for here. So both sides
    have a context of their own over the same weights, read in an order drawn by lot, and write in
    turn, a few tokens at a time.
    """
    lots = random.Random(0)
    prompt = _random_prompt(reasoner, prompt_tokens)
    tokens = prompt_tokens + decode_tokens
    prefill, decode, outside = [], [], []
    with _context(reasoner, tokens) as bare_context, _context(reasoner, tokens) as our_context:
        for _ in range(repeats + 1):
            bare = _Bare(bare_context, prompt)
            ours = _Ours(our_context, reasoner, prompt)
            readers = [bare.read, ours.read]
            lots.shuffle(readers)
            for read in readers:
                read()
            ours.write(decode_tokens, between=bare.write)
            prefill.append(bare.prefill_s / ours.prefill_s)
            decode.append(bare.token_s / ours.token_s)
            outside.append(1 - ours.inside_s / ours.decode_s)
    return (
        finding("reasoner prefill", "", prefill[1:]),
        finding("reasoner decode", "", decode[1:]),
        finding("reasoner outside", "", outside[1:]),
    )


def extractor_outside(extractor: Extractor, *, decode_tokens: int, repeats: int) -> Finding:
    """Return the share of the decode's wall clock outside onnxruntime."""
    session = extractor._loaded()[1]._session
    inner = session._session
    image = load_image(Image.new("RGB", (384, 384), "white"))
    shares: list[float] = []
    try:
        for _ in range(repeats + 1):
            session._session = timed = _Timed(inner, "run_with_iobinding")
            stream = extractor.stream(
                image, "everything", budget_tokens=decode_tokens, sampling=_GREEDY,
                ignore_stop=True,
            )  # fmt: skip
            while True:
                try:
                    next(stream)
                except StopIteration as end:
                    run = end.value
                    break
            shares.append(1 - sum(timed.spans_s[1 - decode_tokens :]) / run.decode_s)
    finally:
        session._session = inner
    return finding("extractor outside", "", shares[1:])


def _random_prompt(reasoner: Reasoner, tokens: int) -> list[int]:
    rng = np.random.default_rng(0)
    prompt: list[int] = rng.integers(0, reasoner._loaded().vocab_size, tokens).tolist()
    return prompt


def _context(reasoner: Reasoner, tokens: int) -> contextlib.closing[llama.Context]:
    return contextlib.closing(
        llama.Context(reasoner._loaded(), context_tokens=tokens + 64, threads=reasoner.threads)
    )


class _Bare:
    """llama_decode alone, on the tokens of the prompt."""

    def __init__(self, context: llama.Context, prompt: list[int]) -> None:
        self._api, self._handle, self._prompt = context._api, context._context, prompt
        context.forget()
        self.prefill_s = self._decode_s = 0.0
        self._written = 0

    @property
    def token_s(self) -> float:
        return self._decode_s / self._written

    def read(self) -> None:
        started_s = time.perf_counter()
        for first in range(0, len(self._prompt), _BATCH_TOKENS):
            self._decode(self._prompt[first : first + _BATCH_TOKENS])
        self.prefill_s = time.perf_counter() - started_s

    def write(self) -> None:
        started_s = time.perf_counter()
        for _ in range(_STRETCH_TOKENS):
            self._decode([self._prompt[self._written % len(self._prompt)]])
            self._written += 1
        self._decode_s += time.perf_counter() - started_s

    def _decode(self, tokens: list[int]) -> None:
        ids = (self._api.llama_token * len(tokens))(*tokens)
        batch = self._api.llama_batch_get_one(ids, len(tokens))
        code = self._api.llama_decode(self._handle, batch)
        assert code == 0, f"llama_decode returned {code}"


class _Ours:
    """Our own loop: reading, sampling, text, the state machine."""

    def __init__(self, context: llama.Context, reasoner: Reasoner, prompt: list[int]) -> None:
        self._context, self._words, self._prompt = context, reasoner._words, prompt
        context.forget()
        self._spans_s: list[float] = []
        """Of each llama_decode while writing."""
        self.prefill_s = self.decode_s = 0.0

    @property
    def token_s(self) -> float:
        return self.decode_s / len(self._spans_s)

    @property
    def inside_s(self) -> float:
        return sum(self._spans_s)

    def read(self) -> None:
        started_s = time.perf_counter()
        self._context.start(self._prompt, _GREEDY, lambda: False)
        self.prefill_s = time.perf_counter() - started_s

    def write(self, tokens: int, *, between: Callable[[], None]) -> None:
        """Call `between` after each few tokens, and do not count its time."""
        budgets = Budgets(
            think_tokens=0, answer_tokens=tokens, answer_cut="length",
            context_tokens=self._context.context_tokens,
        )  # fmt: skip
        api = self._context._api
        self._context._api = paused = _Pausing(api, between, self._spans_s)
        started_s = time.perf_counter()
        for _ in reason(self._context, self._words, budgets, thinking=False, ignore_stop=True):
            pass
        self.decode_s = time.perf_counter() - started_s - paused.paused_s
        self._context._api = api


class _Pausing(_Timed):
    """llama.cpp, with `between` called after each few calls of llama_decode."""

    def __init__(self, api: Any, between: Callable[[], None], spans_s: list[float]) -> None:
        super().__init__(api, "llama_decode", spans_s)
        self._between = between
        self.paused_s = 0.0

    def _call(self, *arguments: Any) -> Any:
        code = super()._call(*arguments)
        if len(self.spans_s) % _STRETCH_TOKENS == 0:
            started_s = time.perf_counter()
            self._between()
            self.paused_s += time.perf_counter() - started_s
        return code
