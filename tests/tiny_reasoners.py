"""Tiny reasoner checkpoints of every architecture that exports, with the tokenizers of their kind.

    from tests.tiny_reasoners import VARIANTS, make
    folder = make(tmp_path / "checkpoint", "smollm3")

Qwen3 itself is in tests/tiny.py. What a converter can get wrong is in here once each: biases,
reordered heads, layers without positions, sliding windows, shifted norms, stretched positions,
bfloat16 files, byte-level and SentencePiece vocabularies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests import tiny

_TURNS = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<start_of_turn>' + message.role + '\\n' + message.content + '<end_of_turn>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}"
)
_BLANK = "▁"
_SENTENCEPIECE_NAMES = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")

Cutter = Literal["qwen2", "llama3", "smollm"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    model: str
    """The prefix of transformers' classes."""
    cutter: Cutter | None = None
    """Of a byte-level vocabulary; None for SentencePiece's."""
    pre: str
    """llama.cpp's name for it: what its own converter finds by the hash of a real vocabulary."""
    bos: bool = False
    """Whether the tokenizer puts a beginning before a text."""
    tokenizer_model: bool = False
    blank_first: bool = False
    bfloat16: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the config, over the common ones."""


_GEMMA = {
    "num_hidden_layers": 7,  # the sixth sees everything, the others a window
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "sliding_window": 24,
    "rope_local_base_freq": 5_000.0,
    "tie_word_embeddings": True,
}

VARIANTS: dict[str, Variant] = {
    "qwen2": Variant(model="Qwen2", cutter="qwen2", pre="qwen2"),
    "qwen2_yarn": Variant(
        model="Qwen2",
        cutter="qwen2",
        pre="qwen2",
        settings={
            "tie_word_embeddings": True,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 256,
            },
        },
    ),
    "qwen3_linear": Variant(
        model="Qwen3",
        cutter="qwen2",
        pre="qwen2",
        settings={"head_dim": 32, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    ),
    "llama3": Variant(
        model="Llama",
        cutter="llama3",
        pre="llama-bpe",
        bos=True,
        bfloat16=True,
        settings={
            "head_dim": 32,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    "smollm2": Variant(
        model="Llama",
        cutter="smollm",
        pre="smollm",
        settings={"tie_word_embeddings": True, "num_key_value_heads": 4},
    ),
    "llama2": Variant(model="Llama", pre="default", tokenizer_model=True, blank_first=True),
    "smollm3": Variant(
        model="SmolLM3",
        cutter="llama3",
        pre="llama-bpe",
        settings={"num_hidden_layers": 5, "tie_word_embeddings": True},
    ),
    "gemma3": Variant(
        model="Gemma3", pre="default", bos=True, tokenizer_model=True, settings=_GEMMA
    ),
    "gemma3_merges": Variant(
        model="Gemma3",
        pre="gemma4",
        bos=True,
        bfloat16=True,
        settings={
            **_GEMMA,
            "final_logit_softcapping": 5.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
    ),
}


def make(folder: Path, name: str, *, seed: int = 0) -> Path:
    """Write the checkpoint of that variant and return its folder."""
    import torch
    import transformers

    v = VARIANTS[name]
    tokenizer, pieces = (_byte_level(v), None) if v.cutter else _sentencepiece(v)
    config_class = getattr(transformers, f"{v.model}{'Text' if v.model == 'Gemma3' else ''}Config")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{v.model}ForCausalLM")(
            config_class(**(_common(tokenizer, padded=pieces is None) | dict(v.settings)))
        )
        tiny._randomise(model)
    if v.model == "Gemma3":
        _shift_norms(model)
    if v.bfloat16:
        model = model.to(torch.bfloat16)
    if v.tokenizer_model and v.model == "Gemma3":
        # Of the model that sees: this one has no embedding for it.
        tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    end = tokenizer.eos_token_id
    turn = "<end_of_turn>" if pieces is not None else "<|im_end|>"
    stops = sorted({end, tokenizer.convert_tokens_to_ids(turn)})
    tiny._write_json(
        folder / "generation_config.json",
        {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "eos_token_id": stops},
    )
    if v.tokenizer_model:
        assert pieces is not None
        (folder / "tokenizer.model").write_bytes(_model_file(pieces, blank_first=v.blank_first))
    return folder


def _common(tokenizer: Any, *, padded: bool) -> dict[str, Any]:
    size = len(tokenizer)
    return {
        "vocab_size": -(-(size + 1) // 64) * 64 if padded else size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "rope_theta": 20_000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _shift_norms(model: Any) -> None:
    """Gemma adds 1 to them."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter -= 1


