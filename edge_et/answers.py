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
