"""Visual extraction tuning data: (stage-1 prompt, description), the paper's three steps.

    question-answer pair -> declarative statement -> a description that weaves the statement in

The paper pays an 8B teacher for both steps and cannot check it; here the scene's ground truth
writes them, so the data is exact and free. The human turn is the inference prompt with the focus
phrase of the question, as in the released data.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edge_et.forms import WORDING, answer_form
from edge_et.prompts import extraction_prompt
from edge_et_tuning.queries import FARTHER, KINDS, Query, solve
from edge_et_tuning.questions import Question, described_view, full_view, sample_question
from edge_et_tuning.scenes import Scene
from edge_et_tuning.views import article, focused_view, write_view

_DIRECT_SHARE = 0.12
_WHOLE_SHARE = 0.04
# What is hardest to write down is practised more: asked evenly, patterns, the order from top to
# bottom and nearest neighbours are each needed by one question in fifteen, and were learned last.
EVERYTHING = {"fill": 2.0, "above_below": 3.0, "extreme": 1.5, "nearest": 4.0}
HARDEST = {"fill": 2.0, "above_below": 5.0, "left_right": 2.0, "extreme": 1.5, "nearest": 20.0}
NEAREST = {"above_below": 4.0, "left_right": 4.0, "compare_size": 4.0, "nearest": 40.0}
PLACES = {"above_below": 6.0, "left_right": 4.0, "compare_size": 4.0, "nearest": 30.0}
"""How often a kind of question is asked, next to the others' 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One exchange: what the user says about the image and what the extractor should write."""

    user_text: str
    target: str


def statement(scene: Scene, query: Query) -> str:
    """Turn a question and its answer into a self-contained sentence; options leave no trace."""
    bare = replace(query, options=())
    answer = solve(bare, full_view(scene, bare)).answer
    target = query.target.text()
    match bare.kind:
        case "colour" | "size" | "fill":
            return f"The {target} is {answer}."
        case "shape":
            return f"The {target} is {article(answer)} {answer}."
        case "count":
            if answer == "1":
                return f"There is 1 {target}."
            return f"There are {answer} {query.target.text(plural=True)}."
        case "exists" | "absent":
            there = (answer == "yes") is (bare.kind == "exists")
            return f"There is {article(target) if there else 'no'} {target}."
        case "extreme":
            return f"The {bare.attribute} of the object {FARTHER[bare.direction]} is {answer}."
    assert query.other is not None
    other = query.other.text()
    match bare.kind:
        case "left_right" | "above_below" | "compare_size":
            relation = FARTHER.get(bare.direction, bare.direction)
            ahead = answer in ("yes", target)
            return f"The {target if ahead else other} is {relation}."
        case "compare_count":
            ones, others = query.target.text(plural=True), query.other.text(plural=True)
            return f"There are {'' if answer == 'yes' else 'not '}more {ones} than {others}."
        case "same":
            return (
                f"The {target} and the {other} have {'the same' if answer == 'yes' else 'another'} "
                f"{bare.attribute}."
            )
    raise ValueError(f"no statement for {query.kind}")


def contradiction(scene: Scene, query: Query) -> str | None:
    """Return the statement turned round, of the same two objects: another conclusion, false here.

    None for questions that do not compare.
    """
    bare = replace(query, options=())
    if bare.other is None:
        return None
    target, other = bare.target.text(), bare.other.text()
    if bare.kind == "same":
        alike = solve(bare, full_view(scene, bare)).answer == "yes"
        said = "another" if alike else "the same"
        return f"The {target} and the {other} have {said} {bare.attribute}."
    if bare.kind not in ("left_right", "above_below", "compare_size"):
        return None
    right = solve(replace(bare, pick_one=True), full_view(scene, bare)).answer
    wrong = other if right == target else target
    return f"The {wrong} is {FARTHER.get(bare.direction, bare.direction)}."


def description(scene: Scene, question: Question) -> str:
    """Return what the extractor should write for `question`: what it needs, and the statement.

    What lies nearest is not stated: the places are, and the reasoner works it out. An extractor
    this small named the neighbour right in two cases of three.
    """
    text = write_view(described_view(scene, question))
    if question.query.kind == "nearest":
        return text
    said = statement(scene, question.query)
    return f"{text} {said}"


def direct_prompt(question_text: str) -> str:
    """Return the user text that asks the extractor itself, without a reasoner."""
    return f"{question_text}\nAnswer with the {WORDING[answer_form(question_text)]} only."


def extraction_turn(
    scene: Scene, rng: random.Random, practised: Mapping[str, float] = EVERYTHING
) -> Turn:
    """Return one training turn on `scene`; `practised` weighs the kinds of question.

    Mostly a description under a focus phrase; some descriptions of the whole image; some direct
    answers (visual instruction tuning), so that asking the extractor alone is a fair comparison.
    """
    question = None
    if rng.random() >= _WHOLE_SHARE:
        kind = rng.choices(KINDS, weights=[practised.get(k, 1.0) for k in KINDS])[0]
        question = sample_question(scene, rng, kind=kind) or sample_question(scene, rng)
    if question is None:
        return Turn(user_text=extraction_prompt(""), target=write_view(focused_view(scene, "")))
    if rng.random() < _DIRECT_SHARE:
        return Turn(user_text=direct_prompt(question.text), target=question.answer)
    return Turn(user_text=extraction_prompt(question.focus), target=description(scene, question))
