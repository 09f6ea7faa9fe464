"""The image budget: within the policy's own grids, said aloud, refused when nothing fits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_et import tiling
from edge_et.budget import costs, default_max_tiles, within
from edge_et.config import GenerationConfig, ImageLimits
from edge_et.errors import InputError
from edge_et.manifest import ImagePolicy
from edge_et.prompts import image_marks

SIDE = 16
ANYRES = ImagePolicy(
    name="anyres",
    tile_size_px=SIDE,
    patch_size_px=4,
    grid_pinpoints_px=tuple((h * SIDE, w * SIDE) for h in range(1, 5) for w in range(1, 5)),
)
SINGLE = ImagePolicy(name="single", tile_size_px=SIDE, patch_size_px=4)
SPLIT = ImagePolicy(
    name="split",
    tile_size_px=SIDE,
    patch_size_px=4,
    max_tiles=None,
    longest_edge_px=4 * SIDE,
    pixel_shuffle=2,
)
sides = st.integers(10, 90)


def no_marks(grid: tuple[int, int] | None) -> list[list[int]]:
    return [[], []]


def letters(grid: tuple[int, int] | None) -> list[list[int]]:
    """A token a letter of SmolVLM's marks."""
    return [[0] * len(mark) for mark in image_marks("smolvlm", grid)]


def cost(policy: ImagePolicy, hw: tuple[int, int]) -> tuple[int, int]:
    """Return tiles and image tokens, without marks."""
    tiles = tiling.prepare(Image.new("RGB", (hw[1], hw[0])), policy)
    return len(tiles.pixel_values), tiling.image_tokens(tiles, policy)


@pytest.mark.parametrize("policy", [ANYRES, SINGLE, SPLIT])
def test_without_limits_nothing_changes(policy: ImagePolicy) -> None:
    assert within(policy, (64, 64), ImageLimits(), no_marks) == (policy, None)
    generous = ImageLimits(max_tiles=17, max_image_tokens=10_000)
    assert within(policy, (64, 64), generous, no_marks) == (policy, None)


@given(sides, sides, st.integers(2, 17), st.sampled_from([ANYRES, SPLIT]))
@settings(deadline=None, max_examples=100)
def test_the_tiles_keep_to_the_limit(
    height: int, width: int, max_tiles: int, policy: ImagePolicy
) -> None:
    narrowed, note = within(policy, (height, width), ImageLimits(max_tiles=max_tiles), no_marks)
    tiles, _ = cost(narrowed, (height, width))
    assert tiles <= max_tiles
    assert (note is None) == (narrowed == policy)
    assert set(narrowed.grid_pinpoints_px) <= set(policy.grid_pinpoints_px)


@given(sides, sides, st.integers(36, 400))
@settings(deadline=None, max_examples=60)
def test_the_tokens_keep_to_the_limit(height: int, width: int, limit: int) -> None:
    narrowed, _ = within(ANYRES, (height, width), ImageLimits(max_image_tokens=limit), no_marks)
    assert cost(narrowed, (height, width))[1] <= limit


def test_anyres_takes_the_best_of_the_canvases_that_fit() -> None:
    """A wide image keeps a wide canvas: not the first that fits, and not a cut of its own."""
    narrowed, note = within(ANYRES, (16, 64), ImageLimits(max_tiles=4), no_marks)
    assert tiling.grid_of((16, 64), narrowed) == (1, 3)
    assert note == (
        "1 x 3 tiles (68 image tokens) by max_tiles 4, 1 x 4 tiles (84 image tokens) without it"
    )


def test_split_takes_the_largest_of_the_longest_edges_that_fit() -> None:
    narrowed, note = within(SPLIT, (64, 64), ImageLimits(max_tiles=12), no_marks)
    assert narrowed.longest_edge_px == 3 * SIDE
    assert note is not None and note.startswith("3 x 3 tiles (40 image tokens) by max_tiles 12")
    smallest, note = within(SPLIT, (64, 64), ImageLimits(max_tiles=4), no_marks)
    assert smallest.longest_edge_px == SIDE
    assert note is not None and note.startswith("one tile (4 image tokens) by max_tiles 4")


def test_a_longest_edge_between_tiles_shrinks_to_whole_ones() -> None:
    odd = ImagePolicy(
        name="split", tile_size_px=SIDE, patch_size_px=4, max_tiles=None, longest_edge_px=40
    )
    narrowed, _ = within(odd, (64, 64), ImageLimits(max_tiles=9), no_marks)
    assert narrowed.longest_edge_px == 2 * SIDE


def test_marks_count_as_image_tokens() -> None:
    bare = within(SPLIT, (64, 64), ImageLimits(max_image_tokens=68), no_marks)[0]
    assert bare == SPLIT
    marked = within(SPLIT, (64, 64), ImageLimits(max_image_tokens=68), letters)[0]
    assert marked.longest_edge_px == SIDE


@pytest.mark.parametrize(
    ("policy", "limits", "least"),
    [
        (ANYRES, ImageLimits(max_tiles=1), r"max_tiles 1; the smallest is 1 x 1 tiles \(36 "),
        (SINGLE, ImageLimits(max_image_tokens=9), r"the smallest is one tile \(17 image tokens\)"),
        (SPLIT, ImageLimits(max_tiles=5, max_image_tokens=3), r"one tile \(4 image tokens\)"),
    ],
)
def test_what_no_grid_can_keep_to_is_refused_with_the_smallest(
    policy: ImagePolicy, limits: ImageLimits, least: str
) -> None:
    with pytest.raises(InputError, match=least) as caught:
        within(policy, (64, 64), limits, no_marks)
    assert "--max-tiles" in (caught.value.hint or "")


def test_the_default_for_a_cpu() -> None:
    assert default_max_tiles(ANYRES) == default_max_tiles(SPLIT) == 5
    assert default_max_tiles(SINGLE) is None
    few = ImagePolicy(
        name="anyres", tile_size_px=SIDE, patch_size_px=4, grid_pinpoints_px=((16, 32), (32, 32))
    )
    assert default_max_tiles(few) is None
    large = ImagePolicy(
        name="anyres", tile_size_px=SIDE, patch_size_px=4, grid_pinpoints_px=((48, 48), (64, 64))
    )
    assert default_max_tiles(large) == 10


@pytest.mark.parametrize("name", ["max_tiles", "max_image_tokens"])
def test_a_budget_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        GenerationConfig(**{name: 0})


@given(sides, sides, st.integers(1, 17), st.sampled_from([ANYRES, SPLIT, SINGLE]))
@settings(deadline=None, max_examples=100)
def test_each_cost_can_be_had(height: int, width: int, max_tiles: int, policy: ImagePolicy) -> None:
    """What `costs` offers, `within` does, at that cost or below; the first is what is wanted."""
    hw, limits = (height, width), ImageLimits(max_tiles=max_tiles)
    assert costs(policy, hw, ImageLimits(), letters)[0].tiles == cost(policy, hw)[0]
    offered = costs(policy, hw, limits, letters)
    try:
        narrowed, _ = within(policy, hw, limits, letters)
    except InputError:
        assert offered == ()
        return
    tiles, tokens = cost(narrowed, hw)
    assert [c.tokens for c in offered] == sorted((c.tokens for c in offered), reverse=True)
    assert offered[0].tiles >= tiles
    assert offered[0].tokens >= tokens
    for one in offered:
        exact = ImageLimits(max_tiles=one.tiles, max_image_tokens=one.tokens)
        got_tiles, got_tokens = cost(within(policy, hw, exact, letters)[0], hw)
        assert got_tiles <= one.tiles <= max_tiles
        assert got_tokens <= one.tokens
