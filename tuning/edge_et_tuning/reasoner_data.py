"""Reasoner data: (description, question) -> a short thinking trace -> `Answer:`.

The trace works from the list in the description, step by step, and is written by the solver over
exactly that description. A part of the descriptions lacks the fact, because the extractor left it
out or the question came later: there the trace ends in saying so, and the answer names what is
missing, which is the focus phrase of the question. A part carries a closing
statement that contradicts the list, so that the reasoner learns to work and not to copy.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edge_et.forms import WORDING, answer_form
from edge_et.notes import MISSING
from edge_et.prompts import reasoning_prompt
from edge_et_tuning.extraction_data import contradiction, statement
from edge_et_tuning.looks_data import looked_again
from edge_et_tuning.queries import KINDS, solve
from edge_et_tuning.questions import Question, described_view, sample_question
from edge_et_tuning.scenes import Scene
from edge_et_tuning.views import View, focused_view, write_view

_LACKING_SHARE = 0.12
_NO_STATEMENT_SHARE = 0.25
_WRONG_STATEMENT_SHARE = 0.10
_NO_THINK_SHARE = 0.05
# Choices stand for seven kinds of question at once.
EVENLY = {"choice": 2.0}
PLACES = {"choice": 3.0, "left_right": 2.0, "above_below": 2.0, "compare_size": 2.0,
          "nearest": 12.0}  # fmt: skip
SIZES = {"choice": 3.0, "left_right": 2.0, "above_below": 3.0, "compare_size": 8.0, "nearest": 6.0}
"""How often a kind of question is asked, next to the others' 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One training example of the reasoner; `thinking` is None for the direct mode."""

    prompt: str
    thinking: str | None
    answer: str


def exchange(
    scene: Scene,
    other: Scene,
    rng: random.Random,
    turned_share: float = 0.0,
    practised: Mapping[str, float] = EVENLY,
    looked_share: float = 0.0,
) -> Exchange | None:
    """Return an example on `scene`; `other` lends statements that are wrong here, and
    `turned_share` of the comparisons end in their own statement turned round, and `practised`
    weighs the kinds of question. `looked_share` of the descriptions stand below earlier ones
    that did not hold it.

    None when the drawn kind of question cannot be asked of the scene.
    """
    kind = rng.choices(KINDS, weights=[practised.get(k, 1.0) for k in KINDS])[0]
    question = sample_question(scene, rng, kind=kind)
    if question is None:
        return None
    view = described_view(scene, question)
    if rng.random() < _LACKING_SHARE:
        view = _lacking(view, question, scene, rng)
    text = _with_statement(write_view(view), scene, other, question, rng, turned_share)
    if looked_share and rng.random() < looked_share:
        text = looked_again(scene, other, question, text, rng)
    solution = solve(question.query, view)
    think = rng.random() >= _NO_THINK_SHARE
    form = WORDING[answer_form(question.text)]
    return Exchange(
        prompt=reasoning_prompt(text, question.text, think=think, form=form),
        thinking=solution.steps if think else None,
        answer=solution.answer if solution.said else f"{MISSING} {question.focus}",
    )


def _lacking(view: View, question: Question, scene: Scene, rng: random.Random) -> View:
    """Drop what the question is about, or describe the scene as if something else were asked."""
    if rng.random() < 0.4:
        return focused_view(scene, "")
    query = question.query
    kept = tuple(
        look
        for look in view.looks
        if not query.target.matches(look) and not (query.other and query.other.matches(look))
    )
    if query.kind in ("count", "exists", "absent", "extreme", "compare_count"):
        kept = tuple(replace(look, size=None, fill=None) for look in view.looks)
    return View(axis=view.axis, looks=kept or view.looks[:1])


def _with_statement(
    text: str,
    scene: Scene,
    other: Scene,
    question: Question,
    rng: random.Random,
    turned_share: float,
) -> str:
    draw = rng.random()
    if question.query.kind == "nearest" or draw < _NO_STATEMENT_SHARE:
        return text
    if draw < _NO_STATEMENT_SHARE + _WRONG_STATEMENT_SHARE:
        stray = sample_question(other, rng, kind=question.kind)
        if stray is None or stray.query.kind == "nearest":
            return text
        return f"{text} {statement(other, stray.query)}"
    # What an extractor gets wrong most: the list is right, its own conclusion is not.
    turned = contradiction(scene, question.query) if draw > 1 - turned_share else None
    return f"{text} {turned or statement(scene, question.query)}"
