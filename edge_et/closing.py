"""Closing: what a text that breaks off still needs to have its shape.

Strings end where they are, arrays take no more items than they must have, optional members are left
out. What the model should still choose is left as a shape.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

from edge_et.number_range import is_number, spelled
from edge_et.shapes import Either, Items, Member, Number, Record, Row, Shape, Text, Words

Part = str | Shape
"""A literal text, or a shape to be filled in."""
_Read = int | list[Part] | None
"""Where a shape ended in the text; or what it needs, when the text ended first; or no match."""

_STRING = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\["\\n])*"')
_CHARACTERS = re.compile(r'[^"\\\x00-\x1f\x7f]|\\["\\n]')
_NUMBER = re.compile(r"-?[0-9]*(?:\.[0-9]*)?")
_SHORT_CHARS = 24
_MOST_DIGITS = 24
_PADDING = "."


def rest(shape: Shape, text: str) -> list[Part] | None:
    """Return what `text` needs to have `shape`: nothing when it is complete.

    None when it is no beginning of the shape.
    """
    read = _read(shape, text, 0)
    if isinstance(read, int):
        return [] if read == len(text) else None
    return read


def least(shape: Shape) -> str:
    """Return the shortest text that has `shape`, near enough."""
    match shape:
        case Words():
            return min(shape.spellings, key=len)
        case Text():
            return f'"{_PADDING * shape.min_chars}"'
        case Number():
            return _completed(shape, "")
        case _:
            return "".join(p if isinstance(p, str) else least(p) for p in fresh(shape))


def fresh(shape: Shape) -> list[Part]:
    """Return the parts of a shape of which nothing is written yet, as short as it may be."""
    match shape:
        case Words():
            return [shape.spellings[0] if len(shape.spellings) == 1 else shape]
        case Text():
            short = max(shape.min_chars, min(shape.max_chars, _SHORT_CHARS))
            return [replace(shape, max_chars=short)]
        case Number():
            return [shape]
        case Items():
            return ["[", *_joined([shape.item] * shape.min_items), "]"]
        case Row():
            return ["[", *_joined(shape.items), "]"]
        case Record():
            return ["{", *_members(shape.members, first=True)]
        case Either():
            return fresh(min(shape.options, key=lambda option: len(least(option))))


def _read(shape: Shape, text: str, at: int) -> _Read:
    match shape:
        case Words():
            return _read_words(shape, text, at)
        case Text():
            return _read_text(shape, text, at)
        case Number():
            return _read_number(shape, text, at)
        case Items():
            return _read_items(shape, text, at)
        case Row():
            between: list[Part] = ["["]
            for item in shape.items:
                between += [item, ", "]
            return _read_all([*between[:-1], "]"], text, at)
        case Record():
            return _read_record(shape, text, at)
        case Either():
            return _read_either(shape, text, at)


def _read_words(shape: Words, text: str, at: int) -> _Read:
    whole = [word for word in shape.spellings if text.startswith(word, at)]
    if whole:
        return at + len(max(whole, key=len))
    begun = text[at:]
    left = tuple(word[len(begun) :] for word in shape.spellings if word.startswith(begun))
    if not left:
        return None
    return [left[0]] if len(left) == 1 else [Words(spellings=left)]


def _read_text(shape: Text, text: str, at: int) -> _Read:
    if at == len(text):
        return fresh(shape)
    if whole := _STRING.match(text, at):
        return whole.end()
    if text[at] != '"':
        return None
    begun = text[at + 1 :]
    signs = _CHARACTERS.findall(begun)
    # a lone backslash at the end becomes a backslash of the text
    open_escape = "\\" if sum(map(len, signs)) < len(begun) else ""
    missing = shape.min_chars - len(signs) - len(open_escape)
    return [f'{open_escape}{_PADDING * max(0, missing)}"']


def _read_number(shape: Number, text: str, at: int) -> _Read:
    if at == len(text):
        return fresh(shape)
    match = _NUMBER.match(text, at)
    said = match[0] if match else ""
    end = at + len(said)
    if is_number(shape, said):
        return end
    if not said or end < len(text):
        return None
    completed = _completed(shape, said)
    return [completed[len(said) :]] if completed else None


def _completed(number: Number, begun: str) -> str:
    """Return a number of the range that begins so; empty when there is none.

    If any does, then so does one of these: filled up with zeros or with nines, or a bound.
    """
    points = ("", ".") if number.decimals and begun and "." not in begun else ("",)
    filled = [f"{begun}{p}{d * n}" for n in range(_MOST_DIGITS) for p in points for d in "09"]
    bounds = [
        spelled(bound, decimals)
        for bound in (max(number.low, min(Decimal(0), number.high)), number.low, number.high)
        for decimals in {0, number.decimals}
    ]
    for text in [*filled, *bounds]:
        if text.startswith(begun) and is_number(number, text):
            return text
    return ""


def _read_items(shape: Items, text: str, at: int) -> _Read:
    opened = _read_literal("[", text, at)
    if not isinstance(opened, int):
        return opened and [*opened, *fresh(shape)[1:]]
    at, count = opened, 0
    while True:
        missing = [shape.item] * (shape.min_items - count)
        if at == len(text):
            return [*_joined(missing, begun=count > 0), "]"]
        if text[at] == "]":
            return at + 1 if count >= shape.min_items else None
        one: list[Part] = [", ", shape.item] if count else [shape.item]
        read = _read_all(one, text, at)
        if not isinstance(read, int):
            return read and [*read, *_joined(missing[1:], begun=True), "]"]
        at, count = read, count + 1


def _read_record(shape: Record, text: str, at: int) -> _Read:
    opened = _read_literal("{", text, at)
    if not isinstance(opened, int):
        return opened and [*opened, *fresh(shape)[1:]]
    at, members, first = opened, shape.members, True
    while True:
        if at == len(text):
            return _members(members, first=first)
        if text[at] == "}":
            return None if any(member.required for member in members) else at + 1
        place, read = _read_member(members, text, at, first=first)
        if not isinstance(read, int):
            return read and [*read, *_members(members[place + 1 :], first=False)]
        at, members, first = read, members[place + 1 :], False


def _read_member(
    members: tuple[Member, ...], text: str, at: int, *, first: bool
) -> tuple[int, _Read]:
    """Return the member that comes next and what came of reading it; required ones may not be
    passed over."""
    begun: tuple[int, _Read] = (0, None)
    for place, member in enumerate(members):
        key = member.key if first else f", {member.key}"
        read = _read_all([key, member.shape], text, at)
        if text.startswith(key, at):
            return place, read
        if read is not None:  # the key is cut: any that fits will do, best one that must come
            begun = (place, read)
        if member.required:
            break
    return begun


def _read_either(shape: Either, text: str, at: int) -> _Read:
    reads = [_read(option, text, at) for option in shape.options]
    if at == len(text):
        return fresh(shape)
    ends = [read for read in reads if isinstance(read, int)]
    needs = [read for read in reads if isinstance(read, list)]
    if ends and (max(ends) == len(text) or not needs):
        return max(ends)
    return min(needs, key=_length) if needs else None


def _read_all(parts: list[Part], text: str, at: int) -> _Read:
    for place, part in enumerate(parts):
        read = _read_literal(part, text, at) if isinstance(part, str) else _read(part, text, at)
        if read is None:
            return None
        if isinstance(read, list):
            return [*read, *_unread(parts[place + 1 :])]
        at = read
    return at


def _read_literal(literal: str, text: str, at: int) -> _Read:
    if text.startswith(literal, at):
        return at + len(literal)
    begun = text[at:]
    return [literal[len(begun) :]] if literal.startswith(begun) else None


def _unread(parts: list[Part]) -> list[Part]:
    unread: list[Part] = []
    for part in parts:
        unread += [part] if isinstance(part, str) else fresh(part)
    return unread


def _joined(shapes: list[Shape] | tuple[Shape, ...], *, begun: bool = False) -> list[Part]:
    parts: list[Part] = []
    for shape in shapes:
        parts += [", "] if parts or begun else []
        parts += fresh(shape)
    return parts


def _members(members: tuple[Member, ...], *, first: bool) -> list[Part]:
    """Return the required ones, and the end of the object."""
    parts: list[Part] = []
    for member in members:
        if member.required:
            parts.append(member.key if first else f", {member.key}")
            parts += fresh(member.shape)
            first = False
    return [*parts, "}"]


def _length(parts: list[Part]) -> int:
    return sum(len(part if isinstance(part, str) else least(part)) for part in parts)
