"""The image policy `split`: whole tiles row by row, then the whole image as one tile.

Equal to transformers' Idefics3ImageProcessor and SmolVLMImageProcessor with Pillow resizing, for
one image per prompt, padding never occurs. Tiles are square, so the image is stretched to them.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from edge_et.manifest import ImagePolicy
from edge_et.tiles import RESAMPLE, Size, Tiles, cut, normalise

_MAX_SIDE_PX = 4096
"""Longest side that the reference resizes to, whatever `longest_edge_px` says."""


def grid_of(hw: Size, policy: ImagePolicy) -> Size | None:
    """Return the rows, columns of tiles for an image of `hw`; None when one tile holds it."""
    height, width = _stretched(_resized(hw, policy), policy.tile_size_px)
    rows, columns = height // policy.tile_size_px, width // policy.tile_size_px
    return None if rows == columns == 1 else (rows, columns)


def prepare(rgb: Image.Image, policy: ImagePolicy) -> Tiles:
    hw = (rgb.height, rgb.width)
    side, resample = policy.tile_size_px, RESAMPLE[policy.resample]
    resized = _resized(hw, policy)
    height, width = _stretched(resized, side)
    # two steps, and the whole image made of their result, as the reference does: each resampling
    # leaves its trace in the pixels
    canvas = rgb.resize(resized[::-1], resample).resize((width, height), resample)
    grid = grid_of(hw, policy)
    tiles = np.asarray(canvas.resize((side, side), resample))[None]
    if grid is not None:
        tiles = np.concatenate([cut(np.asarray(canvas), side), tiles])
    return Tiles(
        pixel_values=normalise(tiles, policy),
        used_height_px=height,
        used_width_px=width,
        original_hw=hw,
        grid=grid,
    )


def _resized(hw: Size, policy: ImagePolicy) -> Size:
    """Return height, width with the longer side at `longest_edge_px`, the shorter one even.

    The arithmetic is the reference's: it divides by the aspect and cuts to integers.
    """
    assert policy.longest_edge_px is not None  # of the policy's own check
    height, width = hw
    aspect, longest = width / height, policy.longest_edge_px
    if width >= height:
        height, width = _even(int(longest / aspect)), longest
    else:
        height, width = longest, _even(int(longest * aspect))
    return _bounded(max(height, 1), max(width, 1))


def _even(length: int) -> int:
    return length + length % 2


def _bounded(height: int, width: int) -> Size:
    aspect = width / height
    if width >= height and width > _MAX_SIDE_PX:
        height, width = int(_MAX_SIDE_PX / aspect), _MAX_SIDE_PX
    elif height > width and height > _MAX_SIDE_PX:
        height, width = _MAX_SIDE_PX, int(_MAX_SIDE_PX * aspect)
    return max(height, 1), max(width, 1)


def _stretched(hw: Size, side: int) -> Size:
    """Return height, width rounded up to whole tiles: the longer side, then the other by the
    aspect."""
    height, width = hw
    aspect = width / height
    if width >= height:
        width = _whole_tiles(width, side)
        return _whole_tiles(int(width / aspect), side), width
    height = _whole_tiles(height, side)
    return height, _whole_tiles(int(height * aspect), side)


def _whole_tiles(length: int, side: int) -> int:
    return math.ceil(length / side) * side
