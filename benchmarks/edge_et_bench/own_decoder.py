"""edge-et's own decoder alone: what stands beside the peers' language models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_et import decoding, ort
from edge_et.embeddings import EmbeddingTable
from edge_et.errors import InputError, MissingArtifact
from edge_et.graphs import Decoder
from edge_et.manifest import ExtractorManifest, Part, read_manifest
from edge_et_bench.adapters import Request
from edge_et_bench.peers import one_model
from edge_et_bench.peers.one_model import Laps
from edge_et_bench.records import Configuration, Demand, Outcome, Used
from edge_et_bench.weights import decoder_demands


class OwnDecoder:
    """The decoder and the embeddings of the artifact at `configuration.extractor`; its vision
    encoder is not loaded."""

    def __init__(self, configuration: Configuration) -> None:
        if configuration.device == "cuda":
            raise InputError("the decoder alone is measured on the CPU", hint="--device cpu")
        if configuration.extractor is None:
            raise InputError("edge-et-decoder needs an extractor's folder")
        self._folder = Path(configuration.extractor)
        self._threads = one_model.threads_of(configuration)
        self._manifest = read_manifest(self._folder, ExtractorManifest)
        self._parts = _parts(self._manifest, configuration.decoder_precision)
        self._graph = next(p for p in self._parts if p.path.endswith(".onnx"))
        ort.runtime()
        self._decoder: Decoder | None = None
        self._embed: EmbeddingTable | None = None

    def files(self) -> tuple[Path, ...]:
        return tuple(self._folder / part.path for part in self._parts)

    def load(self) -> None:
        spec = self._manifest.decoder
        table = next(p for p in self._parts if p.role == "embed_tokens")
        self._decoder = Decoder(
            ort.Session(self._folder / self._graph.path, "cpu", self._threads), spec
        )
        shape = (spec.vocab_size, spec.hidden_size)
        self._embed = EmbeddingTable(self._folder / table.path, shape)

    def used(self) -> Used:
        parts = (
            one_model.part(self._folder / p.path, role=p.role, precision=p.precision)
            for p in self._parts
        )
        return one_model.used(
            self._manifest.source.name, device="cpu", threads=self._threads, parts=tuple(parts)
        )

    def ask(self, request: Request) -> Outcome:
        if self._decoder is None or self._embed is None:
            raise InputError("the decoder is not loaded")
        count, length = one_model.new_tokens(request), one_model.needed_prompt(request)
        vocab_size = self._manifest.decoder.vocab_size
        ids = one_model.prompt_ids(length, vocab_size=vocab_size, seed=request.seed)
        laps = Laps()
        step = self._decoder.start(length + count)
        logits = decoding.prefill(step, self._embed(ids), lambda: False)
        written = decoding.generate(
            step,
            logits,
            past_tokens=length,
            budget_tokens=count,
            embed=self._embed,
            choose=lambda scores: int(np.argmax(scores)),
            stop_ids=frozenset(),
            cancelled=lambda: False,
        )
        next(written)
        laps.first_token()
        laps.end("extract_prefill", tokens=length)
        made = 1 + sum(1 for _ in written)
        laps.end("extract_decode", tokens=made, steps=made - 1)
        return laps.outcome(finish_reason="extraction_length")

    def demands(self, outcome: Outcome) -> tuple[Demand, ...]:
        return decoder_demands(
            self._folder, self._manifest, self._graph, outcome, threads=self._threads
        )

    def close(self) -> None:
        self._decoder = self._embed = None


def _parts(manifest: ExtractorManifest, precision: str | None) -> tuple[Part, ...]:
    """Return the decoder's files in that precision (the manifest's first without one) and the
    embeddings. Raises MissingArtifact."""
    graphs = [p for p in manifest.parts if p.role == "decoder" and p.path.endswith(".onnx")]
    chosen = next((p.precision for p in graphs if precision in (None, p.precision)), None)
    if chosen is None:
        have = ", ".join(p.precision for p in graphs)
        raise MissingArtifact(f"this extractor has no decoder in {precision}; it has {have}")
    return tuple(
        p
        for p in manifest.parts
        if (p.role, p.precision) == ("decoder", chosen) or p.role == "embed_tokens"
    )
