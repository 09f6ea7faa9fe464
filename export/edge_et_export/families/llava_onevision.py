"""LLaVA-OneVision as transformers keeps it: SigLIP tower, two-layer projector, Qwen text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_et.errors import ExportError
from edge_et.manifest import ImagePolicy
from edge_et_export.checkpoint import load_strictly, processor_values, read_json, section
from edge_et_export.families import ExtractorCheckpoint

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedModel

TEXT_ARCHITECTURES = {"qwen3": "Qwen3ForCausalLM", "qwen2": "Qwen2ForCausalLM"}


def open_checkpoint(folder: Path) -> ExtractorCheckpoint:
    from transformers import LlavaOnevisionForConditionalGeneration

    policy = image_policy_of(folder)
    model = load_strictly(folder, LlavaOnevisionForConditionalGeneration)
    return from_model(model, policy, family="llava_onevision")


def from_model(
    model: LlavaOnevisionForConditionalGeneration, policy: ImagePolicy, *, family: str
) -> ExtractorCheckpoint:
    """Take a loaded model apart; LLaVA-NeXT checkpoints become such a model first."""
    return ExtractorCheckpoint(
        family=family,
        vision=vision_module(model),
        causal=causal_model(model),
        newline=model.model.image_newline.detach().numpy().astype(np.float32),
        image=policy,
        template="qwen_1_5",
        image_token_id=model.config.image_token_id,
    )


def vision_module(model: LlavaOnevisionForConditionalGeneration) -> PreTrainedModel:
    """Return tower and projector as one module.

    Features are the hidden states of `vision_feature_layer`, before the tower's last norm.
    Source: transformers `LlavaOnevisionModel.get_image_features`.
    """
    from torch import Tensor
    from transformers import PreTrainedModel

    config = model.config
    layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
    if not isinstance(layer, int) or strategy not in ("full", "default"):
        raise ExportError(f"vision_feature_layer {layer!r} with strategy {strategy!r} is unknown")
    layers = config.vision_config.num_hidden_layers
    if not -layers - 1 <= layer <= layers:
        raise ExportError(f"vision_feature_layer is {layer}; the tower has {layers} layers")

    vision_config = config.vision_config
    # by name, so that the class holds these two and not the language model
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector

    class VisionEncoder(PreTrainedModel):  # type: ignore[misc]
        _supports_sdpa = True

        def __init__(self) -> None:
            super().__init__(vision_config)
            self.tower, self.projector = tower, projector

        def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
            hidden = self.tower(pixel_values, output_hidden_states=True).hidden_states[layer]
            if strategy == "default":  # the first position is a class token
                hidden = hidden[:, 1:]
            return {"image_features": self.projector(hidden)}

    return VisionEncoder().eval()


def causal_model(model: LlavaOnevisionForConditionalGeneration) -> PreTrainedModel:
    """Return the language model with its head, sharing its weights."""
    from edge_et_export.decoder import causal_lm

    text_config = model.config.text_config
    if text_config.model_type not in TEXT_ARCHITECTURES:
        known = ", ".join(TEXT_ARCHITECTURES)
        raise ExportError(f"text model {text_config.model_type!r} is unknown; known are {known}")
    text_config.architectures = [TEXT_ARCHITECTURES[text_config.model_type]]
    return causal_lm(text_config, model.model.language_model, model.lm_head)


def image_policy_of(folder: Path) -> ImagePolicy:
    """Read how the checkpoint was trained to see an image; unknown values are refused.

    `image_aspect_ratio` is LLaVA-NeXT's key, `vision_aspect_ratio` transformers'.
    """
    config = read_json(folder / "config.json")
    processor = read_json(folder / "preprocessor_config.json")
    vision = section(config, "vision_config", folder)
    section(config, "text_config", folder)
    aspect = str(config.get("image_aspect_ratio") or config.get("vision_aspect_ratio"))
    anyres = re.fullmatch(r"anyres_max_(\d+)", aspect)
    if not anyres and aspect != "pad":
        raise ExportError(
            f"{folder}: image_aspect_ratio is {aspect!r}; known are anyres_max_N and pad"
        )
    pinpoints = processor.get("image_grid_pinpoints") or config.get("image_grid_pinpoints") or []
    theirs = config.get("image_grid_pinpoints") or pinpoints
    if anyres and [list(p) for p in theirs] != [list(p) for p in pinpoints]:
        raise ExportError(
            f"{folder}: config.json and preprocessor_config.json have different "
            "image_grid_pinpoints"
        )
    values = processor_values(folder, processor)
    red, green, blue = (int(value * 255) for value in values.mean)
    return ImagePolicy(
        name="anyres" if anyres else "single",
        tile_size_px=int(vision["image_size"]),
        patch_size_px=int(vision["patch_size"]),
        grid_pinpoints_px=tuple((int(h), int(w)) for h, w in pinpoints) if anyres else (),
        max_tiles=int(anyres.group(1)) if anyres else 1,
        mean=values.mean,
        std=values.std,
        pad_rgb=(red, green, blue),
        resample=values.resample,
    )
