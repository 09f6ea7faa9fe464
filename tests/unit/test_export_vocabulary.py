"""Tokenizer files as GGUF vocabularies: cutters by name, SentencePiece's pieces, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_et.errors import ExportError
from edge_et_export.vocabulary import read_vocabulary
from tests.tiny import QWEN2_SPLIT

gguf = pytest.importorskip("gguf")
KIND = gguf.TokenType

LLAMA3_SPLIT = QWEN2_SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
BLANKS = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, BLANKS]}


def split(pattern: str) -> dict[str, Any]:
    return {
        "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False
    }  # fmt: skip


def letters(*, use_regex: bool, prefix: bool = False) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": prefix, "use_regex": use_regex}


def digits(*, individual: bool = True) -> dict[str, Any]:
    return {"type": "Digits", "individual_digits": individual}


def write(folder: Path, *, steps: Any = (), model: Any = (), **rest: Any) -> Path:
    value = {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(steps)},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, **dict(model)},
        "added_tokens": [],
        **rest,
    }
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("steps", "whole_words", "name"),
    [
        ([split(QWEN2_SPLIT), letters(use_regex=False)], False, "qwen2"),
        ([split(LLAMA3_SPLIT), letters(use_regex=False)], True, "llama-bpe"),
        ([split(LLAMA3_SPLIT), letters(use_regex=False)], False, "smaug-bpe"),
        ([digits(), letters(use_regex=True)], False, "smollm"),
        ([letters(use_regex=True)], False, "gpt-2"),
    ],
)
def test_cutters(tmp_path, steps, whole_words, name):
    write(tmp_path, steps=steps, model={"ignore_merges": whole_words})
    vocabulary = read_vocabulary(tmp_path, 3)
    assert (vocabulary.model, vocabulary.pre, vocabulary.scores) == ("gpt2", name, None)


@pytest.mark.parametrize(
    ("steps", "whole_words"),
    [
        ([split(QWEN2_SPLIT), letters(use_regex=False)], True),
        ([split(QWEN2_SPLIT), letters(use_regex=True)], False),
        ([split(QWEN2_SPLIT), letters(use_regex=False, prefix=True)], False),
        ([split(QWEN2_SPLIT) | {"invert": True}, letters(use_regex=False)], False),
        ([digits(individual=False), letters(use_regex=True)], False),
        ([digits(), digits(), letters(use_regex=True)], False),
    ],
)
def test_what_only_resembles_a_known_cutter_is_refused(tmp_path, steps, whole_words):
    write(tmp_path, steps=steps, model={"ignore_merges": whole_words})
    with pytest.raises(ExportError, match="is unknown; known is that of qwen2"):
        read_vocabulary(tmp_path, 3)


def sentencepiece(folder: Path, **changes: Any) -> Path:
    vocab = {"<unk>": 0, "<0x0A>": 1, "▁a": 2, "▁▁": 3}
    fields = {
        "model": {"byte_fallback": True, "vocab": vocab},
        "normalizer": BLANKS,
        "added_tokens": [
            {"id": 3, "content": "▁▁", "special": False},
            {"id": 9, "content": "<image_soft_token>", "special": True},
        ],
    }
    return write(folder, **{**fields, **changes})


def model_file(folder: Path, *, kind: int = 2, blank_first: bool = False) -> None:
    pytest.importorskip("google.protobuf")
    schema = pytest.importorskip("transformers.utils.sentencepiece_model_pb2_new")
    model = schema.ModelProto()
    for text, score, piece_kind in (
        ("<unk>", 0.0, 2), ("<0x0A>", 0.0, 6), ("▁a", -1.5, 1), ("▁▁", 0.0, 4), ("x", -2.0, 4)
    ):  # fmt: skip
        model.pieces.add(piece=text, score=score, type=piece_kind)
    model.trainer_spec.model_type = kind
    model.normalizer_spec.add_dummy_prefix = blank_first
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())


def test_gemmas_merges(tmp_path):
    vocabulary = read_vocabulary(sentencepiece(tmp_path), 5)
    assert (vocabulary.model, vocabulary.pre) == ("gpt2", "gemma4")
    # The image token is past the model's vocabulary; a defined token is spelled as text has it.
    assert vocabulary.tokens == ["<unk>", "<0x0A>", "▁a", "  ", "[PAD4]"]
    assert vocabulary.types == [
        KIND.NORMAL, KIND.BYTE, KIND.NORMAL, KIND.USER_DEFINED, KIND.UNUSED
    ]  # fmt: skip


def test_merges_with_a_blank_first_need_the_scores(tmp_path):
    with pytest.raises(ExportError, match=r"Prepend.*which llama\.cpp does not know"):
        read_vocabulary(sentencepiece(tmp_path, normalizer=PREPEND), 5)


@pytest.mark.parametrize("blank_first", [True, False])
def test_scores(tmp_path, blank_first):
    model_file(sentencepiece(tmp_path, normalizer=PREPEND), blank_first=blank_first)
    vocabulary = read_vocabulary(tmp_path, 6)
    assert (vocabulary.model, vocabulary.pre) == ("llama", "default")
    assert vocabulary.space_prefix is blank_first
    assert vocabulary.tokens == ["<unk>", "<0x0A>", "▁a", "  ", "x", "[PAD5]"]
    assert vocabulary.scores == [0.0, 0.0, -1.5, -1000.0, -2.0, -10000.0]
    assert vocabulary.types == [
        KIND.UNKNOWN, KIND.BYTE, KIND.NORMAL, KIND.USER_DEFINED, KIND.NORMAL, KIND.UNUSED
    ]  # fmt: skip


def test_models_that_are_refused(tmp_path):
    sentencepiece(tmp_path)
    model_file(tmp_path)
    with pytest.raises(ExportError, match="has 5 pieces; the model knows 4"):
        read_vocabulary(tmp_path, 4)
    model_file(tmp_path, kind=1)
    with pytest.raises(ExportError, match="no BPE model"):
        read_vocabulary(tmp_path, 5)
    for content in (b"", b"IQ== 0\nIg== 1\n"):
        (tmp_path / "tokenizer.model").write_bytes(content)
        with pytest.raises(ExportError, match="no SentencePiece model"):
            read_vocabulary(tmp_path, 5)
