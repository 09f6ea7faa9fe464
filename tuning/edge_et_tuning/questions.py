"""Questions over a scene: which can be asked of it, how they are worded, what is right.

Only what the picture decides clearly is asked: an object referred to is the only one of its kind,
"left of" needs a visible gap, "nearest" a clear margin.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_et.focus import focus_phrase
from edge_et_tuning.queries import FARTHER, KINDS, Query, Solution, solve
from edge_et_tuning.scenes import COLOURS, FILLS, SHAPES, SIZES, Scene, SceneObject
from edge_et_tuning.views import Look, View, focused_view, look_of, nearest_to, place_of

_MIN_GAP = 0.07  # of the longer side
_MIN_NEAREST_MARGIN = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question in words with its short answer and what it asks underneath."""

    kind: str
    text: str
    answer: str
    query: Query

    @property
    def focus(self) -> str:
        """The focus phrase, made by the very function that the runtime uses."""
        return focus_phrase(self.text)


def full_view(scene: Scene, query: Query) -> View:
    """Return the whole truth that `query` may need."""
    vertical = query.direction in ("above", "below")
    items = sorted(scene.objects, key=lambda o: o.y_px if vertical else o.x_px)
    looks = tuple(replace(look_of(item), place=place_of(scene, item)) for item in items)
    return View(axis="y" if vertical else "x", looks=looks)


def described_view(scene: Scene, question: Question) -> View:
    """Return what the description for `question` says: what its focus phrase asks for."""
    return focused_view(scene, question.focus)


def sample_question(scene: Scene, rng: random.Random, kind: str | None = None) -> Question | None:
    """Return a question of `kind` (any, if None); None when the scene cannot decide such a one."""
    kinds = [kind] if kind else rng.sample(KINDS, k=len(KINDS))
    for name in kinds:
        for _ in range(4):
            query = _SAMPLERS[name](scene, rng)
            if query is None:
                continue
            solution = solve(query, full_view(scene, query))
            if solution.said:
                return Question(
                    kind=name,
                    text=word(query, rng),
                    answer=solution.answer,
                    query=query,
                )
    return None


def solution_of(scene: Scene, question: Question) -> Solution:
    return solve(question.query, full_view(scene, question.query))


# --- which objects can be meant ---------------------------------------------------------------

_NAMINGS = (("shape",), ("colour",), ("colour", "shape"), ("size", "shape"), ("fill", "shape"),
            ("size", "colour"))  # fmt: skip


def _naming(item: SceneObject, fields: tuple[str, ...]) -> Look:
    look = look_of(item)
    return Look(**{name: getattr(look, name) for name in fields})


def _refer(
    scene: Scene, item: SceneObject, rng: random.Random, *, without: str = "", plain: bool = False
) -> Look | None:
    """Return a short name that only `item` answers to and that does not tell `without`."""
    looks = [look_of(o) for o in scene.objects]
    namings = [n for n in (_NAMINGS[:3] if plain else _NAMINGS) if without not in n]
    names = [_naming(item, fields) for fields in namings]
    only = [name for name in names if sum(name.matches(look) for look in looks) == 1]
    return rng.choice(only) if only else None


def _pick(scene: Scene, rng: random.Random, count: int) -> list[SceneObject]:
    return rng.sample(scene.objects, k=min(count, len(scene.objects)))


# --- one sampler a kind -----------------------------------------------------------------------


def _attribute_sampler(attribute: str) -> Callable[[Scene, random.Random], Query | None]:
    def sample(scene: Scene, rng: random.Random) -> Query | None:
        (item,) = _pick(scene, rng, 1)
        target = _refer(scene, item, rng, without=attribute, plain=rng.random() < 0.7)
        if target is None:
            return None
        return Query(kind=attribute, target=target, attribute=attribute)

    return sample


def _some_look(scene: Scene, rng: random.Random, *, present: bool) -> Look:
    """Return a look to ask for; when not `present`, one near to what is there."""
    look = look_of(rng.choice(scene.objects))
    fields = rng.choice((("shape",), ("colour",), ("colour", "shape"), ("colour", "shape"),
                         ("size", "shape"), ("fill", "shape")))  # fmt: skip
    asked = Look(**{name: getattr(look, name) for name in fields})
    if present:
        return asked
    change = rng.choice(fields)
    if change == "shape":
        return replace(asked, shape=rng.choice(SHAPES))
    if change == "colour":
        return replace(asked, colour=rng.choice(tuple(COLOURS)))
    if change == "size":
        return replace(asked, size=rng.choice(SIZES))
    return replace(asked, fill=rng.choice(FILLS))


def _sample_count(scene: Scene, rng: random.Random) -> Query:
    if rng.random() < 0.2:
        return Query(kind="count", target=Look())
    return Query(kind="count", target=_some_look(scene, rng, present=rng.random() < 0.85))


def _existence_sampler(kind: str) -> Callable[[Scene, random.Random], Query | None]:
    def sample(scene: Scene, rng: random.Random) -> Query | None:
        return Query(kind=kind, target=_some_look(scene, rng, present=rng.random() < 0.45))

    return sample


