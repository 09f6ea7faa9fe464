"""JSON schemas -> shapes: what a grammar can hold an answer to.

Whatever of a schema the grammar could not hold, so that the answer might break it, is refused
before any work. What a schema leaves open is bounded, so that every answer ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn, Protocol, runtime_checkable

from edge_et.errors import InputError
from edge_et.shapes import Either, Items, Member, Number, Record, Row, Shape, Text, Words

TEXT_CHARS, MOST_CHARS = 200, 1000
"""Of a string without maxLength; of any string."""
ITEMS, MOST_ITEMS = 16, 256
"""Of an array without maxItems; of any array."""
MOST_NODES, MOST_DEPTH = 1000, 24
"""Of a schema with its references followed, which may unfold to any size."""
DECIMALS = 3
MOST_NUMBER = Decimal(10**12)
"""Of a number without maximum."""
_SAYS_NOTHING = frozenset({
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format",
    "discriminator", "$schema", "$id", "$comment", "$defs", "definitions",
})  # fmt: skip
_KINDS: dict[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "boolean": frozenset(),
    "null": frozenset(),
}


@runtime_checkable
class HasSchema(Protocol):
    """A class that describes its own JSON, as the models of pydantic do."""

    def model_json_schema(self) -> dict[str, Any]: ...


JsonSchema = Mapping[str, Any] | type[HasSchema]


def as_mapping(schema: object) -> Mapping[str, Any]:
    """Return the schema itself. Raises InputError when there is none."""
    if isinstance(schema, HasSchema):
        return schema.model_json_schema()
    if not isinstance(schema, Mapping):
        raise InputError(
            f"a schema is a mapping or a pydantic model, not {type(schema).__name__}",
            hint='a file holds one JSON object, e.g. {"type": "object", "properties": …}',
        )
    return schema


def shape_of(schema: JsonSchema) -> Shape:
    """Return the shape whose every text is valid by `schema`. Raises InputError."""
    whole = as_mapping(schema)
    return _Reader(whole).shape(whole, "#", ())


def schema_text(schema: JsonSchema) -> str:
    """Return the schema as the prompt shows it: without what only programs need."""
    return json.dumps(_shown(as_mapping(schema)), ensure_ascii=False, separators=(", ", ": "))


def _shown(node: Any) -> Any:
    if isinstance(node, Mapping):
        hidden = ("$schema", "$id", "$comment", "examples")
        return {
            name: _shown(value)
            for name, value in node.items()
            # "title" may also be the name of a property
            if name not in hidden and not (name == "title" and isinstance(value, str))
        }
    return [_shown(value) for value in node] if isinstance(node, list) else node


class _Reader:
    def __init__(self, whole: Mapping[str, Any]) -> None:
        self._whole = whole
        self._nodes = self._depth = 0

    def shape(self, node: Any, where: str, seen: tuple[str, ...]) -> Shape:
        """`seen`: the references that led here."""
        self._nodes, self._depth = self._nodes + 1, self._depth + 1
        if self._nodes > MOST_NODES or self._depth > MOST_DEPTH:
            _refuse(where, f"goes beyond {MOST_NODES} parts or {MOST_DEPTH} levels")
        shape = self._shape(node, where, seen)
        self._depth -= 1
        return shape

    def _shape(self, node: Any, where: str, seen: tuple[str, ...]) -> Shape:
        if not isinstance(node, Mapping):
            _refuse(where, f"is {json.dumps(node)}, which says nothing of the value")
        if "$ref" in node:
            return self._referred(node, where, seen)
        for union in ("anyOf", "oneOf", "allOf"):
            if union in node:
                return self._union(node, union, where, seen)
        if "const" in node or "enum" in node:
            return self._constants(node, where)
        kind = node.get("type")
        if isinstance(kind, list):
            return self._either(
                [
                    self.shape(
                        {k: v for k, v in node.items() if _belongs(k, one)} | {"type": one},
                        where,
                        seen,
                    )
                    for one in kind
                ],
                where,
            )
        if kind is None and "properties" in node:
            kind = "object"
        if kind not in _KINDS:
            _refuse(where, f"has no type that is known: {json.dumps(kind)}")
        self._no_more_than(node, {"type", *_KINDS[kind]}, where)
        return self._typed(kind, node, where, seen)

    def _typed(
        self, kind: str, node: Mapping[str, Any], where: str, seen: tuple[str, ...]
    ) -> Shape:
        match kind:
            case "object":
                return self._object(node, where, seen)
            case "array":
                return self._array(node, where, seen)
            case "string":
                least, most = _bounds(node, "Length", TEXT_CHARS, MOST_CHARS, where)
                return Text(min_chars=least, max_chars=most)
            case "integer" | "number":
                return _number(node, where, decimals=DECIMALS if kind == "number" else 0)
            case "boolean":
                return Words(spellings=("true", "false"))
            case _:
                return Words(spellings=("null",))

    def _object(self, node: Mapping[str, Any], where: str, seen: tuple[str, ...]) -> Shape:
        properties = node.get("properties", {})
        required = node.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            _refuse(where, "has properties or required of another kind than JSON schema's")
        unknown = [name for name in required if name not in properties]
        if unknown:
            _refuse(where, f"requires {unknown[0]!r}, which is none of its properties")
        if not properties:
            _refuse(where, "names no properties: a grammar needs to know them")
        return Record(
            members=tuple(
                Member(
                    name=name,
                    shape=self.shape(value, f"{where}/properties/{name}", seen),
                    required=name in required,
                )
                for name, value in properties.items()
            )
        )

    def _array(self, node: Mapping[str, Any], where: str, seen: tuple[str, ...]) -> Shape:
        row = node.get("prefixItems")
        if row:
            least, most = _bounds(node, "Items", len(row), len(row), where)
            if most < len(row) or least > len(row) or not isinstance(row, list):
                _refuse(where, "has prefixItems of another number than its items")
            return Row(
                items=tuple(
                    self.shape(item, f"{where}/prefixItems/{i}", seen) for i, item in enumerate(row)
                )
            )
        if "items" not in node:
            _refuse(where, "does not say what its items are")
        least, most = _bounds(node, "Items", ITEMS, MOST_ITEMS, where)
        return Items(
            item=self.shape(node["items"], f"{where}/items", seen), min_items=least, max_items=most
        )

    def _constants(self, node: Mapping[str, Any], where: str) -> Shape:
        self._no_more_than(node, {"type", "const", "enum"}, where)
        values = [node["const"]] if "const" in node else node["enum"]
        if not isinstance(values, list) or not values:
            _refuse(where, "has an enum that is no list of values")
        kind = node.get("type")
        kinds = {kind} if isinstance(kind, str) else set(kind or ())
        fitting = [v for v in values if not kinds or kinds & _types_of(v)]
        if "const" in node and "enum" in node:
            fitting = [value for value in fitting if value in node["enum"]]
        if not fitting:
            _refuse(where, "has no value of its own type")
        return Words(spellings=tuple(json.dumps(v, ensure_ascii=False) for v in fitting))

    def _union(
        self, node: Mapping[str, Any], union: str, where: str, seen: tuple[str, ...]
    ) -> Shape:
        self._no_more_than(node, {"type", union}, where)
        parts = node[union]
        if not isinstance(parts, list) or not parts:
            _refuse(where, f"has an {union} that is no list of schemas")
        if union == "allOf" and len(parts) > 1:
            _refuse(where, "has allOf of several schemas: write them as one")
        shapes = [self.shape(one, f"{where}/{union}/{i}", seen) for i, one in enumerate(parts)]
        if union == "oneOf" and not _apart(shapes):
            _refuse(where, "has oneOf of values that may be alike: write anyOf")
        return self._either(shapes, where)

    def _either(self, shapes: list[Shape], where: str) -> Shape:
        if not shapes:
            _refuse(where, "has no type at all")
        return shapes[0] if len(shapes) == 1 else Either(options=tuple(shapes))

    def _referred(self, node: Mapping[str, Any], where: str, seen: tuple[str, ...]) -> Shape:
        self._no_more_than(node, {"$ref"}, where)
        reference = node["$ref"]
        if reference in seen:
            _refuse(where, f"comes back to {reference}: what repeats itself need not end")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            _refuse(where, f"refers to {reference!r}: only #/… within the schema is read")
        target: Any = self._whole
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or name not in target:
                _refuse(where, f"refers to {reference}, which is not there")
            target = target[name]
        return self.shape(target, reference, (*seen, reference))

    def _no_more_than(self, node: Mapping[str, Any], known: set[str], where: str) -> None:
        for name in node:
            if name not in known and name not in _SAYS_NOTHING:
                _refuse(where, f"uses {name}, which a grammar cannot hold")


def _refuse(where: str, what: str) -> NoReturn:
    raise InputError(
        f"the schema at {where} {what}", hint="docs/answers.md says which schemas can be held"
    )


def _belongs(keyword: str, kind: str) -> bool:
    """Return whether a keyword of a schema for several types is about this one."""
    others = frozenset().union(*_KINDS.values())
    return keyword != "type" and (keyword not in others or keyword in _KINDS.get(kind, ()))


def _bounds(
    node: Mapping[str, Any], what: str, usual: int, most: int, where: str
) -> tuple[int, int]:
    """Return the least and the greatest length; the schema's own within what is bearable."""
    least, greatest = node.get(f"min{what}", 0), node.get(f"max{what}")
    for bound in (least, greatest):
        if bound is not None and (not isinstance(bound, int) or bound < 0):
            _refuse(where, f"has a bound that is no length: {bound!r}")
    greatest = max(usual, least) if greatest is None else greatest
    if least > greatest:
        _refuse(where, f"asks for min{what} {least}, more than max{what} {greatest}")
    if least > most:
        _refuse(where, f"asks for min{what} {least}; {most} is the most")
    return least, min(greatest, most)


