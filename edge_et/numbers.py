"""Numbers as people and models write them -> digits, with the unit."""

from __future__ import annotations

import re

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = (
    {word: value for value, word in enumerate(_ONES)}
    | {word: 10 * value for value, word in enumerate(_TENS, start=2)}
    | {"none": 0, "no": 0, "dozen": 12}
)
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_WORDS = "|".join([*_VALUES, *_SCALES])
_IN_WORDS = re.compile(
    rf"\b(?:{_WORDS})(?:(?:\s+and\s+|\s*-\s*|\s+)(?:{_WORDS}))*\b", re.IGNORECASE
)
_UNITS = (
    r"%|percent|°\s?[CF]|°|degrees?|px|pixels?|mm|cm|km/h|km|m²|m/s|m|kg|mg|g|ml|l|ms|min|s|h|mph|"
    r"ft|feet|foot|inch(?:es)?|miles?|met(?:er|re)s?|dollars?|euros?|cents?|years?|minutes?|hours?|"
    r"seconds?|days?"
)
_DIGITS = re.compile(
    rf"(?P<sign>[-−–](?=[\d.])|)(?P<number>\d+(?:[.,/:\u00a0\u202f' ]?\d+)*|\.\d+)"
    rf"(?:\s?(?P<unit>(?:{_UNITS}))(?![\w/]))?",
    re.IGNORECASE,
)
_GROUPS = re.compile(r"\d{1,3}(?:[,\u00a0\u202f' ]\d{3})+(?:\.\d+)?")
_TOTAL = re.compile(
    r"\b(?:so|total|therefore|thus|hence|altogether|in all|makes|gives|equals)\b", re.IGNORECASE
)


def first_number(text: str) -> str | None:
    """Return the first number that `text` gives as a result, e.g. "1200" or "12.5 cm".

    "1 + 2 = 3" is 3. Words count as digits, separators of thousands go.
    """
    text = text.rsplit("=", 1)[-1]
    digits, words = _DIGITS.search(text), _first_words(text)
    if digits and (words is None or digits.start() < words[0] or words[1] == "0"):
        return _written(digits)
    return words[1] if words else None


def concluding_number(text: str) -> str | None:
    """Return the number that a text arrives at: behind "so" or "total", else its last line's."""
    lines = [line for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        conclusions = list(_TOTAL.finditer(line))
        behind = first_number(line[conclusions[-1].end() :]) if conclusions else None
        number = behind or first_number(line)
        if number:
            return number
    return None


def digits_for_words(text: str) -> str:
    """Replace numbers in words, "twenty-one", by digits; "no" and "none" stay."""

    def replaced(match: re.Match[str]) -> str:
        said = match[0]
        return said if said.lower() in ("no", "none") else str(_value(said))

    return _IN_WORDS.sub(replaced, text)


def _first_words(text: str) -> tuple[int, str] | None:
    match = _IN_WORDS.search(text)
    return (match.start(), str(_value(match[0]))) if match else None


def _value(words: str) -> int:
    total = part = 0
    for word in re.findall(r"[a-z]+", words.lower()):
        if word == "hundred":
            part = max(part, 1) * 100
        elif word in _SCALES:
            total += max(part, 1) * _SCALES[word]
            part = 0
        else:
            part = part * 12 if word == "dozen" and part else part + _VALUES.get(word, 0)
    return total + part


def _written(match: re.Match[str]) -> str:
    number = match["number"]
    if _GROUPS.fullmatch(number):
        number = re.sub(r"[^\d.]", "", number)
    elif " " in number:
        number = number.split(" ")[0]
    elif re.fullmatch(r"\d+,\d+", number):
        number = number.replace(",", ".")
    elif "," in number:
        number = number.split(",")[0]
    sign = "-" if match["sign"] and match["sign"] != "–" else ""
    unit = match["unit"] or ""
    unit = "%" if unit.lower() == "percent" else unit
    gap = "" if unit in ("", "%") or unit.startswith("°") else " "
    return f"{sign}{number}{gap}{unit}"
