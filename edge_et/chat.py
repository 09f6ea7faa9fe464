"""The reasoner's prompt: the chat template of its artifact around one user turn.

The turn is data (a description read off an image, a question): words in it that spell a special
token must stay words. So the template is rendered around a placeholder, and what is the template's
is told apart from what is the user's when they become tokens.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edge_et.errors import LoadFailed

OPEN, CLOSE = "<think>", "</think>"
CLOSING = f"\n{CLOSE}\n\n"
LAST_LINE = "\nTime to answer."
"""Ends a thinking that is cut short: an answer behind a sentence broken off goes on with it."""
_EMPTY_BLOCK = f"{OPEN}\n{CLOSING}"
_PLACEHOLDER = "EDGE-ET-USER-TURN"

TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the template puts before and after the user's text."""

    before: str
    after: str


class ChatTemplate:
    """A Hugging Face chat template, compiled once, in a sandbox."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        """Raises LoadFailed on a template that does not compile."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.globals.update(raise_exception=_raise, strftime_now=_strftime_now)
        environment.filters["tojson"] = _tojson
        self._names = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(source)
        except TemplateError as exc:
            raise LoadFailed(f"the chat template does not compile: {exc}") from exc

    def frame(self, *, think: bool | None) -> Frame:
        """Return the template around one user turn that the assistant is to answer.

        True leaves a thinking block open, so that the first token is a thought and the budget
        counts from there; False leaves an empty block behind. Both hold whatever the template
        itself makes of `enable_thinking`. None is for models without thinking marks.
        """
        text = self._render(think)
        if text.count(_PLACEHOLDER) != 1:
            raise LoadFailed("the chat template does not show the user's turn exactly once")
        before, _, after = text.partition(_PLACEHOLDER)
        return Frame(before=before, after=after + _thinking_tail(after, think))

    def _render(self, think: bool | None) -> str:
        try:
            return self._template.render(
                messages=[{"role": "user", "content": _PLACEHOLDER}],
                add_generation_prompt=True,
                enable_thinking=bool(think),
                tools=None,
                **self._names,
            )
        except TemplateError as exc:
            raise LoadFailed(f"the chat template cannot be rendered: {exc}") from exc


def _thinking_tail(after: str, think: bool | None) -> str:
    """Return what must follow `after` for the thinking block to be open (True) or done (False)."""
    if think is None:
        return ""
    is_open = after.rfind(OPEN) > after.rfind(CLOSE)
    if think:
        return "" if is_open else f"{OPEN}\n"
    if is_open:
        return CLOSING
    return "" if CLOSE in after else _EMPTY_BLOCK


def encode(
    frame: Frame,
    text: str,
    *,
    tokenize: Callable[[str, bool], TokenIds],
    marker: Callable[[int], str | None],
) -> TokenIds:
    """Return the tokens of `text` in its frame; no special token comes from `text`.

    `tokenize(text, parse_special)`; `marker(id)` spells a special token and is None for others.
    Text without such spellings gets the ids of the whole rendered prompt.
    """
    if all(marker(token) is None for token in tokenize(text, True)):
        return tokenize(f"{frame.before}{text}{frame.after}", True)
    plain = _encode_plain(text, tokenize, marker)
    return tokenize(frame.before, True) + plain + tokenize(frame.after, True)


def _encode_plain(
    text: str, tokenize: Callable[[str, bool], TokenIds], marker: Callable[[int], str | None]
) -> TokenIds:
    """Tokenize without special tokens.

    llama.cpp parses user-defined tokens (Qwen3's thinking marks are such) even when told not to
    parse special ones: their spellings are cut after the first character.
    """
    tokens: list[int] = []
    pending = [text]
    while pending:
        part = pending.pop()
        ids = tokenize(part, False)
        spelled = {name for token in ids if (name := marker(token))}
        pieces = _cut(part, spelled)
        if len(pieces) == 1:
            tokens.extend(ids)
        else:
            pending.extend(reversed(pieces))
    return tuple(tokens)


def _cut(text: str, names: set[str]) -> list[str]:
    if not names:
        return [text]
    after_first = (f"(?<={re.escape(name[0])})(?={re.escape(name[1:])})" for name in sorted(names))
    return re.split("|".join(after_first), text)


def _raise(message: str) -> Literal[""]:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
