"""The image policy `anyres`: a thumbnail, and the tiles of the canvas that shows the image best.

Equal to transformers' LlavaOnevisionImageProcessor (Pillow resizing) and to
LlavaOnevisionModel.pack_image_features, for one image per prompt.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_et.errors import ImageError
from edge_et.manifest import ImagePolicy
from edge_et.tiles import F32, RESAMPLE, Size, Tiles, cut, normalise

_SHRINK_OVER = 1.1
"""A grid is shrunk when its side exceeds the limit by this factor (transformers' constant)."""


def grid_of(hw: Size, policy: ImagePolicy) -> Size:
    """Return the rows, columns of the canvas for an image of `hw`. Raises ImageError."""
    canvas_hw = select_canvas(hw, policy.grid_pinpoints_px)
    return canvas_hw[0] // policy.tile_size_px, canvas_hw[1] // policy.tile_size_px


def prepare(rgb: Image.Image, policy: ImagePolicy) -> Tiles:
    hw = (rgb.height, rgb.width)
    side, resample = policy.tile_size_px, RESAMPLE[policy.resample]
    canvas_hw = select_canvas(hw, policy.grid_pinpoints_px)
    used_height, used_width = _fit(hw, canvas_hw)
    canvas = Image.new("RGB", (canvas_hw[1], canvas_hw[0]))
    canvas.paste(
        rgb.resize((used_width, used_height), resample),
        ((canvas_hw[1] - used_width) // 2, (canvas_hw[0] - used_height) // 2),
    )
    thumbnail = np.asarray(rgb.resize((side, side), resample))
    tiles = np.concatenate([thumbnail[None], cut(np.asarray(canvas), side)])
    return Tiles(
        pixel_values=normalise(tiles, policy),
        used_height_px=used_height,
        used_width_px=used_width,
        original_hw=hw,
        grid=(canvas_hw[0] // side, canvas_hw[1] // side),
    )


def feature_rows(grid: Size, original_hw: Size, policy: ImagePolicy) -> int:
    """Return the rows of `splice`."""
    top, bottom, left, right = _content_box(grid, original_hw, policy)
    rows, columns = _shrunk(bottom - top, right - left, policy)
    return policy.tokens_per_tile + rows * (columns + 1)


def splice(features: F32, newline: F32, grid: Size, original_hw: Size, policy: ImagePolicy) -> F32:
    """Return the thumbnail's features, then the grid's: padding cut off, shrunk bilinearly when
    they exceed `max_tiles`, and `newline` [H] after each row."""
    picture = _grid_features(features[1:], grid, policy)
    top, bottom, left, right = _content_box(grid, original_hw, policy)
    picture = picture[top:bottom, left:right]
    rows, columns = _shrunk(picture.shape[0], picture.shape[1], policy)
    if (rows, columns) != picture.shape[:2]:
        picture = resize_bilinear(picture, rows, columns)
    ends = np.broadcast_to(newline, (rows, 1, newline.shape[0]))
    picture = np.concatenate([picture, ends], axis=1).reshape(rows * (columns + 1), len(newline))
    return np.concatenate([features[0], picture])


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


def _fit(hw: tuple[int, int], canvas_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the largest height, width of the image's aspect within the canvas."""
    scale_height, scale_width = canvas_hw[0] / hw[0], canvas_hw[1] / hw[1]
    if scale_width < scale_height:
        return min(math.ceil(hw[0] * scale_width), canvas_hw[0]), canvas_hw[1]
    return canvas_hw[0], min(math.ceil(hw[1] * scale_height), canvas_hw[1])


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
