"""Markup around an answer: LaTeX, Markdown, quotes, tags."""

from __future__ import annotations

import re

_NAMES = r"boxed|fbox|text|textrm|textit|textbf|mathrm|mathbf|mathit|mathsf|emph"
_COMMAND = re.compile(rf"\\(?:{_NAMES})\s*\{{([^{{}}]*)\}}")
_OPEN_COMMAND = re.compile(rf"\\(?:{_NAMES})\s*\{{")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|\\,)(?=\d)")
_SPACING = re.compile(r"\\[,;:! ]|\\quad\b")
_MATHS = re.compile(r"\\[()\[\]]|\$")
_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)(.+?)\1")
_TAG = re.compile(r"</?[a-z]+>", re.IGNORECASE)
_DECORATION = " \t\r\n*_`\"'“”‘’«»#>{}|"


def bare(text: str) -> str:
    """Strip LaTeX, emphasis, quotes and tags around `text`, and one full stop."""
    text = _EMPHASIS.sub(r"\2", _TAG.sub("", without_latex(text))).strip(_DECORATION)
    if text.endswith("。"):
        text = text[:-1]
    if text.endswith(".") and "." not in text[:-1] and "\n" not in text:
        text = text[:-1]
    return text.rstrip(_DECORATION)


def without_latex(text: str) -> str:
    r"""Replace commands such as \text{…} by what they hold, also where the text breaks off."""
    text = _THOUSANDS.sub(",", text)
    while (plain := _COMMAND.sub(r"\1", text)) != text:
        text = plain
    text = _OPEN_COMMAND.sub("", text).replace("\\%", "%")
    return _MATHS.sub("", _SPACING.sub(" ", text))


def last_box(text: str) -> str | None:
    r"""Return what stands in the last \boxed{…} that says something; braces may nest."""
    for match in reversed(list(_BOX.finditer(text))):
        inside = _to_closing_brace(text[match.end() :])
        if re.search(r"\w", inside):
            return inside
    return None


def _to_closing_brace(text: str) -> str:
    depth = 1
    for place, sign in enumerate(text):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if depth == 0:
            return text[:place]
    return text
