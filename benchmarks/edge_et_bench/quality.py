"""Accuracy on (image, question, answer) files, so that a fast wrong configuration shows.

A line of the file: {"image": PATH, "question": TEXT, "answer": TEXT or [TEXT, …]}; image paths are
relative to the file. An answer is right when it reads the same as one that is accepted, but for
case, punctuation and articles, both read in the form that the question asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_et.answers import parse_answer
from edge_et.errors import InputError
from edge_et.manifest import file_sha256
from edge_et_bench.adapters import Adapter, Request
from edge_et_bench.metrics import wilson
from edge_et_bench.records import Judged, Quality

BUILT_IN = Path(__file__).with_name("data") / "scenes.jsonl"
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NOT_WORDS = re.compile(r"[^\w.\-]+|\.(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    image: Path
    question: str
    accepted: tuple[str, ...]


def read_items(data: Path) -> tuple[Item, ...]:
    """Read a file. Raises InputError, naming the line."""
    try:
        text = data.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{data} cannot be read: {exc}") from exc
    items = tuple(
        _item(line, data, number)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    )
    if not items:
        raise InputError(f"{data} holds no questions")
    return items


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


def _judge(adapter: Adapter, item: Item, seed: int) -> Judged:
    try:
        image = item.image.read_bytes()
    except OSError as exc:
        raise InputError(f"{item.image} cannot be read: {exc}") from exc
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
        yield " ".join(_ARTICLES.sub(" ", _NOT_WORDS.sub(" ", reading.lower())).split())


def _item(line: str, data: Path, number: int) -> Item:
    where = f"{data}:{number}"
    try:
        raw: Any = json.loads(line)
    except json.JSONDecodeError as exc:
        raise InputError(f"{where} is not JSON: {exc}") from exc
    answers = raw.get("answer") if isinstance(raw, dict) else None
    accepted: list[Any] = answers if isinstance(answers, list) else [answers]
    texts = bool(accepted) and all(isinstance(answer, str) for answer in accepted)
    if not texts or not all(isinstance(raw.get(key), str) for key in ("image", "question")):
        raise InputError(f'{where} has not the texts "image", "question" and "answer"')
    return Item(
        image=data.parent / raw["image"], question=raw["question"], accepted=tuple(accepted)
    )