def _byte_level(v: Variant) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, processors
    from tokenizers import pre_tokenizers as pre
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE(ignore_merges=v.cutter == "llama3"))
    if v.cutter == "smollm":
        cut: Any = pre.Digits(individual_digits=True)
        then = pre.ByteLevel(add_prefix_space=False, use_regex=True)
    else:
        digits = r"\p{N}{1,3}" if v.cutter == "llama3" else r"\p{N}"
        pattern = tiny.QWEN2_SPLIT.replace(r"|\p{N}|", f"|{digits}|")
        cut = pre.Split(Regex(pattern), behavior="isolated", invert=False)
        then = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre.Sequence([cut, then])
    bpe.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=480, initial_alphabet=sorted(pre.ByteLevel.alphabet()), show_progress=False
    )
    bpe.train_from_iterator(tiny.SENTENCES, trainer)
    bpe.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tiny.SPECIALS])
    bpe.add_tokens([AddedToken(t, special=False, normalized=False) for t in tiny.ADDED])
    if v.bos:
        first = ("<|endoftext|>", bpe.token_to_id("<|endoftext|>"))
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{first[0]} $A", pair=f"{first[0]} $A $B", special_tokens=[first]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|endoftext|>" if v.bos else None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        add_prefix_space=False,
    )
    tokenizer.chat_template = ("{{- bos_token }}" if v.bos else "") + tiny._CHATML
    return tokenizer


def _sentencepiece(v: Variant) -> tuple[Any, list[tuple[str, float, int]]]:
    """Return the tokenizer as tokenizer.json has it, and its pieces (text, score, type)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
    from tokenizers import pre_tokenizers as pre
    from transformers import PreTrainedTokenizerFast

    learned, letters = _pieces()
    names = [*_SENTENCEPIECE_NAMES, *(f"<0x{i:02X}>" for i in range(256)), *learned, *letters]
    ids = {text: i for i, text in enumerate(names)}
    bpe = Tokenizer(
        models.BPE(
            vocab=ids,
            merges=_all_splits(learned, ids),
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    replace = normalizers.Replace(" ", _BLANK)
    if v.blank_first:
        bpe.normalizer = normalizers.Sequence([normalizers.Prepend(_BLANK), replace])
    else:
        bpe.normalizer = replace
        bpe.pre_tokenizer = pre.Split(" ", behavior="merged_with_previous", invert=False)
    bpe.decoder = decoders.Sequence(
        [decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bpe.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in _SENTENCEPIECE_NAMES]
    )
    if v.bos:
        bpe.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", ids["<bos>"])]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
    )
    tokenizer.chat_template = _TURNS
    return tokenizer, _scored(names, len(learned))


def _pieces() -> tuple[list[str], list[str]]:
    """Return what BPE learns from the sentences, in its order, and the letters."""
    from tokenizers import Tokenizer, models
    from tokenizers import pre_tokenizers as pre
    from tokenizers.trainers import BpeTrainer

    trained = Tokenizer(models.BPE())
    # As in Gemma's vocabulary, no piece has a line's end and something else.
    trained.pre_tokenizer = pre.Sequence(
        [
            pre.Split("\n", behavior="isolated"),
            pre.Metaspace(replacement=_BLANK, prepend_scheme="never"),
        ]
    )
    trained.train_from_iterator(tiny.SENTENCES, BpeTrainer(vocab_size=200, show_progress=False))
    vocabulary = trained.get_vocab()
    in_order = sorted(vocabulary, key=lambda text: vocabulary[text])
    return [t for t in in_order if len(t) > 1], [t for t in in_order if len(t) == 1]


def _all_splits(learned: list[str], ids: dict[str, int]) -> list[tuple[str, str]]:
    """Return every way to merge each piece, as transformers converts SentencePiece's models."""
    return [
        (text[:cut], text[cut:])
        for text in learned
        for cut in range(1, len(text))
        if text[:cut] in ids and text[cut:] in ids
    ]


def _scored(names: list[str], learned: int) -> list[tuple[str, float, int]]:
    normal, unknown, control, byte = 1, 2, 3, 6
    first = len(_SENTENCEPIECE_NAMES) + 256
    pieces = []
    for i, text in enumerate(names):
        if text in _SENTENCEPIECE_NAMES:
            pieces.append((text, 0.0, unknown if text == "<unk>" else control))
        elif i < first:
            pieces.append((text, 0.0, byte))
        else:
            assert i - first < learned or len(text) == 1
            pieces.append((text, -float(i - first), normal))
    return pieces


def _model_file(pieces: list[tuple[str, float, int]], *, blank_first: bool) -> bytes:
    from transformers.utils import sentencepiece_model_pb2_new as schema

    model = schema.ModelProto()
    for text, score, kind in pieces:
        model.pieces.add(piece=text, score=score, type=kind)
    trainer = model.trainer_spec
    trainer.model_type, trainer.byte_fallback = 2, True
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = 0, 1, 2, 3
    model.normalizer_spec.add_dummy_prefix = blank_first
    model.normalizer_spec.remove_extra_whitespaces = False
    data: bytes = model.SerializeToString()
    return data
