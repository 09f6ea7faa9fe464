"""An exported part against its reference: the numbers, and the gate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_et.errors import (
    DecoderDrift,
    EndToEndDrift,
    FirstTokenMismatch,
    GreedyDisagreement,
    InterfaceMismatch,
    ParityError,
    ReasonerDrift,
    VisionDrift,
)
from edge_et.manifest import Parity
from edge_et.threads import usable_threads

F32 = NDArray[np.float32]

# On the relative error. Float graphs differ by rounding only. Random weights are the worst case of
# quantization (no outlier is worth keeping, no direction is redundant); measured on tiny ones:
# int8 up to 0.03, w8a8 0.04, q4 0.38, f16 0.0012, bf16 0.008, q8_0 0.034, q5_k_m 0.13, q4_k_m
# 0.26, q4_0 0.29.
# Errors grow with depth: 28 random layers (Qwen3-1.7B) reach 0.37 in q4_k_m, docs/export.md.
# The trained starter: int8 0.01, q8_0 0.006.
TOLERANCES = {
    "vision_encoder": {"fp32": 1e-4, "fp16": 0.01, "int8": 0.08},
    "decoder": {
        "fp32": 1e-3,
        "fp16": 0.02,
        "int8": 0.08,
        "w8a8": 0.10,
        "q4": 0.45,
        "q4_pure": 0.55,
        "q4f16": 0.45,
    },
    "end_to_end": {
        "fp32": 5e-3,
        "fp16": 0.03,
        "int8": 0.15,
        "w8a8": 0.17,
        "q4": 0.50,
        "q4_pure": 0.60,
        "q4f16": 0.50,
    },
    "reasoner": {
        "f16": 0.01,
        "bf16": 0.03,
        "q8_0": 0.08,
        "q5_k_m": 0.25,
        "q4_k_m": 0.45,
        "q4_0": 0.5,
    },
}

_DRIFTS: dict[str, type[ParityError]] = {
    "vision_encoder": VisionDrift,
    "decoder": DecoderDrift,
    "end_to_end": EndToEndDrift,
    "reasoner": ReasonerDrift,
}
_EXPLAINED = 3 * 2**0.5
"""Tolerated errors of two logits, independent, and three deviations: a lead within that may turn.

The relative error is a mean: among 150,000 logits it does not see one that is wrong, and the first
token does.
"""

COARSER = ("fp32", "fp16", "int8", "w8a8", "q4", "q4f16", "q4_pure")
"""From exact to coarse: a whole is as coarse as its coarsest part."""

# Below this a model fits a core's cache, and its threads wait for each other more than they work.
_ONE_THREAD_BYTES = 32 * 1024 * 1024


def threads_for(weights_bytes: int) -> int:
    """Return the threads to compare a model of that size with."""
    return 1 if weights_bytes < _ONE_THREAD_BYTES else usable_threads()


def compare(part: str, precision: str, ours: F32, reference: F32) -> Parity:
    """Return max abs and relative error and cosine of two arrays of equal shape.

    Raises InterfaceMismatch when the shapes differ or a value is not finite: no tolerance covers
    that.
    """
    if ours.shape != reference.shape:
        raise InterfaceMismatch(
            f"{part} {precision} gives shape {ours.shape}, not {reference.shape}"
        )
    if not np.isfinite(ours).all():
        raise InterfaceMismatch(f"{part} {precision} gives values that are not finite")
    a, b = ours.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    norm = float(np.linalg.norm(b))
    return Parity(
        part=part,
        precision=precision,
        max_abs_error=float(np.abs(a - b).max()),
        relative_error=float(np.linalg.norm(a - b)) / norm,
        cosine=float(a @ b / (np.linalg.norm(a) * norm)),
        tolerance=TOLERANCES[part][precision],
    )


def compare_first(part: str, precision: str, ours: F32, reference: F32) -> Parity:
    """Compare the logits [V] of the first token, and which token they choose."""
    first = int(ours.argmax())
    lead = float(reference.max() - reference[first])
    return replace(
        compare(part, precision, ours, reference),
        top1=first == int(reference.argmax()),
        first_token_lead=lead / float(np.sqrt(np.mean(np.square(reference, dtype=np.float64)))),
    )


def agreement(ours: list[int], reference: list[int]) -> float:
    """Return the share of greedy tokens before the first that differs."""
    for place, (a, b) in enumerate(zip(ours, reference, strict=False)):
        if a != b:
            return place / len(reference)
    return min(len(ours), len(reference)) / len(reference)


def report_line(result: Parity) -> str:
    """Return one result in words, for a person."""
    line = (
        f"{result.part} {result.precision}: relative error {result.relative_error:.2e}, "
        f"max abs {result.max_abs_error:.2e}, cosine {result.cosine:.6f}"
    )
    if result.top1 is not None:
        line += f", first token {'the same' if result.top1 else 'ANOTHER'}"
    if result.greedy_agreement is not None and result.greedy_tokens is not None:
        same = round(result.greedy_agreement * result.greedy_tokens)
        line += f", greedy {same} of {result.greedy_tokens}"
    return line


def gate(results: Iterable[Parity], *, allow_drift: bool) -> None:
    """Raise the error of the first failure, with the numbers of all of them, unless allowed.

    Drift before tokens: a part that drifts chooses other tokens for it.
    """
    if allow_drift:
        return
    failures = [failure for check in _CHECKS for r in results if (failure := check(r)) is not None]
    if failures:
        kind = failures[0][0]
        numbers = "; ".join(words for _, words in failures)
        raise kind(
            f"the export differs from its checkpoint: {numbers}",
            hint="choose a higher precision, or record the drift with --allow-drift",
        )


_Failure = tuple[type[ParityError], str]


def _drift(r: Parity) -> _Failure | None:
    if r.relative_error <= r.tolerance:
        return None
    return _DRIFTS[r.part], (
        f"{r.part} {r.precision}: relative error {r.relative_error:.4f} over {r.tolerance}, "
        f"max abs {r.max_abs_error:.4g}, cosine {r.cosine:.6f}"
    )


def _first_token(r: Parity) -> _Failure | None:
    limit = _EXPLAINED * r.tolerance
    if r.first_token_lead is None or r.first_token_lead <= limit:
        return None
    return FirstTokenMismatch, (
        f"{r.part} {r.precision}: another first token, though the reference leads by "
        f"{r.first_token_lead:.4f} root mean squares of its logits, over {limit:.4f}"
    )


def _greedy(r: Parity) -> _Failure | None:
    """In full precision alone: a rounded model may turn where the reference wavers, and what
    follows another token is another text."""
    exact = r.tolerance <= TOLERANCES["end_to_end"]["fp32"]  # the vision encoder may be coarser
    if r.part != "end_to_end" or not exact or r.greedy_agreement in (None, 1.0):
        return None
    return GreedyDisagreement, (
        f"{r.part} {r.precision}: {r.greedy_agreement:.0%} of {r.greedy_tokens} greedy tokens "
        "before the first other one"
    )


_CHECKS = (_drift, _first_token, _greedy)
