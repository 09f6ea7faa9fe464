"""Reading the answer out of what a reasoner wrote, in the form that was asked for.

Places are tried in the order of trust: behind "Answer:", in \\boxed{}, in "the answer is …", the
last line, the whole text. The first that holds the form counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from edge_et.forms import Option, answer_form, find_options
from edge_et.markup import bare, last_box
from edge_et.numbers import concluding_number, digits_for_words, first_number
from edge_et.types import AnswerForm, Found

_MARKER = re.compile(
    r"\banswer\b[\s*_\"']*(?:is[\s*_]*)?[:：=]"  # Answer:   **Answer**:   answer is:   "answer":
    r"|\banswer\b[*_]*\s+[-–—]+>?(?=\s)"  # Final answer - b
    r"|^[\s#*_]*(?:the\s+)?(?:final\s+)?answer[\s*_#]*$"  # a heading
    r"|答案(?:是|为)?\s*[:：]"
    r"|<answer>",
    re.IGNORECASE | re.MULTILINE,
)
_PHRASE = re.compile(
    r"\b(?:answer|(?:correct|right|best) (?:choice|option))(?:\s+here)?\s+"
    r"(?:is|would be|should be|must be|will be)\s+(?P<said>.+?)(?=\.\s|\.?$|\n)",
    re.IGNORECASE | re.MULTILINE,
)
_SIGN = re.compile(r"\w")
_YES = ("yes", "yep", "yeah", "true", "correct")
_NO = ("no", "nope", "false", "incorrect")
_LEADING_YES_NO = re.compile(rf"({'|'.join(_YES + _NO)})\b", re.IGNORECASE)
_CLOSING_YES_NO = re.compile(rf"\b({'|'.join(_YES[:3] + _NO[:2])})[.!]*$", re.IGNORECASE)
_VERB = r"(?:is|was|would|seems|because|since|as|fits|matches|[-–—=])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An answer and where it stood."""

    text: str
    found: Found
    holds: bool
    """Whether the text has the form: one of the options, yes or no, a number."""


def parse_answer(text: str, question: str) -> str:
    """Return the short answer that `text` gives to `question`, in the form the question asks for.

    >>> parse_answer("It is on the left.\\n**Answer:** (b) the star", "Which? (A) ring (B) star ")
    'B'
    """
    return read_answer(text, answer_form(question), find_options(question)).text


def read_answer(text: str, form: AnswerForm, options: tuple[Option, ...] = ()) -> Reading:
    """Find the answer in `text`: a letter or text of `options` for a choice, yes or no, digits.

    Text that does not hold the form is returned as it stands, without marker and decoration.
    """
    places = list(_places(text, form))
    for found, place in places:
        said = _in_form(place, found, form, options)
        if said is not None:
            return Reading(text=said, found=found, holds=True)
    for found, place in places:
        said = _unmarked(bare(place))
        if _SIGN.search(said):
            return Reading(text=said, found=found, holds=False)
    return Reading(text=text.strip(), found="whole", holds=False)


def _places(text: str, form: AnswerForm) -> Iterator[tuple[Found, str]]:
    marked = _after_marker(text, paragraphs=form == "free")
    if marked is not None:
        yield "marker", marked
    box = last_box(text)
    if box is not None:
        yield "boxed", box
    if form != "free":
        phrases = [match["said"] for match in _PHRASE.finditer(text)]
        if phrases:
            yield "phrase", phrases[-1]
    if marked is not None:
        return  # what stands before a marker is on the way to the answer
    lines = [line for line in text.splitlines() if _SIGN.search(line)]
    if len(lines) > 1 and form != "free":
        yield "last_line", lines[-1]
    yield "whole", text


def _after_marker(text: str, *, paragraphs: bool) -> str | None:
    """Return the paragraph (or all paragraphs) after the last marker that anything follows."""
    end = len(text)
    for match in reversed(list(_MARKER.finditer(text))):
        rest = text[match.end() : end].strip().lstrip("*_ ")
        if _SIGN.search(rest):
            return rest if paragraphs else rest.strip().split("\n\n", 1)[0]
        end = match.start()
    return None


def _unmarked(text: str) -> str:
    """Drop markers that nothing follows."""
    return _MARKER.sub("", text).strip() if _MARKER.fullmatch(text.strip()) else text


def _in_form(place: str, found: Found, form: AnswerForm, options: tuple[Option, ...]) -> str | None:
    """Return the answer if `place` holds one of the form, else None."""
    said = bare(place)
    if form == "choice":
        option = _option(said, options, told=found in ("last_line", "whole"))
        return option.answer if option else None
    if form == "yes_no":
        return _yes_no(said)
    if form == "number":
        certain = found in ("marker", "boxed", "phrase")
        return first_number(said) if certain else concluding_number(said)
    said = _unmarked(said)
    return said if _SIGN.search(said) else None


def _yes_no(said: str) -> str | None:
    match = _LEADING_YES_NO.match(said) or _CLOSING_YES_NO.search(said)
    if match is None:
        return None
    return "yes" if match[1].lower() in _YES else "no"


def _option(said: str, options: tuple[Option, ...], *, told: bool) -> Option | None:
    """Return the option that `said` names; `told`: in running text, where the last one counts."""
    plain = _plain(said)
    for option in options:
        # "a star" opens like the letter A: the wording of an option goes first
        if plain == _plain(option.text) and plain:
            return option
    return _by_label(said, options, told=told) or _by_text(plain, options)


def _by_label(said: str, options: tuple[Option, ...], *, told: bool) -> Option | None:
    by_label = {option.label.upper(): option for option in options if option.label}
    if not by_label:
        return None
    label = "(" + "|".join(re.escape(label) for label in by_label) + ")"
    opening = re.match(rf"[(\[]?{label}(?:[\])]|[.:,](?!\d)|\s*$|\s*\n)", said, re.IGNORECASE)
    if opening:
        return by_label[opening[1].upper()]
    named = re.findall(
        rf"(?:[(\[]{label}[\])]|\b(?:option|choice|answer(?: is)?)\s*[(\[]?{label}\b)",
        said,
        re.IGNORECASE,
    )
    lines = re.findall(rf"^\W*{label}\W*$", said, re.MULTILINE)
    labels = [one or other for one, other in named] or lines
    if labels:
        return by_label[labels[-1 if told else 0].upper()]
    closing = re.search(rf"\b(?:is|choose|pick|select|be)\s+{label}$", said)
    alone = closing or re.match(rf"{label}\s+{_VERB}(?!\w)", said)
    return by_label[alone[1].upper()] if alone else None


def _by_text(plain: str, options: tuple[Option, ...]) -> Option | None:
    """Return the one option whose text occurs; "star" in "red star" is no second one."""
    told = {
        text: option
        for option in options
        if (text := _plain(option.text)) and re.search(rf"\b{re.escape(text)}\b", plain)
    }
    longest = [text for text in told if not any(text in other for other in told if other != text)]
    return told[longest[0]] if len(longest) == 1 else None


def _plain(text: str) -> str:
    words = re.findall(r"\w+", digits_for_words(text.lower()))
    return " ".join(word for word in words if word not in ("the", "a", "an"))
