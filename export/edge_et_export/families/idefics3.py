"""Idefics3 and SmolVLM: SigLIP tower, pixel shuffle and one linear layer, Llama text.

Sources: transformers `modeling_idefics3`, `image_processing_idefics3`, `processing_idefics3` and
their SmolVLM twins, which compute the same for images.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_et.errors import ExportError
from edge_et.manifest import ImagePolicy
from edge_et.prompts import extractor_chat
from edge_et_export.checkpoint import (
    architecture_of,
    load_strictly,
    processor_values,
    read_json,
    section,
)
from edge_et_export.families import ExtractorCheckpoint

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

# Settings that change what is computed, and the values that this file knows; an absent one has
# the first.
_KNOWN_TEXT: dict[str, tuple[Any, ...]] = {
    "model_type": ("llama",),
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_resampler": (False,),
    "qk_layer_norms": (False,),
    "rope_interleaved": (False,),
}
_KNOWN_PROCESSOR: dict[str, tuple[Any, ...]] = {
    "image_processor_type": (
        "Idefics3ImageProcessor",
        "Idefics3ImageProcessorFast",
        "SmolVLMImageProcessor",
        "SmolVLMImageProcessorFast",
    ),
    "do_image_splitting": (True,),
    "do_resize": (True,),
    "do_rescale": (True,),
    "do_normalize": (True,),
}
_LANCZOS = 1
_BYTE = 1 / 255


def open_checkpoint(folder: Path) -> ExtractorCheckpoint:
    import transformers

    policy = image_policy_of(folder)
    _check_chat_template(folder)
    model = load_strictly(folder, getattr(transformers, architecture_of(folder)))
    return ExtractorCheckpoint(
        family="idefics3",
        vision=vision_module(model, policy),
        causal=causal_model(model),
        newline=None,
        image=policy,
        template="smolvlm",
        image_token_id=model.config.image_token_id,
    )


def vision_module(model: PreTrainedModel, policy: ImagePolicy) -> PreTrainedModel:
    """Return tower, last norm and connector as one module for full square tiles.

    The model computes position ids from the mask of each tile, in a loop over the batch that no
    graph can hold; every tile here is full, so its position embedding is a constant.
    """
    from transformers import PreTrainedModel

    tower, connector = model.model.vision_model, model.model.connector
    positions = _position_embedding(tower, policy.tile_size_px)

    class VisionEncoder(PreTrainedModel):  # type: ignore[misc]
        _supports_sdpa = True

        def __init__(self) -> None:
            super().__init__(tower.config)
            self.patches = tower.embeddings.patch_embedding
            self.register_buffer("positions", positions)
            self.encoder = tower.encoder
            self.norm = tower.post_layernorm
            self.connector = connector

        def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
            patches = self.patches(pixel_values).flatten(2).transpose(1, 2)
            hidden = self.encoder(inputs_embeds=patches + self.positions).last_hidden_state
            return {"image_features": self.connector(self.norm(hidden))}

    return VisionEncoder().eval()


def _position_embedding(tower: PreTrainedModel, tile_size_px: int) -> Tensor:
    """Return what the model itself adds to the patches of a full tile, [1, N, hidden]."""
    import torch

    seen: list[Tensor] = []
    embeddings = tower.embeddings
    side = tile_size_px // embeddings.patch_size
    hook = embeddings.position_embedding.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)
    )
    try:
        with torch.no_grad():
            embeddings(
                pixel_values=torch.zeros(1, 3, tile_size_px, tile_size_px),
                patch_attention_mask=torch.ones(1, side, side, dtype=torch.bool),
            )
    finally:
        hook.remove()
    return seen[0].detach()


def causal_model(model: PreTrainedModel) -> PreTrainedModel:
    """Return the language model with its head, sharing its weights."""
    from edge_et_export.decoder import causal_lm

    text_config = model.config.text_config
    # checkpoints name a class of their makers' here (VLlama3ForCausalLM); it is this one
    text_config.architectures = ["LlamaForCausalLM"]
    return causal_lm(text_config, model.model.text_model, model.lm_head)


def image_policy_of(folder: Path) -> ImagePolicy:
    """Read how the checkpoint was trained to see an image; unknown values are refused."""
    config = read_json(folder / "config.json")
    _check(section(config, "text_config", folder), _KNOWN_TEXT, folder / "config.json")
    path = folder / "preprocessor_config.json"
    processor = {"resample": _LANCZOS} | read_json(path)
    _check(processor, _KNOWN_PROCESSOR, path)
    if abs(processor.get("rescale_factor", _BYTE) - _BYTE) > 1e-9:
        raise ExportError(f"{path}: rescale_factor is not 1/255")
    vision = section(config, "vision_config", folder)
    tile_size_px = _edge(processor, "max_image_size", path)
    if tile_size_px != vision.get("image_size"):
        raise ExportError(
            f"{path}: tiles of {tile_size_px} px, and the vision tower of config.json takes "
            f"{vision.get('image_size')} px"
        )
    values = processor_values(folder, processor)
    policy = ImagePolicy(
        name="split",
        tile_size_px=tile_size_px,
        patch_size_px=int(vision["patch_size"]),
        max_tiles=None,
        mean=values.mean,
        std=values.std,
        resample=values.resample,
        longest_edge_px=_edge(processor, "size", path),
        pixel_shuffle=int(config.get("scale_factor", 2)),
    )
    _check_token_count(folder, policy)
    return policy


def _check(values: dict[str, Any], known: dict[str, tuple[Any, ...]], path: Path) -> None:
    for name, allowed in known.items():
        if values.get(name, allowed[0]) not in allowed:
            raise ExportError(
                f"{path}: {name} is {values[name]!r}; known is {', '.join(map(repr, allowed))}",
                hint="this setting changes what the model computes, so it is not guessed",
            )


def _edge(processor: dict[str, Any], name: str, path: Path) -> int:
    value = processor.get(name)
    if not isinstance(value, dict) or set(value) != {"longest_edge"}:
        raise ExportError(f"{path}: {name} is {value!r}; known is one longest_edge")
    return int(value["longest_edge"])


def _check_token_count(folder: Path, policy: ImagePolicy) -> None:
    path = folder / "processor_config.json"
    wanted = read_json(path).get("image_seq_len") if path.exists() else None
    if wanted not in (None, policy.tokens_per_tile):
        raise ExportError(
            f"{path}: image_seq_len is {wanted}; tiles of this checkpoint have "
            f"{policy.tokens_per_tile} image tokens"
        )


def _check_chat_template(folder: Path) -> None:
    """Refuse a checkpoint that talks in another layout than `smolvlm`."""
    from transformers.utils.chat_template_utils import render_jinja_template

    source = _chat_template_of(folder)
    if source is None:
        return
    content = [{"type": "image"}, {"type": "text", "text": "TEXT"}]
    conversation = [{"role": "user", "content": content}]
    try:
        rendered, _ = render_jinja_template(
            [conversation], chat_template=source, add_generation_prompt=True
        )
    except Exception as exc:
        raise ExportError(f"{folder}: the chat template cannot be rendered: {exc}") from exc
    if rendered[0] != extractor_chat("TEXT", "smolvlm"):
        raise ExportError(
            f"{folder}: the chat template gives {rendered[0]!r}; "
            f"known is {extractor_chat('TEXT', 'smolvlm')!r}"
        )


def _chat_template_of(folder: Path) -> str | None:
    if (folder / "chat_template.jinja").exists():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        path = folder / name
        template = read_json(path).get("chat_template") if path.exists() else None
        if isinstance(template, str):
            return template
    return None
