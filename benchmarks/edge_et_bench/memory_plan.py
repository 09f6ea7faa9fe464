"""What the plan for memory predicts against what a process then takes.

Each point is a process of its own, so that its high-water mark is that point's. The calls run every
part to its whole budget; a second call finds what the first left behind.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edge_et.config import GenerationConfig, RuntimeConfig
from edge_et.errors import InferenceFailed, MemoryImpossible
from edge_et_bench.findings import Finding, finding
from edge_et_bench.hard_cap import hard_cap
from edge_et_bench.memory import Sampler

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCase:
    """A pair and the calls to plan for, without the budget."""

    extractor: str | None
    reasoner: str | None
    pair: str = "starter"
    image: str
    question: str
    think_tokens: int
    answer_tokens: int
    extraction_tokens: int
    max_tiles: int | None = None
    calls: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryResult:
    """One point. A budget that was refused has the error's text and no numbers."""

    budget_bytes: int | None
    residency: str | None = None
    predicted_bytes: int | None = None
    measured_bytes: int | None = None
    """Peak of the resident set of the process tree."""
    tiles: int | None = None
    refused: str | None = None
    capped: bool = False
    """Whether the kernel held the process to the budget."""

    @property
    def error(self) -> float | None:
        """(predicted - measured) / measured."""
        if self.predicted_bytes is None or self.measured_bytes is None:
            return None
        return self.predicted_bytes / self.measured_bytes - 1


def measure(case: MemoryCase, budget_bytes: int | None) -> MemoryResult:
    """Run one point in a process of its own, held to the budget by the kernel where it can be.

    Raises InferenceFailed when that process dies.
    """
    order = json.dumps({"case": asdict(case), "budget_bytes": budget_bytes})
    with hard_cap(budget_bytes) if budget_bytes else contextlib.nullcontext() as enter:
        done = subprocess.run(
            [sys.executable, "-m", __name__, order], capture_output=True, text=True, check=False,
            preexec_fn=enter,  # it only writes a file, and nothing else runs in this process
        )  # fmt: skip
    if done.returncode:
        raise InferenceFailed(
            f"the measured process ended with {done.returncode}: {done.stderr.strip()[-500:]}"
        )
    return replace(MemoryResult(**json.loads(done.stdout)), capped=enter is not None)


def worst_error(results: Sequence[MemoryResult]) -> Finding:
    """Return the largest error of the matrix, without its sign, as a finding."""
    errors = [abs(r.error) for r in results if r.error is not None]
    return replace(finding("memory error", "", errors), value=max(errors))


def table(results: Sequence[MemoryResult]) -> str:
    """Return a Markdown table."""
    rows = [
        "| budget | plan | predicted | measured | error | hard cap |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        cells = [_mib(r.budget_bytes, "none"), r.refused or str(r.residency)]
        cells += [_mib(r.predicted_bytes, ""), _mib(r.measured_bytes, "")]
        cells.append("" if r.error is None else f"{r.error:+.1%}")
        cells.append("control group" if r.capped and r.error is not None else "")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _run(case: MemoryCase, budget_bytes: int | None) -> MemoryResult:
    import edge_et
    from edge_et.image import load_image
    from edge_et.memory.residency import Residency

    generation = GenerationConfig(
        think_budget_tokens=case.think_tokens,
        answer_budget_tokens=case.answer_tokens,
        extraction_budget_tokens=case.extraction_tokens,
        max_tiles=case.max_tiles,
        ignore_stop=True,
    )
    rgb = load_image(case.image).rgb
    sampler = Sampler()
    sampler.start()
    try:
        chain = edge_et.load(
            case.pair,
            extractor=case.extractor,
            reasoner=case.reasoner,
            # calls that ignore stops use no caches
            runtime=RuntimeConfig(
                device="cpu", max_memory_bytes=budget_bytes or sys.maxsize, cache_bytes=0
            ),
            largest=generation,
            image_px=rgb.width * rgb.height,
        )
    except MemoryImpossible as exc:
        return MemoryResult(budget_bytes=budget_bytes, refused=f"refused; {exc.hint}")
    del rgb
    with chain:
        for _ in range(case.calls):
            answer = chain.ask(case.image, case.question, generation)
    sampler.stop()
    assert isinstance(chain.residency, Residency)
    assert answer.image is not None
    plan = chain.residency.plan
    return MemoryResult(
        budget_bytes=budget_bytes,
        residency=plan.residency,
        predicted_bytes=plan.peak_bytes,
        measured_bytes=sampler.summary(loaded_s=0.0).peak_bytes,
        tiles=answer.image.tiles,
    )


def _mib(size_bytes: int | None, without: str) -> str:
    return without if size_bytes is None else f"{size_bytes / _MIB:,.0f} MiB"


def _main(order: dict[str, Any]) -> None:
    print(json.dumps(asdict(_run(MemoryCase(**order["case"]), order["budget_bytes"]))))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
