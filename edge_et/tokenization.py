"""Text -> token ids and back for the extractor; the only importer of tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_et.errors import LoadFailed
from edge_et.prompts import IMAGE_TOKEN, extractor_chat, image_marks

if TYPE_CHECKING:
    from edge_et.manifest import TemplateName

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
_SLOT = "\0"
"""Stands for the user's text while the chat layout is taken apart."""


class PromptTokenizer:
    """Encodes the extractor's chat around an image; the user's text is data.

    The layout's own markers become special tokens. In the user's text nothing does: `<|im_end|>`
    or `<image>` typed by someone is encoded letter by letter.
    """

    def __init__(self, path: Path, template: TemplateName = "qwen_1_5") -> None:
        """Read a `tokenizer.json`. Raises LoadFailed."""
        self._tokenizer = _load(path)
        self._template: TemplateName = template
        chat = extractor_chat(_SLOT, template)
        before, _, rest = chat.partition(IMAGE_TOKEN)
        # What stands between the image and the user's text is one piece of text with it to the
        # tokenizer (special tokens cut the text first), so they are encoded as one below.
        self._lead, _, after = rest.partition(_SLOT)
        self._before = self._encode(before)
        self._after = self._encode(after)
        self._hidden = frozenset(_mark_all_special(self._tokenizer))
        self._tokenizer.encode_special_tokens = True  # from here on: as plain text

    def encode(self, user_text: str) -> tuple[list[int], list[int]]:
        """Return the ids before the image and those after it."""
        # A lone surrogate (undecodable bytes of a command line) has no place in UTF-8.
        text = user_text.encode("utf-8", "replace").decode("utf-8")
        return self._before, self._encode(self._lead + text) + self._after

    def marks(self, grid: tuple[int, int] | None) -> list[list[int]]:
        """Return the ids around the image's blocks of features: before each, and after the last."""
        self._tokenizer.encode_special_tokens = False
        try:
            return [self._encode(mark) for mark in image_marks(self._template, grid)]
        finally:
            self._tokenizer.encode_special_tokens = True

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without special tokens; incomplete characters become U+FFFD."""
        shown = [i for i in ids if i not in self._hidden]
        text: str = self._tokenizer.decode(shown, skip_special_tokens=False)
        return text

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


class Detokenizer:
    """Token ids -> text in pieces that never end inside a character.

    The pieces joined are the text of all ids at once. Only a window of recent ids is decoded at
    each step: it starts where text was complete, and its first part gives tokenizers that look
    at the neighbour (SentencePiece's leading space) one to look at.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._context = 0
        self._shown = 0

    def push(self, token: int) -> str:
        """Take a token and return the text that is now complete, perhaps none."""
        self._ids.append(token)
        text = self._pending()
        if not text or text.endswith(_INCOMPLETE):
            return ""
        self._context, self._shown = self._shown, len(self._ids)
        return text

    def finish(self) -> str:
        """Return the rest; a character that never became complete shows as U+FFFD."""
        text = self._pending()
        self._context = self._shown = len(self._ids)
        return text

    def _pending(self) -> str:
        seen = self._decode(self._ids[self._context : self._shown])
        return self._decode(self._ids[self._context :])[len(seen) :]


class Stripper:
    """`str.strip` for text that comes in pieces: holds white space back until text follows it."""

    def __init__(self) -> None:
        self._started = False
        self._held = ""

    def push(self, piece: str) -> str:
        text = self._held + (piece if self._started else piece.lstrip())
        shown = text.rstrip()
        self._held = text[len(shown) :]
        self._started = self._started or bool(shown)
        return shown


def _load(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
    except Exception as exc:
        raise LoadFailed(f"{path} cannot be read as a tokenizer: {exc}") from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _mark_all_special(tokenizer: Any) -> list[int]:
    """Make every added token special; return the ids that were so before.

    `encode_special_tokens` spares special tokens only, and Qwen's `<think>` is an added token that
    is not special. Those stay visible when decoded, as they are to transformers.
    """
    from tokenizers import AddedToken

    added = tokenizer.get_added_tokens_decoder()
    tokenizer.add_special_tokens(
        [AddedToken(token.content, special=True, normalized=False) for token in added.values()]
    )
    return [token_id for token_id, token in added.items() if token.special]
