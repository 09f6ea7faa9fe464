"""Shapes: what an answer may look like when it is written under a grammar.

JSON is written as `json.dumps` spells it: ", " and ": ", no other blanks, members in their order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One of these spellings, none of them empty."""

    spellings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A JSON string; its length in characters."""

    min_chars: int
    max_chars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number from `low` to `high`."""

    low: Decimal
    high: Decimal
    decimals: int
    """At most; 0: whole numbers only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A JSON array of one kind of items."""

    item: Shape
    min_items: int
    max_items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A JSON array of items of different kinds, all of them there."""

    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    name: str
    shape: Shape
    required: bool

    @property
    def key(self) -> str:
        return f"{json.dumps(self.name, ensure_ascii=False)}: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A JSON object."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    options: tuple[Shape, ...]


Shape = Words | Text | Number | Items | Row | Record | Either
