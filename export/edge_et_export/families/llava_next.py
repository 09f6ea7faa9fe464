"""LLaVA-NeXT checkpoints (`llava_qwen_3`, `llava_qwen`), the format of the Extract+Think authors.

Their tensors are those of transformers' LLaVA-OneVision under other names, so they are renamed and
loaded into that model. Sources: `llava_arch.py`, `siglip_encoder.py` and `mm_utils.py` of
LLaVA-NeXT; research/paper.md D.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_et.errors import ExportError
from edge_et.manifest import ImagePolicy
from edge_et.towers import local_tower
from edge_et_export.checkpoint import read_json, weight_files
from edge_et_export.families import ExtractorCheckpoint
from edge_et_export.families.llava_onevision import from_model
from edge_et_export.tower import Tower, tower_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlavaOnevisionForConditionalGeneration

_TEXT = {"llava_qwen_3": "qwen3", "llava_qwen": "qwen2"}
# Each prefix once, the first that fits.
_RENAMED = (
    ("model.vision_tower.vision_tower.", "model.vision_tower."),
    ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
    ("model.layers.", "model.language_model.layers."),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.norm.", "model.language_model.norm."),
)
_TOWER = "model.vision_tower."
_SIGLIP_SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
_KNOWN_TOWERS = {"google/siglip-so400m-patch14-384": _SIGLIP_SO400M}
"""Shapes of towers by Hub id, so that a checkpoint with its own weights needs no download."""
# Settings that change what is computed, and the values that this file knows.
_KNOWN_VALUES: dict[str, tuple[Any, ...]] = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_patch_merge_type": ("spatial_unpad",),
    "mm_vision_select_feature": ("patch",),
    "mm_use_im_start_end": (False,),
    "mm_use_im_patch_token": (False,),
    "mm_resampler_type": (None,),
    "rope_scaling": (None,),
}


def open_checkpoint(folder: Path) -> ExtractorCheckpoint:
    config = read_json(folder / "config.json")
    for name, known in _KNOWN_VALUES.items():
        if config.get(name, known[0]) not in known:
            raise ExportError(
                f"{folder}: {name} is {config[name]!r}; known is {known[0]!r}",
                hint="this setting changes what the model computes, so it is not guessed",
            )
    tower = tower_of(folder)
    shape = _shape_of(config.get("mm_vision_tower"), tower, folder)
    policy = _policy(config, shape["image_size"], shape["patch_size"], folder)
    model = _load(folder, _config(config, shape, folder), tower)
    return replace(from_model(model, policy, family="llava_next"), tower=tower)


def _shape_of(name: Any, apart: Tower | None, folder: Path) -> dict[str, int]:
    """Return the tower's `vision_config`; LLaVA-NeXT drops the last of its layers."""
    if not isinstance(name, str):
        raise ExportError(f"{folder}: config.json names no mm_vision_tower")
    found = apart.folder if apart is not None else local_tower(folder, name)
    if found is not None:
        config = read_json(found / "config.json")
        config = config.get("vision_config", config)
        missing = sorted(set(_SIGLIP_SO400M) - set(config))
        if missing:
            raise ExportError(f"{found / 'config.json'} names no {missing[0]}")
        return {key: int(config[key]) for key in _SIGLIP_SO400M}
    if name not in _KNOWN_TOWERS:
        known = ", ".join(_KNOWN_TOWERS)
        raise ExportError(
            f"{folder}: mm_vision_tower {name!r} is neither a folder nor one of {known}",
            hint="download that tower and set mm_vision_tower to its folder",
        )
    return _KNOWN_TOWERS[name]


def _policy(
    config: dict[str, Any], tile_size_px: int, patch_size_px: int, folder: Path
) -> ImagePolicy:
    aspect = str(config.get("image_aspect_ratio"))
    anyres = re.fullmatch(r"anyres(?:_max_(\d+))?", aspect)
    if not anyres:
        raise ExportError(
            f"{folder}: image_aspect_ratio is {aspect!r}; known are anyres and anyres_max_N"
        )
    grid = pinpoints(config.get("image_grid_pinpoints"), tile_size_px)
    return ImagePolicy(
        name="anyres",
        tile_size_px=tile_size_px,
        patch_size_px=patch_size_px,
        grid_pinpoints_px=grid,
        max_tiles=int(anyres.group(1)) if anyres.group(1) else None,
        unpad="truncated",
    )


def pinpoints(value: Any, tile_size_px: int) -> tuple[tuple[int, int], ...]:
    """Return canvases (height, width) from `image_grid_pinpoints`, in its own order.

    The authors write width, height: a list of pairs, as such or as text, or a range of tile
    counts such as "(1x1),...,(6x6)". Source: `mm_utils.process_anyres_image`.
    """
    if isinstance(value, str):
        if "x" in value:
            bounds = [(int(a), int(b)) for a, b in re.findall(r"\((\d+)x(\d+)\)", value)]
            if len(bounds) < 2:
                raise ExportError(f"image_grid_pinpoints {value!r} is no range of tile counts")
            (first_w, first_h), (last_w, last_h) = bounds[0], bounds[-1]
            value = [
                (w * tile_size_px, h * tile_size_px)
                for w in range(first_w, last_w + 1)
                for h in range(first_h, last_h + 1)
            ]
        else:
            value = [(int(a), int(b)) for a, b in re.findall(r"\(\s*(\d+)\s*,\s*(\d+)\s*\)", value)]
    if not isinstance(value, list | tuple) or not value or any(len(pair) != 2 for pair in value):
        raise ExportError(f"image_grid_pinpoints {value!r} is no list of widths and heights")
    return tuple((int(height), int(width)) for width, height in value)


