"""Plain data (parsed JSON or TOML) -> frozen dataclasses, field by field; nothing is guessed."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, cast

T = TypeVar("T")


class Mismatch(ValueError):
    """The data is not of the record's form; the message names the field."""


def build(kind: type[T], raw: Any, where: str) -> T:
    """Turn `raw` into the dataclass `kind`. `where` opens each message.

    Knows nested dataclasses, tuples, Literals, `X | None`, `dict[str, X]`, `Any`, numbers, texts
    and truth values. Raises Mismatch on missing, unknown and mistyped fields; what the dataclass
    raises of its own passes through.
    """
    return cast(T, _build(kind, raw, where))


def _build(kind: Any, raw: Any, where: str) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        return _build_record(kind, raw, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _build_tuple(arguments, raw, where)
    if origin is Literal:
        if raw not in arguments:
            raise Mismatch(f"{where}: {raw!r} is none of {', '.join(map(repr, arguments))}")
        return raw
    if origin is types.UnionType:
        return None if raw is None else _build(arguments[0], raw, where)
    if kind is Any:
        return raw
    if origin in (dict, Mapping):
        if not isinstance(raw, dict):
            raise Mismatch(f"{where}: expected an object")
        return {str(k): _build(arguments[1], v, f"{where}.{k}") for k, v in raw.items()}
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(raw, allowed) or (isinstance(raw, bool) and kind is not bool):
        raise Mismatch(f"{where}: expected {kind.__name__}, found {raw!r}")
    return kind(raw)


def _build_tuple(arguments: tuple[Any, ...], raw: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(raw, list | tuple):
        raise Mismatch(f"{where}: expected a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_build(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(raw))
    if len(raw) != len(arguments):
        raise Mismatch(f"{where}: expected {len(arguments)} values, found {len(raw)}")
    return tuple(_build(a, item, where) for a, item in zip(arguments, raw, strict=True))


def _build_record(kind: type[T], raw: Any, where: str) -> T:
    if not isinstance(raw, dict):
        raise Mismatch(f"{where}: expected an object")
    hints = typing.get_type_hints(kind)
    record = cast(Any, kind)
    names = {f.name for f in fields(record)}
    if unknown := sorted(set(raw) - names):
        raise Mismatch(f"{where}: unknown field {unknown[0]!r}")
    values = {k: _build(hints[k], v, f"{where}: {k}") for k, v in raw.items()}
    try:
        return cast(T, record(**values))
    except TypeError as exc:
        raise Mismatch(f"{where}: {exc}") from exc
