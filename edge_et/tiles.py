"""What every image policy gives: tiles ready for the vision tower."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_et.manifest import ImagePolicy

F32 = npt.NDArray[np.float32]
Size = tuple[int, int]
"""Height, width, or rows, columns."""

RESAMPLE = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """One image, ready for the vision tower."""

    pixel_values: F32
    """[tiles, 3, S, S], normalised; the whole image comes first under `anyres`, last under
    `split`, and the tiles of the grid row by row."""
    used_height_px: int
    """Height of the picture content over all tiles, after resize, without padding."""
    used_width_px: int
    original_hw: Size
    """Of the oriented image; decides which features are padding."""
    grid: Size | None
    """Rows, columns of tiles beside the whole image; None when that is the only tile."""


def cut(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Cut [rows * S, columns * S, 3] into tiles [rows * columns, S, S, 3], row by row."""
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    tiles = pixels.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    return tiles.reshape(rows * columns, side, side, 3)


def normalise(tiles: npt.NDArray[np.uint8], policy: ImagePolicy) -> F32:
    """Turn [T, S, S, 3] bytes into [T, 3, S, S]: (x / 255 - mean) / std, through a table."""
    scaled = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    out = np.empty((tiles.shape[0], 3, *tiles.shape[1:3]), dtype=np.float32)
    for channel in range(3):
        mean, std = np.float32(policy.mean[channel]), np.float32(policy.std[channel])
        np.take((scaled - mean) / std, tiles[..., channel], out=out[:, channel])
    return out
