"""A pool of prepared scenes: the pixels that the vision tower gets, and what lies in each patch.

Drawing, encoding and resizing a scene costs as much as a training step on it, so the pool is made
once, memory-mapped, and shared by all phases. It is made through the runtime's own image path, so
training and inference see the same pixels.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_et.image import load_image
from edge_et.manifest import ImagePolicy
from edge_et.tiling import prepare
from edge_et_tuning.render import encode, render
from edge_et_tuning.scenes import COLOURS, FILLS, SHAPES, SIZES, Scene, sample_scene

TILE_PX, PATCH_PX = 144, 16
GRID = TILE_PX // PATCH_PX
PATCHES = GRID * GRID
POLICY = ImagePolicy(name="single", tile_size_px=TILE_PX, patch_size_px=PATCH_PX)
_COLOUR_NAMES = tuple(COLOURS)
CHUNK = 500
RECORD = np.dtype(
    [
        ("pixels", np.uint8, (TILE_PX, TILE_PX, 3)),
        # shape, colour, size, fill of the object in each patch; all -1 where there is background
        ("labels", np.int8, (PATCHES, 4)),
        # that object's centre, y and x in [0, 1] of the tile
        ("centres", np.float16, (PATCHES, 2)),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Scenes of the seeds `first_seed ..`, in chunks of memory-mapped arrays."""

    first_seed: int
    scenes: int
    chunks: tuple[NDArray[np.void], ...]

    def __len__(self) -> int:
        return self.scenes

    def rows(self, indices: NDArray[np.int64]) -> NDArray[np.void]:
        """Return the records (`RECORD`) of these scenes; scene i has the seed `first_seed + i`."""
        return np.stack([self.chunks[i // CHUNK][i % CHUNK] for i in indices])


def pixels_of(scene: Scene) -> NDArray[np.uint8]:
    """Return what the vision tower sees of `scene` as uint8 [S, S, 3], file and resize included."""
    image = load_image(encode(scene, render(scene)))
    values = prepare(image.rgb, POLICY).pixel_values[0].transpose(1, 2, 0)
    result: NDArray[np.uint8] = np.rint((values + 1) * 127.5).astype(np.uint8)
    return result


def patch_labels(scene: Scene) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Return labels [patches, 4] and centres [patches, 2] of a scene (see `RECORD`).

    A patch belongs to the object that its centre lies in; each object owns at least the patch
    under its own centre.
    """
    side_px = max(scene.height_px, scene.width_px)
    off_y, off_x = (side_px - scene.height_px) / 2, (side_px - scene.width_px) / 2
    labels = np.full((PATCHES, 4), -1, np.int8)
    centres = np.zeros((PATCHES, 2), np.float16)
    ys, xs = np.divmod(np.arange(PATCHES), GRID)
    ys, xs = (ys + 0.5) / GRID, (xs + 0.5) / GRID
    for item in scene.objects:
        y, x = (item.y_px + off_y) / side_px, (item.x_px + off_x) / side_px
        own = np.hypot(ys - y, xs - x) < 0.5 * item.diameter_px / side_px
        own[min(GRID - 1, int(y * GRID)) * GRID + min(GRID - 1, int(x * GRID))] = True
        labels[own] = (
            SHAPES.index(item.shape),
            _COLOUR_NAMES.index(item.colour),
            SIZES.index(item.size),
            FILLS.index(item.fill),
        )
        centres[own] = (y, x)
    return labels, centres


def open_pool(folder: Path, *, first_seed: int, scenes: int, workers: int = 2) -> Pool:
    """Return the pool in `folder`, drawing what is not there yet; a killed run goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(first_seed, first_seed + scenes, CHUNK)
    missing = [s for s in starts if not _chunk_path(folder, s).exists()]
    if missing:
        with ProcessPoolExecutor(workers) as executor:
            for _ in executor.map(_draw_chunk, [folder] * len(missing), missing):
                pass
    chunks = tuple(np.load(_chunk_path(folder, s), mmap_mode="r") for s in starts)
    return Pool(first_seed=first_seed, scenes=scenes, chunks=chunks)


def _chunk_path(folder: Path, start: int) -> Path:
    return folder / f"scenes-{start:09d}.npy"


def _draw_chunk(folder: Path, start: int) -> None:
    records = np.zeros(CHUNK, RECORD)
    for record, seed in zip(records, range(start, start + CHUNK), strict=True):
        scene = sample_scene(seed)
        record["pixels"] = pixels_of(scene)
        record["labels"], record["centres"] = patch_labels(scene)
    beside = _chunk_path(folder, start).with_suffix(".part.npy")
    np.save(beside, records)
    beside.replace(_chunk_path(folder, start))