def _load(folder: Path, config: Any, tower: Tower | None) -> LlavaOnevisionForConditionalGeneration:
    """Load every tensor in float32 into a LLaVA-OneVision of this shape; account for each."""
    import torch
    from transformers import LlavaOnevisionForConditionalGeneration

    with torch.device("meta"):
        model = LlavaOnevisionForConditionalGeneration(config)
    wanted = model.state_dict()
    sources = _tensors(folder)
    if tower is not None:
        sources = chain(sources, _tower_tensors(tower, config.vision_config.num_hidden_layers))
    state: dict[str, Tensor] = {}
    for old, new, tensor in sources:
        if new not in wanted:
            raise ExportError(f"{folder} has the tensor {old}, which the model does not know")
        if new in state:
            raise ExportError(f"{folder} has the tensor {old} in more than one file")
        if tensor.shape != wanted[new].shape:
            raise ExportError(
                f"the tensor {old} of {folder} is not of shape {list(wanted[new].shape)}"
            )
        state[new] = tensor.float()
    _settle_head(state, config.tie_word_embeddings, folder)
    if missing := sorted(set(wanted) - set(state)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ExportError(f"{folder} lacks the tensor {_old_name(missing[0])}{more}")
    model.load_state_dict(state, strict=True, assign=True)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.language_model.embed_tokens.weight
    _make_buffers(model)
    return model.eval()


def _settle_head(state: dict[str, Tensor], tied: bool, folder: Path) -> None:
    """A tied head may be absent or a copy; a different one contradicts its own config."""
    import torch

    table = state.get("model.language_model.embed_tokens.weight")
    if not tied or table is None:
        return
    head = state.setdefault("lm_head.weight", table)
    if head is not table and not torch.equal(head, table):
        raise ExportError(
            f"{folder} has a tensor lm_head.weight that differs from the embeddings, "
            "and config.json ties them",
            hint="set tie_word_embeddings to false, or remove the tensor",
        )


def _config(config: dict[str, Any], shape: dict[str, int], folder: Path) -> Any:
    from transformers import LlavaOnevisionConfig, Qwen2Config, Qwen3Config, SiglipVisionConfig

    kind = _TEXT.get(str(config.get("model_type")))
    if kind is None:
        raise ExportError(
            f"{folder}: model_type {config.get('model_type')!r} is none of {', '.join(_TEXT)}"
        )
    text_class = {"qwen3": Qwen3Config, "qwen2": Qwen2Config}[kind]
    known = text_class().to_dict()
    text = text_class(**{k: v for k, v in config.items() if k in known and k != "model_type"})
    shape = {**shape, "num_hidden_layers": shape["num_hidden_layers"] - 1}
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**shape, vision_use_head=False),
        text_config=text,
        image_token_index=-200,  # LLaVA-NeXT's mark: never a token
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
    )


def _tensors(folder: Path) -> Iterator[tuple[str, str, Tensor]]:
    """Yield (name in the file, name in the model, tensor); rotary tables are computed anew."""
    from safetensors import safe_open

    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            for old in file.keys():  # noqa: SIM118
                if not old.endswith("rotary_emb.inv_freq"):
                    yield old, _new_name(old), file.get_tensor(old)


def _tower_tensors(tower: Tower, layers: int) -> Iterator[tuple[str, str, Tensor]]:
    """Yield the SigLIP checkpoint's first `layers`, without the next, head and text half."""
    from safetensors import safe_open

    dropped = (f"vision_model.encoder.layers.{layers}.", "vision_model.head.")
    for path in weight_files(tower.folder):
        with safe_open(path, framework="pt") as file:
            for old in file.keys():  # noqa: SIM118
                if old.startswith("vision_model.") and not old.startswith(dropped):
                    yield old, _TOWER + old, file.get_tensor(old)


def _new_name(old: str) -> str:
    for before, after in _RENAMED:
        if old.startswith(before):
            return after + old[len(before) :]
    return old


def _old_name(new: str) -> str:
    for before, after in _RENAMED:
        if new.startswith(after):
            return before + new[len(after) :]
    return new


def _make_buffers(model: LlavaOnevisionForConditionalGeneration) -> None:
    """Buffers made on the meta device hold nothing: make the position tables again."""
    import torch

    text = model.model.language_model
    rotary = type(text.rotary_emb)
    text.rotary_emb = rotary(config=text.config)
    embeddings = model.model.vision_tower.vision_model.embeddings
    positions = torch.arange(embeddings.num_positions).expand((1, -1))
    embeddings.register_buffer("position_ids", positions, persistent=False)
