"""Marks of text and blocks of features: order, counts, and what each template writes."""

from __future__ import annotations

import numpy as np
import pytest

from edge_et.layout import Layout, lay_out
from edge_et.manifest import ImagePolicy
from edge_et.prompts import extractor_chat, image_marks

HIDDEN = 2
SPLIT = ImagePolicy(
    name="split",
    tile_size_px=16,
    patch_size_px=4,
    max_tiles=None,
    longest_edge_px=48,
    pixel_shuffle=2,
)
A = "<fake_token_around_image>"


class LetterTokenizer:
    """A token a word; marks as `image_marks` writes them, each one token of 100 and up."""

    def encode(self, user_text: str) -> tuple[list[int], list[int]]:
        return [1, 2], [3] * len(user_text.split())

    def marks(self, grid: tuple[int, int] | None) -> list[list[int]]:
        return [[100 + i] for i, _ in enumerate(image_marks("smolvlm", grid))]


def test_text_and_rows_stand_where_the_layout_has_them() -> None:
    layout = Layout(before=[1, 2], marks=[[10], [], [11, 12]], after=[3], feature_rows=4)
    assert layout.text_ids == [1, 2, 10, 11, 12, 3]
    assert (layout.image_tokens, layout.prompt_tokens) == (7, 10)
    text = np.repeat(np.array(layout.text_ids, np.float32)[:, None], HIDDEN, axis=1)
    rows = np.repeat(np.arange(-4, 0, dtype=np.float32)[:, None], HIDDEN, axis=1)
    prompt = layout.assemble(text, rows)
    assert prompt[:, 0].tolist() == [1, 2, 10, -4, -3, -2, -1, 11, 12, 3]
    assert prompt.dtype == np.float32 and (prompt[:, 0] == prompt[:, 1]).all()


def test_a_template_without_marks_has_one_block() -> None:
    layout = Layout(before=[1], marks=[[], []], after=[2, 3], feature_rows=5)
    assert layout.is_feature().tolist() == [False, *[True] * 5, False, False]
    assert layout.image_tokens == 5


@pytest.mark.parametrize(("grid", "blocks"), [(None, 1), ((1, 2), 3), ((3, 2), 7)])
def test_a_block_for_each_tile(grid: tuple[int, int] | None, blocks: int) -> None:
    layout = lay_out(LetterTokenizer(), "a b", grid, (48, 48), SPLIT)  # type: ignore[arg-type]
    assert layout.feature_rows == blocks * 4
    assert layout.image_tokens == blocks * 4 + blocks + 1
    where = layout.is_feature()
    assert where[2:-2].tolist() == [False, True, True, True, True] * blocks + [False]


def test_the_marks_of_smolvlm() -> None:
    assert image_marks("smolvlm", None) == [f"{A}<global-img>", A]
    assert image_marks("smolvlm", (2, 2)) == [
        f"{A}<row_1_col_1>",
        f"{A}<row_1_col_2>",
        f"\n{A}<row_2_col_1>",
        f"{A}<row_2_col_2>",
        f"\n\n{A}<global-img>",
        A,
    ]
    assert image_marks("qwen_1_5", (2, 2)) == ["", ""]


def test_the_chat_of_smolvlm_has_no_space_and_no_system_turn() -> None:
    chat = extractor_chat("Where?", "smolvlm")
    assert chat == "<|im_start|>User:<image>Where?<end_of_utterance>\nAssistant:"
