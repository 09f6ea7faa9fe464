"""Extractor checkpoint folder -> artifact folder."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_et.errors import ExportError
from edge_et.manifest import (
    ExtractorManifest,
    Parity,
    Part,
    describe_part,
    write_manifest,
)
from edge_et_export.checkpoint import (
    architecture_of,
    image_policy_of,
    load_strictly,
    source_of,
    stop_ids_of,
    versions,
)
from edge_et_export.environment import quiet
from edge_et_export.staging import staged_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_et.graphs import Decoder
    from edge_et.manifest import DecoderSpec
    from edge_et_export.reference import Reference

log = logging.getLogger(__name__)

F32 = NDArray[np.float32]

ARCHITECTURE = "LlavaOnevisionForConditionalGeneration"
_COPIED = (
    "config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json",
    "tokenizer_config.json", "chat_template.jinja",
)  # fmt: skip
_EMBEDDINGS = {"fp16": np.float16, "fp32": np.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorOptions:
    """Precision per part; the defaults are what a CPU is fast and still exact in."""

    vision: str = "int8"
    decoder: str = "int8"
    embeddings: str = "fp16"
    name: str | None = None
    """Of the source, for the manifest; default: the folder's."""
    license: str = "unknown"
    allow_drift: bool = False
    force: bool = False


def export_extractor(checkpoint: Path, out: Path, options: ExtractorOptions) -> ExtractorManifest:
    """Write the artifact of `checkpoint` to the folder `out` and return its manifest.

    Raises ExportError (unknown architecture, tensors that do not fit, existing target) and
    ParityError; in either case nothing is left at `out`.
    """
    if options.embeddings not in _EMBEDDINGS:
        raise ExportError(f"embeddings precision {options.embeddings!r} is not fp16 or fp32")
    architecture = architecture_of(checkpoint)
    if architecture != ARCHITECTURE:
        raise ExportError(
            f"{checkpoint} is a {architecture}; extractors are {ARCHITECTURE} checkpoints"
        )
    with quiet(), staged_folder(out, force=options.force) as staged:
        manifest = _export(checkpoint, staged, options)
        write_manifest(staged, manifest)
    return manifest


def _export(checkpoint: Path, staged: Path, options: ExtractorOptions) -> ExtractorManifest:
    from transformers import LlavaOnevisionForConditionalGeneration

    from edge_et.tokenization import PromptTokenizer
    from edge_et_export.decoder import causal_model, decoder_spec, export_decoder
    from edge_et_export.reference import reference_of
    from edge_et_export.vision import export_vision, vision_module

    policy = image_policy_of(checkpoint)
    model = load_strictly(checkpoint, LlavaOnevisionForConditionalGeneration)
    vision, causal = vision_module(model), causal_model(model)
    spec = decoder_spec(causal)
    onnx = staged / "onnx"
    onnx.mkdir()
    copied = [_copy(checkpoint / name, staged) for name in _COPIED if (checkpoint / name).exists()]
    newline = _newline(model.model.image_newline, staged)
    table = causal.get_input_embeddings().weight.detach().numpy()
    embed_path = staged / f"embed_tokens_{options.embeddings}.npy"
    np.save(embed_path, table.astype(_EMBEDDINGS[options.embeddings]))
    log.info("vision encoder, %s", options.vision)
    vision_paths = export_vision(vision, onnx, options.vision)
    log.info("decoder, %s", options.decoder)
    decoder_path, data_path = export_decoder(causal, onnx, options.decoder)
    parts = [
        *(
            describe_part(staged, path, role="vision_encoder", precision=options.vision)
            for path in vision_paths
        ),
        describe_part(staged, decoder_path, role="decoder", precision=options.decoder),
        describe_part(staged, data_path, role="decoder", precision=options.decoder),
        describe_part(staged, embed_path, role="embed_tokens", precision=options.embeddings),
        describe_part(staged, staged / "image_newline.npy", role="image_newline", precision="fp32"),
        *copied,
    ]
    tokenizer = PromptTokenizer(staged / "tokenizer.json")
    manifest = ExtractorManifest(
        family="llava_onevision",
        source=source_of(checkpoint, name=options.name, license_name=options.license),
        parts=tuple(parts),
        image=policy,
        decoder=spec,
        template="qwen_1_5",
        image_token_id=model.config.image_token_id,
        stop_token_ids=stop_ids_of(checkpoint),
        made_with=versions(),
    )
    log.info("comparing with the checkpoint")
    reference = reference_of(vision, causal, tokenizer, policy, newline)
    return replace(manifest, parity=_check(manifest, staged, reference, newline, options))


