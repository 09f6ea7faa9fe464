"""The pair's own tokenizer: byte-level BPE in Qwen's layout, small because its world is small."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_et.prompts import extractor_chat
from edge_et_tuning.extraction_data import extraction_turn
from edge_et_tuning.reasoner_data import exchange
from edge_et_tuning.scenes import sample_scene

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCAB_SIZE = 1024
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<image>")
IM_END = "<|im_end|>"
CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{%- endif %}"""
# Qwen2's split: words take their leading space, digits stand alone.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus(seed: int, scenes: int) -> Iterator[str]:
    """Yield the texts both models will read and write."""
    for index in range(scenes):
        rng = random.Random(f"corpus-{seed}-{index}")
        scene, other = sample_scene(seed + index), sample_scene(seed + index + scenes)
        turn = extraction_turn(scene, rng)
        yield extractor_chat(turn.user_text)
        yield turn.target
        example = exchange(scene, other, rng)
        if example is not None:
            yield f"{example.prompt}\n{example.thinking or ''}\n\nAnswer: {example.answer}"


def train_tokenizer(folder: Path, *, seed: int, scenes: int) -> None:
    """Train on `scenes` scenes from `seed` and save a Qwen2 tokenizer folder."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed, scenes), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2TokenizerFast",
        "eos_token": IM_END,
        "pad_token": SPECIALS[0],
        "bos_token": None,
        "unk_token": None,
        "additional_special_tokens": ["<|im_start|>", IM_END, "<image>"],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)
    return tokenizer
