"""The line at which a model without thinking marks begins its answer, found as the text comes.

"Answer:" opens it, or the "Missing:" that stands for one (`edge_et.missing`).
"""

from __future__ import annotations

import re

_BEFORE = " \t>*_#`\"'"
_OPENERS = ("answer", "final answer", "the answer", "the final answer", "my answer", "missing")
_BEHIND = re.compile(r"(?:[ \t*_\"']+(?:is[ \t*_]*)?)?", re.IGNORECASE)
_BEHIND_SO_FAR = re.compile(r"(?:[ \t*_\"']+(?:i|is[ \t*_]*)?)?", re.IGNORECASE)
_COLONS = ":："


class MarkerWatch:
    """Parts a text at the first line that opens with "Answer:", decorated or not.

    Text that may still become the marker is held back: at most one line's beginning.
    """

    def __init__(self) -> None:
        self._line = ""
        """What is held back: the whole of the current line so far; empty in a line that is known
        to be none."""
        self._open = True
        """Whether the current line may still be the marker's."""

    @property
    def at_line_start(self) -> bool:
        return self._open and not self._line.strip(_BEFORE)

    def push(self, text: str) -> tuple[str, str | None]:
        """Return what of the text may be shown as thinking, and the answer's first text, marker
        included, once the marker is there; no further call is made then."""
        shown = ""
        for place, sign in enumerate(text):
            if sign == "\n":
                shown += self._line + sign
                self._line, self._open = "", True
            elif not self._open:
                shown += sign
            elif sign in _COLONS and _may_be_marker(self._line, whole=True):
                return shown, self._line + text[place:]
            else:
                self._line += sign
                if not _may_be_marker(self._line, whole=False):
                    shown += self._line
                    self._line, self._open = "", False
        return shown, None

    def end(self) -> str:
        """Return what was held back and has not become the marker."""
        held, self._line = self._line, ""
        self._open = False
        return held


def _may_be_marker(line: str, *, whole: bool) -> bool:
    """Return whether `line` is what stands before the marker's colon, or the beginning of that."""
    text = line.lstrip(_BEFORE).lower()
    behind = _BEHIND if whole else _BEHIND_SO_FAR
    return any(
        (not whole and opener.startswith(text))
        or (text.startswith(opener) and behind.fullmatch(text, len(opener)) is not None)
        for opener in _OPENERS
    )
