"""What the notes lack: as the reasoner says it, and as the words of question and notes show it."""

from __future__ import annotations

import re

from edge_et.focus import Focus, focus_phrase, leak_of, strip_options
from edge_et.forms import answer_form
from edge_et.notes import MISSING
from edge_et.types import AnswerForm
from edge_et.words import words

_LINE = re.compile(
    r"^[\s*_>#`\"']*(?:answer\s*[:：])?[\s*_\"']*missing\s*[:：]\s*(.*)$", re.IGNORECASE
)
# What models say who were asked for no better word.
_LACKING = re.compile(r"\W*(?:answer\W*)?not in the description\W*", re.IGNORECASE)
_OPENINGS = (MISSING.lower(), "not in the description")
_BEFORE = re.compile(r"^[\s*_>#`\"']*(?:answer\s*[:：])?[\s*_\"']*", re.IGNORECASE)
_DECORATION = " \t*_`\"'.()[]"
_MAX_WORDS = 24
# Words that name a property or a relation, or any object at all: notes need not repeat them.
_SAY_NO_OBJECT_TEXT = """
colour shape size kind type number pattern name object thing item picture image photo scene doe
left right above below under over top bottom upper lower middle centre near next nearest closest
farthest furthest leftmost rightmost topmost bottommost uppermost highest lowest higher lower high
low between behind front side position place lie small large big larger smaller largest smallest
same different first last filled fill count tell find look wear wearing hold holding write written
read word letter text
"""
_SAY_NO_OBJECT = frozenset(_SAY_NO_OBJECT_TEXT.split())


def said_missing(answer: str, notes: str) -> str | None:
    """Return what the last line of `answer` says is missing, or None when it says no such thing.

    `answer` is the text of the ANSWER state as written, never the thinking. Empty: it names
    nothing. A picture may show the word itself; an answer that only quotes `notes` is an answer.
    """
    lines = [line for line in answer.splitlines() if line.strip()]
    if _LACKING.fullmatch(answer):
        return ""
    match = _LINE.match(lines[-1]) if lines else None
    if match is None or MISSING.lower() in notes.lower():
        return None
    return " ".join(match[1].strip(_DECORATION).split()[:_MAX_WORDS])


def may_become_missing(line: str) -> bool:
    """Return whether more text could still make `line`, an answer's last, one of `said_missing`."""
    bare = _BEFORE.sub("", line).lower().replace("：", ":").replace(" :", ":")
    return any(bare.startswith(o) or o.startswith(bare) for o in ("answer:", *_OPENINGS))


def names_nothing_asked(question: str, form: AnswerForm, notes: str) -> bool:
    """Return whether `notes` hold not one of the things that `question` names.

    The floor below what a reasoner says itself. Asked whether there is something, or how many,
    notes without it are an answer; and words that name no object prove nothing.
    """
    bare = strip_options(question)
    if {form, answer_form(bare)} & {"yes_no", "number"}:
        return False
    asked = content_words(bare)
    return bool(asked) and not asked & {word.form for word in words(notes)}


def content_words(text: str) -> frozenset[str]:
    """Return the forms of the words in `text` that name an object.

    >>> sorted(content_words("What colour is the star above the two rings?"))
    ['ring', 'star']
    """
    return frozenset(
        word.form
        for word in words(text)
        if word.is_content and not word.is_number and word.form not in _SAY_NO_OBJECT
    )


def not_seen(missing: str) -> str:
    """Return the text of an answer that would have to guess.

    >>> not_seen("the colour of the star")
    'not seen: the colour of the star'
    """
    return f"not seen: {missing}" if missing else "not seen"


def focus_on(missing: str, question: str) -> Focus:
    """Return the focus of another look: the question's own, unless the reasoner misses a thing that
    the question does not name.

    A small reasoner finds that something is missing far better than it words it, and of the things
    that the question names the rule's phrase says more.
    """
    phrase = " ".join(strip_options(missing).split())
    if not content_words(phrase) - content_words(question):
        return Focus(phrase=focus_phrase(question))
    told = leak_of(phrase, question)
    if told is None:
        return Focus(phrase=phrase, source="reasoner")
    note = f"what the reasoner misses names {told!r}; the rule's focus phrase was taken"
    return Focus(phrase=focus_phrase(question), notes=(note,))


__all__ = [
    "content_words",
    "focus_on",
    "may_become_missing",
    "names_nothing_asked",
    "not_seen",
    "said_missing",
]
