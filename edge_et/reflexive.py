"""Words that reopen a train of thought, kept out of the thinking.

The words are the paper's ("NoWait"; `qwen3.py` of the authors' code). Theirs is a list of token ids
of one tokenizer, masks words that only contain one of these (" otherwise", ".utcnow"), and holds in
the answer too. Here the ids are found in the tokenizer at load, stand for whole words only, and are
masked in THINK alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WORDS = (
    "wait", "alternatively", "hmm", "but", "however", "alternative", "another", "check",
    "double-check", "oh", "maybe", "verify", "other", "again", "now", "ah", "anyway", "anyhow",
)  # fmt: skip
_SPELLINGS = frozenset(
    spelling.encode() for word in WORDS for spelling in (word, word.capitalize(), word.upper())
)
IntArray = npt.NDArray[np.intp]
NO_IDS: IntArray = np.empty(0, dtype=np.intp)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflexiveIds:
    """Tokens that spell one of the words whole. Words of several tokens have none: their tokens
    are pieces of other words too."""

    spaced: IntArray
    """With the space before it: the token begins a word wherever it stands."""
    anywhere: IntArray
    """These and the bare ones: for where no word has begun. Inside a word a bare "but" may be a
    piece of "tribute"."""

    def masked(self, *, in_word: bool) -> IntArray:
        """Return the ids to mask after a text that ends in the middle of a word, or does not."""
        return self.spaced if in_word else self.anywhere


def find_reflexive(vocab_size: int, piece: Callable[[int], bytes]) -> ReflexiveIds:
    """Find them by asking for the bytes of each token once."""
    pieces = [piece(token) for token in range(vocab_size)]
    spaced = [t for t, p in enumerate(pieces) if p[:1] == b" " and p[1:] in _SPELLINGS]
    bare = [t for t, p in enumerate(pieces) if p in _SPELLINGS]
    return ReflexiveIds(
        spaced=np.array(spaced, dtype=np.intp), anywhere=np.array(spaced + bare, dtype=np.intp)
    )