def _copy(source: Path, staged: Path) -> Part:
    target = staged / source.name
    shutil.copyfile(source, target)
    role = "tokenizer" if source.name.startswith("tokenizer") else "config"
    return describe_part(staged, target, role=role, precision="none")  # type: ignore[arg-type]


def _newline(parameter: object, staged: Path) -> F32:
    newline: F32 = parameter.detach().numpy().astype(np.float32)  # type: ignore[attr-defined]
    np.save(staged / "image_newline.npy", newline)
    return newline


def _check(
    manifest: ExtractorManifest,
    staged: Path,
    reference: Reference,
    newline: F32,
    options: ExtractorOptions,
) -> tuple[Parity, ...]:
    """Run the artifact's graphs as the runtime does and compare each part and the whole."""
    from edge_et import ort, tiling
    from edge_et.graphs import Decoder, VisionEncoder
    from edge_et_export.parity import agreement, compare, gate, threads_for

    device = ort.resolve_device("cpu")
    threads = threads_for(sum(part.size_bytes for part in manifest.parts))
    spec: DecoderSpec = manifest.decoder

    def session(role: str) -> ort.Session:
        part = next(p for p in manifest.parts if p.role == role and p.path.endswith(".onnx"))
        return ort.Session(staged / part.path, device, threads)

    encoder = VisionEncoder(session("vision_encoder"), manifest.image, spec.hidden_size)
    features = np.stack([encoder(tile) for tile in reference.tiles.pixel_values])
    vision = compare("vision_encoder", options.vision, features, reference.features)
    decoder = Decoder(session("decoder"), spec)
    logits, _ = _greedy(decoder, reference.prompt, lambda ids: _rows(staged, manifest, ids))
    alone = compare("decoder", options.decoder, logits, reference.logits)
    spliced = tiling.splice_features(features, reference.tiles, manifest.image, newline)
    prompt = np.concatenate(
        [
            _rows(staged, manifest, reference.before),
            spliced,
            _rows(staged, manifest, reference.after),
        ]
    )
    logits, ids = _greedy(decoder, prompt, lambda ids: _rows(staged, manifest, ids))
    coarser = min(("q4", "int8", "fp32").index(p) for p in (options.vision, options.decoder))
    whole = compare("end_to_end", ("q4", "int8", "fp32")[coarser], logits, reference.logits)
    whole = replace(
        whole,
        greedy_agreement=agreement(ids, reference.greedy),
        greedy_tokens=len(reference.greedy),
    )
    results = (vision, alone, whole)
    gate(results, allow_drift=options.allow_drift)
    return results


def _rows(staged: Path, manifest: ExtractorManifest, ids: list[int]) -> F32:
    table = np.load(staged / manifest.part("embed_tokens").path, mmap_mode="r")
    rows: F32 = table[ids].astype(np.float32)
    return rows


def _greedy(
    decoder: Decoder, prompt: F32, embed: Callable[[list[int]], F32]
) -> tuple[F32, list[int]]:
    """Return the first logits [V] and the greedy ids after `prompt` [P, H]."""
    from edge_et import decoding
    from edge_et_export.reference import GREEDY_TOKENS

    step = decoder.start(len(prompt) + GREEDY_TOKENS)
    logits = decoding.prefill(step, prompt, lambda: False)
    first = logits.copy()
    ids = decoding.generate(
        step,
        logits,
        past_tokens=len(prompt),
        budget_tokens=GREEDY_TOKENS,
        embed=embed,
        choose=lambda scores: int(scores.argmax()),
        stop_ids=frozenset(),
        cancelled=lambda: False,
    )
    return first, list(ids)
