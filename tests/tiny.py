"""Tiny random-weight checkpoints, written as ordinary Hugging Face folders. Seeded: same bytes.

One table of variants per architecture; each variant differs from the others in what an exporter or
a runtime can get wrong: grouped heads, tied and untied embeddings, a head size that is not
hidden / heads, both image policies, both text families.

    from tests.tiny import EXTRACTOR_VARIANTS, REASONER_VARIANTS, make_extractor, make_reasoner
    from tests.tiny import SMOLVLM_VARIANTS, make_smolvlm
    folder = make_extractor(tmp_path / "checkpoint", "anyres_untied")
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

TILE_PX = 32
PATCH_PX = 8
PATCHES = (TILE_PX // PATCH_PX) ** 2
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
ADDED = ("<think>", "</think>")
"""Added tokens that are not special, as in Qwen3."""
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SENTENCES = (
    "Describe the fine-grained content of the image, including scenes, objects, relationships, "
    "instance location, and any text present.",
    "Especially, pay attention to the red circle left of the blue square.",
    "You are a helpful assistant.\nYou are an excellent text-based reasoning expert.",
    "The image shows a large green triangle and two small yellow stars on a gray background.",
    "Please reason step by step, and give the final answer on the last line by itself.",
    "Question: How many red pins are left of the switch?\nAnswer: 3",
    "It's 12:34, they're 5,678.90 apart, naïve café über straße, 你好 世界, déjà vu.",
)


@dataclass(frozen=True, kw_only=True)
class ExtractorVariant:
    policy: Literal["single", "anyres"] = "single"
    tied: bool = True
    text: Literal["qwen3", "qwen2"] = "qwen3"
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    """Qwen2 has no head_dim of its own: hidden / heads."""
    layers: int = 2
    pinpoints: tuple[tuple[int, int], ...] = ()
    max_tiles: int = 9
    shard_size: str = "1GB"
    """Of the safetensors files, at most."""


@dataclass(frozen=True, kw_only=True)
class SmolvlmVariant:
    architecture: Literal["Idefics3", "SmolVLM"] = "SmolVLM"
    tied: bool = True
    hidden: int = 144
    heads: int = 9
    kv_heads: int = 3
    layers: int = 2
    longest_edge_px: int = 4 * TILE_PX
    scale_factor: int = 2


@dataclass(frozen=True, kw_only=True)
class ReasonerVariant:
    tied: bool = True
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    layers: int = 2


_GRID = tuple((h * TILE_PX, w * TILE_PX) for h in range(1, 5) for w in range(1, 5))

EXTRACTOR_VARIANTS: dict[str, ExtractorVariant] = {
    "single_tied": ExtractorVariant(),
    # head_dim 32 where hidden / heads is 16; few pinpoints of unequal sides
    "anyres_untied": ExtractorVariant(
        policy="anyres", tied=False, head_dim=32, pinpoints=((32, 64), (64, 32), (64, 64), (32, 96))
    ),
    # a square grid up to 4 x 4 tiles with a limit of 4: features get shrunk; files with an index
    "anyres_shrunk": ExtractorVariant(
        policy="anyres",
        hidden=96,
        head_dim=32,
        kv_heads=1,
        layers=3,
        pinpoints=_GRID,
        max_tiles=4,
        shard_size="400KB",
    ),
    # the text family of the original LLaVA-OneVision, with biases on q, k and v
    "single_qwen2": ExtractorVariant(text="qwen2", tied=False),
}
SMOLVLM_VARIANTS: dict[str, SmolvlmVariant] = {
    # 9 heads over 3 KV heads, as in 256M and 500M; rows that no block of 32 fills
    "smolvlm_tied": SmolvlmVariant(),
    # rows that blocks of 32 fill; a longest edge that is no whole number of tiles
    "idefics3_untied": SmolvlmVariant(
        architecture="Idefics3", tied=False, hidden=96, heads=6, kv_heads=3, scale_factor=4,
        longest_edge_px=80,
    ),
    # the image is one tile and never cut
    "smolvlm_unsplit": SmolvlmVariant(
        tied=False, hidden=96, heads=6, kv_heads=2, longest_edge_px=TILE_PX
    ),
}  # fmt: skip
REASONER_VARIANTS: dict[str, ReasonerVariant] = {
    "tied": ReasonerVariant(),
    "untied": ReasonerVariant(tied=False, head_dim=32),
    # rows of 256 weights, so that K-quants apply
    "wide": ReasonerVariant(hidden=256, head_dim=64, layers=3),
}

_CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}"
    "{%- endif %}"
)
_LLAVA_CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}"
    "{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{- '<image>\\n' }}{%- else %}{{- part.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


_SMOLVLM_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
SMOLVLM_MARKS = (
    "<fake_token_around_image>", "<end_of_utterance>", "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)),
)  # fmt: skip
"""Fewer places than the grids have: the rest is plain text to the tokenizer."""


def make_tokenizer(*, template: str = _CHATML, more_specials: tuple[str, ...] = ()) -> Any:
    """Return a `Qwen2TokenizerFast`: byte-level BPE of a few sentences, about 500 tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers as pre
    from tokenizers.trainers import BpeTrainer
    from transformers import Qwen2TokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(QWEN2_SPLIT), behavior="isolated", invert=False),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=480, initial_alphabet=sorted(pre.ByteLevel.alphabet()), show_progress=False
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    specials = (*SPECIALS, *more_specials)
    bpe.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in specials])
    bpe.add_tokens([AddedToken(t, special=False, normalized=False) for t in ADDED])
    tokenizer = Qwen2TokenizerFast(
        tokenizer_object=bpe,
        unk_token=None,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>", "<image>"],
        model_max_length=4096,
    )
    tokenizer.chat_template = template
    return tokenizer


