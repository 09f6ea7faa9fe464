"""Shapes and invariants of tiling, over any image size; values are compared in golden/."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_et import tiling
from edge_et.errors import ImageError
from edge_et.manifest import ImagePolicy

SIDE, PATCH, HIDDEN = 16, 4, 2
ANYRES = ImagePolicy(
    name="anyres",
    tile_size_px=SIDE,
    patch_size_px=PATCH,
    grid_pinpoints_px=tuple((h * SIDE, w * SIDE) for h in range(1, 4) for w in range(1, 4)),
    max_tiles=3,
)
SINGLE = ImagePolicy(name="single", tile_size_px=SIDE, patch_size_px=PATCH)
SPLIT = ImagePolicy(
    name="split",
    tile_size_px=SIDE,
    patch_size_px=PATCH,
    max_tiles=None,
    longest_edge_px=3 * SIDE,
    pixel_shuffle=2,
)
sides = st.integers(1, 90)


def picture(height: int, width: int) -> Image.Image:
    return Image.new("RGB", (width, height), (200, 100, 50))


@given(sides, sides, st.sampled_from([ANYRES, SINGLE]))
@settings(deadline=None, max_examples=150)
def test_shapes_agree_for_any_size(height: int, width: int, policy: ImagePolicy) -> None:
    try:
        tiles = tiling.prepare(picture(height, width), policy)
    except ImageError:
        assert max(height, width) > 3 * SIDE * min(height, width)
        return
    count = 1 if tiles.grid is None else 1 + tiles.grid[0] * tiles.grid[1]
    assert tiles.pixel_values.shape == (count, 3, SIDE, SIDE)
    assert tiles.pixel_values.dtype == np.float32
    assert np.abs(tiles.pixel_values).max() <= 1
    rows, columns = tiles.grid or (1, 1)
    assert 1 <= tiles.used_height_px <= rows * SIDE
    assert 1 <= tiles.used_width_px <= columns * SIDE
    features = np.ones((count, 16, HIDDEN), np.float32)
    spliced = tiling.splice_features(features, tiles, policy, np.zeros(HIDDEN, np.float32))
    assert spliced.shape == (tiling.image_tokens(tiles, policy), HIDDEN)
    np.testing.assert_allclose(spliced[:16], 1)


@given(sides, sides)
@settings(deadline=None, max_examples=50)
def test_the_limit_bounds_the_tokens(height: int, width: int) -> None:
    try:
        tiles = tiling.prepare(picture(height, width), ANYRES)
    except ImageError:
        return
    most = ANYRES.max_tiles * 16 * 1.1**2
    assert tiling.image_tokens(tiles, ANYRES) <= 16 + most + 3 * 4


@given(sides, sides)
@settings(deadline=None, max_examples=100)
def test_split_fills_whole_tiles(height: int, width: int) -> None:
    tiles = tiling.prepare(picture(height, width), SPLIT)
    rows, columns = tiles.grid or (0, 0)
    assert max(rows, columns) == 3 and min(rows, columns) >= 1
    assert (tiles.used_height_px, tiles.used_width_px) == (rows * SIDE, columns * SIDE)
    assert tiles.pixel_values.shape == (rows * columns + 1, 3, SIDE, SIDE)
    assert tiling.grid_of((height, width), SPLIT) == tiles.grid
    features = np.arange(len(tiles.pixel_values) * 4 * HIDDEN, dtype=np.float32)
    features = features.reshape(-1, 4, HIDDEN)
    spliced = tiling.splice_features(features, tiles, SPLIT, None)
    assert spliced.shape == (tiling.image_tokens(tiles, SPLIT), HIDDEN)
    np.testing.assert_array_equal(spliced[4:8], features[1])


def test_split_shows_the_whole_image_last() -> None:
    image = Image.new("RGB", (3 * SIDE, 3 * SIDE), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, SIDE, SIDE))
    tiles = tiling.prepare(image, SPLIT)
    np.testing.assert_allclose(tiles.pixel_values[0, :, 4, 4], -1)
    np.testing.assert_allclose(tiles.pixel_values[1:9, :, 8, 8], 1)
    assert tiles.pixel_values[9, 0, 1, 1] < 0 < tiles.pixel_values[9, 0, 14, 14]


def test_an_image_of_one_tile_is_not_split() -> None:
    small = dataclasses.replace(SPLIT, longest_edge_px=SIDE)
    tiles = tiling.prepare(picture(SIDE, SIDE), small)
    assert tiles.grid is None and tiles.pixel_values.shape == (1, 3, SIDE, SIDE)
    assert tiling.image_tokens(tiles, small) == 4


def test_a_tile_shows_its_part_of_the_picture() -> None:
    """Four quarters of one colour each on a canvas of 2 x 2 tiles."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    image = Image.new("RGB", (2 * SIDE, 2 * SIDE))
    for index, colour in enumerate(colours):
        image.paste(
            colour,
            (index % 2 * SIDE, index // 2 * SIDE, (index % 2 + 1) * SIDE, (index // 2 + 1) * SIDE),
        )
    tiles = tiling.prepare(image, ANYRES)
    assert tiles.grid == (2, 2)
    for tile, colour in zip(tiles.pixel_values[1:], colours, strict=True):
        np.testing.assert_allclose(tile[:, 8, 8], np.array(colour) / 127.5 - 1, atol=1e-6)


def test_features_keep_reading_order_and_lose_their_padding() -> None:
    tiles = tiling.prepare(picture(16, 32), ANYRES)
    assert tiles.grid == (1, 2)
    features = np.arange(3 * 16, dtype=np.float32).reshape(3, 16, 1)
    spliced = tiling.splice_features(features, tiles, ANYRES, np.array([-1.0], np.float32))[:, 0]
    first_row = [16, 17, 18, 19, 32, 33, 34, 35, -1]
    assert spliced[16 : 16 + 9].tolist() == first_row
    narrow = tiling.prepare(picture(8, 32), ANYRES)
    assert tiling.image_tokens(narrow, ANYRES) == 16 + 2 * 9


def test_single_centres_the_picture_on_its_background() -> None:
    tiles = tiling.prepare(picture(32, 64), SINGLE)
    grey = 127 / 127.5 - 1
    np.testing.assert_allclose(tiles.pixel_values[0, :, 0, 8], grey, atol=1e-6)
    np.testing.assert_allclose(tiles.pixel_values[0, 0, 8, 8], 200 / 127.5 - 1, atol=1e-6)
    assert (tiles.used_height_px, tiles.used_width_px) == (8, 16)
    assert tiles.original_hw == (32, 64)


def test_extreme_images_are_shown_or_refused_but_never_exhaust_memory() -> None:
    strip = Image.new("RGB", (30_000, 1))
    assert tiling.prepare(strip, SINGLE).pixel_values.shape == (1, 3, SIDE, SIDE)
    with pytest.raises(ImageError, match="too long and thin"):
        tiling.prepare(strip, ANYRES)


def test_bilinear_resize_of_a_ramp() -> None:
    ramp = np.arange(4, dtype=np.float32)[None, :, None]
    np.testing.assert_allclose(tiling.resize_bilinear(ramp, 1, 2)[0, :, 0], [0.5, 2.5])
    np.testing.assert_array_equal(tiling.resize_bilinear(ramp, 1, 4), ramp)
    np.testing.assert_allclose(tiling.resize_bilinear(ramp, 3, 4)[2], ramp[0])
