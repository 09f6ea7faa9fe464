"""The functions that edge_et_scenes.yaml names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

_DATA = Path(__file__).parents[1] / "edge_et_bench" / "data"
_AT_ONCE = "\nAnswer with the option's letter from the given choices directly."


def doc_to_visual(doc: dict[str, Any]) -> list[Image.Image]:
    return [Image.open(_DATA / doc["image"]).convert("RGB")]


def doc_to_text(doc: dict[str, Any]) -> str:
    """Close choices as most tasks of lmms-eval do."""
    question: str = doc["question"]
    return question + _AT_ONCE if "\n(A)" in question else question
