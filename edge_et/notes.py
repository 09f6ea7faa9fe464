"""The notes of several looks as one text, and the line that says what they lack.

The reasoner reads them in the order they were made; each later look says where it looked and for
what. The starter's reasoner was trained on the words of these very functions.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_et.types import Extraction

MISSING = "Missing:"
"""What a reasoner's answer opens with when the description does not hold what the question needs;
what is missing follows on the same line."""


def look_heading(focus: str, part: str = "") -> str:
    """Return the line above the notes of a later look; `part` names a part of the image.

    >>> look_heading("the colour of the star", "the upper left part")
    'Looked again at the upper left part, with attention to the colour of the star:'
    """
    where = f" at {part}" if part else ""
    what = f", with attention to {focus}" if focus else ""
    return f"Looked again{where}{what}:"


def join_notes(first: str, later: Sequence[tuple[str, str]]) -> str:
    """Return the first notes and each later (heading, notes) below them."""
    return "\n".join([first, *(f"{heading}\n{text}" for heading, text in later)])


def notes_of(first: Extraction, looks: Sequence[Extraction]) -> str:
    """Return what the reasoner reads: the first extraction and the further looks."""
    return join_notes(
        first.text,
        [
            (look_heading(look.focus_phrase, look.region.name if look.region else ""), look.text)
            for look in looks
        ],
    )
