"""JSON schemas -> shapes: what can be held, and what is refused with the place it stands at."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import pydantic
import pytest

from edge_et.errors import InputError
from edge_et.schema import ITEMS, MOST_CHARS, TEXT_CHARS, schema_text, shape_of
from edge_et.shapes import Either, Items, Number, Record, Row, Text, Words


class Pin(pydantic.BaseModel):
    colour: Literal["red", "green"]
    x: float = pydantic.Field(ge=0, lt=1)
    label: str | None = None
    place: tuple[int, int]


class Board(pydantic.BaseModel):
    pins: list[Pin] = pydantic.Field(min_length=1)
    lit: bool


def one(schema):
    """The shape of the only property."""
    record = shape_of({"type": "object", "properties": {"a": schema}, "required": ["a"]})
    assert isinstance(record, Record)
    return record.members[0].shape


def test_a_model_of_pydantic():
    board = shape_of(Board)
    assert isinstance(board, Record)
    pins, lit = (member.shape for member in board.members)
    assert isinstance(pins, Items)
    assert (pins.min_items, pins.max_items) == (1, ITEMS)
    assert lit == Words(spellings=("true", "false"))
    assert isinstance(pins.item, Record)
    shapes = {member.name: member.shape for member in pins.item.members}
    assert shapes["colour"] == Words(spellings=('"red"', '"green"'))
    assert shapes["x"] == Number(low=Decimal(0), high=Decimal("0.999"), decimals=3)
    assert isinstance(shapes["label"], Either)
    assert isinstance(shapes["place"], Row)
    assert [member.required for member in pins.item.members] == [True, True, False, True]


def test_what_is_open_is_bounded_and_what_is_bounded_stays():
    assert one({"type": "string"}) == Text(min_chars=0, max_chars=TEXT_CHARS)
    assert one({"type": "string", "maxLength": 7}) == Text(min_chars=0, max_chars=7)
    assert one({"type": "string", "minLength": 300}) == Text(min_chars=300, max_chars=300)
    assert one({"type": "string", "maxLength": 10**6}) == Text(min_chars=0, max_chars=MOST_CHARS)


@pytest.mark.parametrize(
    ("bounds", "low", "high"),
    [
        ({"minimum": 2, "maximum": 5}, 2, 5),
        ({"exclusiveMinimum": 2, "exclusiveMaximum": 5}, 3, 4),
        ({"exclusiveMinimum": 2.5, "maximum": 5.5}, 3, 5),
        ({"minimum": 3, "exclusiveMinimum": 1, "maximum": 4}, 3, 4),
    ],
)
def test_whole_numbers_between_bounds(bounds, low, high):
    assert one({"type": "integer"} | bounds) == Number(
        low=Decimal(low), high=Decimal(high), decimals=0
    )


def test_references_and_single_allof_are_followed():
    schema = {
        "$defs": {"a/b": {"enum": ["x"]}},
        "allOf": [{"$ref": "#/$defs/a~1b"}],
        "description": "says nothing",
    }
    assert shape_of(schema) == Words(spellings=('"x"',))


def test_oneof_of_values_that_cannot_be_alike():
    kinds = [
        {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}
        for kind in ("a", "b")
    ]
    assert isinstance(shape_of({"oneOf": kinds}), Either)
    with pytest.raises(InputError, match="oneOf"):
        shape_of({"oneOf": [{"type": "integer"}, {"type": "number"}]})


LOOP = {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}
DEEP: dict[str, object] = {"type": "integer"}
for _ in range(3000):
    DEEP = {"type": "array", "items": DEEP}
WIDE = {"$defs": {f"d{i}": {"type": "array", "prefixItems": [{"$ref": f"#/$defs/d{i + 1}"}] * 10}
                  for i in range(9)} | {"d9": {"type": "null"}}, "$ref": "#/$defs/d0"}  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ({"type": "string", "pattern": "^a$"}, "uses pattern"),
        ({"type": "integer", "multipleOf": 2}, "uses multipleOf"),
        ({"type": "array", "items": {"type": "null"}, "uniqueItems": True}, "uses uniqueItems"),
        ({"type": "array"}, "what its items are"),
        ({"type": "object"}, "names no properties"),
        ({"type": "object", "properties": {"b": {"type": "null"}}, "required": ["c"]}, "'c'"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no number between 5 and 4"),
        ({"type": "integer", "minimum": "5"}, "no number"),
        ({"type": "string", "minLength": 5, "maxLength": 4}, "minLength 5"),
        ({"type": "string", "minLength": 10**6}, "1000 is the most"),
        ({"type": "string", "maxLength": -1}, "no length"),
        ({"type": "colour"}, "no type that is known"),
        ({}, "no type that is known"),
        (True, "says nothing"),
        ({"enum": []}, "no list of values"),
        ({"type": "string", "enum": [1]}, "no value of its own type"),
        ({"allOf": [{"type": "null"}, {"type": "null"}]}, "allOf"),
        ({"$ref": "https://example.com/a.json"}, "only #/"),
        ({"$ref": "#/$defs/none"}, "not there"),
        ({"not": {"type": "null"}}, "not|no type"),
    ],
)
def test_what_no_grammar_can_hold_is_refused_with_its_place(schema, what):
    with pytest.raises(InputError, match=what) as raised:
        one(schema)
    assert "#/properties/a" in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(("schema", "what"), [(LOOP, "comes back"), (DEEP, "24"), (WIDE, "1000")])
def test_schemas_that_would_not_end_are_refused(schema, what):
    with pytest.raises(InputError, match=what):
        shape_of(schema)


@pytest.mark.parametrize("schema", [[], "text", 3, None])
def test_what_is_no_schema(schema):
    with pytest.raises(InputError):
        shape_of(schema)


def test_the_prompt_shows_the_schema_without_what_only_programs_need():
    shown = schema_text(
        {"$schema": "x", "title": "T", "type": "object", "properties": {"title": {"type": "null"}}}
    )
    assert shown == '{"type": "object", "properties": {"title": {"type": "null"}}}'
