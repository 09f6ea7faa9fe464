"""Memory over many images of different sizes, in a process of its own:

    python -m tests.leaks COUNT [LEAKED_BYTES_PER_IMAGE] [MAX_MEMORY_BYTES]

prints the resident bytes after each image. What is leaked is for the test's own test.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
_WINDOW = 6
_CACHE_BYTES = 2**20
"""Full after a few images: what is kept of more must go."""


def resident_after_each(
    count: int, *, leaked_bytes: int = 0, max_memory_bytes: int | None = None
) -> list[int]:
    arguments = [str(count), str(leaked_bytes), str(max_memory_bytes or "")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.leaks", *arguments],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    points: list[int] = json.loads(done.stdout)
    return points


def slope_bytes(points: list[int]) -> float:
    """Return the growth an image: Theil and Sen's median of slopes, deaf to single jumps.

    Of the least of each six, to which memory that comes and goes returns; a leak raises it, too.
    """
    values = np.array(points[: len(points) // _WINDOW * _WINDOW], np.float64)
    floors = values.reshape(-1, _WINDOW).min(axis=1)
    first, second = np.triu_indices(len(floors), k=max(1, len(floors) // 4))
    return float(np.median((floors[second] - floors[first]) / (second - first))) / _WINDOW


def _run(count: int, leaked_bytes: int, max_memory_bytes: int | None) -> list[int]:
    import edge_et
    from edge_et.memory.measure import give_back, resident_bytes

    generation = edge_et.GenerationConfig(
        think_budget_tokens=24, answer_budget_tokens=8, extraction_budget_tokens=24
    )
    runtime = edge_et.RuntimeConfig(
        device="cpu", max_memory_bytes=max_memory_bytes, cache_bytes=_CACHE_BYTES
    )
    sizes, kept, points = random.Random(7), [], []
    with edge_et.load(runtime=runtime) as chain:
        for index in range(count):
            height, width = sizes.randint(20, 700), sizes.randint(20, 700)
            image = np.full((height, width, 3), index % 256, np.uint8)
            chain.ask(image, "How many stars are there?", generation)
            kept.append(b"x" * leaked_bytes)
            give_back()
            points.append(resident_bytes())
    return points


if __name__ == "__main__":
    count, leaked, limit = ([*sys.argv[1:], "", ""])[:3]
    print(json.dumps(_run(int(count), int(leaked or 0), int(limit) if limit else None)))
