"""Checkpoints with random weights at the published models' true shapes.

What they answer is noise; what they cost to export and to run is what the real ones cost.
Extractors are written in their authors' format, and with the same numbers in transformers' own for
the peer that knows no other; reasoners as Hugging Face folders; all with the starter's small
tokenizer and the vocabulary padded to full size.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

VOCABULARY = 151_936
_SHARD_BYTES = 2_000_000_000
_TOWER_WIDTH, _TOWER_INNER, _TOWER_LAYERS, _TOWER_PATCHES = 1152, 4304, 26, 27 * 27


@dataclass(frozen=True, slots=True, kw_only=True)
class TextShape:
    """A Qwen3 language model; heads are 128 wide, the head is tied to the embeddings."""

    hidden: int
    layers: int
    inner: int
    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 128


TEXT_SHAPES = {
    "0.6b": TextShape(hidden=1024, layers=28, inner=3072),
    "1.7b": TextShape(hidden=2048, layers=28, inner=6144),
    "4b": TextShape(hidden=2560, layers=36, inner=9728, heads=32),
}


def make_extractor(folder: Path, size: str, *, seed: int = 0) -> Path:
    """Write a `llava_qwen_3` checkpoint (SigLIP so400m, `size` of Qwen3) in bfloat16, sharded."""
    shape = TEXT_SHAPES[size]
    grid = [[w * 384, h * 384] for w in range(1, 7) for h in range(1, 7)]
    config = {
        "architectures": ["LlavaQwen3ForCausalLM"],
        "model_type": "llava_qwen_3",
        **_text_config(shape),
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
        "mm_hidden_size": _TOWER_WIDTH,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_patch_merge_type": "spatial_unpad",
        "image_aspect_ratio": "anyres_max_9",
        "image_grid_pinpoints": grid,
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
    }
    return _write(folder, config, _extractor(shape), seed)


def make_llava(folder: Path, size: str, *, seed: int = 0) -> Path:
    """Write the extractor of that size and seed as transformers' LLaVA-OneVision, in bfloat16.

    It sees an image in one tile, so that runtimes which cut images differently do the same work.
    """
    shape = TEXT_SHAPES[size]
    text = {"model_type": "qwen3", **_text_config(shape)}
    config = {
        "architectures": ["LlavaOnevisionForConditionalGeneration"],
        "model_type": "llava_onevision",
        "torch_dtype": "bfloat16",
        "image_token_index": 3,
        "image_aspect_ratio": "pad",  # one tile, as every peer can be given
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "image_grid_pinpoints": [[384, 384]],
        "tie_word_embeddings": True,
        "text_config": text,
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": _TOWER_WIDTH,
            "intermediate_size": _TOWER_INNER,
            "num_hidden_layers": _TOWER_LAYERS,
            "num_attention_heads": 16,
            "image_size": 384,
            "patch_size": 14,
            "vision_use_head": False,
        },
    }
    names = ((_transformers_name(name), shape) for name, shape in _extractor(shape))
    _write(folder, config, names, seed)
    processor = {
        "image_processor_type": "SiglipImageProcessor",
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": 384, "width": 384},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder


def _extractor(shape: TextShape) -> Iterator[tuple[str, Shape]]:
    yield from _tower()
    yield from _projector(shape)
    yield from _text(shape)
    yield "model.image_newline", (shape.hidden,)


def _transformers_name(name: str) -> str:
    for old, new in (
        ("model.vision_tower.vision_tower.", "model.vision_tower."),
        ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
        ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
        ("model.image_newline", "model.image_newline"),
    ):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return "model.language_model." + name.removeprefix("model.")


def make_reasoner(folder: Path, size: str, *, seed: int = 0) -> Path:
    """Write a `Qwen3ForCausalLM` folder of that size in bfloat16, sharded."""
    shape = TEXT_SHAPES[size]
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **_text_config(shape),
    }
    return _write(folder, config, _text(shape), seed)


def _text_config(shape: TextShape) -> dict[str, Any]:
    tokenizer = json.loads((_tokenizer_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": 40_960,
        "rope_theta": 1_000_000,
        "rope_scaling": None,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "torch_dtype": "bfloat16",
    }


Shape = tuple[int, ...]


def _text(shape: TextShape) -> Iterator[tuple[str, Shape]]:
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "model.embed_tokens.weight", (VOCABULARY, shape.hidden)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        yield f"{prefix}self_attn.q_proj.weight", (queries, shape.hidden)
        yield f"{prefix}self_attn.k_proj.weight", (keys, shape.hidden)
        yield f"{prefix}self_attn.v_proj.weight", (keys, shape.hidden)
        yield f"{prefix}self_attn.o_proj.weight", (shape.hidden, queries)
        yield f"{prefix}self_attn.q_norm.weight", (shape.head_dim,)
        yield f"{prefix}self_attn.k_norm.weight", (shape.head_dim,)
        yield f"{prefix}mlp.gate_proj.weight", (shape.inner, shape.hidden)
        yield f"{prefix}mlp.up_proj.weight", (shape.inner, shape.hidden)
        yield f"{prefix}mlp.down_proj.weight", (shape.hidden, shape.inner)
        yield f"{prefix}input_layernorm.weight", (shape.hidden,)
        yield f"{prefix}post_attention_layernorm.weight", (shape.hidden,)
    yield "model.norm.weight", (shape.hidden,)


def _tower() -> Iterator[tuple[str, Shape]]:
    root, wide, inner = "model.vision_tower.vision_tower.vision_model.", _TOWER_WIDTH, _TOWER_INNER
    yield f"{root}embeddings.patch_embedding.weight", (wide, 3, 14, 14)
    yield f"{root}embeddings.patch_embedding.bias", (wide,)
    yield f"{root}embeddings.position_embedding.weight", (_TOWER_PATCHES, wide)
    for layer in range(_TOWER_LAYERS):
        prefix = f"{root}encoder.layers.{layer}."
        for name, out, into in (
            *((f"self_attn.{n}_proj", wide, wide) for n in ("q", "k", "v", "out")),
            ("mlp.fc1", inner, wide),
            ("mlp.fc2", wide, inner),
        ):
            yield f"{prefix}{name}.weight", (out, into)
            yield f"{prefix}{name}.bias", (out,)
        for name in ("layer_norm1", "layer_norm2"):
            yield f"{prefix}{name}.weight", (wide,)
            yield f"{prefix}{name}.bias", (wide,)
    yield f"{root}post_layernorm.weight", (wide,)
    yield f"{root}post_layernorm.bias", (wide,)


def _projector(shape: TextShape) -> Iterator[tuple[str, Shape]]:
    yield "model.mm_projector.0.weight", (shape.hidden, _TOWER_WIDTH)
    yield "model.mm_projector.0.bias", (shape.hidden,)
    yield "model.mm_projector.2.weight", (shape.hidden, shape.hidden)
    yield "model.mm_projector.2.bias", (shape.hidden,)


def _write(
    folder: Path, config: dict[str, Any], names: Iterator[tuple[str, Shape]] | Any, seed: int
) -> Path:
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    shard: dict[str, Tensor] = {}
    where: dict[str, str] = {}
    shards = size_bytes = 0

    def flush() -> None:
        nonlocal shard, shards, size_bytes
        shards, size_bytes = shards + 1, 0
        file = f"model-{shards:05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        where.update(dict.fromkeys(shard, file))
        shard = {}

    for name, shape in names:
        shard[name] = _random(name, shape, generator)
        size_bytes += shard[name].numel() * 2
        if size_bytes > _SHARD_BYTES:
            flush()
    flush()
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(_tokenizer_folder() / file, folder / file)
    return folder


def _random(name: str, shape: Shape, generator: Any) -> Tensor:
    """Return weights of a scale that keeps activations near 1: norms 1, biases 0."""
    import torch

    if name.endswith("norm.weight") or "layernorm.weight" in name or "layer_norm" in name:
        return torch.full(shape, float(name.endswith("weight")), dtype=torch.bfloat16)
    if len(shape) == 1 and not name.endswith("newline"):
        return torch.zeros(shape, dtype=torch.bfloat16)
    fan_in = 1
    for side in shape[1:]:
        fan_in *= side
    scale = 0.05 if "embed" in name or len(shape) == 1 else fan_in**-0.5
    return (torch.randn(shape, generator=generator) * scale).to(torch.bfloat16)


def _tokenizer_folder() -> Path:
    return Path(str(files("edge_et"))) / "models" / "starter" / "extractor"
