"""SentencePiece's `tokenizer.model` as a GGUF vocabulary: pieces, scores and types."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge_et.errors import ExportError
from edge_et_export.vocabulary import Vocabulary

_ADDED_SCORE, _UNUSED_SCORE = -1000.0, -10000.0
_BPE = 2
_NORMAL, _USER_DEFINED, _UNUSED = 1, 4, 5
"""Of SentencePiece's types, which are GGUF's too."""


def by_scores(path: Path, added: Iterable[tuple[int, str, int]], vocab_size: int) -> Vocabulary:
    """Return the pieces of `path` with the tokens of `added` (id, text, type) in their places."""
    model = _parse(path)
    if model.trainer_spec.model_type != _BPE:
        raise ExportError(f"{path} is no BPE model; llama.cpp reads SentencePiece's BPE only")
    if len(model.pieces) > vocab_size:
        raise ExportError(f"{path} has {len(model.pieces)} pieces; the model knows {vocab_size}")
    tokens = [f"[PAD{i}]" for i in range(vocab_size)]
    types, scores = [_UNUSED] * vocab_size, [_UNUSED_SCORE] * vocab_size
    for i, piece in enumerate(model.pieces):
        tokens[i], scores[i] = piece.piece, piece.score
        # A user-defined piece that tokenizer.json does not list among the added tokens is not
        # cut out by transformers either.
        types[i] = _NORMAL if piece.type == _USER_DEFINED else piece.type
    for token_id, text, kind in added:
        tokens[token_id], types[token_id], scores[token_id] = text, kind, _ADDED_SCORE
    return Vocabulary(
        model="llama",
        tokens=tokens,
        types=types,
        scores=scores,
        pre="default",
        space_prefix=model.normalizer_spec.add_dummy_prefix,
    )


def _parse(path: Path) -> Any:
    from google.protobuf.message import DecodeError
    from transformers.utils import sentencepiece_model_pb2_new as schema

    model = schema.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as exc:
        raise ExportError(f"{path} is no SentencePiece model: {exc}") from exc
    if not model.pieces:
        raise ExportError(f"{path} is no SentencePiece model: it has no pieces")
    return model
