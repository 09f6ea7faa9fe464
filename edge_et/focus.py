"""The focus phrase: what of the image a question is about, without asking it.

The paper makes focus phrases offline with Qwen3-8B (research: Prism's "contents to observe") and
ships them for one benchmark only. On the device they are made by rule, in microseconds, from the
question alone; the starter extractor was trained on the phrases of this very function. A phrase
names what to observe and never carries the answer options (they would leak into the extraction).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_et.types import FocusSource
from edge_et.words import words

_PREFIX = re.compile(r"^\s*(?:question|hint)\s*:\s*", re.IGNORECASE)
# Options start at a first letter that a second one follows: "A. Smith" alone is no option.
_OPTIONS = re.compile(
    r"(?:\s(?:options|choices)\s*:|\s\(?A[.):]\)?\s(?=.*\s\(?B[.):]\)?\s)).*",
    re.IGNORECASE | re.DOTALL,
)
_INSTRUCTION = re.compile(
    r"(?:^|(?<=[.?!\n]))\s*(?:please\s+)?(?:answer|reply|respond|choose|select|pick|explain|give)\b"
    r"[^.?!\n]*[.?!]?\s*$",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"^(?:please |tell me |say |can you |could you |do you know |i want to know |see |look:? )+",
    re.IGNORECASE,
)
# What a question opens with -> what the phrase opens with. First match wins; the rest follows it.
_OPENINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), opening)
    for pattern, opening in (
        (r"^(?:how many|count(?: up)?(?: all)?(?: the)?|what(?: is|'s) the (?:number|count) of|"
         r"the number of|what number of)\b", "the number of"),
        (r"^(?:what|which) colou?r (?:is|are|does|has) (?=the\b|an?\b|this\b|that\b)|^(?:"
         r"what(?: is|'s) the colou?r of|name the colou?r of|the colou?r of|"
         r"in (?:what|which) colou?r (?:is|are))\b", "the colour of"),
        (r"^(?:what|which) (?:shape|form) (?:is|are|does|has) (?=the\b|an?\b|this\b|that\b)|^(?:"
         r"what(?: is|'s) the (?:shape|form) of|name the shape of|the shape of)\b", "the shape of"),
        (r"^(?:how (?:big|large|small)(?: is| are)?|(?:what|which) size(?: is| are| does| has)?|"
         r"what(?: is|'s) the size of|the size of)\b", "the size of"),
        (r"^where(?: is| are|'s)?\b", "the position of"),
        (r"^(?:is|are|was|were) there\b(?: any| no| an?\b)?", ""),
        (r"^(?:do|can|could|would) you (?:see|find|spot)\b(?: any| no| an?\b)?", ""),
        (r"^(?:does|do|has|have) (?:the|this) (?:picture|image|photo|scene) "
         r"(?:show|contain|have|include)s?\b(?: any| no| an?\b)?", ""),
        (r"^(?:what|which|who|whose|is|are|was|were|does|do|did|has|have|can|could|would|will|"
         r"name|find|compare)(?: is| are|'s| does| do)?\b", ""),
    )
)  # fmt: skip
_TAIL = re.compile(
    r"\s*(?:(?:are|is) (?:there|shown|visible|drawn)|(?:can|do|could) (?:you|we|one) "
    r"(?:see|find|spot|count)|have|does it have|there)?"
    r"\s*(?:(?:in|on|of) (?:the|this) (?:picture|image|photo|scene))?\s*[?.!,;:]*\s*$",
    re.IGNORECASE,
)
_COPULA = re.compile(r"\s(?:is|are|was|were)\s", re.IGNORECASE)
_MAX_WORDS = 40
# What a phrase can only know from an answer. "the colour of" is asked for, "red" is not.
_ANSWERS = frozenset((
    "yes", "no", "true", "false", "none", "red", "orange", "yellow", "green", "cyan", "blue",
    "purple", "pink", "brown", "black", "white", "gray",
))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """A focus phrase and who made it; an empty phrase asks for the whole image."""

    phrase: str
    source: FocusSource = "question"
    notes: tuple[str, ...] = ()
    """Why it is not the one that was asked for."""


def strip_options(question: str) -> str:
    """Return the question without its prefix, its answer options and its format instruction."""
    text = _PREFIX.sub("", question.strip())
    text = _OPTIONS.sub("", text)
    return _INSTRUCTION.sub("", text).strip()


def focus_phrase(question: str) -> str:
    """Return what to pay attention to for `question`; empty when it names nothing.

    >>> focus_phrase("How many red pins are left of the switch?")
    'the number of red pins left of the switch'
    >>> focus_phrase("What colour is the star? (A) red (B) blue")
    'the colour of the star'
    """
    text = " ".join(_POLITE.sub("", strip_options(question)).split())
    opening = ""
    for pattern, candidate in _OPENINGS:
        match = pattern.match(text)
        if match:
            opening, text = candidate, text[match.end() :].strip()
            break
    text = _COPULA.sub(" ", _TAIL.sub("", text), count=1).strip()
    words = f"{opening} {text}".split()
    if words and words == opening.split():  # "How many?" names nothing to look at
        return ""
    return " ".join(words[:_MAX_WORDS])


def leak_of(phrase: str, question: str) -> str | None:
    """Return the first word of a phrase that only an answer can have given it, or None.

    A word of an answer option, a number, a colour or a yes that the question without its options
    does not hold: the extractor would be told what to see.
    """
    asked = {word.form for word in words(strip_options(question))}
    optional = {word.form for word in words(question) if word.is_content} - asked
    for word in words(phrase):
        if word.form in asked:
            continue
        if word.is_number or word.form in _ANSWERS or word.form in optional:
            return word.form
    return None
