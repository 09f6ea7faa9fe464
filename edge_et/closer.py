"""Where to look closer: what the notes say of a place, else where shrinking the image lost most.

An extractor sees a large image shrunk. The same part of it at full resolution may show what the
whole did not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_et.image import LoadedImage
from edge_et.missing import content_words
from edge_et.regions import Region

SHRUNK = 1.5
"""How many times smaller an image must have been seen for a closer look to show more."""
_SHARES = (0.2, 0.25, 0.35, 0.5)
_HELD = 0.9
_CELLS = 40
_MARGIN = 1.25
_TRACE = 0.02
_WORK_PX = 1600
_PLACED_SHARE = 0.5
_GRID_PLACE = re.compile(r"\bat ([1-9]) ([1-9])\b")
_ROWS = {"top": 0.0, "upper": 0.0, "above": 0.0, "bottom": 1.0, "lower": 1.0}
_COLUMNS = {"left": 0.0, "right": 1.0}

F64 = npt.NDArray[np.float64]


def closer_region(
    image: LoadedImage, seen_hw: tuple[int, int], notes: str, missing: str, taken: Sequence[Region]
) -> Region | None:
    """Return the part of `image` to show at full resolution, none of `taken`.

    `seen_hw`: the size in which the extractor saw it. None when it saw (almost) all there is, or
    nothing is left to look at.
    """
    original_hw = (image.rgb.height, image.rgb.width)
    shrunk = max(o / s for o, s in zip(original_hw, seen_hw, strict=True))
    if shrunk < SHRUNK:
        return None
    place = _named_place(notes, missing)
    if place is not None:
        region = _around(*place, share=_PLACED_SHARE)
        if region not in taken:
            return region
    return _most_lost(_lost_detail(image.rgb, seen_hw), 1 / shrunk, taken)


def crop(image: LoadedImage, region: Region) -> LoadedImage:
    """Return that part of `image`; its notes say which."""
    height, width = image.rgb.height, image.rgb.width
    left, top = round(region.left * width), round(region.top * height)
    right, bottom = round(region.right * width), round(region.bottom * height)
    return LoadedImage(
        rgb=image.rgb.crop((left, top, right, bottom)),
        original_height_px=image.original_height_px,
        original_width_px=image.original_width_px,
        notes=(*image.notes, f"rows {top} to {bottom}, columns {left} to {right} px alone"),
    )


def _named_place(notes: str, missing: str) -> tuple[float, float] | None:
    """Return where (down, across, in shares) the notes place one of the things that are missing.

    Known are `at ROW COLUMN` of nine and words like "in the upper left corner".
    """
    wanted = content_words(missing)
    for clause in re.split(r"[.,;\n]", notes):
        if not wanted & content_words(clause):
            continue
        if found := _GRID_PLACE.search(clause):
            return (int(found[1]) - 0.5) / 9, (int(found[2]) - 0.5) / 9
        said = re.findall(r"[a-z]+", clause.lower())
        row = next((_ROWS[word] for word in said if word in _ROWS), None)
        column = next((_COLUMNS[word] for word in said if word in _COLUMNS), None)
        if row is not None or column is not None:
            return 0.5 if row is None else row, 0.5 if column is None else column
    return None


def _around(down: float, across: float, *, share: float) -> Region:
    top = min(1 - share, max(0.0, down - share / 2))
    left = min(1 - share, max(0.0, across - share / 2))
    return Region(top=top, left=left, bottom=top + share, right=left + share)


def _lost_detail(rgb: Image.Image, seen_hw: tuple[int, int]) -> F64:
    """Return how much of each of the cells [40, 40] is gone when the image is shrunk to
    `seen_hw`."""
    gray = rgb.convert("L")
    gray.thumbnail((_WORK_PX, _WORK_PX), Image.Resampling.BOX)
    seen = gray.resize((min(seen_hw[1], gray.width), min(seen_hw[0], gray.height)))
    blurred = seen.resize(gray.size, Image.Resampling.BICUBIC)
    lost = np.abs(np.asarray(gray, np.float32) - np.asarray(blurred, np.float32)) ** 2
    cells = Image.fromarray(lost).resize((_CELLS, _CELLS), Image.Resampling.BOX)
    return np.asarray(cells, np.float64)


def _most_lost(lost: F64, least_share: float, taken: Sequence[Region]) -> Region | None:
    """Return the smallest window that holds most of what was lost; a large one if none does.

    No window is smaller than `least_share`: from there on nothing is gained.
    """
    left = lost.copy()
    for region in taken:
        rows, columns = _cells(region.top, region.bottom), _cells(region.left, region.right)
        left[rows, columns] = 0.0
    total = float(left.sum())
    if total <= 1e-6 * max(1.0, float(lost.sum())):
        return None
    best: Region | None = None
    for share in sorted({max(s, min(least_share, _SHARES[-1])) for s in _SHARES}):
        best, held = _heaviest(left, share)
        if held >= _HELD * total:
            return _centred(left, best, min(_MARGIN * share, _SHARES[-1]))
    return best


def _heaviest(cells: F64, share: float) -> tuple[Region, float]:
    """Return the window of that share of the sides that holds most, and how much."""
    side = max(1, round(share * _CELLS))
    sums = np.pad(cells, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    row, column = np.unravel_index(int(windows.argmax()), windows.shape)
    top, left = float(row) / _CELLS, float(column) / _CELLS
    reach = side / _CELLS
    return Region(top=top, left=left, bottom=top + reach, right=left + reach), float(windows.max())


def _centred(cells: F64, window: Region, share: float) -> Region:
    """Return a window of that share around the middle of what `window` holds."""
    rows, columns = _cells(window.top, window.bottom), _cells(window.left, window.right)
    inside = cells[rows, columns]
    down, across = np.nonzero(inside > _TRACE * inside.max())
    middle = [
        start + (float(held.min() + held.max()) + 1) / 2 / _CELLS
        for start, held in ((window.top, down), (window.left, across))
    ]
    return _around(middle[0], middle[1], share=share)


def _cells(start: float, end: float) -> slice:
    return slice(round(start * _CELLS), round(end * _CELLS))
