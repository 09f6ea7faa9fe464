"""A query is a question without its words. `solve` answers it from a view, step by step.

One solver serves three ends: over the whole truth it gives the right answer, over a description it
gives the reasoner's thinking trace, and over a description read back from an extraction it tells
whether the extraction held what was needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_et_tuning.views import ORDINALS, Look, View, article

NOT_SAID = "not in the description"
ATTRIBUTES = ("colour", "shape", "size", "fill")
KINDS = (
    "colour", "shape", "size", "fill", "count", "exists", "absent", "left_right", "above_below",
    "extreme", "nearest", "compare_size", "compare_count", "same", "choice",
)  # fmt: skip
_AXIS = {"left": "x", "right": "x", "above": "y", "below": "y"}
_FORWARD = {"left": True, "right": False, "above": True, "below": False}
FARTHER = {
    "left": "further left", "right": "further right", "above": "higher up", "below": "lower down",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked. Which fields are used follows from `kind`; `options` make it a choice."""

    kind: str
    target: Look = Look()
    other: Look | None = None
    attribute: str = "colour"
    direction: str = "left"
    pick_one: bool = False
    """Ask which of the two (answer: its name) instead of whether (answer: yes or no)."""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    steps: str
    answer: str

    @property
    def said(self) -> bool:
        return self.answer != NOT_SAID


def solve(query: Query, view: View) -> Solution:
    """Answer `query` from what `view` says, or say that it does not say it."""
    solution = _SOLVERS[query.kind](query, view)
    if not query.options or not solution.said:
        return solution
    said = []
    for letter, option in zip("ABCDEF", query.options, strict=False):
        said.append(f"{letter} {option}, {_verdict(option == solution.answer)}")
        if option == solution.answer:
            steps = f"{solution.steps} It is {solution.answer}. Options: {'; '.join(said)}."
            return Solution(steps=steps, answer=letter)
    steps = f"{solution.steps} It is {solution.answer}. Options: {'; '.join(said)}."
    return Solution(steps=f"{steps} No option says so.", answer=NOT_SAID)


def _lacking(steps: str) -> Solution:
    return Solution(steps=f"{steps} The description does not say it.", answer=NOT_SAID)


def _entry(place: int, look: Look) -> str:
    """Quote an entry of the list as the description words it."""
    return f"{ORDINALS[place]} {article(look.text())} {look.text()}"


def _verdict(right: bool) -> str:
    return "yes" if right else "no"


def _part(look: Look, target: Look) -> str:
    """Return what of `look` the target speaks of, e.g. `large ring` for the target `small ring`."""
    names = [n for n in ("size", "fill", "colour", "shape") if getattr(target, n)]
    return " ".join(getattr(look, n) or "unknown" for n in names) or "object"


def _find(target: Look, view: View) -> tuple[str, int | None]:
    """Look for the one object meant by `target`; return the steps and its place in the list.

    The list is walked entry by entry, and of each entry only what the target speaks of is held
    against it. Every token then follows from a few before it, which is what makes a model this
    small reliable: asked to name the place in one step, it erred on two attributes at once.
    Every kind of question looks things up in these words: one skill to learn, used everywhere.
    """
    step = f"I look for the {target.text()}:"
    if missing := _unsaid_part(target, view):
        return f"{step} the {missing} of the objects is not given.", None
    said = []
    for place, look in enumerate(view.looks):
        hit = target.matches(look)
        said.append(f"{ORDINALS[place]} {_part(look, target)}, {_verdict(hit)}")
        if hit:
            return f"{step} {'; '.join(said)}.", place
    return f"{step} {'; '.join([*said, 'none'])}.", None


def _attribute(query: Query, view: View) -> Solution:
    step, place = _find(query.target, view)
    if place is None:
        return _lacking(step)
    value = getattr(view.looks[place], query.attribute)
    if value is None:
        return _lacking(f"{step} Its {query.attribute} is not given.")
    return Solution(steps=f"{step} Its {query.attribute} is {value}.", answer=value)


def _tally(target: Look, view: View) -> tuple[str, int]:
    """Walk the list with a running count."""
    count, said = 0, []
    for place, look in enumerate(view.looks):
        count += target.matches(look)
        said.append(f"{ORDINALS[place]} {_part(look, target)}, {count}")
    return f"I count the {target.text(plural=True)}: {'; '.join(said)}. That makes {count}.", count


def _unsaid_part(target: Look, view: View) -> str | None:
    """Return an attribute that `target` filters on and the description leaves out."""
    for name in ("size", "fill"):
        if getattr(target, name) and any(getattr(look, name) is None for look in view.looks):
            return name
    return None


def _count(query: Query, view: View) -> Solution:
    if missing := _unsaid_part(query.target, view):
        return _lacking(f"The {missing} of the objects is not given.")
    step, count = _tally(query.target, view)
    return Solution(steps=step, answer=str(count))


def _exists(query: Query, view: View) -> Solution:
    if missing := _unsaid_part(query.target, view):
        return _lacking(f"The {missing} of the objects is not given.")
    step, place = _find(query.target, view)
    yes = (place is not None) is (query.kind == "exists")
    asked = "" if query.kind == "exists" else " The question is whether there is none."
    return Solution(steps=f"{step}{asked}", answer="yes" if yes else "no")


