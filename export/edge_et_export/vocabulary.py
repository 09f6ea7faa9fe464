"""Byte-level BPE vocabularies for GGUF: tokens, their types, and the name of the pre-tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_et.errors import ExportError
from edge_et_export.checkpoint import read_json

# How text is cut before the merges. llama.cpp has one hand-written cutter per known pattern, so a
# pattern is known or the file would tokenize wrongly in silence.
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NAMES = {_QWEN2: "qwen2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """`types` holds gguf.TokenType values; both lists are as long as the model's vocabulary."""

    tokens: list[str]
    types: list[int]
    pre: str


def read_vocabulary(folder: Path, vocab_size: int) -> Vocabulary:
    """Read `tokenizer.json`, padded to `vocab_size` with `[PADi]` entries.

    Raises ExportError for what llama.cpp would tokenize differently.
    """
    from gguf import TokenType

    path = folder / "tokenizer.json"
    tokenizer = read_json(path)
    pre = _pre_tokenizer_name(tokenizer, path)
    tokens = [f"[PAD{i}]" for i in range(vocab_size)]
    types = [int(TokenType.UNUSED)] * vocab_size

    def put(token_id: int, text: str, kind: int) -> None:
        if token_id >= vocab_size:
            raise ExportError(
                f"{path}: token {text!r} has id {token_id}; the model knows {vocab_size} tokens"
            )
        tokens[token_id], types[token_id] = text, int(kind)

    for text, token_id in tokenizer["model"]["vocab"].items():
        put(token_id, text, TokenType.NORMAL)
    for token in tokenizer["added_tokens"]:
        text = token["content"]
        control = token["special"] or (text.startswith("<|") and text.endswith("|>"))
        put(token["id"], text, TokenType.CONTROL if control else TokenType.USER_DEFINED)
    return Vocabulary(tokens=tokens, types=types, pre=pre)


def _pre_tokenizer_name(tokenizer: dict[str, Any], path: Path) -> str:
    model = tokenizer["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback") or model.get("ignore_merges"):
        raise ExportError(f"{path}: only byte-level BPE vocabularies are known")
    normalizer = tokenizer.get("normalizer") or {"type": "NFC"}
    if normalizer["type"] != "NFC":
        raise ExportError(f"{path}: normalizer {normalizer['type']!r} is unknown; known is NFC")
    match tokenizer.get("pre_tokenizer"):
        case {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": pattern},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        } if pattern in _NAMES:
            return _NAMES[pattern]
        case other:
            raise ExportError(
                f"{path}: the pre-tokenizer {other} is unknown; known is that of "
                f"{', '.join(_NAMES.values())}",
                hint="a model with another tokenizer needs its llama.cpp pre-tokenizer name "
                "added to edge_et_export.vocabulary",
            )
