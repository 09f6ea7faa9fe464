"""Image -> tiles -> image tokens: pure functions of (image, policy), no sessions.

Equal to transformers' LlavaOnevisionImageProcessor (Pillow resizing) and to
LlavaOnevisionModel.pack_image_features, for one image per prompt. Sizes are height, width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_et.errors import BadManifest, ImageError
from edge_et.manifest import ImagePolicy

F32 = npt.NDArray[np.float32]

_RESAMPLE = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
_SHRINK_OVER = 1.1
"""A grid is shrunk when its side exceeds the limit by this factor (transformers' constant)."""
_MAX_SQUARE_PX = 8192
"""Longest side that `single` pads to a square as it is: 192 MiB. Longer images shrink first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """One image, ready for the vision tower."""

    pixel_values: F32
    """[tiles, 3, S, S], normalised; under `anyres` the thumbnail comes first, then row by row."""
    used_height_px: int
    """Height of the picture content over all tiles, after resize, without padding."""
    used_width_px: int
    original_hw: tuple[int, int]
    """Of the oriented image; decides which features are padding."""
    grid: tuple[int, int] | None
    """Rows, columns of tiles beside the thumbnail; None under `single`."""


def prepare(rgb: Image.Image, policy: ImagePolicy) -> Tiles:
    """Cut `rgb` (mode RGB, oriented) into normalised tiles.

    Raises ImageError when the image is so long and thin that no canvas shows it.
    """
    return _prepare_anyres(rgb, policy) if policy.name == "anyres" else _prepare_single(rgb, policy)


def image_tokens(tiles: Tiles, policy: ImagePolicy) -> int:
    """Return how many positions the image takes in the prompt: rows of `splice_features`."""
    base = policy.patches_per_side**2
    if tiles.grid is None:
        return base + 1
    top, bottom, left, right = _content_box(tiles.grid, tiles.original_hw, policy)
    rows, columns = _shrunk(bottom - top, right - left, policy)
    return base + rows * (columns + 1)


def splice_features(
    image_features: npt.NDArray[np.floating],
    tiles: Tiles,
    policy: ImagePolicy,
    image_newline: F32 | None,
) -> F32:
    """Turn tile features [tiles, N, H] into prompt rows [image_tokens, H].

    `anyres`: the thumbnail's features, then the grid's with padding cut off, shrunk bilinearly
    when it exceeds `max_tiles`, and `image_newline` [H] after each row. `single`: the features
    and one newline. Raises BadManifest without a newline.
    """
    if image_newline is None:
        raise BadManifest(f"the image policy {policy.name} needs an image_newline")
    features = image_features.astype(np.float32, copy=False)
    newline = image_newline.astype(np.float32, copy=False)
    if tiles.grid is None:
        return np.concatenate([features[0], newline[None]])
    grid = _grid_features(features[1:], tiles.grid, policy)
    top, bottom, left, right = _content_box(tiles.grid, tiles.original_hw, policy)
    grid = grid[top:bottom, left:right]
    rows, columns = _shrunk(grid.shape[0], grid.shape[1], policy)
    if (rows, columns) != grid.shape[:2]:
        grid = resize_bilinear(grid, rows, columns)
    ends = np.broadcast_to(newline, (rows, 1, newline.shape[0]))
    grid = np.concatenate([grid, ends], axis=1).reshape(rows * (columns + 1), len(newline))
    return np.concatenate([features[0], grid])


def select_canvas(
    original_hw: tuple[int, int], pinpoints: tuple[tuple[int, int], ...]
) -> tuple[int, int]:
    """Return the canvas that shows most of the image, then wastes least, as transformers does.

    Raises ImageError when every canvas would shrink a side of the image to nothing.
    """
    height, width = original_hw
    best, best_key = None, (0, 0)
    for canvas_height, canvas_width in pinpoints:
        scale = min(canvas_width / width, canvas_height / height)
        shown = min(int(width * scale) * int(height * scale), height * width)
        key = (shown, shown - canvas_height * canvas_width)
        if shown > 0 and (best is None or key > best_key):
            best, best_key = (canvas_height, canvas_width), key
    if best is None:
        raise ImageError(
            f"the image of {height} x {width} px is too long and thin to be shown to the model",
            hint="crop it into parts",
        )
    return best


def resize_bilinear(grid: F32, rows: int, columns: int) -> F32:
    """Resize [h, w, H] to [rows, columns, H] like torch's interpolate(mode="bilinear").

    Half-pixel centres, no anti-aliasing.
    """
    low, high, share = _source_positions(grid.shape[0], rows)
    share = share[:, None, None]
    grid = grid[low] * (1 - share) + grid[high] * share
    low, high, share = _source_positions(grid.shape[1], columns)
    share = share[None, :, None]
    return grid[:, low] * (1 - share) + grid[:, high] * share


def _prepare_anyres(rgb: Image.Image, policy: ImagePolicy) -> Tiles:
    hw = (rgb.height, rgb.width)
    side, resample = policy.tile_size_px, _RESAMPLE[policy.resample]
    canvas_hw = select_canvas(hw, policy.grid_pinpoints_px)
    used_height, used_width = _fit(hw, canvas_hw)
    canvas = Image.new("RGB", (canvas_hw[1], canvas_hw[0]))
    canvas.paste(
        rgb.resize((used_width, used_height), resample),
        ((canvas_hw[1] - used_width) // 2, (canvas_hw[0] - used_height) // 2),
    )
    rows, columns = canvas_hw[0] // side, canvas_hw[1] // side
    pixels = np.asarray(canvas).reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    thumbnail = np.asarray(rgb.resize((side, side), resample))
    tiles = np.concatenate([thumbnail[None], pixels.reshape(rows * columns, side, side, 3)])
    return Tiles(
        pixel_values=_normalise(tiles, policy),
        used_height_px=used_height,
        used_width_px=used_width,
        original_hw=hw,
        grid=(rows, columns),
    )


def _prepare_single(rgb: Image.Image, policy: ImagePolicy) -> Tiles:
    hw = (rgb.height, rgb.width)
    side, resample = policy.tile_size_px, _RESAMPLE[policy.resample]
    longest = max(hw)
    if longest > _MAX_SQUARE_PX:
        # Padding a 1 x 30000 strip to a square would take 2.7 GB; the tile is small anyway.
        size = [max(1, round(length * _MAX_SQUARE_PX / longest)) for length in rgb.size]
        rgb = rgb.resize((size[0], size[1]), resample)
    tile = np.asarray(_pad_to_square(rgb, policy.pad_rgb).resize((side, side), resample))
    return Tiles(
        pixel_values=_normalise(tile[None], policy),
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


def _fit(hw: tuple[int, int], canvas_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the largest height, width of the image's aspect within the canvas."""
    scale_height, scale_width = canvas_hw[0] / hw[0], canvas_hw[1] / hw[1]
    if scale_width < scale_height:
        return min(math.ceil(hw[0] * scale_width), canvas_hw[0]), canvas_hw[1]
    return canvas_hw[0], min(math.ceil(hw[1] * scale_height), canvas_hw[1])


def _normalise(tiles: npt.NDArray[np.uint8], policy: ImagePolicy) -> F32:
    """Turn [T, S, S, 3] bytes into [T, 3, S, S]: (x / 255 - mean) / std, through a table."""
    scaled = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    out = np.empty((tiles.shape[0], 3, *tiles.shape[1:3]), dtype=np.float32)
    for channel in range(3):
        mean, std = np.float32(policy.mean[channel]), np.float32(policy.std[channel])
        np.take((scaled - mean) / std, tiles[..., channel], out=out[:, channel])
    return out


def _grid_features(features: F32, grid: tuple[int, int], policy: ImagePolicy) -> F32:
    """Lay tile features [rows * columns, N, H] out as one picture [rows * P, columns * P, H]."""
    (rows, columns), side = grid, policy.patches_per_side
    tiles = features.reshape(rows, columns, side, side, -1)
    return tiles.swapaxes(1, 2).reshape(rows * side, columns * side, -1)


def _content_box(
    grid: tuple[int, int], original_hw: tuple[int, int], policy: ImagePolicy
) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right of the rows and columns of features that are not padding.

    The arithmetic is `unpad_image`'s, of transformers or of LLaVA-NeXT (`policy.unpad`).
    """
    height, width = (count * policy.patches_per_side for count in grid)
    original_height, original_width = original_hw
    if original_width / original_height > width / height:
        content = _whole(original_height * (width / original_width), policy)
        pad = (height - content) // 2
        return pad, height - pad, 0, width
    content = int(round(original_width * (height / original_height), 7))
    pad = (width - content) // 2
    return 0, height, pad, width - pad


def _whole(length: float, policy: ImagePolicy) -> int:
    return int(round(length, 7) if policy.unpad == "rounded" else length)


def _shrunk(rows: int, columns: int, policy: ImagePolicy) -> tuple[int, int]:
    """Return the rows, columns left after the limit of `max_tiles` tiles of features."""
    if policy.max_tiles is None:
        return rows, columns
    ratio = math.sqrt(rows * columns / (policy.max_tiles * policy.patches_per_side**2))
    if ratio > _SHRINK_OVER:
        return int(rows // ratio), int(columns // ratio)
    return rows, columns


def _source_positions(
    size: int, wanted: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], F32]:
    """Return for each of `wanted` outputs its two source indices and the second one's share."""
    scale = np.float32(size / wanted)
    centre = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    centre = np.maximum(centre, np.float32(0))
    low = centre.astype(np.int64)
    return low, np.minimum(low + 1, size - 1), centre - low.astype(np.float32)
