"""Contradictions: where two descriptions of one image say different things of the same object.

By rule, over English noun phrases: attribute words (colour, size, pattern, shape, place, count) go
to the noun that they stand before, or that "is" them. Two descriptions contradict each other where
they give one noun attributes of the same kind that have nothing in common, count the same things
differently, or fill the same place of the same list ("From left to right: first …") otherwise.
What only one of them mentions is no contradiction: each may leave out what it likes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge_et.types import Contradiction, ContradictionKind
from edge_et.words import Word, sentences, words

_KINDS: Mapping[ContradictionKind, str] = {
    "colour": "red orange yellow green cyan turquoise blue purple pink brown black white gray "
    "beige silver golden",
    "size": "small=tiny=little large=big=huge medium",
    "pattern": "solid=filled=plain striped outlined dotted=spotted checkered",
    "shape": "round=circular square rectangular triangular oval",
    "place": "left right upper=top lower=bottom",
}
_ATTRIBUTES: Mapping[str, tuple[ContradictionKind, str]] = {
    word: (kind, group.split("=")[0])
    for kind, groups in _KINDS.items()
    for group in groups.split()
    for word in group.split("=")
}
_ORDINALS = frozenset({
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
})  # fmt: skip
_IS = frozenset({"is", "are", "was", "were"})
_ARTICLES = frozenset({"a", "an", "the"})
_ANYTHING = frozenset({"object", "thing", "shape", "item", "one"})
"""Nouns of which two need not mean the same thing; how many there are can be compared."""


Object = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mention:
    """An object as one phrase names it."""

    about: Object
    """Its words, or its place in a list."""
    attributes: tuple[tuple[ContradictionKind, str], ...]
    count: str | None
    """As digits; 0 for "no", None for an article or nothing."""


def contradictions(first: str, second: str) -> tuple[Contradiction, ...]:
    """Return where the two texts contradict each other; the same difference once.

    >>> contradictions("A red star and a ring.", "The star is blue.")[0].first
    'red'
    """
    a, b = tuple(_mentions(first)), tuple(_mentions(second))
    found: dict[tuple[str, ...], Contradiction] = {}
    for about in sorted(dict.fromkeys(mention.about for mention in (*a, *b)), key=len):
        ours = [mention for mention in a if _same(mention.about, about)]
        theirs = [mention for mention in b if _same(mention.about, about)]
        for one in (*_attributes(about, ours, theirs), *_counts(about, ours, theirs)):
            found.setdefault((one.kind, one.first, one.second), one)
    return tuple(found.values())


def _same(one: Object, other: Object) -> bool:
    """Whether two names can mean one object: "bus" is in "bus waits" and in "school bus"."""
    short, long = sorted((one, other), key=len)
    return short in (long[: len(short)], long[-len(short) :])


def _attributes(
    about: Object, first: Sequence[_Mention], second: Sequence[_Mention]
) -> Iterator[Contradiction]:
    for kind in _KINDS if about[-1] not in _ANYTHING else ():
        a, b = _values(kind, first), _values(kind, second)
        if a and b and not set(a) & set(b):
            yield Contradiction(
                about=" ".join(about), kind=kind, first=" ".join(a), second=" ".join(b)
            )


def _counts(
    about: Object, first: Sequence[_Mention], second: Sequence[_Mention]
) -> Iterator[Contradiction]:
    for one in first:
        alike = [other for other in second if set(other.attributes) == set(one.attributes)]
        counts = [other.count for other in alike if other.count is not None]
        if one.count is not None and counts and one.count not in counts:
            yield Contradiction(
                about=" ".join(about), kind="count", first=one.count, second=counts[0]
            )


def _values(kind: ContradictionKind, mentions: Sequence[_Mention]) -> list[str]:
    """Return the attributes of one kind, each once, in their order."""
    found = (value for m in mentions for k, value in m.attributes if k == kind)
    return list(dict.fromkeys(found))


def _mentions(text: str) -> Iterator[_Mention]:
    for start, end in sentences(text):
        colon = text.find(":", start, end)
        heading = tuple(text[start : max(start, colon)].casefold().split())
        spoken_of: Object = ()
        for phrase in _phrases(text, max(start, colon + 1), end):
            about = phrase.about or (spoken_of if phrase.predicate else ())
            if not about:
                continue
            yield _Mention(about=about, attributes=phrase.attributes, count=phrase.count)
            if heading and phrase.ordinal:
                look = (*phrase.attributes, _shape(about[-1]))
                yield _Mention(about=(phrase.ordinal, *heading), attributes=look, count=None)
            spoken_of = about


def _shape(noun: str) -> tuple[ContradictionKind, str]:
    return "shape", noun


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phrase:
    """What is said of an object before its name, and the name, e.g. `2 large red` `stars`."""

    before: tuple[str, ...]
    """Attributes, numbers, ordinals."""
    name: Object
    opened: str
    """The word that stands before it, e.g. "no" or "is"; empty after a comma."""

    @property
    def predicate(self) -> bool:
        return self.opened in _IS

    @property
    def about(self) -> Object:
        if self.name or self.predicate or not self.before:
            return self.name
        # "a red square": where nothing else is named, the shape is the object
        return self.before[-1:] if _is_shape(self.before[-1]) else ()

    @property
    def attributes(self) -> tuple[tuple[ContradictionKind, str], ...]:
        said = self.before if self.name or self.predicate else self.before[:-1]
        return tuple(_ATTRIBUTES[word] for word in said if word in _ATTRIBUTES)

    @property
    def ordinal(self) -> str | None:
        return next((word for word in self.before if word in _ORDINALS), None)

    @property
    def count(self) -> str | None:
        if self.opened == "no":
            return "0"
        return next((word for word in self.before if word[0].isdigit()), None)


def _phrases(text: str, start: int, end: int) -> Iterator[_Phrase]:
    """Yield the phrases of a sentence: an ordinal goes with what follows it ("first a red star"),
    and an attribute after a name opens another phrase."""
    before: list[str] = []
    name: list[str] = []
    opened, previous = "", None
    for word in words(text, start, end):
        parted = previous is not None and _parted(text, previous, word)
        qualifies = word.form in _ATTRIBUTES or word.form in _ORDINALS or word.is_number
        only_ordinal = not name and before[-1:] and before[-1] in _ORDINALS
        passes = word.form in _ARTICLES and bool(only_ordinal)
        if (before or name) and (parted or not (word.is_content or passes) or (name and qualifies)):
            yield _Phrase(before=tuple(before), name=tuple(name), opened=opened)
            before, name = [], []
        if word.is_content:
            if not (before or name):
                opened = previous.form if previous is not None and not parted else ""
            (before if qualifies else name).append(word.form)
        previous = word
    if before or name:
        yield _Phrase(before=tuple(before), name=tuple(name), opened=opened)


def _parted(text: str, left: Word, right: Word) -> bool:
    return bool(text[left.end : right.start].strip(" \t'\"()-"))


def _is_shape(word: str) -> bool:
    return word in _ATTRIBUTES and _ATTRIBUTES[word][0] == "shape"
