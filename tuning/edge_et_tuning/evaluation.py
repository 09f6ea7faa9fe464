"""How many questions a pair gets right, and which of its two halves failed when it does not."""

from __future__ import annotations

import io
import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from PIL import Image

from edge_et.notes import notes_of
from edge_et_tuning.extraction_data import direct_prompt
from edge_et_tuning.hidden import distant, hidden_exam
from edge_et_tuning.queries import KINDS, solve
from edge_et_tuning.questions import Question, sample_question
from edge_et_tuning.render import encode, render
from edge_et_tuning.scenes import Scene, sample_scene
from edge_et_tuning.views import read_view

if TYPE_CHECKING:
    from edge_et.chain import Chain
    from edge_et.config import GenerationConfig
    from edge_et.types import Answer

Exam = Literal["scenes", "unfocused", "distant"]
TRAINED_SEEDS = (range(1_000_000, 40_000_000), range(50_000_000, 51_000_000))
_Z = 1.959964  # 95 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One question through the pair, and asked of the extractor alone."""

    scene_seed: int
    kind: str
    question: str
    truth: str
    answer: str
    extraction: str
    right: bool
    extraction_held_it: bool
    direct_answer: str
    """Empty where the extractor alone was not asked."""
    direct_right: bool
    looks: int = 0
    """Further looks that were taken."""
    finish_reason: str = "stop"
    seconds: float = 0.0
    """Of the pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Counts of one kind of question, or of all."""

    asked: int
    right: int
    direct_right: int
    extraction_lacked: int
    """Wrong, and the extraction did not hold the answer."""
    reasoner_missed: int
    """Wrong although the extraction held the answer."""
    insufficient: int = 0
    """Wrong, and said so: nothing was guessed."""
    looks: int = 0
    median_s: float = 0.0

    @property
    def accuracy(self) -> float:
        return self.right / self.asked if self.asked else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    results: tuple[Result, ...]
    by_kind: dict[str, Score] = field(default_factory=dict)

    @property
    def overall(self) -> Score:
        return score(self.results)


def wilson(right: int, asked: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion."""
    if asked == 0:
        return 0.0, 1.0
    share, spread = right / asked, _Z * _Z / asked
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / asked + spread / (4 * asked)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def score(results: tuple[Result, ...]) -> Score:
    wrong = [r for r in results if not r.right]
    missed = sum(r.extraction_held_it for r in wrong)
    return Score(
        asked=len(results),
        right=len(results) - len(wrong),
        direct_right=sum(r.direct_right for r in results),
        extraction_lacked=len(wrong) - missed,
        reasoner_missed=missed,
        insufficient=sum(r.finish_reason == "insufficient" for r in wrong),
        looks=sum(r.looks for r in results),
        median_s=statistics.median(r.seconds for r in results) if results else 0.0,
    )


def exam(scenes: int, seed: int) -> Iterator[tuple[Scene, Question]]:
    """Yield one question on each of `scenes` scenes from `seed`, the kinds in balance.

    Raises ValueError when the seeds were trained on.
    """
    wanted = range(seed, seed + scenes)
    if any(wanted.start < t.stop and t.start < wanted.stop for t in TRAINED_SEEDS):
        raise ValueError(f"seeds {wanted.start} to {wanted.stop} were trained on")
    asked: Counter[str] = Counter()
    for scene_seed in wanted:
        scene, rng = sample_scene(scene_seed), random.Random(f"exam-{scene_seed}")
        for kind in sorted(KINDS, key=lambda k: (asked[k], k)):
            question = sample_question(scene, rng, kind=kind)
            if question is not None:
                asked[kind] += 1
                yield scene, question
                break


def questions(which: Exam, scenes: int, seed: int) -> Iterator[tuple[Scene, bytes, Question]]:
    """Yield the scenes of an exam, each with its picture as a file and its question."""
    asked = exam(scenes, seed) if which == "scenes" else hidden_exam(which, scenes, seed)
    for scene, question in asked:
        picture = distant(scene) if which == "distant" else render(scene)
        yield scene, encode(scene, picture), question


def evaluate(
    chain: Chain,
    scenes: int,
    seed: int,
    *,
    which: Exam = "scenes",
    generation: GenerationConfig | None = None,
) -> Iterator[Result]:
    """Put an exam to `chain` and yield a result a question.

    The extractor alone is asked in the ordinary exam only.
    """
    for scene, file, question in questions(which, scenes, seed):
        started_s = time.perf_counter()
        answer = chain.ask(file, question.text, generation)
        seconds = time.perf_counter() - started_s
        direct = _direct(chain, file, question) if which == "scenes" else ""
        yield Result(
            scene_seed=scene.seed,
            kind=question.kind,
            question=question.text,
            truth=question.answer,
            answer=answer.text,
            extraction=notes_of(answer.extraction, answer.looks),
            right=same_answer(answer.text, question.answer),
            extraction_held_it=_held(question, answer),
            direct_answer=direct,
            direct_right=same_answer(direct, question.answer),
            looks=len(answer.looks),
            finish_reason=answer.finish_reason,
            seconds=seconds,
        )


def _direct(chain: Chain, file: bytes, question: Question) -> str:
    return chain.extract_raw(Image.open(io.BytesIO(file)), direct_prompt(question.text)).text


def _held(question: Question, answer: Answer) -> bool:
    """Return whether one of the extractions held the right answer."""
    return any(
        solve(question.query, read_view(notes.text)).answer == question.answer
        for notes in (answer.extraction, *answer.looks)
    )


def summarize(results: list[Result]) -> Evaluation:
    kept = tuple(results)
    kinds = [k for k in KINDS if any(r.kind == k for r in kept)]
    return Evaluation(
        results=kept, by_kind={k: score(tuple(r for r in kept if r.kind == k)) for k in kinds}
    )


def same_answer(given: str, truth: str) -> bool:
    """Compare short answers: case, articles, a final stop and the word for "object" are style."""
    return _plain(given) == _plain(truth)


def _plain(text: str) -> str:
    words = text.lower().strip().strip(".()").split()
    kept = [w for w in words if w not in ("the", "a", "an")]
    return " ".join("object" if w in ("thing", "shape") else w for w in kept)
