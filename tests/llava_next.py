"""LLaVA-NeXT in small: checkpoints in its authors' format, and its image path in torch.

The image path is written from the description of the algorithm (research: `process_anyres_image`,
`prepare_inputs_labels_for_multimodal`), with Pillow and torch, and shares nothing with the runtime.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.tiny import PATCH_PX, TILE_PX, _randomise, make_tokenizer


@dataclass(frozen=True, kw_only=True)
class Variant:
    aspect: str = "anyres_max_4"
    pinpoints: Any = tuple((w * TILE_PX, h * TILE_PX) for w in range(1, 5) for h in range(1, 5))
    """Width, height, as the authors write them; or their text for a range."""
    text: str = "qwen3"
    tied: bool = True
    hidden: int = 96
    heads: int = 6
    kv_heads: int = 3
    head_dim: int = 32
    own_tower: bool = True
    shards: int = 1


VARIANTS = {
    "three_kv_heads_sharded": Variant(shards=3),
    "untied_tower_elsewhere": Variant(
        aspect="anyres", pinpoints="(1x1),...,(3x3)", tied=False, hidden=80, heads=5, kv_heads=1,
        head_dim=16, own_tower=False,
    ),
    "qwen2": Variant(
        text="qwen2", tied=False, hidden=64, heads=4, kv_heads=2, head_dim=16,
        pinpoints=((64, 32), (32, 96)), aspect="anyres_max_9",
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Model:
    """The parts of one checkpoint as torch modules."""

    folder: Path
    variant: Variant
    tower: Any
    """A SiglipVisionModel with the layer that LLaVA-NeXT drops."""
    projector: Any
    newline: Any
    causal: Any

    def features(self, pixels: Any) -> Any:
        """[T, 3, S, S] -> [T, N, H]: before the last layer, past the projector."""
        hidden = self.tower(pixels, output_hidden_states=True).hidden_states[-2]
        return self.projector(hidden)


def make(folder: Path, name: str, *, seed: int = 0) -> Model:
    """Write the checkpoint of variant `name` to `folder`, its tower beside where it is apart."""
    import torch
    from transformers import (
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
        SiglipVisionConfig,
        SiglipVisionModel,
    )

    v = VARIANTS[name]
    tokenizer = make_tokenizer()
    vision_config = SiglipVisionConfig(
        hidden_size=48, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
        image_size=TILE_PX, patch_size=PATCH_PX, vision_use_head=False,
    )  # fmt: skip
    text = {
        "vocab_size": -(-(len(tokenizer) + 1) // 64) * 64,
        "hidden_size": v.hidden, "intermediate_size": 2 * v.hidden, "num_hidden_layers": 2,
        "num_attention_heads": v.heads, "num_key_value_heads": v.kv_heads,
        "max_position_embeddings": 2048, "rope_theta": 10_000.0, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": v.tied, "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = SiglipVisionModel(vision_config)
        projector = torch.nn.Sequential(
            torch.nn.Linear(48, v.hidden), torch.nn.GELU(), torch.nn.Linear(v.hidden, v.hidden)
        )
        causal: Any
        if v.text == "qwen3":
            causal = Qwen3ForCausalLM(Qwen3Config(**text, head_dim=v.head_dim))
        else:
            causal = Qwen2ForCausalLM(Qwen2Config(**text))
        for module in (tower, projector, causal):
            _randomise(module)
        newline = 0.3 * torch.randn(v.hidden)
    model = Model(
        folder=folder, variant=v, tower=tower.eval(), projector=projector, newline=newline,
        causal=causal.eval(),
    )  # fmt: skip
    _write(model, tokenizer, text | {"head_dim": v.head_dim})
    return model


def _write(model: Model, tokenizer: Any, text: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    v, folder = model.variant, model.folder
    folder.mkdir(parents=True)
    siglip = folder.parent / "siglip"
    model.tower.save_pretrained(siglip)
    dropped = "vision_model.encoder.layers.3."
    tensors = {
        f"model.vision_tower.vision_tower.{n}": t
        for n, t in model.tower.state_dict().items()
        if v.own_tower and not n.startswith(dropped)
    }
    tensors |= {f"model.mm_projector.{n}": t for n, t in model.projector.state_dict().items()}
    tensors["model.image_newline"] = model.newline
    for name, tensor in model.causal.state_dict().items():
        if not (v.tied and name == "lm_head.weight"):
            tensors[name] = tensor
    names = sorted(tensors)
    for shard in range(v.shards):
        part = {n: tensors[n].contiguous().clone() for n in names[shard :: v.shards]}
        save_file(part, folder / f"model-{shard + 1:05d}-of-{v.shards:05d}.safetensors")
    config = {
        "architectures": ["LlavaQwen3ForCausalLM" if v.text == "qwen3" else "LlavaQwenForCausalLM"],
        "model_type": "llava_qwen_3" if v.text == "qwen3" else "llava_qwen",
        **text,
        "rope_scaling": None,
        "mm_vision_tower": str(siglip),
        "mm_hidden_size": 48,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_patch_merge_type": "spatial_unpad",
        "image_aspect_ratio": v.aspect,
        "image_grid_pinpoints": v.pinpoints,
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "mm_newline_position": "grid",
        "mm_resampler_type": None,
        "tokenizer_model_max_length": 32768,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    tokenizer.save_pretrained(folder)


def canvases(variant: Variant) -> list[tuple[int, int]]:
    """Return the widths and heights that an image may be laid on."""
    if isinstance(variant.pinpoints, str):
        last = int(variant.pinpoints[-2])
        sides = [n * TILE_PX for n in range(1, last + 1)]
        return [(w, h) for w in sides for h in sides]
    return list(variant.pinpoints)


def best_canvas(size: tuple[int, int], choices: list[tuple[int, int]]) -> tuple[int, int]:
    """Most pixels of the image, then least waste, then the first."""

    def merit(canvas: tuple[int, int]) -> tuple[int, int]:
        scale = min(canvas[0] / size[0], canvas[1] / size[1])
        shown = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return shown, shown - canvas[0] * canvas[1]

    return max(choices, key=merit)


def crops(image: Image.Image, variant: Variant) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the crops [T, S, S, 3], the squashed whole first, and the grid's columns, rows."""
    width, height = best_canvas(image.size, canvases(variant))
    scale_w, scale_h = width / image.width, height / image.height
    if scale_w < scale_h:
        size = width, min(math.ceil(image.height * scale_w), height)
    else:
        size = min(math.ceil(image.width * scale_h), width), height
    canvas = Image.new("RGB", (width, height))
    offset = (width - size[0]) // 2, (height - size[1]) // 2
    canvas.paste(image.resize(size), offset)
    whole = [np.asarray(image.resize((TILE_PX, TILE_PX)))]
    tiles = [
        np.asarray(canvas.crop((x, y, x + TILE_PX, y + TILE_PX)))
        for y in range(0, height, TILE_PX)
        for x in range(0, width, TILE_PX)
    ]
    return np.stack(whole + tiles), (width // TILE_PX, height // TILE_PX)


def image_rows(
    features: Any, grid: tuple[int, int], size: tuple[int, int], variant: Variant, newline: Any
) -> Any:
    """Turn the features [T, N, H] of an image's crops into prompt rows [rows, H], in torch."""
    import torch

    (columns, rows), unit = grid, TILE_PX // PATCH_PX
    picture = features[1:].view(rows, columns, unit, unit, -1)
    picture = picture.permute(4, 0, 2, 1, 3).reshape(-1, rows * unit, columns * unit)
    height, width = picture.shape[1:]
    if size[0] / size[1] > width / height:
        pad = (height - int(size[1] * (width / size[0]))) // 2
        picture = picture[:, pad : height - pad]
    else:
        pad = (width - int(size[0] * (height / size[1]))) // 2
        picture = picture[:, :, pad : width - pad]
    height, width = picture.shape[1:]
    if "max" in variant.aspect:
        limit = int(variant.aspect.rsplit("_", 1)[1])
        times = math.sqrt(height * width / (limit * unit**2))
        if times > 1.1:
            wanted = [int(height // times), int(width // times)]
            picture = torch.nn.functional.interpolate(picture[None], wanted, mode="bilinear")[0]
    ends = newline[:, None, None].expand(-1, picture.shape[1], 1)
    picture = torch.cat([picture, ends], dim=2)
    return torch.cat([features[0], picture.flatten(1).T])
