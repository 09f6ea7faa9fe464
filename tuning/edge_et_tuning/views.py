"""A view: what a description says of a scene. Written as text here, and read back from text.

The list of objects is ordered along one axis, so that "left of" and "above" can be answered from
it; sizes, fills and places are said only when the focus asks for them. Reading a description back
is how the evaluation tells whether the extraction lacked what was needed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from edge_et_tuning.scenes import COLOURS, FILLS, SHAPES, SIZES, Scene, SceneObject

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
AXES = {"x": "From left to right", "y": "From top to bottom"}
_VERTICAL = re.compile(
    r"\b(?:above|below|under|over|beneath|top|topmost|bottom|bottommost|higher|highest|lower|"
    r"lowest|upper|uppermost)\b",
    re.IGNORECASE,
)
_SIZE = re.compile(
    r"\b(?:small|smaller|smallest|large|larger|largest|big|bigger|size|little)\b", re.IGNORECASE
)
_FILL = re.compile(
    r"\b(?:solid|striped|outlined|stripes|outline|fill|filled|pattern|drawn)\b", re.IGNORECASE
)
_NEAREST = re.compile(r"\b(?:nearest|closest|nearer|closer|near|close)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What an object looks like, as far as it is said; also a filter: None matches anything."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    fill: str | None = None
    place: tuple[float, float] | None = None
    """Row and column of its centre on the square that the extractor sees, from 1 to 9 where said;
    exact, and from 0.5 to 9.5, where it is the truth. Filters do not look at it."""

    def matches(self, other: Look) -> bool:
        return all(
            mine is None or mine == theirs
            for mine, theirs in (
                (self.shape, other.shape),
                (self.colour, other.colour),
                (self.size, other.size),
                (self.fill, other.fill),
            )
        )

    def text(self, *, plural: bool = False, noun: str = "object") -> str:
        """Return e.g. `large striped red star`, `red objects`, `star`."""
        head = self.shape or noun
        if plural:
            head = {"cross": "crosses"}.get(head, head + "s")
        words = (self.size, self.fill, self.colour, head)
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The content of one description."""

    axis: str
    """`x` (left to right) or `y` (top to bottom): the order of `looks`."""
    looks: tuple[Look, ...]


def look_of(item: SceneObject) -> Look:
    return Look(shape=item.shape, colour=item.colour, size=item.size, fill=item.fill)


def focused_view(scene: Scene, focus: str) -> View:
    """Return what a description of `scene` under `focus` has to say; empty focus: all looks."""
    axis = "y" if _VERTICAL.search(focus) else "x"
    items = sorted(scene.objects, key=lambda o: o.y_px if axis == "y" else o.x_px)
    say_size = not focus or bool(_SIZE.search(focus))
    say_fill = not focus or bool(_FILL.search(focus))
    say_place = bool(_NEAREST.search(focus))
    looks = tuple(
        replace(
            look_of(item),
            size=item.size if say_size else None,
            fill=item.fill if say_fill else None,
            place=_rounded(place_of(scene, item)) if say_place else None,
        )
        for item in items
    )
    return View(axis=axis, looks=looks)


PLACES = 9
"""Rows and columns that a place is said in: as many as the vision tower has patches a side."""


def place_of(scene: Scene, item: SceneObject) -> tuple[float, float]:
    """Return row and column of an object's centre, exact; the first row's middle is 1.0."""
    side_px = max(scene.height_px, scene.width_px)
    y = (item.y_px + (side_px - scene.height_px) / 2) / side_px
    x = (item.x_px + (side_px - scene.width_px) / 2) / side_px
    return y * PLACES + 0.5, x * PLACES + 0.5


def _rounded(place: tuple[float, float]) -> tuple[float, float]:
    row, column = (min(PLACES, max(1, round(value))) for value in place)
    return row, column


def nearest_to(scene: Scene, item: SceneObject) -> tuple[SceneObject, float] | None:
    """Return the nearest other object and how many times farther the next one is."""
    ordered = sorted(
        (math.hypot(o.x_px - item.x_px, o.y_px - item.y_px), i)
        for i, o in enumerate(scene.objects)
        if o is not item
    )
    if not ordered:
        return None
    margin = ordered[1][0] / ordered[0][0] if len(ordered) > 1 else math.inf
    return scene.objects[ordered[0][1]], margin


def write_view(view: View) -> str:
    """Return the description, e.g. `From left to right: first a red star, second …. In all 2
    objects.`; with places `first a red star at 3 5`, row before column."""
    listed = ", ".join(
        f"{ordinal} {article(look.text())} {look.text()}{_at(look)}"
        for ordinal, look in zip(ORDINALS, view.looks, strict=False)
    )
    count = len(view.looks)
    noun = "object" if count == 1 else "objects"
    return f"{AXES[view.axis]}: {listed}. In all {count} {noun}."


def _at(look: Look) -> str:
    return f" at {look.place[0]} {look.place[1]}" if look.place else ""


def article(text: str) -> str:
    return "an" if text[0] in "aeiou" else "a"


_ITEM = re.compile(rf"\b(?:{'|'.join(ORDINALS)}) an? ([a-z ]+?)(?: at (\d) (\d))?(?=[,.])")


def read_view(text: str) -> View:
    """Read a description back; what it does not say in our words is not in the view."""
    axis = "y" if AXES["y"].lower() in text.lower() else "x"
    looks = tuple(_read_look(*parts) for parts in _ITEM.findall(text))
    return View(axis=axis, looks=looks)


def _read_look(words: str, row: str, column: str) -> Look:
    said = words.split()

    def pick(names: tuple[str, ...]) -> str | None:
        return next((word for word in said if word in names), None)

    return Look(
        shape=pick(SHAPES),
        colour=pick(tuple(COLOURS)),
        size=pick(SIZES),
        fill=pick(FILLS),
        place=(int(row), int(column)) if row else None,
    )