def _order_sampler(
    kind: str, directions: tuple[str, str]
) -> Callable[[Scene, random.Random], Query | None]:
    def sample(scene: Scene, rng: random.Random) -> Query | None:
        if len(scene.objects) < 2:
            return None
        a, b = _pick(scene, rng, 2)
        gap = abs(a.x_px - b.x_px) if kind == "left_right" else abs(a.y_px - b.y_px)
        first, second = (_refer(scene, o, rng, plain=True) for o in (a, b))
        if gap < _MIN_GAP * _side(scene) or first is None or second is None:
            return None
        return Query(
            kind=kind,
            target=first,
            other=second,
            direction=rng.choice(directions),
            pick_one=rng.random() < 0.5,
        )

    return sample


def _side(scene: Scene) -> int:
    return max(scene.height_px, scene.width_px)


def _sample_extreme(scene: Scene, rng: random.Random) -> Query | None:
    direction = rng.choice(("left", "right", "above", "below"))
    axis = "x_px" if direction in ("left", "right") else "y_px"
    places = sorted(getattr(o, axis) for o in scene.objects)
    if direction in ("right", "below"):
        places = [-p for p in reversed(places)]
    if len(places) < 2 or places[1] - places[0] < _MIN_GAP * _side(scene):
        return None
    return Query(
        kind="extreme", direction=direction, attribute=rng.choice(("colour", "colour", "shape"))
    )


def _sample_nearest(scene: Scene, rng: random.Random) -> Query | None:
    if len(scene.objects) < 3:
        return None
    (item,) = _pick(scene, rng, 1)
    found = nearest_to(scene, item)
    target = _refer(scene, item, rng, plain=True)
    if found is None or found[1] < _MIN_NEAREST_MARGIN or target is None:
        return None
    return Query(kind="nearest", target=target)


def _sample_compare_size(scene: Scene, rng: random.Random) -> Query | None:
    large = [o for o in scene.objects if o.size == "large"]
    small = [o for o in scene.objects if o.size == "small"]
    if not large or not small:
        return None
    pair = [rng.choice(large), rng.choice(small)]
    rng.shuffle(pair)
    first, second = (_refer(scene, o, rng, without="size", plain=True) for o in pair)
    if first is None or second is None:
        return None
    return Query(
        kind="compare_size",
        target=first,
        other=second,
        direction=rng.choice(("larger", "smaller")),
        pick_one=rng.random() < 0.6,
    )


def _sample_compare_count(scene: Scene, rng: random.Random) -> Query | None:
    attribute = rng.choice(("colour", "shape"))
    values = sorted({getattr(o, attribute) for o in scene.objects})
    if len(values) < 2:
        return None
    first, second = rng.sample(values, k=2)
    return Query(
        kind="compare_count",
        target=Look(**{attribute: first}),
        other=Look(**{attribute: second}),
    )


def _sample_same(scene: Scene, rng: random.Random) -> Query | None:
    if len(scene.objects) < 2:
        return None
    attribute = rng.choice(("colour", "shape"))
    pairs = [(a, b) for a in scene.objects for b in scene.objects if a is not b]
    alike = [p for p in pairs if getattr(p[0], attribute) == getattr(p[1], attribute)]
    a, b = rng.choice(alike if alike and rng.random() < 0.5 else pairs)
    first, second = (_refer(scene, o, rng, without=attribute, plain=True) for o in (a, b))
    if first is None or second is None:
        return None
    return Query(kind="same", target=first, other=second, attribute=attribute)


_CHOICE_KINDS = ("colour", "shape", "count", "extreme", "nearest", "left_right", "compare_size")


def _sample_choice(scene: Scene, rng: random.Random) -> Query | None:
    query = _SAMPLERS[rng.choice(_CHOICE_KINDS)](scene, rng)
    if query is None:
        return None
    options: list[str]
    if (other := query.other) is not None:
        query = replace(query, pick_one=True)
        options = [query.target.text(), other.text()]
    else:
        right = solve(query, full_view(scene, query)).answer
        options = [right, *_wrong_options(query, right, rng)]
    rng.shuffle(options)
    return replace(query, options=tuple(options))


def _wrong_options(query: Query, right: str, rng: random.Random) -> list[str]:
    count = rng.choice((1, 2, 3, 3))
    pool: list[str]
    if query.kind == "count":
        pool = [str(n) for n in range(7)]
    elif query.kind == "nearest":
        pool = [f"{rng.choice(tuple(COLOURS))} {rng.choice(SHAPES)}" for _ in range(8)]
    elif query.attribute == "shape":
        pool = list(SHAPES)
    else:
        pool = list(COLOURS)
    return rng.sample(sorted(set(pool) - {right}), k=count)


_SAMPLERS: dict[str, Callable[[Scene, random.Random], Query | None]] = {
    **{name: _attribute_sampler(name) for name in ("colour", "shape", "size", "fill")},
    "count": _sample_count,
    "exists": _existence_sampler("exists"),
    "absent": _existence_sampler("absent"),
    "left_right": _order_sampler("left_right", ("left", "right")),
    "above_below": _order_sampler("above_below", ("above", "below")),
    "extreme": _sample_extreme,
    "nearest": _sample_nearest,
    "compare_size": _sample_compare_size,
    "compare_count": _sample_compare_count,
    "same": _sample_same,
    "choice": _sample_choice,
}


def word(query: Query, rng: random.Random) -> str:
    """Put `query` into words; see `phrasings`."""
    from edge_et_tuning.phrasings import phrase

    return phrase(query, rng)


__all__ = ["FARTHER", "Question", "described_view", "full_view", "sample_question", "solution_of"]
