"""Whether doubt is worth having: how often answers with and without contradictions are wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from edge_et.config import GenerationConfig
from edge_et_tuning.evaluation import exam, same_answer, wilson
from edge_et_tuning.render import encode, render

if TYPE_CHECKING:
    from edge_et.chain import Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One question asked with a second look."""

    scene_seed: int
    kind: str
    question: str
    truth: str
    answer: str
    right: bool
    contradictions: tuple[str, ...]
    """Their kinds (`edge_et.types.ContradictionKind`)."""
    answer_s: float
    """Without the check."""
    check_s: float


def ask_twice(chain: Chain, scenes: int, seed: int, *, skip: int = 0) -> Iterator[Checked]:
    """Put the exam to `chain`, from question number `skip` on."""
    for scene, question in islice(exam(scenes, seed), skip, None):
        answer = chain.ask(
            encode(scene, render(scene)), question.text, GenerationConfig(check=True)
        )
        yield Checked(
            scene_seed=scene.seed,
            kind=question.kind,
            question=question.text,
            truth=question.answer,
            answer=answer.text,
            right=same_answer(answer.text, question.answer),
            contradictions=tuple(one.kind for one in answer.contradictions),
            answer_s=answer.timings.total_s - answer.timings.check_s,
            check_s=answer.timings.check_s,
        )


def read_results(file: Path | None) -> list[Checked]:
    """Return what an earlier run wrote; nothing where there is no file."""
    if file is None or not file.is_file():
        return []
    with file.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [Checked(**r | {"contradictions": tuple(r["contradictions"])}) for r in records]


def summary(results: Sequence[Checked]) -> str:
    """Return the error rates in a table and the cost in time, as text."""
    groups = {
        "all": list(results),
        "contradicted": [r for r in results if r.contradictions],
        "  in the answer": [r for r in results if "answer" in r.contradictions],
        "  in the extraction alone": [
            r for r in results if r.contradictions and "answer" not in r.contradictions
        ],
        "not contradicted": [r for r in results if not r.contradictions],
    }
    lines = [f"{'':<28}{'asked':>6}{'wrong':>7}{'share':>8}  95 % Wilson"]
    for name, group in groups.items():
        wrong = sum(not r.right for r in group)
        low, high = wilson(wrong, len(group))
        share = wrong / len(group) if group else 0.0
        lines.append(f"{name:<28}{len(group):>6}{wrong:>7}{share:>8.1%}  [{low:.1%}, {high:.1%}]")
    asked = max(1, len(results))
    answer_s = sum(r.answer_s for r in results) / asked
    check_s = sum(r.check_s for r in results) / asked
    lines.append(f"mean time: {answer_s:.3f} s an answer, {check_s:.3f} s more for the check")
    return "\n".join(lines) + "\n"
