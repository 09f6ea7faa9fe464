"""Answer forms: what shape of answer a question asks for, and how to read it from the text."""

from __future__ import annotations

import enum
import re

_YES_NO = re.compile(
    r"^(?:is|are|was|were|do|does|did|has|have|can|could|will|would)\b", re.IGNORECASE
)
_NUMBER = re.compile(r"^(?:how many|count\b|what(?: is|'s) the (?:number|count) of)", re.IGNORECASE)
_CHOICE = re.compile(r"(?:^|\s)\(?A[.):]\)?\s.*\s\(?B[.):]\)?\s", re.IGNORECASE | re.DOTALL)
_PREFIX = re.compile(r"^\s*(?:question|hint)\s*:\s*", re.IGNORECASE)
_MARKER = re.compile(r"\banswer\b[\s*_\"']*(?:is[\s*_]*)?[:：][\s*_]*", re.IGNORECASE)
_SIGN = re.compile(r"\w")
_BOXED = re.compile(r"\\(?:boxed|text|mathrm|textbf)\s*\{([^{}]*)\}")
_DECORATION = " \t\r\n*_`\"'“”‘’$#>"
_OPTION = re.compile(r"(?:^|\s)\(?([A-Z])[.):]\)?\s+(.*?)(?=\s\(?[A-Z][.):]\)?\s|\s*$)", re.DOTALL)
_LEADING_YES_NO = re.compile(r"(yes|no)\b", re.IGNORECASE)
_CLOSING_YES_NO = re.compile(r"\b(yes|no)[.!]*$", re.IGNORECASE)
_DIGITS = re.compile(r"[-−]?\d+(?:[.,]\d+)*")
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty",
)  # fmt: skip
_NUMBER_WORDS = {word: str(value) for value, word in enumerate(_NUMBERS)} | {"none": "0"}


class AnswerForm(enum.Enum):
    """The shape of an answer; the value completes the format instruction of the prompt."""

    CHOICE = "letter answer"
    YES_NO = "yes or no answer"
    NUMBER = "number"
    SHORT = "short answer"


def answer_form(question: str) -> AnswerForm:
    """Return the form that the wording of `question` asks for.

    "Is it a star or a heart?" opens like a yes/no question and is none.
    """
    text = _PREFIX.sub("", question.strip())
    if _CHOICE.search(text):
        return AnswerForm.CHOICE
    if _NUMBER.match(text):
        return AnswerForm.NUMBER
    if _YES_NO.match(text) and " or " not in text.lower():
        return AnswerForm.YES_NO
    return AnswerForm.SHORT


def parse_answer(text: str, question: str) -> str:
    """Return the short answer that `text` gives to `question`, in the form the question asks for.

    What follows the last "Answer:" counts: a letter for a choice, yes or no, digits for a number.
    Text that does not hold the form is returned as it stands, without marker and decoration.

    >>> parse_answer("It is on the left.\\n**Answer:** (b) the star", "Which? (A) ring (B) star ")
    'B'
    """
    said = _bare(_after_marker(text))
    form = answer_form(question)
    if form is AnswerForm.CHOICE:
        parsed = _letter(said, _options(question))
    elif form is AnswerForm.YES_NO:
        parsed = _yes_no(said)
    elif form is AnswerForm.NUMBER:
        parsed = _number(said)
    else:
        parsed = None
    return parsed or said or text.strip()


def _after_marker(text: str) -> str:
    """Return the paragraph after the last marker that anything follows; else the whole text."""
    end = len(text)
    for match in reversed(list(_MARKER.finditer(text))):
        rest = text[match.end() : end].strip()
        if _SIGN.search(rest):
            return rest.split("\n\n", 1)[0]
        end = match.start()
    return text


def _bare(text: str) -> str:
    """Strip LaTeX boxes, emphasis, quotes, a marker nothing follows, and one full stop."""
    boxes = _BOXED.findall(text)
    text = boxes[-1] if boxes else text
    text = text.strip(_DECORATION)
    text = re.sub(r"^answer\s*[:：]\s*", "", text, flags=re.IGNORECASE).strip(_DECORATION)
    if text.endswith(".") and "." not in text[:-1] and "\n" not in text:
        text = text[:-1].rstrip(_DECORATION)
    return text


def _options(question: str) -> dict[str, str]:
    """Return the options of a choice, letter -> text."""
    return {letter: _plain(text) for letter, text in _OPTION.findall(question)}


def _letter(said: str, options: dict[str, str]) -> str | None:
    plain = _plain(said)
    for letter, text in options.items():
        if plain == text:  # "a star" opens like the letter A: the wording of an option goes first
            return letter
    letters = "".join(options) or "ABCD"
    opening = re.match(rf"\(?([{letters}])(?:[.):,]|\s*$)", said, re.IGNORECASE)
    named = re.search(
        rf"(?:\(([{letters}])\)|\b(?:option|choice|answer(?: is)?)\s*\(?([{letters}])\b)",
        said,
        re.IGNORECASE,
    )
    for match in (opening, named):
        if match:
            return next(group for group in match.groups() if group).upper()
    told = [
        k for k, text in options.items() if text and re.search(rf"\b{re.escape(text)}\b", plain)
    ]
    if len(told) == 1:
        return told[0]
    alone = re.match(rf"([{letters}])\b", said)
    return alone[1] if alone else None


def _yes_no(said: str) -> str | None:
    match = _LEADING_YES_NO.match(said) or _CLOSING_YES_NO.search(said)
    return match[1].lower() if match else None


def _number(said: str) -> str | None:
    total = said.rsplit("=", 1)[-1]
    match = _DIGITS.search(total)
    if match:
        return match[0].replace("−", "-")
    words = re.findall(r"[a-z]+", total.lower())
    return next((_NUMBER_WORDS[word] for word in words if word in _NUMBER_WORDS), None)


def _plain(text: str) -> str:
    words = re.findall(r"\w+", text.lower())
    return " ".join(word for word in words if word not in ("the", "a", "an"))
