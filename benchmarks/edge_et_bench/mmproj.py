"""A LLaVA checkpoint's SigLIP tower and projector -> an mmproj file, for llama.cpp's libmtmd.

Only what a comparison needs: llama.cpp's own converter knows neither of the formats that our
extractors come in (`llava_qwen_3`, and transformers' LLaVA-OneVision).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from edge_et.errors import InputError, MissingDependency

_TOWER = re.compile(r"vision_model\.(?:embeddings|encoder\.layers\.(?P<layer>\d+))\.(?P<rest>.+)")
_PROJECTOR = {"mm_projector.0.": "mm.0.", "mm_projector.2.": "mm.2.",
              "multi_modal_projector.linear_1.": "mm.0.",
              "multi_modal_projector.linear_2.": "mm.2."}  # fmt: skip
_INSIDE = {
    "patch_embedding": "patch_embd", "position_embedding": "position_embd",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out", "layer_norm1": "ln1", "layer_norm2": "ln2",
    "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down",
}  # fmt: skip
_SO400M_HEADS = 16
"""Of the one tower that checkpoints in the authors' format name without its shape."""
_BLOCK = 32


def write_mmproj(checkpoint: Path, out: Path, precision: Literal["fp16", "q8_0"] = "fp16") -> Path:
    """Write weights as fp16 or Q8_0, vectors, positions and the patch convolution as fp32.

    Rows that are no multiple of a block of 32 stay fp16, as llama.cpp leaves them. All layers that
    the checkpoint has are run, and no norm after them. Raises InputError when it has no such tower.
    """
    gguf = _library()
    tensors = dict(_tensors(checkpoint))
    if not {"v.patch_embd.weight", "v.position_embd.weight", "mm.2.weight"} <= set(tensors):
        raise InputError(f"{checkpoint} holds no SigLIP tower with a projector of two layers")
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(out, "clip")
    _add_numbers(writer, tensors, _config(checkpoint))
    writer.add_file_type({"fp16": 1, "q8_0": 7}[precision])
    for name, array in tensors.items():
        large = array.ndim == 2 and "position" not in name
        if large and precision == "q8_0" and array.shape[-1] % _BLOCK == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array.astype("float16" if large else "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _add_numbers(writer: Any, tensors: dict[str, Any], config: dict[str, Any]) -> None:
    patch = tensors["v.patch_embd.weight"].shape[-1]
    positions, width = tensors["v.position_embd.weight"].shape
    layers = 1 + max(int(n.split(".")[2]) for n in tensors if n.startswith("v.blk."))
    vision = config.get("vision_config", {})
    writer.add_string("general.type", "mmproj")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    # SigLIP's is the tanh approximation, which this stands for
    writer.add_bool("clip.use_gelu", True)
    prefix = "clip.vision."
    for key, number in {
        "image_size": math.isqrt(positions) * patch,
        "patch_size": patch,
        "embedding_length": width,
        "feed_forward_length": tensors["v.blk.0.ffn_up.weight"].shape[0],
        "projection_dim": tensors["mm.2.weight"].shape[0],
        "block_count": layers,
        "attention.head_count": vision.get("num_attention_heads", _SO400M_HEADS),
    }.items():
        writer.add_uint32(prefix + key, number)
    writer.add_float32(f"{prefix}attention.layer_norm_epsilon", vision.get("layer_norm_eps", 1e-6))
    for key in ("image_mean", "image_std"):
        writer.add_array(prefix + key, [0.5] * 3)
    writer.add_array(f"{prefix}feature_layer", [layers])  # else it leaves out the last


def _tensors(checkpoint: Path) -> Iterator[tuple[str, Any]]:
    """Yield (llama.cpp's name, fp32 array) of the tower and the projector."""
    from safetensors import safe_open

    for file in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # no mapping
                if (renamed := new_name(name)) is not None:
                    yield renamed, opened.get_tensor(name).float().numpy()


def new_name(name: str) -> str | None:
    """Return llama.cpp's name of a checkpoint's tensor; None for one that it does not want."""
    for old, new in _PROJECTOR.items():
        if old in name:
            return new + name.partition(old)[2]
    found = _TOWER.search(name)
    if found is None:
        return None
    inside, _, kind = found["rest"].rpartition(".")
    layer = f"blk.{found['layer']}." if found["layer"] is not None else ""
    return f"v.{layer}{_INSIDE[inside]}.{kind}"


def _config(checkpoint: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise InputError(f"{checkpoint} is no checkpoint: {exc}") from exc
    return config


def _library() -> Any:
    try:
        import gguf
        import gguf.quants
        import safetensors.torch  # noqa: F401  # bfloat16 needs torch
    except ImportError as exc:
        raise MissingDependency(
            f"writing an mmproj needs {exc.name}", hint='pip install "edge-et[export]"'
        ) from exc
    return gguf
