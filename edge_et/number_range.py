"""Ranges of numbers as grammar: the digits of every number from one bound to the other."""

from __future__ import annotations

from decimal import Decimal

from edge_et.shapes import Number


def number_rule(number: Number) -> str:
    """Return an expression in GBNF for all spellings of `number`."""
    parts = (_fixed(number, decimals) for decimals in range(number.decimals + 1))
    return " | ".join(part for several in parts for part in several)


def is_number(number: Number, text: str) -> bool:
    """Return whether `text` spells a number of the range as `number_rule` does."""
    whole, point, decimals = text.removeprefix("-").partition(".")
    if not whole.isdecimal() or not whole.isascii() or (len(whole) > 1 and whole[0] == "0"):
        return False
    if point and not (decimals.isdecimal() and decimals.isascii()):
        return False
    if len(decimals) > number.decimals:
        return False
    value = Decimal(text)
    negative_zero = text.startswith("-") and value == 0
    return not negative_zero and number.low <= value <= number.high


def spelled(value: Decimal, decimals: int) -> str:
    return f"{value:.{decimals}f}"


def _fixed(number: Number, decimals: int) -> list[str]:
    """Return alternatives for the numbers with just so many decimals."""
    unit = 10**decimals
    low = int((number.low * unit).to_integral_value("ROUND_CEILING"))
    high = int((number.high * unit).to_integral_value("ROUND_FLOOR"))
    parts = [_magnitudes(max(low, 0), high, decimals)] if high >= max(low, 0) else []
    if low < 0 and low <= high:  # with few decimals a narrow range may hold no number
        inner = _magnitudes(max(1, -high), -low, decimals)
        parts.append(f'"-" ({inner})')
    return parts


def _magnitudes(low: int, high: int, decimals: int) -> str:
    """Return alternatives for `low` … `high` in units of the last decimal, none negative."""
    parts = []
    for digits in range(max(len(str(low)), decimals + 1), max(len(str(high)), decimals + 1) + 1):
        least = 0 if digits == decimals + 1 else 10 ** (digits - 1)
        first, last = max(low, least), min(high, 10**digits - 1)
        if first <= last:
            parts.append(_digits(f"{first:0{digits}}", f"{last:0{digits}}", decimals))
    return " | ".join(parts)


def _digits(first: str, last: str, decimals: int) -> str:
    """Return an expression for the strings of digits from `first` to `last`, equally long.

    The point stands before the last `decimals` of them.
    """
    if not first:
        return ""
    point = '"." ' if len(first) == decimals else ""
    rest = len(first) - 1
    if rest == 0 or (set(first[1:]) == {"0"} and set(last[1:]) == {"9"}):
        return f"{point}[{first[0]}-{last[0]}] {_any(rest, decimals)}".strip()
    if first[0] == last[0]:
        return f'{point}"{first[0]}" {_digits(first[1:], last[1:], decimals)}'
    parts = [f'"{first[0]}" {_digits(first[1:], "9" * rest, decimals)}']
    between = (chr(ord(first[0]) + 1), chr(ord(last[0]) - 1))
    if between[0] <= between[1]:
        parts.append(f"[{between[0]}-{between[1]}] {_any(rest, decimals)}")
    parts.append(f'"{last[0]}" {_digits("0" * rest, last[1:], decimals)}')
    return f"{point}({' | '.join(parts)})"


def _any(digits: int, decimals: int) -> str:
    """Return an expression for any digits, with the point before the last `decimals` of them."""
    if digits == 0:
        return ""
    if 0 < decimals <= digits:
        before = f"[0-9]{{{digits - decimals}}} " if digits > decimals else ""
        return f'{before}"." [0-9]{{{decimals}}}'
    return f"[0-9]{{{digits}}}"