def _number(node: Mapping[str, Any], where: str, *, decimals: int) -> Shape:
    given: dict[str, Decimal] = {}
    for name in _KINDS["number"] & node.keys():
        if isinstance(node[name], bool) or not isinstance(node[name], int | float):
            _refuse(where, f"has a {name} that is no number")
        given[name] = Decimal(str(node[name]))
        decimals = max(decimals, _decimals(given[name])) if decimals else 0
    # the nearest number beyond an exclusive bound, on the grid that is written
    step = Decimal(1).scaleb(-decimals)
    low = given.get("minimum", -MOST_NUMBER).quantize(step, "ROUND_CEILING")
    high = given.get("maximum", MOST_NUMBER).quantize(step, "ROUND_FLOOR")
    if "exclusiveMinimum" in given:
        low = max(low, given["exclusiveMinimum"].quantize(step, "ROUND_FLOOR") + step)
    if "exclusiveMaximum" in given:
        high = min(high, given["exclusiveMaximum"].quantize(step, "ROUND_CEILING") - step)
    if low > high:
        _refuse(where, f"leaves no number between {low} and {high}")
    return Number(low=low, high=high, decimals=decimals)


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _types_of(value: Any) -> set[str]:
    match value:
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number"}
        case str():
            return {"string"}
        case None:
            return {"null"}
        case list():
            return {"array"}
        case _:
            return {"object"}


def _apart(shapes: list[Shape]) -> bool:
    """Return whether no value can have two of the shapes."""
    return all(_differ(one, other) for i, one in enumerate(shapes) for other in shapes[i + 1 :])


def _differ(one: Shape, other: Shape) -> bool:
    match one, other:
        case Words(), Words():
            return not set(one.spellings) & set(other.spellings)
        case Record(), Record():
            mine = {m.name: m for m in one.members if m.required}
            theirs = {m.name: m for m in other.members if m.required}
            return any(_differ(mine[n].shape, theirs[n].shape) for n in mine.keys() & theirs.keys())
        case (Record() | Text() | Number(), Record() | Text() | Number()):
            return type(one) is not type(other)
        case (Words(), Record()) | (Record(), Words()):
            return True
        case _:
            return False