def _order(query: Query, view: View) -> Solution:
    assert query.other is not None
    if _AXIS[query.direction] != view.axis:
        return _lacking("The list is not in that order.")
    target, other = query.target.text(), query.other.text()
    first_step, first = _find(query.target, view)
    second_step, second = _find(query.other, view)
    if first is None or second is None:
        return _lacking(first_step if first is None else second_step)
    ahead = (first < second) if _FORWARD[query.direction] else (first > second)
    winner = target if ahead else other
    relation = "before" if first < second else "after"
    steps = (
        f"{first_step} {second_step} {ORDINALS[first]} is {relation} {ORDINALS[second]}. "
        f"So the {winner} is {FARTHER[query.direction]}."
    )
    if query.pick_one:
        return Solution(steps=steps, answer=winner)
    return Solution(steps=steps, answer="yes" if ahead else "no")


def _extreme(query: Query, view: View) -> Solution:
    if _AXIS[query.direction] != view.axis:
        return _lacking("The list is not in that order.")
    if not view.looks:
        return _lacking("The list is empty.")
    place = 0 if _FORWARD[query.direction] else len(view.looks) - 1
    end = "start" if _FORWARD[query.direction] else "end"
    step = f"I look at the {end} of the list: {_entry(place, view.looks[place])}."
    value = getattr(view.looks[place], query.attribute)
    if value is None:
        return _lacking(step)
    return Solution(steps=f"{step} Its {query.attribute} is {value}.", answer=value)


def _nearest(query: Query, view: View) -> Solution:
    """Find the target, then measure from its place to each other one with a running best.

    The square of the distance is what is compared: of two one-digit steps it is a small table.
    """
    step, place = _find(query.target, view)
    if place is None:
        return _lacking(step)
    here = view.looks[place].place
    if here is None:
        return _lacking(f"{step} Where it lies is not given.")
    said, best, least = [], None, math.inf
    for i, look in enumerate(view.looks):
        if i == place or look.place is None:
            continue
        down, across = abs(look.place[0] - here[0]), abs(look.place[1] - here[1])
        square = down * down + across * across
        if square < least:
            best, least = i, square
        assert best is not None
        said.append(
            f"{ORDINALS[i]} at {look.place[0]} {look.place[1]}, {down} and {across}, {square}, "
            f"nearest {ORDINALS[best]} {least}"
        )
    step = f"{step} It lies at {here[0]} {here[1]}."
    if best is None:
        return _lacking(f"{step} It lies alone.")
    answer = Look(shape=view.looks[best].shape, colour=view.looks[best].colour).text()
    steps = f"{step} {'; '.join(said)}. So nearest is the {ORDINALS[best]}, the {answer}."
    return Solution(steps=steps, answer=answer)


def _compare_size(query: Query, view: View) -> Solution:
    assert query.other is not None
    names, sizes, steps = (query.target, query.other), [], []
    for name in names:
        step, place = _find(name, view)
        if place is None:
            return _lacking(step)
        size = view.looks[place].size
        if size is None:
            return _lacking(f"{step} Its size is not given.")
        sizes.append(size)
        steps.append(f"{step} The {name.text()} is {size}.")
    if sizes[0] == sizes[1]:
        return _lacking(" ".join(steps))
    wanted = "large" if query.direction == "larger" else "small"
    winner = names[sizes.index(wanted)].text()
    # name beside size, then the size that is asked for: said at once, it named the wrong one of two
    said = f"{' '.join(steps)} The {query.direction} one is {wanted}: the {winner}."
    if query.pick_one:
        return Solution(steps=said, answer=winner)
    return Solution(steps=said, answer="yes" if winner == query.target.text() else "no")


def _compare_count(query: Query, view: View) -> Solution:
    assert query.other is not None
    first_step, first = _tally(query.target, view)
    second_step, second = _tally(query.other, view)
    relation = "more than" if first > second else "less than" if first < second else "as many as"
    steps = f"{first_step} {second_step} {first} is {relation} {second}."
    return Solution(steps=steps, answer="yes" if first > second else "no")


def _same(query: Query, view: View) -> Solution:
    assert query.other is not None
    values, steps = [], []
    for name in (query.target, query.other):
        step, place = _find(name, view)
        if place is None:
            return _lacking(step)
        value = getattr(view.looks[place], query.attribute)
        if value is None:
            return _lacking(f"{step} Its {query.attribute} is not given.")
        values.append(value)
        steps.append(f"{step} Its {query.attribute} is {value}.")
    same = values[0] == values[1]
    verdict = f"{values[0]} is {'' if same else 'not '}{values[1]}."
    return Solution(steps=f"{' '.join(steps)} {verdict}", answer="yes" if same else "no")


_SOLVERS = {
    "colour": _attribute,
    "shape": _attribute,
    "size": _attribute,
    "fill": _attribute,
    "count": _count,
    "exists": _exists,
    "absent": _exists,
    "left_right": _order,
    "above_below": _order,
    "extreme": _extreme,
    "nearest": _nearest,
    "compare_size": _compare_size,
    "compare_count": _compare_count,
    "same": _same,
}
