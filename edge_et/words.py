"""The words of a text as they are compared: where they stand, how they sound, what carries nothing.

English, by rule and in microseconds. Nothing here needs a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty",
)  # fmt: skip
_DIGITS_OF = {word: str(value) for value, word in enumerate(_NUMBERS)}
_SPELLINGS = {"color": "colour", "colored": "coloured", "grey": "gray", "center": "centre"}
_CARRY_NOTHING = """
a about again also although am among an and another any are as at be because been being both
but by can could description did do does done each either else every for from further had has
have having he her here hers him his how however i if image in into is it its itself just let
like make makes many me more most much my no nor not of on only or other others our out over
own part picture question rather say says seems shall she should show shown shows since so
some still such than that the their them then there therefore these they this those though
through thus to too under up upon us very was we were what when where whether which while who
whole whom whose why will with within would yes yet you your
"""
_STOP_WORDS = frozenset(_CARRY_NOTHING.split())
_WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*")
_NUMBER = re.compile(r"\d")
# A full stop ends a sentence when a blank follows it, unless it follows a lone capital or a title.
_SENTENCE_END = re.compile(r"(?<!\b[A-Z])(?<!\b(?:Mr|Ms|Dr|St|vs))(?<!\bMrs)[.!?]+[\"'”’)]*\s+|\n+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of a text: `text[start:end]`, and the form in which it is compared."""

    form: str
    start: int
    end: int

    @property
    def is_number(self) -> bool:
        return bool(_NUMBER.match(self.form))

    @property
    def is_content(self) -> bool:
        """Whether the word says something by itself; articles, pronouns and the like do not."""
        return self.form not in _STOP_WORDS


def words(text: str, start: int = 0, end: int | None = None) -> Iterator[Word]:
    """Yield the words of `text[start:end]` in order; places count from the start of `text`.

    Case, plural endings and British or American spelling make no difference, "seven" is 7.

    >>> [word.form for word in words("Two Boxes, grey")]
    ['2', 'box', 'gray']
    """
    for match in _WORD.finditer(text, start, len(text) if end is None else end):
        yield Word(form=form_of(match[0]), start=match.start(), end=match.end())


def form_of(word: str) -> str:
    """Return one word as it is compared."""
    plain = word.casefold().replace("’", "'").removesuffix("'s")
    plain = _SPELLINGS.get(plain, plain)
    return _DIGITS_OF.get(plain) or _singular(plain)


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of every sentence, its stop included and without blanks around it.

    A line break ends a sentence, too.
    """
    start = 0
    for match in [*_SENTENCE_END.finditer(text), None]:
        stop = len(text) if match is None else match.end()
        piece = text[start:stop]
        if _WORD.search(piece):
            left = start + len(piece) - len(piece.lstrip())
            yield left, left + len(piece.strip())
        start = stop


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    return word[:-1]
