"""Descriptions of several looks, for the reasoner: the first lacks the fact, the last one counts.

A first look lacks it for one of the reasons that the runtime looks again for: it was made without
the question's focus, it was cut at its budget, or the object was too small to be seen right.
"""

from __future__ import annotations

import random

from edge_et.notes import join_notes, look_heading
from edge_et.regions import PART_NAMES
from edge_et_tuning.queries import Query, solve
from edge_et_tuning.questions import Question
from edge_et_tuning.scenes import Scene
from edge_et_tuning.views import View, focused_view, read_view, write_view

_SECOND_SHARE = 0.25
_PART_SHARE = 0.5
_TRIES = 6


def looked_again(
    scene: Scene, other: Scene, question: Question, last: str, rng: random.Random
) -> str:
    """Return `last`, a description of `scene` for `question`, below what earlier looks wrote.

    No earlier look holds what the question needs; where none such is found, `last` stands alone.
    `other` lends what is seen where nothing is seen right.
    """
    count = 2 if rng.random() < _SECOND_SHARE else 1
    earlier = [_lacking(scene, other, question, rng) for _ in range(count)]
    texts = [text for text in earlier if text is not None]
    if not texts:
        return last
    later = [(_heading(question.focus, rng), text) for text in (*texts[1:], last)]
    return join_notes(texts[0], later)


def _heading(focus: str, rng: random.Random) -> str:
    return look_heading(focus, rng.choice(PART_NAMES) if rng.random() < _PART_SHARE else "")


def _lacking(scene: Scene, other: Scene, question: Question, rng: random.Random) -> str | None:
    for _ in range(_TRIES):
        text = rng.choice((_unfocused, _cut, _misread))(scene, other, question.focus, rng)
        if not _holds(text, question.query):
            return text
    return None


def _holds(text: str, query: Query) -> bool:
    return solve(query, read_view(text)).said


def _unfocused(scene: Scene, other: Scene, focus: str, rng: random.Random) -> str:
    return write_view(focused_view(scene, ""))


def _cut(scene: Scene, other: Scene, focus: str, rng: random.Random) -> str:
    """Cut the description anywhere, as a budget of tokens does."""
    words = write_view(focused_view(scene, rng.choice((focus, "")))).split()
    return " ".join(words[: rng.randint(4, max(4, len(words) - 3))])


def _misread(scene: Scene, other: Scene, focus: str, rng: random.Random) -> str:
    """Name other objects than those in the picture."""
    view = focused_view(other, focus)
    return write_view(View(axis=view.axis, looks=view.looks[: rng.randint(1, 3)]))
