"""Stretched rotary positions: what config.json's `rope_scaling` becomes in a GGUF file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edge_et.errors import ExportError

# Kind -> keys that are understood. Others (attention_factor, mscale, truncate ...) change the
# numbers in ways that llama.cpp has no word for.
_KEYS = {
    "linear": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow"),
    "llama3": (
        "factor",
        "original_max_position_embeddings",
        "low_freq_factor",
        "high_freq_factor",
    ),
}
FREQUENCIES = "rope_freqs.weight"
"""The tensor that carries llama3's factors."""


def scaling_of(config: Any, allowed: tuple[str, ...]) -> Mapping[str, Any]:
    """Return `rope_scaling` with its kind as `rope_type`; empty for none.

    Raises ExportError naming the kind or the key that cannot be carried over.
    """
    given = dict(getattr(config, "rope_scaling", None) or {})
    legacy = given.pop("type", "default")
    kind = given.pop("rope_type", legacy)
    if kind == "default":
        return {}
    if kind not in allowed:
        raise ExportError(
            f"rope scaling {kind!r} is not supported for {config.model_type}; known: "
            f"{', '.join(allowed)}"
        )
    if unknown := sorted(set(given) - set(_KEYS[kind])):
        raise ExportError(f"rope scaling {kind!r} with {unknown[0]!r} is not supported")
    if "factor" not in given:
        raise ExportError(f"rope scaling {kind!r} names no factor")
    return {**given, "rope_type": kind}


def add_scaling(writer: Any, scaling: Mapping[str, Any], config: Any) -> None:
    from gguf import RopeScalingType

    kind = scaling.get("rope_type")
    if kind not in ("linear", "yarn"):
        return
    writer.add_rope_scaling_type(RopeScalingType(kind))
    writer.add_rope_scaling_factor(scaling["factor"])
    if kind == "linear":
        return
    original = scaling.get("original_max_position_embeddings") or config.max_position_embeddings
    writer.add_rope_scaling_orig_ctx_len(original)
    if scaling.get("beta_fast") is not None:
        writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
    if scaling.get("beta_slow") is not None:
        writer.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])


def frequency_factors(scaling: Mapping[str, Any], theta: float, head_dim: int) -> Any:
    """Return llama3's divisors of the rotary frequencies [head_dim / 2], as a float32 tensor.

    In torch's float32 throughout, so that the bits are those of llama.cpp's own converter.
    """
    import torch

    factor = scaling["factor"]
    low, high = scaling.get("low_freq_factor", 1.0), scaling.get("high_freq_factor", 4.0)
    original = scaling.get("original_max_position_embeddings", 8192)
    factors = []
    for frequency in 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim):
        wavelength = 2 * math.pi / frequency
        if wavelength < original / high:
            factors.append(1)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return torch.tensor(factors, dtype=torch.float32)
