"""A seeded generator of scenes: what is in the picture, exactly, before a pixel is drawn.

A scene is 1 to 6 objects on a background. `sample_scene(seed)` is a pure function of its seed, so
a data set is a range of seeds and an evaluation set is a range never trained on.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

SHAPES = (
    "circle", "ring", "square", "rectangle", "triangle", "star", "cross", "heart", "diamond",
)  # fmt: skip
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 30, 35),
    "orange": (245, 140, 20),
    "yellow": (245, 225, 45),
    "green": (35, 150, 60),
    "cyan": (50, 210, 220),
    "blue": (35, 70, 215),
    "purple": (130, 45, 175),
    "pink": (245, 135, 190),
    "brown": (125, 75, 35),
    "black": (18, 18, 18),
    "white": (248, 248, 248),
    "gray": (130, 130, 130),
}
SIZES = ("small", "large")
FILLS = ("solid", "striped", "outlined")
BACKGROUNDS = ("plain", "gradient", "noisy", "cluttered")

MIN_SIDE_PX, MAX_SIDE_PX = 48, 640
MAX_OBJECTS = 6
_DIAMETERS = {"small": (0.16, 0.20), "large": (0.28, 0.35)}  # of sqrt(height * width)
_MIN_CONTRAST = 110.0  # Euclidean distance in RGB between an object and what lies behind it

RGB = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneObject:
    """One object. `x_px, y_px` is its centre; `diameter_px` bounds it in both directions."""

    shape: str
    colour: str
    size: str
    fill: str
    x_px: float
    y_px: float
    diameter_px: float
    rotation_deg: float
    upright: bool
    """For rectangles: taller than wide."""
    rgb: RGB


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A whole picture to be drawn. `objects` has no order that means anything."""

    seed: int
    height_px: int
    width_px: int
    background: str
    background_rgb: tuple[RGB, RGB]
    """Both ends of the gradient; equal otherwise."""
    antialias: bool
    jpeg_quality: int | None
    """None: PNG."""
    objects: tuple[SceneObject, ...]


def sample_scene(seed: int) -> Scene:
    """Return the scene of `seed`: 1 to 6 objects that do not overlap and stand out."""
    rng = random.Random(f"scene-{seed}")
    height_px, width_px = _sample_sides(rng)
    background = rng.choices(BACKGROUNDS, weights=(4, 3, 2, 2))[0]
    first = _sample_rgb(rng)
    second = _near(rng, first, 60) if background == "gradient" else first
    wanted = rng.choices(range(1, MAX_OBJECTS + 1), weights=(3, 5, 6, 6, 5, 5))[0]
    return Scene(
        seed=seed,
        height_px=height_px,
        width_px=width_px,
        background=background,
        background_rgb=(first, second),
        antialias=rng.random() < 0.8,
        jpeg_quality=rng.randint(60, 95) if rng.random() < 0.6 else None,
        objects=_sample_objects(rng, wanted, height_px, width_px, (first, second)),
    )


def _sample_sides(rng: random.Random) -> tuple[int, int]:
    """Mostly ordinary shapes, some panoramas, a few strips: any aspect that the sides allow."""
    limit = rng.choices((1.6, 3.0, MAX_SIDE_PX / MIN_SIDE_PX), weights=(80, 17, 3))[0]
    aspect = math.exp(rng.uniform(0, math.log(limit)))
    low = max(MIN_SIDE_PX * aspect, 64)
    long_px = round(math.exp(rng.uniform(math.log(low), math.log(MAX_SIDE_PX))))
    short_px = max(MIN_SIDE_PX, round(long_px / aspect))
    return (long_px, short_px) if rng.random() < 0.5 else (short_px, long_px)


def _sample_rgb(rng: random.Random) -> RGB:
    """Backgrounds are mostly light or dark and rarely saturated, like paper, sky and tables."""
    base = rng.choice((rng.randint(200, 255), rng.randint(0, 60), rng.randint(0, 255)))
    spread = rng.choice((8, 30, 80))
    red, green, blue = (min(255, max(0, base + rng.randint(-spread, spread))) for _ in range(3))
    return red, green, blue


def _near(rng: random.Random, rgb: RGB, spread: int) -> RGB:
    red, green, blue = (min(255, max(0, c + rng.randint(-spread, spread))) for c in rgb)
    return red, green, blue


def _sample_objects(
    rng: random.Random, wanted: int, height_px: int, width_px: int, behind: tuple[RGB, RGB]
) -> tuple[SceneObject, ...]:
    reference_px = math.sqrt(height_px * width_px)
    room_px = 0.85 * min(height_px, width_px)
    sizes = [s for s in SIZES if _DIAMETERS[s][1] * reference_px <= room_px] or ["small"]
    colours = [c for c in COLOURS if _stands_out(COLOURS[c], behind)]
    # Few colours and few shapes in one picture make counting, comparing and referring worth asking.
    palette = rng.sample(colours, k=min(len(colours), rng.choice((2, 3, 4, 6))))
    shapes = rng.sample(SHAPES, k=rng.choice((2, 3, 4, len(SHAPES))))
    placed: list[SceneObject] = []
    for _ in range(wanted):
        size = rng.choice(sizes)
        for attempt in range(40):
            if attempt == 20:
                size = "small"
            low, high = _DIAMETERS[size]
            diameter_px = min(rng.uniform(low, high) * reference_px, room_px)
            margin_px = diameter_px * 0.54
            x_px = rng.uniform(margin_px, width_px - margin_px)
            y_px = rng.uniform(margin_px, height_px - margin_px)
            if all(
                math.hypot(x_px - o.x_px, y_px - o.y_px) > 0.58 * (diameter_px + o.diameter_px)
                for o in placed
            ):
                placed.append(_sample_look(rng, size, x_px, y_px, diameter_px, palette, shapes))
                break
    return tuple(placed)


def _sample_look(
    rng: random.Random,
    size: str,
    x_px: float,
    y_px: float,
    diameter_px: float,
    palette: list[str],
    shapes: list[str],
) -> SceneObject:
    shape, colour = rng.choice(shapes), rng.choice(palette)
    # An outlined circle would be a ring and an outlined ring nothing nameable.
    fills = FILLS[:2] if shape in ("circle", "ring") else FILLS
    weights = (6, 2, 2)[: len(fills)]
    return SceneObject(
        shape=shape,
        colour=colour,
        size=size,
        fill=rng.choices(fills, weights=weights)[0],
        x_px=x_px,
        y_px=y_px,
        diameter_px=diameter_px,
        rotation_deg=rng.uniform(-10, 10),
        upright=rng.random() < 0.5,
        rgb=_near(rng, COLOURS[colour], 12),
    )


def _stands_out(rgb: RGB, behind: tuple[RGB, RGB]) -> bool:
    middle = tuple((a + b) / 2 for a, b in zip(*behind, strict=True))
    return all(math.dist(rgb, other) >= _MIN_CONTRAST for other in (*behind, middle))
