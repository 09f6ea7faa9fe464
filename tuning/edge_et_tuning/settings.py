"""What each setting of a call buys and costs: the same questions, asked with each in turn."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from edge_et.config import GenerationConfig
from edge_et_tuning.evaluation import Exam, questions, same_answer, wilson

if TYPE_CHECKING:
    from edge_et.chain import Chain

DEFAULT = "default"
SETTINGS: Mapping[str, GenerationConfig] = {
    DEFAULT: GenerationConfig(),
    "thinking of 32 tokens": GenerationConfig(think_budget_tokens=32),
    "effort none": GenerationConfig(effort="none"),
    "effort low": GenerationConfig(effort="low"),
    "effort high": GenerationConfig(effort="high"),
    "focus reasoner": GenerationConfig(focus="reasoner"),
    "focus none": GenerationConfig(focus="none"),
    "focus none, looks 0": GenerationConfig(focus="none", looks=0),
    "focus none, looks 2": GenerationConfig(focus="none", looks=2),
    "looks 0": GenerationConfig(looks=0),
    "looks 2": GenerationConfig(looks=2),
    "check": GenerationConfig(check=True),
}
"""The default is effort medium, the focus made of the question by rule, one more look, no check;
each of the others differs from it in what its name says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question under one setting."""

    seed: int
    kind: str
    setting: str
    right: bool
    finish: str
    looks: int
    s: float
    """Seconds of the whole call."""


def ask_each(
    chain: Chain, which: Exam, scenes: int, seed: int, names: Sequence[str], *, skip: int = 0
) -> Iterator[list[Asked]]:
    """Put each question to `chain` with each of the settings, in an order that changes.

    The chain must keep nothing between calls, else the first setting pays for the next. Yields the
    settings of a question together, from question number `skip` on.
    """
    for scene, file, question in islice(questions(which, scenes, seed), skip, None):
        asked = []
        for name in random.Random(scene.seed).sample(list(names), len(names)):
            started_s = time.perf_counter()
            answer = chain.ask(file, question.text, SETTINGS[name])
            seconds = time.perf_counter() - started_s
            asked.append(
                Asked(
                    seed=scene.seed,
                    kind=question.kind,
                    setting=name,
                    right=same_answer(answer.text, question.answer),
                    finish=answer.finish_reason,
                    looks=len(answer.looks),
                    s=round(seconds, 4),
                )
            )
        yield asked


def write(file: Path, asked: Sequence[Asked]) -> None:
    with file.open("a", encoding="utf-8") as lines:
        lines.write("".join(json.dumps(asdict(one)) + "\n" for one in asked))


def read(*files: Path) -> list[Asked]:
    """Return what earlier runs wrote; nothing of a file that is not there."""
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    return [Asked(**json.loads(line)) for text in texts for line in text.splitlines()]


def settings_table(asked: Sequence[Asked]) -> Iterator[str]:
    """Yield the lines of a Markdown table, a setting each.

    Gained and lost: questions that are right here and wrong by default, and the other way round,
    where they were asked by default as well.
    """
    yield (
        "| setting | right | 95 % Wilson | gained | lost | wrong, and said so | looks | "
        "median s | 95th percentile s | time, of the default's |"
    )
    yield "|" + "---|" * 10
    by_name = {name: [a for a in asked if a.setting == name] for name in SETTINGS}
    usual = {a.seed: a for a in by_name[DEFAULT]}
    for name, rows in by_name.items():
        if not rows:
            continue
        right = sum(a.right for a in rows)
        low, high = wilson(right, len(rows))
        pairs = [(a, usual[a.seed]) for a in rows if a.seed in usual]
        gained = sum(a.right and not by_default.right for a, by_default in pairs)
        lost = sum(by_default.right and not a.right for a, by_default in pairs)
        said_so = sum(a.finish == "insufficient" and not a.right for a in rows)
        seconds = sorted(a.s for a in rows)
        p95_s = statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
        ratios = [a.s / by_default.s for a, by_default in pairs]
        ratio = f"{statistics.median(ratios):.2f}" if ratios else ""
        yield (
            f"| {name} | {right} of {len(rows)} | {right / len(rows):.1%} "
            f"[{low:.1%}, {high:.1%}] | {gained} | {lost} | {said_so} | "
            f"{sum(a.looks for a in rows)} | {statistics.median(seconds):.3f} | {p95_s:.3f} | "
            f"{ratio} |"
        )
