"""The prompt around an image: text, then marks and blocks of feature rows in turn, then text.

The one place that puts a prompt together; the runtime and export's gate both use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_et import tiling
from edge_et.manifest import ImagePolicy
from edge_et.tiles import Size

if TYPE_CHECKING:
    from edge_et.tokenization import PromptTokenizer

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which positions of a prompt are text, and which rows of image features."""

    before: list[int]
    """Ids of the text before the image."""
    marks: list[list[int]]
    """Ids around the blocks of features: before each block, and after the last."""
    after: list[int]
    feature_rows: int
    """Over all blocks, which are of one size."""

    @property
    def text_ids(self) -> list[int]:
        """Ids of all that is text, marks included, in order."""
        return [*self.before, *(token for mark in self.marks for token in mark), *self.after]

    @property
    def image_tokens(self) -> int:
        """Positions that the image takes, marks included."""
        return self.feature_rows + sum(len(mark) for mark in self.marks)

    @property
    def head_tokens(self) -> int:
        """Up to the end of the image: what is the same whatever is asked about it."""
        return len(self.before) + self.image_tokens

    @property
    def prompt_tokens(self) -> int:
        return self.head_tokens + len(self.after)

    def is_feature(self) -> npt.NDArray[np.bool_]:
        """Return for each position whether a row of features stands there."""
        block = self.feature_rows // (len(self.marks) - 1)
        runs = [(len(self.before), False)]
        for mark in self.marks[:-1]:
            runs += [(len(mark), False), (block, True)]
        runs += [(len(self.marks[-1]), False), (len(self.after), False)]
        return np.repeat([feature for _, feature in runs], [length for length, _ in runs])

    def assemble(self, text: F32, features: F32) -> F32:
        """Return the prompt [prompt_tokens, H] of the embedded `text_ids` [text, H] and the rows of
        `tiling.splice_features` [feature_rows, H]."""
        prompt = np.empty((self.prompt_tokens, features.shape[1]), np.float32)
        is_feature = self.is_feature()
        prompt[is_feature], prompt[~is_feature] = features, text
        return prompt


def lay_out(
    tokenizer: PromptTokenizer, user_text: str, grid: Size | None, hw: Size, policy: ImagePolicy
) -> Layout:
    """Return the prompt of `user_text` about an image of `hw` that is cut into `grid`."""
    before, after = tokenizer.encode(user_text)
    return Layout(
        before=before,
        marks=tokenizer.marks(grid),
        after=after,
        feature_rows=tiling.feature_rows(grid, hw, policy),
    )
