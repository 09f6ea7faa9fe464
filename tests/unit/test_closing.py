"""What a text that breaks off still needs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from edge_et.closing import least, rest
from edge_et.shapes import Either, Items, Member, Number, Record, Row, Text, Words

TENTHS = Number(low=Decimal(-1), high=Decimal(1), decimals=1)
DIGIT = Number(low=Decimal(0), high=Decimal(9), decimals=0)
TEXT = Text(min_chars=3, max_chars=9)
FLAG = Words(spellings=("true", "false"))
LIST = Items(item=DIGIT, min_items=2, max_items=4)
RECORD = Record(
    members=(
        Member(name="a", shape=DIGIT, required=False),
        Member(name="ab", shape=DIGIT, required=True),
        Member(name="c", shape=FLAG, required=False),
    )
)


@pytest.mark.parametrize(
    ("shape", "text", "missing"),
    [
        (TEXT, '"a', ['.."']),
        (TEXT, '"abcd', ['"']),
        (TEXT, '"abc\\', ['\\"']),
        (TEXT, '"abc\\"', ['"']),
        (TEXT, '"abc"', []),
        (TENTHS, "-0", [".9"]),
        (TENTHS, "0", []),
        (TENTHS, "0.", ["0"]),
        (TENTHS, "2", None),
        (Number(low=Decimal(13), high=Decimal(15), decimals=0), "1", ["3"]),
        (FLAG, "fa", ["lse"]),
        (Words(spellings=("red", "rose")), "r", [Words(spellings=("ed", "ose"))]),
        (Words(spellings=("A", "AB")), "A", []),
        (LIST, "[1", [", ", DIGIT, "]"]),
        (LIST, "[1,", [" ", DIGIT, "]"]),
        (LIST, "[1, 2", ["]"]),
        (LIST, "[1]", None),
        (Row(items=(DIGIT, FLAG)), "[1, ", [FLAG, "]"]),
        (RECORD, "{", ['"ab": ', DIGIT, "}"]),
        (RECORD, '{"a', ['b": ', DIGIT, "}"]),
        (RECORD, '{"a"', [": ", DIGIT, ', "ab": ', DIGIT, "}"]),
        (RECORD, '{"ab": 1', ["}"]),
        (RECORD, '{"ab": 1, ', ['"c": ', FLAG, "}"]),
        (RECORD, '{"c": true}', None),
        (Either(options=(DIGIT, FLAG)), "t", ["rue"]),
        (Either(options=(DIGIT, TENTHS)), "-0", [".9"]),
    ],
)
def test_rest(shape, text, missing):
    assert rest(shape, text) == missing


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (TEXT, '"..."'),
        (LIST, "[0, 0]"),
        (RECORD, '{"ab": 0}'),
        (Number(low=Decimal("1.25"), high=Decimal("1.75"), decimals=2), "1.25"),
        (Either(options=(TEXT, FLAG, DIGIT)), "0"),
    ],
)
def test_least(shape, text):
    assert least(shape) == text
    assert rest(shape, text) == []
