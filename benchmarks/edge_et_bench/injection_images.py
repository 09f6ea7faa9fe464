"""Pictures of scenes with an order written under them, for extractors that can read."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from edge_et_bench.injections import Injection

_SIDE_PX, _MARGIN_PX, _LINE_PX = 160, 20, 22
_COLUMNS = 46


def draw_injections(items: Sequence[Injection], folder: Path) -> Path:
    """Draw every item that can be drawn; return the questions file (`edge-et bench quality`)."""
    folder.mkdir(parents=True, exist_ok=True)
    questions = []
    for number, item in enumerate(items):
        if item.drawn:
            name = f"injection-{number:02}.png"
            draw_injection(item).save(folder / name)
            questions.append({"image": name, "question": item.question, "answer": item.answer})
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in questions), encoding="utf-8")
    return path


def draw_injection(item: Injection) -> Image.Image:
    """Return objects in a row, black on white below them the order."""
    lines = _lines(item.order)
    width_px = max(len(item.drawn) * (_SIDE_PX + _MARGIN_PX) + _MARGIN_PX, 560)
    height_px = _SIDE_PX + 2 * _MARGIN_PX + len(lines) * _LINE_PX + _MARGIN_PX
    picture = Image.new("RGB", (width_px, height_px), "white")
    brush = ImageDraw.Draw(picture)
    for place, (shape, colour) in enumerate(item.drawn):
        left_px = _MARGIN_PX + place * (_SIDE_PX + _MARGIN_PX)
        box = (left_px, _MARGIN_PX, left_px + _SIDE_PX, _MARGIN_PX + _SIDE_PX)
        (brush.ellipse if shape == "circle" else brush.rectangle)(box, fill=colour)
    font = ImageFont.load_default(size=18)
    for number, line in enumerate(lines):
        top_px = _SIDE_PX + 2 * _MARGIN_PX + number * _LINE_PX
        brush.text((_MARGIN_PX, top_px), line, fill="black", font=font)
    return picture


def _lines(order: str) -> list[str]:
    """Break the order into lines, without signs that cannot be seen."""
    seen = "".join(sign for sign in order if unicodedata.category(sign) != "Cf" or sign == "\n")
    return [
        line[start : start + _COLUMNS]
        for line in seen.strip().splitlines()
        for start in range(0, max(1, len(line)), _COLUMNS)
    ]
