"""Image -> tiles -> image tokens: pure functions of (image, policy), no sessions.

Each image policy has a file: `anyres`, `split`; `single` is short enough to stand here. Sizes are
height, width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_et import anyres, split
from edge_et.anyres import resize_bilinear, select_canvas
from edge_et.errors import BadManifest
from edge_et.manifest import ImagePolicy
from edge_et.tiles import F32, RESAMPLE, Size, Tiles, normalise

_MAX_SQUARE_PX = 8192
"""Longest side that `single` pads to a square as it is: 192 MiB. Longer images shrink first."""


def prepare(rgb: Image.Image, policy: ImagePolicy) -> Tiles:
    """Cut `rgb` (mode RGB, oriented) into normalised tiles.

    Raises ImageError when the image is so long and thin that no canvas shows it.
    """
    if policy.name == "anyres":
        return anyres.prepare(rgb, policy)
    return split.prepare(rgb, policy) if policy.name == "split" else _prepare_single(rgb, policy)


def grid_of(hw: Size, policy: ImagePolicy) -> Size | None:
    """Return the `grid` that `prepare` would give an image of `hw`. Raises ImageError like it."""
    if policy.name == "anyres":
        return anyres.grid_of(hw, policy)
    return split.grid_of(hw, policy) if policy.name == "split" else None


def image_tokens(tiles: Tiles, policy: ImagePolicy) -> int:
    """Return how many positions the image's features take in the prompt: rows of
    `splice_features`. Marks between tiles come on top of these (`layout`)."""
    return feature_rows(tiles.grid, tiles.original_hw, policy)


def feature_rows(grid: Size | None, original_hw: Size, policy: ImagePolicy) -> int:
    """Return the same for an image of that grid and size, before any tile is cut."""
    if policy.name == "split":
        rows, columns = grid or (0, 0)
        return policy.tokens_per_tile * (rows * columns + 1)
    if grid is None:
        return policy.tokens_per_tile + 1
    return anyres.feature_rows(grid, original_hw, policy)


def splice_features(
    image_features: npt.NDArray[np.floating],
    tiles: Tiles,
    policy: ImagePolicy,
    image_newline: F32 | None,
) -> F32:
    """Turn tile features [tiles, N, H] into prompt rows [image_tokens, H].

    `anyres`: the thumbnail's features, then the grid's with padding cut off, shrunk bilinearly
    when it exceeds `max_tiles`, and `image_newline` [H] after each row. `single`: the features
    and one newline. `split`: the features, tile by tile. Raises BadManifest without a newline
    where one is needed.
    """
    features = image_features.astype(np.float32, copy=False)
    if policy.name == "split":
        return features.reshape(-1, features.shape[-1])
    if image_newline is None:
        raise BadManifest(f"the image policy {policy.name} needs an image_newline")
    newline = image_newline.astype(np.float32, copy=False)
    if tiles.grid is None:
        return np.concatenate([features[0], newline[None]])
    return anyres.splice(features, newline, tiles.grid, tiles.original_hw, policy)


def _prepare_single(rgb: Image.Image, policy: ImagePolicy) -> Tiles:
    hw = (rgb.height, rgb.width)
    side, resample = policy.tile_size_px, RESAMPLE[policy.resample]
    longest = max(hw)
    if longest > _MAX_SQUARE_PX:
        # Padding a 1 x 30000 strip to a square would take 2.7 GB; the tile is small anyway.
        size = [max(1, round(length * _MAX_SQUARE_PX / longest)) for length in rgb.size]
        rgb = rgb.resize((size[0], size[1]), resample)
    tile = np.asarray(_pad_to_square(rgb, policy.pad_rgb).resize((side, side), resample))
    return Tiles(
        pixel_values=normalise(tile[None], policy),
        used_height_px=max(1, round(hw[0] * side / longest)),
        used_width_px=max(1, round(hw[1] * side / longest)),
        original_hw=hw,
        grid=None,
    )


def _pad_to_square(rgb: Image.Image, fill: tuple[int, int, int]) -> Image.Image:
    if rgb.width == rgb.height:
        return rgb
    side = max(rgb.size)
    square = Image.new("RGB", (side, side), fill)
    square.paste(rgb, ((side - rgb.width) // 2, (side - rgb.height) // 2))
    return square


__all__ = [
    "Tiles", "feature_rows", "grid_of", "image_tokens", "prepare", "resize_bilinear",
    "select_canvas", "splice_features",
]  # fmt: skip
