"""Shapes as grammars in GBNF, llama.cpp's notation.

llama-cpp-python has a converter from JSON schema. It is not used: its strings may hold raw line
breaks, which JSON forbids, and it passes over minimum and maximum.
"""

from __future__ import annotations

import re

from edge_et.number_range import number_rule
from edge_et.shapes import Either, Items, Number, Record, Row, Shape, Text, Words

_CHARACTER = r"""character ::= [^"\\\x00-\x1F\x7F] | "\\" ["\\n]"""
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')


def gbnf(shape: Shape, *, indented: bool = False) -> str:
    """Return the grammar of a text that has `shape`; `indented`, a blank may come before it."""
    rules = _Rules()
    root = rules.of(shape)
    blank = '" "? ' if indented else ""
    return "\n".join([f"root ::= {blank}{root}", *rules.written, _CHARACTER]) + "\n"


class _Rules:
    def __init__(self) -> None:
        self.written: list[str] = []

    def of(self, shape: Shape) -> str:
        """Return an expression for `shape`: of one element, or in brackets."""
        match shape:
            case Words():
                return f"({' | '.join(map(literal, shape.spellings))})"
            case Text():
                repeated = f"{{{shape.min_chars},{shape.max_chars}}}"
                return self._named(rf'"\"" character{repeated} "\""')
            case Number():
                return self._named(number_rule(shape))
            case Items():
                return self._items(shape)
            case Row():
                inner = ' ", " '.join(map(self.of, shape.items))
                return f'("[" {inner} "]")'
            case Record():
                return self._record(shape)
            case Either():
                return f"({' | '.join(map(self.of, shape.options))})"

    def _items(self, shape: Items) -> str:
        if shape.max_items == 0:
            return '"[]"'
        # Named, so that a repetition repeats one element: llama.cpp limits how many it unrolls.
        item = self._named(self.of(shape.item))
        another = self._named(f'", " {item}')
        least = max(shape.min_items, 1) - 1
        several = f"{item} {another}{{{least},{shape.max_items - 1}}}"
        return f'("[" {several} "]")' if shape.min_items else f'("[" ({several})? "]")'

    def _record(self, shape: Record) -> str:
        """Members in their order, optional ones left out or not.

        One rule a place: `begun` is what may come there when a member stands before it.
        """
        begun, fresh = '"}"', '"}"'
        for member in reversed(shape.members):
            value = f"{literal(member.key)} {self.of(member.shape)}"
            here = f"{value} {begun}"
            after = f'", " {here}'
            if member.required:
                begun, fresh = self._named(after), self._named(here)
            else:
                begun, fresh = self._named(f"{after} | {begun}"), self._named(f"{here} | {fresh}")
        return f'("{{" {fresh})'

    def _named(self, expression: str) -> str:
        name = f"rule-{len(self.written)}"
        self.written.append(f"{name} ::= {expression}")
        return name


def literal(text: str) -> str:
    """Return `text` as a literal of GBNF."""
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    sign = match[0]
    return f"\\{sign}" if sign in '"\\' else f"\\x{ord(sign):02X}"
