"""A checkpoint's tokenizer for GGUF: tokens, their types and scores, the name of the cutter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_et.errors import ExportError
from edge_et_export.checkpoint import read_json

# How text is cut before the merges. llama.cpp has one hand-written cutter per known pattern, so a
# pattern is known or the file would tokenize wrongly in silence.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _WORDS % r"\p{N}"
_LLAMA3 = _WORDS % r"\p{N}{1,3}"

_BYTES, _BYTE_WORDS = "bytes", "bytes after GPT-2's words"
# (steps of the pre-tokenizer, whether whole words skip the merges) -> llama.cpp's name.
_NAMES: dict[tuple[tuple[str, ...], bool], str] = {
    ((_QWEN2, _BYTES), False): "qwen2",
    ((_LLAMA3, _BYTES), True): "llama-bpe",
    ((_LLAMA3, _BYTES), False): "smaug-bpe",
    (("digits", _BYTE_WORDS), False): "smollm",
    ((_BYTE_WORDS,), False): "gpt-2",
}
_BLANK = "▁"
_BYTE = re.compile("<0x[0-9A-F]{2}>")
# SentencePiece's BPE as tokenizer.json spells it for Gemma: blanks are letters, nothing is cut.
_GEMMA_NORMALIZER = {"type": "Replace", "pattern": {"String": " "}, "content": _BLANK}
_GEMMA_NAME = "gemma4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """`types` holds gguf.TokenType values; the lists are as long as the model's vocabulary."""

    model: Literal["gpt2", "llama"]
    """BPE by merges, or SentencePiece's BPE by scores."""
    tokens: list[str]
    types: list[int]
    scores: list[float] | None = None
    pre: str
    space_prefix: bool = True
    """Whether SentencePiece puts a blank before a text."""


def read_vocabulary(folder: Path, vocab_size: int) -> Vocabulary:
    """Read `tokenizer.json` (and `tokenizer.model` beside it, where that is SentencePiece's).

    The result is padded to `vocab_size` with `[PADi]` entries. Raises ExportError for what
    llama.cpp would tokenize differently.
    """
    path = folder / "tokenizer.json"
    tokenizer = read_json(path)
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise ExportError(f"{path}: a vocabulary of type {model.get('type')!r}; known is BPE")
    if not model.get("byte_fallback"):
        added = list(_added(tokenizer))
        return _by_merges(tokenizer, added, vocab_size, path, _byte_level_name(tokenizer, path))
    # An added token past the model's vocabulary (Gemma's image token in a text model) has no
    # embedding: its letters are read as letters.
    added = [token for token in _added(tokenizer) if token[0] < vocab_size]
    if (folder / "tokenizer.model").exists():
        from edge_et_export.sentencepiece_model import by_scores

        return by_scores(folder / "tokenizer.model", added, vocab_size)
    if tokenizer.get("normalizer") == _GEMMA_NORMALIZER:
        return _by_merges(tokenizer, added, vocab_size, path, _GEMMA_NAME)
    raise ExportError(
        f"{path} is a SentencePiece vocabulary with the normalizer {tokenizer.get('normalizer')}, "
        "which llama.cpp does not know from merges",
        hint="put the model's tokenizer.model beside it: that has the scores",
    )


def _added(tokenizer: Mapping[str, Any]) -> Iterator[tuple[int, str, int]]:
    """Yield (id, text, gguf.TokenType) of the tokens that are cut out before the merges."""
    from gguf import TokenType

    for token in tokenizer["added_tokens"]:
        text = token["content"]
        if token["special"] or _looks_special(text):
            yield token["id"], text, int(TokenType.CONTROL)
        else:
            yield token["id"], text.replace(_BLANK, " "), int(TokenType.USER_DEFINED)


def _looks_special(text: str) -> bool:
    """Some models do not mark as special what they use as such."""
    return (
        text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<｜") and text.endswith("｜>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )


def _by_merges(
    tokenizer: Mapping[str, Any],
    added: list[tuple[int, str, int]],
    vocab_size: int,
    path: Path,
    pre: str,
) -> Vocabulary:
    from gguf import TokenType

    tokens = [f"[PAD{i}]" for i in range(vocab_size)]
    types = [int(TokenType.UNUSED)] * vocab_size
    # Without their type llama.cpp would spell "<0x0A>" out where a line ends.
    bytes_too = bool(tokenizer["model"].get("byte_fallback"))
    normal = (
        (
            token_id,
            text,
            TokenType.BYTE if bytes_too and _BYTE.fullmatch(text) else TokenType.NORMAL,
        )
        for text, token_id in tokenizer["model"]["vocab"].items()
    )
    for token_id, text, kind in (*normal, *added):
        if token_id >= vocab_size:
            raise ExportError(
                f"{path}: token {text!r} has id {token_id}; the model knows {vocab_size} tokens"
            )
        tokens[token_id], types[token_id] = text, int(kind)
    return Vocabulary(model="gpt2", tokens=tokens, types=types, pre=pre)


def _byte_level_name(tokenizer: Mapping[str, Any], path: Path) -> str:
    normalizer = tokenizer.get("normalizer") or {"type": "NFC"}
    if normalizer["type"] != "NFC":
        raise ExportError(f"{path}: normalizer {normalizer['type']!r} is unknown; known is NFC")
    steps = tuple(_steps(tokenizer.get("pre_tokenizer") or {}))
    whole_words = bool(tokenizer["model"].get("ignore_merges"))
    if (steps, whole_words) in _NAMES:
        return _NAMES[steps, whole_words]
    raise ExportError(
        f"{path}: the pre-tokenizer {tokenizer.get('pre_tokenizer')} with ignore_merges "
        f"{whole_words} is unknown; known is that of {', '.join(_NAMES.values())}",
        hint="a model with another tokenizer needs its llama.cpp pre-tokenizer name added to "
        "edge_et_export.vocabulary",
    )


def _steps(step: Mapping[str, Any]) -> Iterator[str]:
    """Spell the steps of a pre-tokenizer, each in one way."""
    match step:
        case {"type": "Sequence", "pretokenizers": steps}:
            for inner in steps:
                yield from _steps(inner)
        case {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated",
            "invert": False,
        }:
            yield pattern
        case {"type": "Digits", "individual_digits": True}:
            yield "digits"
        case {"type": "ByteLevel", "add_prefix_space": False}:
            yield _BYTE_WORDS if step.get("use_regex", True) else _BYTES
        case _:
            yield json.dumps(step, sort_keys=True)
