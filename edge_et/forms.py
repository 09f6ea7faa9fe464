"""Forms of answers: which shape of answer a question asks for, and the options it gives."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_et.types import AnswerForm

_YES_NO = re.compile(
    r"^(?:(?:is|are|was|were|do|does|did|has|have|can|could|will|would)(?:n't)?|should|must|may)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"^(?:how many|how much|how old|count\b|what(?: is|'s) the (?:\w+ )?(?:number|count) of"
    r"|what (?:percentage|percent)\b)",
    re.IGNORECASE,
)
_FREE = re.compile(
    r"^(?:please\s+|(?:can|could|would|will)\s+you\s+(?:please\s+)?)?"
    r"(?:describe|explain|summari[sz]e|tell (?:me|us) (?:about|more)|write|why\b)",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"^\s*(?:question|hint)\s*:\s*", re.IGNORECASE)
_LABEL = re.compile(
    r"(?:^|(?<=\s))(?P<open>\(?)(?P<label>[A-Za-z]|\d{1,2})(?P<close>[.):]\)?)(?=\s)", re.MULTILINE
)
_LIST = re.compile(
    r"\b(?:options|choices|(?:choose|pick|select)(?: one)?(?: of| from)?)\s*[:：](?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+", re.MULTILINE)
_SEPARATOR = re.compile(r"\s*(?:[;,|]\s*(?:or\s+)?|\s+or\s+)\s*")
_STRIPPED = " \t\n,;"
WORDING: dict[AnswerForm, str] = {
    "free": "",
    "short": "short answer",
    "yes_no": "yes or no answer",
    "number": "number",
    "choice": "letter answer",
    "json": "JSON",
}
"""How the format instruction of the prompt names an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a multiple choice."""

    label: str
    """As the prompt shows it, e.g. "A"; empty when the option is known by its text alone."""
    text: str
    answer: str
    """What the answer's text becomes: the label where the question gave one, else the text."""

    @property
    def spelling(self) -> str:
        """What the reasoner is asked to write."""
        return self.label or self.text


def answer_form(question: str) -> AnswerForm:
    """Return the form that the wording of `question` asks for.

    "Is it a star or a heart?" opens like a yes/no question and is none.
    """
    text = _PREFIX.sub("", question.strip())
    if find_options(question):
        return "choice"
    if _NUMBER.match(text):
        return "number"
    if _FREE.match(text):
        return "free"
    if _YES_NO.match(text) and " or " not in text.lower():
        return "yes_no"
    return "short"


def find_options(question: str) -> tuple[Option, ...]:
    """Return the options that stand in `question`, none when it gives fewer than two.

    They are labelled, "(A) ring (B) star", "A: ring, B: star" or a line each, or they follow
    "Options:".
    """
    return _labelled(question) or _listed(question)


def given_options(choices: tuple[str, ...]) -> tuple[Option, ...]:
    """Return options for texts that the caller gave: lettered in the prompt, answered by text."""
    return tuple(
        Option(label=label_of(place), text=text.strip(), answer=text.strip())
        for place, text in enumerate(choices)
    )


def label_of(place: int) -> str:
    """Return A … Z, then numbers from 27 on."""
    return chr(ord("A") + place) if place < 26 else str(place + 1)


def with_options(question: str, options: tuple[Option, ...]) -> str:
    """Return the question with its options behind it, as its own options would stand there."""
    return " ".join([question.strip(), *(f"({o.label}) {o.text}" for o in options)])


def _labelled(question: str) -> tuple[Option, ...]:
    chain = _chain(list(_LABEL.finditer(question)))
    ends = [*(match.start() for match in chain[1:]), len(question)][: len(chain)]
    options = []
    for match, end in zip(chain, ends, strict=True):
        text = question[match.end() : end].strip()
        label = match["label"].upper()
        # an instruction may follow the last option in a line of its own
        options.append(Option(label=label, text=_clean(text.split("\n")[0]), answer=label))
    return tuple(options) if all(option.text for option in options) else ()


def _chain(labels: list[re.Match[str]]) -> list[re.Match[str]]:
    """Return the last run of labels A, B, C … (or a … or 1 …) in one style, two or more."""
    for place in range(len(labels) - 1, -1, -1):
        first = labels[place]
        if first["label"] not in ("A", "a", "1"):
            continue
        chain = [first]
        for label in labels[place + 1 :]:
            style = (label["open"], label["close"]) == (first["open"], first["close"])
            if style and label["label"] == _next(chain[-1]["label"]):
                chain.append(label)
        if len(chain) > 1:
            return chain
    return []


def _next(label: str) -> str:
    return str(int(label) + 1) if label.isdigit() else chr(ord(label) + 1)


def _listed(question: str) -> tuple[Option, ...]:
    match = _LIST.search(question)
    if not match:
        return ()
    rest = match["rest"]
    bullets = _BULLET.split(rest)[1:]
    texts = bullets or _SEPARATOR.split(rest.strip().split("\n")[0].rstrip(".?! "))
    clean = [_clean(text.strip().split("\n")[0]) for text in texts if text.strip()]
    if len(clean) < 2:
        return ()
    return tuple(Option(label="", text=text, answer=text) for text in clean)


def _clean(text: str) -> str:
    return text.strip(_STRIPPED)
