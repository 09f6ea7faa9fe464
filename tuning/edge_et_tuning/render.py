"""Scene -> picture: drawing, background, and the file a camera or a program would have written."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge_et_tuning.scenes import Scene, SceneObject

_SUPERSAMPLE = 3
_OUTLINE_INNER = 0.70  # inner contour of an outlined shape, of its size
_RING_INNER = 0.52
_STRIPES = 3.8  # periods across a shape
_GAP = 0.28  # coverage left between stripes


def render(scene: Scene) -> Image.Image:
    """Draw `scene` as an RGB image of its size; deterministic in `scene.seed`."""
    noise = np.random.default_rng(scene.seed)
    canvas = Image.fromarray(_background(scene, noise))
    if scene.background == "cluttered":
        _clutter(canvas, noise)
    for item in scene.objects:
        mask, left, top = _mask(item, _SUPERSAMPLE if scene.antialias else 1)
        canvas.paste(item.rgb, (left, top), mask)
    return canvas


def encode(scene: Scene, image: Image.Image) -> bytes:
    """Return the image file of `scene`: JPEG of its quality, or PNG."""
    buffer = io.BytesIO()
    if scene.jpeg_quality is None:
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=scene.jpeg_quality)
    return buffer.getvalue()


def _background(scene: Scene, noise: np.random.Generator) -> NDArray[np.uint8]:
    height_px, width_px = scene.height_px, scene.width_px
    first, second = (np.array(rgb, np.float32) for rgb in scene.background_rgb)
    if scene.background == "gradient":
        angle = noise.uniform(0, 2 * math.pi)
        ys = np.linspace(-1, 1, height_px, dtype=np.float32)[:, None]
        xs = np.linspace(-1, 1, width_px, dtype=np.float32)[None, :]
        ramp = (xs * math.cos(angle) + ys * math.sin(angle)) / 2.83 + 0.5
        pixels = first + (second - first) * ramp[..., None].clip(0, 1)
    else:
        pixels = np.broadcast_to(first, (height_px, width_px, 3)).copy()
    if scene.background == "noisy":
        grain = noise.standard_normal((height_px, width_px, 1), dtype=np.float32)
        pixels = pixels + grain * noise.uniform(6, 22)
    result: NDArray[np.uint8] = pixels.clip(0, 255).astype(np.uint8)
    return result


def _clutter(canvas: Image.Image, noise: np.random.Generator) -> None:
    """Thin lines and specks in shades near the background: texture, never an object."""
    draw = ImageDraw.Draw(canvas)
    base = np.array(canvas.getpixel((0, 0)))
    reference_px = math.sqrt(canvas.width * canvas.height)
    for _ in range(int(noise.integers(8, 30))):
        shade = tuple(int(c) for c in (base + noise.integers(-45, 46, 3)).clip(0, 255))
        x, y = noise.uniform(0, canvas.width), noise.uniform(0, canvas.height)
        if noise.random() < 0.5:
            length, angle = noise.uniform(0.05, 0.3) * reference_px, noise.uniform(0, 6.3)
            end = (x + length * math.cos(angle), y + length * math.sin(angle))
            draw.line([(x, y), end], fill=shade, width=max(1, round(reference_px * 0.006)))
        else:
            r = noise.uniform(0.004, 0.014) * reference_px
            draw.ellipse([x - r, y - r, x + r, y + r], fill=shade)


def _mask(item: SceneObject, scale: int) -> tuple[Image.Image, int, int]:
    """Return the object's coverage (L, 0..255) and the pixel of its upper left corner."""
    half = math.ceil(item.diameter_px * 0.6) + 1
    left, top = math.floor(item.x_px) - half, math.floor(item.y_px) - half
    side = 2 * half + 1
    centre = ((item.x_px - left) * scale, (item.y_px - top) * scale)
    radius = item.diameter_px / 2 * scale
    mask = Image.new("L", (side * scale, side * scale), 0)
    draw = ImageDraw.Draw(mask)
    _draw(draw, item, centre, radius, fill=255)
    if item.shape == "ring":
        _draw(draw, item, centre, radius * _RING_INNER, fill=0)
    if item.fill == "outlined":
        _draw(draw, item, centre, radius * _OUTLINE_INNER, fill=0)
    if item.fill == "striped":
        mask = _stripe(mask, item, radius)
    if scale > 1:
        mask = mask.resize((side, side), Image.Resampling.BOX)
    return mask, left, top


def _stripe(mask: Image.Image, item: SceneObject, radius: float) -> Image.Image:
    angle = math.radians(45 + item.rotation_deg)
    ys, xs = np.mgrid[0 : mask.height, 0 : mask.width]
    phase = (xs * math.cos(angle) + ys * math.sin(angle)) / (2 * radius) * _STRIPES
    cover = np.where(phase % 1.0 < 0.6, 1.0, _GAP)
    return Image.fromarray((np.asarray(mask) * cover).astype(np.uint8))


def _draw(
    draw: ImageDraw.ImageDraw,
    item: SceneObject,
    centre: tuple[float, float],
    radius: float,
    fill: int,
) -> None:
    x, y = centre
    if item.shape in ("circle", "ring"):
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)
        return
    angle = math.radians(item.rotation_deg)
    cos, sin = math.cos(angle) * radius, math.sin(angle) * radius
    draw.polygon(
        [(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in _outline(item)], fill=fill
    )


def _outline(item: SceneObject) -> list[tuple[float, float]]:
    """Return the polygon of a shape within the unit circle, y downwards."""
    match item.shape:
        case "square":
            return _box(0.78, 0.78)
        case "rectangle":
            return _box(0.48, 0.96) if item.upright else _box(0.96, 0.48)
        case "diamond":
            return [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)]
        case "triangle":
            return [(0, -0.95), (0.95, 0.75), (-0.95, 0.75)]
        case "cross":
            a, b = 0.32, 0.95
            return [
                (-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a),
                (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a),
            ]  # fmt: skip
        case "star":
            radii = (1.0, 0.42) * 5
            return [
                (r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5))
                for i, r in enumerate(radii)
            ]
        case "heart":
            turns = [2 * math.pi * i / 40 for i in range(40)]
            return [
                (
                    16 * math.sin(t) ** 3 / 17,
                    -(
                        13 * math.cos(t)
                        - 5 * math.cos(2 * t)
                        - 2 * math.cos(3 * t)
                        - math.cos(4 * t)
                    )
                    / 17,
                )
                for t in turns
            ]
        case other:
            raise ValueError(f"unknown shape {other!r}")


def _box(half_width: float, half_height: float) -> list[tuple[float, float]]:
    return [
        (-half_width, -half_height),
        (half_width, -half_height),
        (half_width, half_height),
        (-half_width, half_height),
    ]
