"""Accuracy on (image, question, answer) files, so that a fast wrong configuration shows.

A line of the file: {"image": PATH, "question": TEXT, "answer": TEXT, NUMBER or a list of them}, and
"choices": [TEXT, …] where there are some; image paths are relative to the file. The answer to a
choice is its letter or its text. An answer is right when it reads the same as one that is accepted,
but for case, punctuation and articles, both read in the form that the question asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from edge_et.answers import parse_answer
from edge_et.errors import ImageError, InputError
from edge_et.image import load_image
from edge_et.manifest import file_sha256
from edge_et_bench.adapters import Adapter, Request
from edge_et_bench.metrics import wilson
from edge_et_bench.records import Judged, Quality

BUILT_IN = Path(__file__).with_name("data") / "scenes.jsonl"
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
# a point or a minus is part of a number; elsewhere both are punctuation
_NOT_WORDS = re.compile(r"[^\w.\-]+|\.(?!\d)|(?<=\w)-|-(?!\d)")
_SHOWN_FAULTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    where: str
    """FILE:LINE"""
    image: Path
    question: str
    accepted: tuple[str, ...]


def read_items(data: Path) -> tuple[Item, ...]:
    """Read a file. Raises InputError, naming every line that is no question about an image."""
    try:
        text = data.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{data} cannot be read: {exc}") from exc
    items: list[Item] = []
    faults: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):  # JSON texts may hold other line ends
        if not line.strip():
            continue
        try:
            items.append(_item(line, data, number))
        except InputError as exc:
            faults.append(exc.message)
    _raise_any(faults)
    if not items:
        raise InputError(f"{data} holds no questions")
    return tuple(items)


def check_images(items: Iterable[Item]) -> None:
    """Decode every image, so that a damaged one does not end a run of hours near its end.

    Raises InputError, naming every line whose image cannot be read.
    """
    faults: list[str] = []
    for item in items:
        try:
            load_image(item.image)
        except ImageError as exc:
            faults.append(f"{item.where}: {exc.message}")
    _raise_any(faults)


def judge(
    adapter: Adapter, data: Path, *, seed: int = 0, told: Callable[[int, int], None] | None = None
) -> Quality:
    """Ask every question of `data` in natural mode. `told(done, of)` is called after each."""
    items, judged = read_items(data), []
    for item in items:
        judged.append(_judge(adapter, item, seed))
        if told is not None:
            told(len(judged), len(items))
    correct = sum(one.right for one in judged)
    low, high = wilson(correct, len(judged))
    return Quality(
        data=data.name,
        sha256=file_sha256(data),
        correct=correct,
        n=len(judged),
        low=low,
        high=high,
        items=tuple(judged),
    )


def is_right(answer: str, accepted: tuple[str, ...], question: str) -> bool:
    given = set(_readings(answer, question))
    return any(given & set(_readings(one, question)) for one in accepted)


def _raise_any(faults: list[str]) -> None:
    if faults:
        more = len(faults) - _SHOWN_FAULTS
        rest = [f"and {more} more"] if more > 0 else []
        raise InputError("\n".join([*faults[:_SHOWN_FAULTS], *rest]))


def _judge(adapter: Adapter, item: Item, seed: int) -> Judged:
    try:
        image = item.image.read_bytes()
    except OSError as exc:
        raise InputError(f"{item.where}: {item.image} cannot be read: {exc}") from exc
    outcome = adapter.ask(
        Request(image=image, question=item.question, forced=None, max_tiles=None, seed=seed)
    )
    return Judged(
        image=item.image.name,
        question=item.question,
        expected=item.accepted,
        answer=outcome.answer,
        right=is_right(outcome.answer, item.accepted, item.question),
        seconds=outcome.total_s,
    )


def _readings(text: str, question: str) -> Iterator[str]:
    """Yield the text as it stands and in the question's form, both made plain."""
    for reading in (text, parse_answer(text, question)):
        yield _plain(reading)


def _plain(text: str) -> str:
    words = " ".join(_NOT_WORDS.sub(" ", _THOUSANDS.sub("", text.lower())).split())
    # "A" may be all there is: the letter of a choice
    return " ".join(_ARTICLES.sub(" ", words).split()) or words


def _item(line: str, data: Path, number: int) -> Item:
    where = f"{data}:{number}"
    try:
        raw: Any = json.loads(line)
    except json.JSONDecodeError as exc:
        raise InputError(f"{where} is not JSON: {exc}") from exc
    if not isinstance(raw, dict) or not all(_said(raw.get(key)) for key in ("image", "question")):
        raise InputError(f'{where} has not the texts "image" and "question"')
    return Item(
        where=where,
        image=data.parent / raw["image"],
        question=_with_choices(raw["question"], raw.get("choices"), where),
        accepted=_accepted(raw.get("answer"), where),
    )


def _with_choices(question: str, choices: Any, where: str) -> str:
    """Return the question with its choices as lettered lines."""
    if choices is None:
        return question
    if not isinstance(choices, list) or not 2 <= len(choices) <= 26:
        raise InputError(f'{where}: "choices" is not a list of 2 to 26 texts')
    letters = zip(ascii_uppercase, _texts(choices, where, "choices"), strict=False)
    return "\n".join([question, *(f"({letter}) {text}" for letter, text in letters)])


def _accepted(answer: Any, where: str) -> tuple[str, ...]:
    answers = answer if isinstance(answer, list) else [answer]
    if not answers:
        raise InputError(f'{where}: "answer" is an empty list')
    return _texts(answers, where, "answer")


def _texts(values: list[Any], where: str, key: str) -> tuple[str, ...]:
    """Return texts and numbers as texts."""
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in values]
    if not all(number or _said(value) for number, value in zip(numbers, values, strict=True)):
        raise InputError(f'{where}: "{key}" holds something other than texts and numbers')
    return tuple(str(value) for value in values)


def _said(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
