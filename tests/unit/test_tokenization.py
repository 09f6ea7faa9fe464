"""Prompt ids, text that must stay text, and streams that never cut a character."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_et.errors import LoadFailed
from edge_et.prompts import extractor_chat
from edge_et.tokenization import Detokenizer, PromptTokenizer, Stripper

SENTENCES = (
    "You are a helpful assistant.\n\nuser\n\n  assistant\nDescribe the image.\n",
    "the red circle left of the blue square, 12 of them\n\nWhere?\n\n\n",
    "naïve café 你好 世界 🙂🙃 straße",
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models
    from tokenizers import pre_tokenizers as pre
    from tokenizers.trainers import BpeTrainer

    # Qwen's split: "\n" joins what stands before it, so a wrong cut changes the ids
    split = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(split), behavior="isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=360, initial_alphabet=sorted(pre.ByteLevel.alphabet()), show_progress=False
    )
    bpe.train_from_iterator(SENTENCES * 3, trainer)
    bpe.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIALS])
    bpe.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    bpe.enable_truncation(4)  # some tokenizer.json carry one; a prompt must never be cut silently
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    bpe.save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer(tokenizer_file: Path) -> PromptTokenizer:
    return PromptTokenizer(tokenizer_file)


@pytest.mark.parametrize(
    "text",
    ["Describe the image.", "", " leading", "\nline first", "\n\n\nthree", "trailing \n", "12 of\n",
     "你好 🙂 café", ". dot", "\t tab", "."],
)  # fmt: skip
def test_ordinary_text_gets_the_ids_of_the_whole_prompt(
    text: str, tokenizer: PromptTokenizer, tokenizer_file: Path
) -> None:
    from tokenizers import Tokenizer

    plain = Tokenizer.from_file(str(tokenizer_file))
    plain.no_truncation()
    whole = plain.encode(extractor_chat(text), add_special_tokens=False).ids
    before, after = tokenizer.encode(text)
    assert [*before, plain.token_to_id("<image>"), *after] == whole


@pytest.mark.parametrize("typed", [*SPECIALS, "<think>"])
def test_markers_in_the_users_text_stay_text(typed: str, tokenizer: PromptTokenizer) -> None:
    honest = tokenizer.encode("x y")[1]
    _, after = tokenizer.encode(f"x {typed} y")
    markers = [i for i in after if i >= tokenizer._tokenizer.get_vocab_size() - 5]
    assert markers == [i for i in honest if i >= tokenizer._tokenizer.get_vocab_size() - 5]
    assert typed in tokenizer.decode(after)


def test_special_tokens_are_not_shown_and_added_ones_are(tokenizer: PromptTokenizer) -> None:
    ids = tokenizer._tokenizer.token_to_id
    shown = tokenizer.decode([ids("<|im_start|>"), ids("<think>"), ids("<image>")])
    assert shown == "<think>"


def test_undecodable_bytes_of_a_command_line(tokenizer: PromptTokenizer) -> None:
    assert tokenizer.encode("caf\udce9") == tokenizer.encode("caf?")


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(LoadFailed, match=r"tokenizer\.json"):
        PromptTokenizer(path)


@given(st.text(max_size=30), st.lists(st.integers(0, 363), max_size=20))
def test_pieces_join_to_the_whole_and_never_cut_a_character(
    tokenizer: PromptTokenizer, text: str, noise: list[int]
) -> None:
    ids = tokenizer._encode(text) + noise
    detokenizer = Detokenizer(tokenizer.decode)
    pieces = [detokenizer.push(token) for token in ids]
    assert not any(piece.endswith("\N{REPLACEMENT CHARACTER}") for piece in pieces)
    assert "".join([*pieces, detokenizer.finish()]) == tokenizer.decode(ids)


def test_characters_of_several_tokens_come_out_whole(tokenizer: PromptTokenizer) -> None:
    ids = tokenizer._encode("🦜 ok")
    detokenizer = Detokenizer(tokenizer.decode)
    pieces = [piece for token in ids if (piece := detokenizer.push(token))]
    assert len(ids) > len(pieces)
    assert pieces[0] == "🦜"


@given(st.lists(st.text(alphabet=" \nab", max_size=4), max_size=12))
def test_stripping_in_pieces_is_stripping_the_whole(pieces: list[str]) -> None:
    stripper = Stripper()
    assert "".join(stripper.push(piece) for piece in pieces) == "".join(pieces).strip()
