"""The starter's two architectures: the published ones, small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_et_tuning.pool import PATCH_PX, TILE_PX

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration, Qwen3ForCausalLM

CONTEXT_TOKENS = 1024


def build_extractor(
    *, vocab_size: int, image_token_id: int, stop_token_id: int
) -> LlavaOnevisionForConditionalGeneration:
    """Return an untrained extractor: SigLIP tower, two-layer GELU projector, Qwen3 decoder."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen3Config,
        SiglipVisionConfig,
    )

    vision = SiglipVisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=6,
        image_size=TILE_PX,
        patch_size=PATCH_PX,
        vision_use_head=False,
    )
    text = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT_TOKENS,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=stop_token_id,
        pad_token_id=stop_token_id,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="pad",
        image_grid_pinpoints=[[TILE_PX, TILE_PX]],
        tie_word_embeddings=True,
        multimodal_projector_bias=True,
    )
    config.image_aspect_ratio = "pad"  # LLaVA-NeXT's key, which export reads
    return LlavaOnevisionForConditionalGeneration(config)


def build_reasoner(*, vocab_size: int, stop_token_id: int) -> Qwen3ForCausalLM:
    """Return an untrained reasoner."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocab_size,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            max_position_embeddings=2 * CONTEXT_TOKENS,
            rope_theta=10_000.0,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=stop_token_id,
            pad_token_id=stop_token_id,
        )
    )
