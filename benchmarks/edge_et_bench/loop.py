"""What our token loops cost beside the kernels they drive.

Reasoner: the same random prompt and as many tokens through bare llama_decode calls (what
llama-bench times: no sampling, no text) and through our own loop, in turn in one process.
Extractor: the share of its decode that is not spent inside onnxruntime's runs.
"""

from __future__ import annotations

import time
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
_GREEDY = SamplingConfig()


@dataclass(slots=True)
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
    """
    model = reasoner._loaded()
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, model.vocab_size, prompt_tokens).tolist()
    context = llama.Context(
        model, context_tokens=prompt_tokens + decode_tokens + 64, threads=reasoner.threads
    )
    api = context._api
    bare, ours, outside = [], [], []
    try:
        for _ in range(repeats + 1):
            bare.append(_bare(context, prompt, decode_tokens))
            context._api = timed = _Timed(api, "llama_decode")
            prefill_s, decode_s = _ours(context, reasoner, prompt, decode_tokens)
            context._api = api
            ours.append((prefill_s, decode_s))
            outside.append(1 - sum(timed.spans_s[-decode_tokens:]) / decode_s)
    finally:
        context._api = api
        context.close()
    pairs = list(zip(bare, ours, strict=True))[1:]
    return (
        finding("reasoner prefill", "", [b[0] / o[0] for b, o in pairs]),
        finding("reasoner decode", "", [b[1] / o[1] for b, o in pairs]),
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


def _bare(context: llama.Context, prompt: list[int], decode_tokens: int) -> tuple[float, float]:
    """Time llama_decode alone, on the same tokens and the same context."""
    api, handle = context._api, context._context
    context.forget()
    batches = [prompt[i : i + _BATCH_TOKENS] for i in range(0, len(prompt), _BATCH_TOKENS)]
    started_s = time.perf_counter()
    for batch in batches:
        _decode(api, handle, batch)
    prefilled_s = time.perf_counter()
    for token in prompt[:decode_tokens]:
        _decode(api, handle, [token])
    ended_s = time.perf_counter()
    return prefilled_s - started_s, ended_s - prefilled_s


def _decode(api: Any, handle: Any, tokens: list[int]) -> None:
    ids = (api.llama_token * len(tokens))(*tokens)
    code = api.llama_decode(handle, api.llama_batch_get_one(ids, len(tokens)))
    assert code == 0, f"llama_decode returned {code}"


def _ours(
    context: llama.Context, reasoner: Reasoner, prompt: list[int], decode_tokens: int
) -> tuple[float, float]:
    context.forget()
    budgets = Budgets(
        think_tokens=0, answer_tokens=decode_tokens, answer_cut="length",
        context_tokens=context.context_tokens,
    )  # fmt: skip
    started_s = time.perf_counter()
    context.start(prompt, _GREEDY, lambda: False)
    prefilled_s = time.perf_counter()
    for _ in reason(context, reasoner._words, budgets, thinking=False, ignore_stop=True):
        pass
    return prefilled_s - started_s, time.perf_counter() - prefilled_s
