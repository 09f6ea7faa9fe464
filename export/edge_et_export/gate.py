"""The gate: an artifact's graphs, run as the runtime runs them, against its reference.

The same comparison ends every export and is what `edge-et verify` does again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_et import decoding, ort, providers, tiling
from edge_et.embeddings import EmbeddingTable, load_vector
from edge_et.graphs import Decoder, VisionEncoder
from edge_et.layout import lay_out
from edge_et.manifest import ExtractorManifest, Parity
from edge_et.parts import FP16_ACTIVATIONS
from edge_et.tokenization import PromptTokenizer
from edge_et_export.interface import check_decoder, check_vision
from edge_et_export.parity import COARSER, agreement, compare, compare_first, threads_for
from edge_et_export.reference import USER_TEXT, Reference, fixed_image

F32 = NDArray[np.float32]
Embed = Callable[[Sequence[int]], F32]


def compare_extractor(
    folder: Path, manifest: ExtractorManifest, reference: Reference
) -> tuple[Parity, ...]:
    """Return the parity of every graph, alone, and of each decoder end to end.

    Graphs with fp16 activations run on CUDA where it is, else on the CPU, slowly.

    Raises InterfaceMismatch for names, axes, shapes and values that no tolerance covers.
    """
    artifact = _Artifact(folder, manifest, providers.resolve_device("auto"))
    tiles = tiling.prepare(fixed_image(), manifest.image)
    newline = artifact.newline()
    results: list[Parity] = []
    features: dict[str, F32] = {}
    for precision in artifact.precisions("vision_encoder"):
        session = artifact.session("vision_encoder", precision)
        check_vision(session, manifest.image, manifest.decoder)
        encoder = VisionEncoder(session, manifest.image, manifest.decoder.hidden_size)
        features[precision] = np.stack([encoder(tile) for tile in tiles.pixel_values])
        results.append(
            compare("vision_encoder", precision, features[precision], reference.features)
        )
    embed = artifact.embed()
    tokenizer = PromptTokenizer(folder / "tokenizer.json", manifest.template)
    layout = lay_out(tokenizer, USER_TEXT, tiles.grid, tiles.original_hw, manifest.image)
    for precision in artifact.precisions("decoder"):
        session = artifact.session("decoder", precision)
        check_decoder(session, manifest.decoder)
        decoder = Decoder(session, manifest.decoder)
        prompt = reference.prompt(tokenizer, manifest.image, newline)
        logits, _ = _greedy(decoder, prompt, embed, 1)
        results.append(compare("decoder", precision, logits, reference.logits))
        eyes = partner(precision, list(features))
        if eyes is None:
            continue
        ours = tiling.splice_features(features[eyes], tiles, manifest.image, newline)
        prompt = layout.assemble(embed(layout.text_ids), ours)
        logits, ids = _greedy(decoder, prompt, embed, len(reference.greedy))
        # as coarse as its coarsest part, and named by its decoder: of those each has one
        coarser = max((precision, eyes), key=COARSER.index)
        whole = compare_first("end_to_end", coarser, logits, reference.logits)
        results.append(
            replace(
                whole,
                precision=precision,
                greedy_agreement=agreement(ids, reference.greedy.tolist()),
                greedy_tokens=len(reference.greedy),
            )
        )
    return tuple(results)


def partner(decoder: str, vision: Sequence[str]) -> str | None:
    """Return the vision precision that runs before a decoder: fp16 ones belong together."""
    fitting = [v for v in vision if (v in FP16_ACTIVATIONS) == (decoder in FP16_ACTIVATIONS)]
    return next(iter(fitting or vision), None)


@dataclass(frozen=True, slots=True)
class _Artifact:
    folder: Path
    manifest: ExtractorManifest
    device: ort.UsedDevice

    def precisions(self, role: str) -> list[str]:
        return list(dict.fromkeys(p.precision for p in self.manifest.parts if p.role == role))

    def session(self, role: str, precision: str) -> ort.Session:
        part = next(
            p
            for p in self.manifest.parts
            if (p.role, p.precision) == (role, precision) and p.path.endswith(".onnx")
        )
        device: ort.UsedDevice = self.device if precision in FP16_ACTIVATIONS else "cpu"
        threads = threads_for(sum(p.size_bytes for p in self.manifest.parts))
        return ort.Session(self.folder / part.path, device, threads)

    def embed(self) -> EmbeddingTable:
        spec = self.manifest.decoder
        path = self.folder / self.manifest.part("embed_tokens").path
        return EmbeddingTable(path, (spec.vocab_size, spec.hidden_size))

    def newline(self) -> F32 | None:
        paths = [p.path for p in self.manifest.parts if p.role == "image_newline"]
        if not paths:
            return None
        return load_vector(self.folder / paths[0], self.manifest.decoder.hidden_size)


def _greedy(decoder: Decoder, prompt: F32, embed: Embed, count: int) -> tuple[F32, list[int]]:
    """Return the first logits [V] and `count` greedy ids after `prompt` [P, H]."""
    step = decoder.start(len(prompt) + count)
    logits = decoding.prefill(step, prompt, lambda: False)
    first = logits.copy()
    ids = decoding.generate(
        step,
        logits,
        past_tokens=len(prompt),
        budget_tokens=count,
        embed=embed,
        choose=lambda scores: int(scores.argmax()),
        stop_ids=frozenset(),
        cancelled=lambda: False,
    )
    return first, list(ids)
