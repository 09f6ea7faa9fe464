"""Exams in which a first look misses the fact: it was made without the focus, or from too far.

    unfocused   ordinary scenes, and questions that a description of the whole image does not hold;
                to be asked with the focus none
    distant     a scene that is a small part of a large image: shrunk to what the extractor sees,
                nothing of it can be read

Only questions are asked that presuppose their objects: to "is there a star?" a description without
one is an answer, not a lack.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from PIL import Image

from edge_et_tuning.queries import solve
from edge_et_tuning.questions import Question, sample_question
from edge_et_tuning.render import render
from edge_et_tuning.scenes import Scene, sample_scene
from edge_et_tuning.views import focused_view

Hidden = Literal["unfocused", "distant"]
_UNFOCUSED_KINDS = ("above_below", "extreme", "nearest", "choice")
# Sizes are told by the share of the image, which another frame changes.
_DISTANT_KINDS = ("colour", "shape", "fill", "left_right", "above_below", "extreme", "same")
_FRAME = 4
"""Sides of the frame, in sides of the scene."""
_LEAST_SCENE_PX = 160
"""Of the longer side: smaller ones are no larger close by than the extractor sees them."""


def hidden_exam(which: Hidden, scenes: int, seed: int) -> Iterator[tuple[Scene, Question]]:
    """Yield a question on each of `scenes` scenes from `seed` on that can be asked one."""
    kinds = _UNFOCUSED_KINDS if which == "unfocused" else _DISTANT_KINDS
    asked, scene_seed = 0, seed
    while asked < scenes:
        scene, rng = sample_scene(scene_seed), random.Random(f"hidden-{scene_seed}")
        scene_seed += 1
        question = sample_question(scene, rng, kind=kinds[asked % len(kinds)])
        if question is not None and _is_hidden(which, scene, question):
            asked += 1
            yield scene, question


def distant(scene: Scene) -> Image.Image:
    """Return a picture of the scene's own ground, four times its sides, with the scene in it."""
    rng = random.Random(f"distant-{scene.seed}")
    picture = render(scene)
    size = (_FRAME * picture.width, _FRAME * picture.height)
    frame = Image.new("RGB", size, scene.background_rgb[0])
    left = rng.randint(0, frame.width - picture.width)
    top = rng.randint(0, frame.height - picture.height)
    frame.paste(picture, (left, top))
    return frame


def _is_hidden(which: Hidden, scene: Scene, question: Question) -> bool:
    if which == "unfocused":
        return not solve(question.query, focused_view(scene, "")).said
    if max(scene.height_px, scene.width_px) < _LEAST_SCENE_PX:
        return False
    named = (question.query.target, question.query.other)
    return question.query.attribute != "size" and not any(look and look.size for look in named)
