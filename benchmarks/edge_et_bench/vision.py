"""The vision encoder as it ships against the same encoder in fp32, in turn on one tile."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from edge_et import tiling
from edge_et.graphs import F32, VisionEncoder
from edge_et.image import load_image
from edge_et.manifest import ExtractorManifest, read_manifest
from edge_et.ort import Session
from edge_et.parts import pick
from edge_et_bench.findings import Finding, finding

_SCENE = Path(__file__).with_name("data") / "scene-900500000.jpg"


def against_fp32(folder: Path, precision: str, threads: int, repeats: int) -> tuple[Finding, ...]:
    """Return how many times as long fp32 takes, and the least cosine of the tokens' features.

    The tile is a drawn scene's. Raises as loading an extractor does.
    """
    manifest = read_manifest(folder, ExtractorManifest)
    ours, reference = (_encoder(folder, manifest, name, threads) for name in (precision, "fp32"))
    tile = tiling.prepare(load_image(_SCENE).rgb, manifest.image).pixel_values[0]
    cosine = _least_cosine(ours(tile), reference(tile))
    ratios = []
    for _ in range(repeats):  # both ran once for the cosine
        ours_s, reference_s = _seconds(ours, tile), _seconds(reference, tile)
        ratios.append(reference_s / ours_s)
    subject = f"{folder.name} {precision}, {threads} threads"
    return (
        finding("vision over fp32", subject, ratios),
        finding("vision cosine", subject, [cosine]),
    )


def _encoder(
    folder: Path, manifest: ExtractorManifest, precision: str, threads: int
) -> VisionEncoder:
    part = pick(manifest, "vision_encoder", ".onnx", "cpu", precision)
    session = Session(folder / part.path, "cpu", threads, spin=False)
    return VisionEncoder(session, manifest.image, manifest.decoder.hidden_size)


def _seconds(encoder: VisionEncoder, tile: F32) -> float:
    started_s = time.perf_counter()
    encoder(tile)
    return time.perf_counter() - started_s


def _least_cosine(a: F32, b: F32) -> float:
    products = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return float(products.min())
