"""Query -> English, in many phrasings."""

from __future__ import annotations

import random

from edge_et_tuning.queries import Query
from edge_et_tuning.views import article

_COLOUR = ("colour", "color")
_PICTURE = ("picture", "image", "scene")
_NOUN = ("object", "object", "thing", "shape")
_ATTRIBUTE = {
    "colour": (
        "What {c} is the {t}?",
        "What is the {c} of the {t}?",
        "Which {c} is the {t}?",
        "What {c} does the {t} have?",
        "Tell me the {c} of the {t}.",
        "What's the {c} of the {t} in the {p}?",
    ),
    "shape": (
        "What shape is the {t}?",
        "What is the shape of the {t}?",
        "Which shape is the {t}?",
        "What shape does the {t} have?",
        "What's the shape of the {t} in this {p}?",
    ),
    "size": (
        "How big is the {t}?",
        "What size is the {t}?",
        "What is the size of the {t}?",
        "Is the {t} small or large?",
        "Is the {t} large or small?",
    ),
    "fill": (
        "Is the {t} solid, striped or outlined?",
        "What pattern does the {t} have?",
        "What is the pattern of the {t}?",
        "How is the {t} filled?",
        "Is the {t} striped, outlined or solid?",
    ),
}
_COUNT = (
    "How many {ts} are there?",
    "How many {ts} are in the {p}?",
    "How many {ts} can you see?",
    "Count the {ts}.",
    "What is the number of {ts}?",
    "How many {ts} does the {p} show?",
)
_EXISTS = (
    "Is there {at}?",
    "Is there {at} in the {p}?",
    "Are there any {ts}?",
    "Can you see {at}?",
    "Does the {p} show {at}?",
    "Is there any {t} in this {p}?",
)
_ABSENT = (
    "Is there no {t}?",
    "Are there no {ts}?",
    "Are there no {ts} in the {p}?",
    "Is there no {t} in this {p}?",
)
_SIDE = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "higher than"),
    "below": ("below", "lower than", "under"),
}
_WHICH_SIDE = {
    "left": ("further left", "more to the left"),
    "right": ("further right", "more to the right"),
    "above": ("higher", "higher up", "further up at the top"),
    "below": ("lower", "lower down", "further down at the bottom"),
}
_END = {
    "left": ("leftmost {n}", "{n} furthest left", "{n} furthest to the left"),
    "right": ("rightmost {n}", "{n} furthest right", "{n} furthest to the right"),
    "above": ("topmost {n}", "{n} at the top", "highest {n}"),
    "below": ("lowest {n}", "{n} at the bottom", "bottommost {n}"),
}
_NEAREST = (
    "Which {n} is nearest to the {t}?",
    "Which {n} is closest to the {t}?",
    "What is nearest to the {t}?",
    "What is closest to the {t}?",
    "What {n} lies nearest to the {t}?",
    "Name the {n} closest to the {t}.",
)
_COMPARE_COUNT = (
    "Are there more {ts} than {os}?",
    "Are there more {ts} than {os} in the {p}?",
    "Does the {p} show more {ts} than {os}?",
)
_SAME = (
    "Do the {t} and the {o} have the same {a}?",
    "Are the {t} and the {o} the same {a}?",
    "Is the {a} of the {t} the same as the {a} of the {o}?",
    "Does the {t} have the same {a} as the {o}?",
)


def phrase(query: Query, rng: random.Random) -> str:
    """Return the question in words, with its lettered options if it has any."""
    text = _stem(query, rng)
    return f"{text}{_lettered(query.options, rng)}" if query.options else text


def _stem(query: Query, rng: random.Random) -> str:
    noun = rng.choice(_NOUN)
    target = query.target.text(noun=noun)
    words = {
        "c": rng.choice(_COLOUR),
        "p": rng.choice(_PICTURE),
        "n": noun,
        "t": target,
        "ts": query.target.text(plural=True, noun=noun),
        "at": f"{article(target)} {target}",
        "a": rng.choice(_COLOUR) if query.attribute == "colour" else query.attribute,
    }
    if query.other is not None:
        words["o"] = query.other.text(noun=noun)
        words["os"] = query.other.text(plural=True, noun=noun)
    return rng.choice(_templates(query)).format(**words)


def _templates(query: Query) -> tuple[str, ...]:
    match query.kind:
        case "colour" | "shape" | "size" | "fill":
            return _ATTRIBUTE[query.kind]
        case "left_right" | "above_below":
            return _order_templates(query)
        case "extreme":
            return _extreme_templates(query)
        case "compare_size":
            return _size_templates(query)
        case other:
            return {
                "count": _COUNT,
                "exists": _EXISTS,
                "absent": _ABSENT,
                "nearest": _NEAREST,
                "compare_count": _COMPARE_COUNT,
                "same": _SAME,
            }[other]


def _order_templates(query: Query) -> tuple[str, ...]:
    if query.pick_one:
        return tuple(
            f"Which {{n}} is {side}, the {{t}} or the {{o}}?"
            for side in _WHICH_SIDE[query.direction]
        )
    sides = _SIDE[query.direction]
    asked = [f"Is the {{t}} {side} the {{o}}?" for side in sides]
    return (*asked, f"Does the {{t}} lie {sides[0]} the {{o}}?")


def _extreme_templates(query: Query) -> tuple[str, ...]:
    asked = "{c}" if query.attribute == "colour" else "shape"
    return tuple(
        template.format(asked=asked, end=end)
        for end in _END[query.direction]
        for template in ("What {asked} is the {end}?", "What is the {asked} of the {end}?")
    )


def _size_templates(query: Query) -> tuple[str, ...]:
    words = ("larger", "bigger") if query.direction == "larger" else ("smaller",)
    if query.pick_one:
        return tuple(f"Which is {w}, the {{t}} or the {{o}}?" for w in words) + tuple(
            f"Which {{n}} is {w}, the {{t}} or the {{o}}?" for w in words
        )
    return tuple(f"Is the {{t}} {w} than the {{o}}?" for w in words)


def _lettered(options: tuple[str, ...], rng: random.Random) -> str:
    style, gap = rng.choice((("({})", " "), ("({})", "\n"), ("{}.", "\n"), ("{})", "\n")))
    lines = [f"{style.format('ABCDEF'[i])} {option}" for i, option in enumerate(options)]
    return gap + gap.join(lines)
