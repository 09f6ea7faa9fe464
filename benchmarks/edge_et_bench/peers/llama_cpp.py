"""llama.cpp in this process: a GGUF file alone, or with the image through libmtmd and an mmproj.

Weights and contexts are those of the runtime, the choice about AMX included (docs/decisions/0002).
"""

from __future__ import annotations

from pathlib import Path

from edge_et import llama, llama_library
from edge_et.config import SamplingConfig
from edge_et.errors import InputError
from edge_et.gguf_header import read_header
from edge_et_bench.adapters import Request
from edge_et_bench.peers import one_model
from edge_et_bench.peers.llama_vision import Eyes, SeeingContext
from edge_et_bench.peers.one_model import Laps
from edge_et_bench.records import Configuration, Demand, Outcome, Used
from edge_et_bench.weights import gguf_demands, gguf_precision

_GREEDY = SamplingConfig(temperature=0)
_ROOM_TOKENS = 4096
"""For image and question, whose tokens are counted only once the context is there."""


class LlamaCpp:
    """Options: `model`, a GGUF file; `mmproj`, another, for workloads with an image."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._path = one_model.path_option(configuration, "model")
        self._threads = one_model.threads_of(configuration)
        has_eyes = "mmproj" in (configuration.options or {})
        self._mmproj = one_model.path_option(configuration, "mmproj") if has_eyes else None
        llama_library.runtime()
        self._model: llama.Model | None = None
        self._context: SeeingContext | None = None
        self._eyes: Eyes | None = None

    def files(self) -> tuple[Path, ...]:
        return (self._path, self._mmproj) if self._mmproj else (self._path,)

    def load(self) -> None:
        header = read_header(self._path)
        device = llama_library.resolve_device(self._configuration.device)
        self._model = llama.Model(header, device)
        if self._mmproj is not None:
            self._eyes = Eyes(self._mmproj, self._model, self._threads)

    def used(self) -> Used:
        parts = [one_model.part(self._path, role="decoder", precision=gguf_precision(self._path))]
        if self._mmproj is not None:
            precision = gguf_precision(self._mmproj)
            parts.append(one_model.part(self._mmproj, role="vision_encoder", precision=precision))
        return one_model.used(
            self._path.stem,
            device=self._loaded().device,
            threads=self._threads,
            parts=tuple(parts),
        )

    def ask(self, request: Request) -> Outcome:
        count, laps = one_model.new_tokens(request), Laps()
        if request.prompt_tokens is not None:
            context, read = self._read_ids(request, request.prompt_tokens, count)
        else:
            context, read = self._read_image(request, count, laps)
        token = context.sample()
        laps.first_token()
        laps.end("extract_prefill", tokens=read)
        written = bytearray(self._loaded().piece(token))
        for _ in range(count - 1):
            context.feed([token])
            token = context.sample()
            written += self._loaded().piece(token)
        laps.end("extract_decode", tokens=count, steps=count - 1)
        return laps.outcome(written.decode("utf-8", "replace"), "extraction_length")

    def demands(self, outcome: Outcome) -> tuple[Demand, ...]:
        if self._loaded().device != "cpu":
            return ()
        return gguf_demands(
            self._path,
            outcome,
            prefill="extract_prefill",
            decode=("extract_decode",),
            threads=self._threads,
        )

    def close(self) -> None:
        for opened in (self._eyes, self._context, self._model):
            if opened is not None:
                opened.close()
        self._eyes = self._context = self._model = None

    def _loaded(self) -> llama.Model:
        if self._model is None:
            raise InputError("the model is not loaded")
        return self._model

    def _context_of(self, tokens: int) -> SeeingContext:
        """Return a context that holds `tokens`; made once, as the workload does not change."""
        if self._context is None:
            self._context = SeeingContext(
                self._loaded(), context_tokens=tokens, threads=self._threads
            )
        return self._context

    def _read_ids(self, request: Request, length: int, count: int) -> tuple[SeeingContext, int]:
        context = self._context_of(length + count)
        vocab_size = self._loaded().vocab_size
        ids = one_model.prompt_ids(length, vocab_size=vocab_size, seed=request.seed)
        context.forget()  # the repeats read the same
        context.start(ids, _GREEDY, lambda: False)
        return context, len(ids)

    def _read_image(self, request: Request, count: int, laps: Laps) -> tuple[SeeingContext, int]:
        """Encode the image, then read it and the question; return the tokens read."""
        if self._eyes is None:
            one_model.needed_prompt(request)  # refuses
        assert self._eyes is not None
        context = self._context_of(_ROOM_TOKENS + count)
        context.start((), _GREEDY, lambda: False)
        return context, self._eyes.read(request, context, laps)