def make_extractor(folder: Path, variant: str = "single_tied", *, seed: int = 0) -> Path:
    """Write a `LlavaOnevisionForConditionalGeneration` (SigLIP tower, Qwen text) and return it."""
    import torch
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        SiglipVisionConfig,
    )

    v = EXTRACTOR_VARIANTS[variant]
    tokenizer = make_tokenizer(template=_LLAVA_CHATML)
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    pinpoints = [list(p) for p in v.pinpoints] or [[TILE_PX, TILE_PX]]
    aspect = "pad" if v.policy == "single" else f"anyres_max_{v.max_tiles}"
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
            image_size=TILE_PX, patch_size=PATCH_PX, vision_use_head=False,
        ),
        text_config=_text_config(v, tokenizer),
        image_token_index=image_id,
        video_token_index=image_id,
        projector_hidden_act="gelu",
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        vision_aspect_ratio="anyres_max_9" if v.policy == "single" else aspect,
        image_grid_pinpoints=pinpoints,
        image_aspect_ratio=aspect,
        tie_word_embeddings=v.tied,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaOnevisionForConditionalGeneration(config)
        _randomise(model)
    _save(model, folder, tokenizer, shard_size=v.shard_size)
    # The image processor and a plain processor_config.json: the processor class itself wants a
    # video processor, and that wants torchvision.
    LlavaOnevisionImageProcessor(
        size={"height": TILE_PX, "width": TILE_PX},
        image_grid_pinpoints=pinpoints,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(folder)
    processor = {
        "processor_class": "LlavaOnevisionProcessor",
        "num_image_tokens": PATCHES,
        "vision_feature_select_strategy": "full",
        "vision_aspect_ratio": config.vision_aspect_ratio,
        "image_token": "<image>",
    }
    _write_json(folder / "processor_config.json", processor)
    return folder


def make_smolvlm(folder: Path, variant: str = "smolvlm_tied", *, seed: int = 0) -> Path:
    """Write an `Idefics3`- or `SmolVLMForConditionalGeneration` and return its folder."""
    import torch
    import transformers

    v = SMOLVLM_VARIANTS[variant]
    tokenizer = make_tokenizer(template=_SMOLVLM_TEMPLATE, more_specials=SMOLVLM_MARKS)
    config = getattr(transformers, f"{v.architecture}Config")(
        vision_config={
            "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3,
            "num_attention_heads": 4, "image_size": TILE_PX, "patch_size": PATCH_PX,
        },
        text_config=_llama_config(v, tokenizer).to_dict(),
        scale_factor=v.scale_factor,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=v.tied,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{v.architecture}ForConditionalGeneration")(config)
        _randomise(model)
    _save(model, folder, tokenizer)
    getattr(transformers, f"{v.architecture}ImageProcessor")(
        size={"longest_edge": v.longest_edge_px},
        max_image_size={"longest_edge": TILE_PX},
    ).save_pretrained(folder)
    processor = {
        "processor_class": f"{v.architecture}Processor",
        "image_seq_len": PATCHES // v.scale_factor**2,
    }
    _write_json(folder / "processor_config.json", processor)
    return folder


def make_reasoner(folder: Path, variant: str = "tied", *, seed: int = 0) -> Path:
    """Write a `Qwen3ForCausalLM` and return its folder."""
    import torch
    from transformers import Qwen3ForCausalLM

    v = REASONER_VARIANTS[variant]
    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(_text_config(v, tokenizer))
        _randomise(model)
    _save(model, folder, tokenizer)
    return folder


def _text_config(v: ExtractorVariant | ReasonerVariant, tokenizer: Any) -> Any:
    from transformers import Qwen2Config, Qwen3Config

    qwen2 = isinstance(v, ExtractorVariant) and v.text == "qwen2"
    common = {
        # padded past the tokenizer, as in real checkpoints
        "vocab_size": -(-(len(tokenizer) + 1) // 64) * 64,
        "hidden_size": v.hidden,
        "intermediate_size": 2 * v.hidden,
        "num_hidden_layers": v.layers,
        "num_attention_heads": v.heads,
        "num_key_value_heads": v.kv_heads,
        "max_position_embeddings": 1024,
        "rope_theta": 10_000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": v.tied,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return Qwen2Config(**common) if qwen2 else Qwen3Config(**common, head_dim=v.head_dim)


def _llama_config(v: SmolvlmVariant, tokenizer: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=-(-(len(tokenizer) + 1) // 64) * 64,
        hidden_size=v.hidden,
        intermediate_size=2 * v.hidden,
        num_hidden_layers=v.layers,
        num_attention_heads=v.heads,
        num_key_value_heads=v.kv_heads,
        head_dim=v.hidden // v.heads,
        max_position_embeddings=1024,
        rope_theta=100_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=v.tied,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<end_of_utterance>"),
        pad_token_id=tokenizer.pad_token_id,
    )


def _randomise(model: Any) -> None:
    """Weights of a scale that keeps activations near 1 and greedy decoding from looping."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                # norms near 1, biases and the newline near 0
                is_scale = name.endswith("weight") and "norm" in name
                parameter.copy_(0.1 * torch.randn_like(parameter) + float(is_scale))
            elif "embed_tokens" in name or "lm_head" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
            else:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn_like(parameter) / fan_in**0.5)


def _save(model: Any, folder: Path, tokenizer: Any, *, shard_size: str = "1GB") -> None:
    ids = tokenizer.convert_tokens_to_ids
    model.save_pretrained(folder, safe_serialization=True, max_shard_size=shard_size)
    tokenizer.save_pretrained(folder)
    generation = {
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 20,
        "eos_token_id": [ids("<|im_end|>"), ids("<|endoftext|>")],
        "pad_token_id": ids("<|endoftext|>"),
    }
    _write_json(folder / "generation_config.json", generation)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
