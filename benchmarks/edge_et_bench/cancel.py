"""`edge-et bench cancel`: how long a pair still works after it was told to stop."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_et.errors import Cancelled
from edge_et_bench.bars import Shown, bar

if TYPE_CHECKING:
    from edge_et.chain import Chain
    from edge_et.config import GenerationConfig
    from edge_et.types import Answer

STAGES = {
    "vision_s": "vision tower",
    "extract_prefill_s": "extractor reads",
    "extract_decode_s": "extractor writes",
    "reason_prefill_s": "reasoner reads",
    "think_decode_s": "reasoner thinks",
    "answer_decode_s": "reasoner answers",
}
"""Fields of `Timings`, in the order in which they run, and what happens there."""
_BEFORE = ("queue_s", "image_s", "handoff_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """What was waited for when a call was cancelled at times spread over one of its stages."""

    stage: str
    step_s: float | None
    """Median time between two tokens; None for a stage that gives none."""
    waits_s: tuple[float, ...]


def measure(
    chain: Chain, image: Path, question: str, generation: GenerationConfig, repeats: int
) -> list[Waits]:
    """Run the call whole, twice, then cancel it `repeats` times in each stage, on a timer.

    `generation` should force the lengths, so that the second run says when a stage is on. The chain
    must keep nothing between calls.
    """
    _forget(chain)
    chain.ask(image, question, generation)
    _forget(chain)
    whole = chain.ask(image, question, generation)
    rng, found = random.Random(0), []
    began_s = sum(getattr(whole.timings, name) for name in _BEFORE)
    for name, stage in STAGES.items():
        lasts_s = getattr(whole.timings, name)
        if lasts_s > 0:
            moments = [began_s + lasts_s * rng.uniform(0.05, 0.9) for _ in range(repeats)]
            waits_s = [_cancelled_at(m, chain, image, question, generation) for m in moments]
            found.append(
                Waits(
                    stage=stage,
                    step_s=_step_s(whole, name),
                    waits_s=tuple(wait_s for wait_s in waits_s if wait_s is not None),
                )
            )
        began_s += lasts_s
    return found


def table(found: Sequence[Waits]) -> str:
    lines = [
        "| cancelled while | a token takes s | cancelled | returned after s, median | most |",
        "|---|---|---|---|---|",
    ]
    for one in found:
        step = "" if one.step_s is None else f"{one.step_s:.3f}"
        median = f"{statistics.median(one.waits_s):.3f}" if one.waits_s else ""
        most = f"{max(one.waits_s):.3f}" if one.waits_s else ""
        lines.append(f"| {one.stage} | {step} | {len(one.waits_s)} | {median} | {most} |")
    return "\n".join(lines)


def _cancelled_at(
    moment_s: float, chain: Chain, image: Path, question: str, generation: GenerationConfig
) -> float | None:
    """Return what lies between the cancel and the return; None when the call was done before."""
    _forget(chain)
    stop, set_at_s = threading.Event(), [0.0]

    def cancel() -> None:
        set_at_s[0] = time.perf_counter()
        stop.set()

    timer = threading.Timer(moment_s, cancel)
    timer.start()
    try:
        chain.ask(image, question, generation, cancelled=stop.is_set)
    except Cancelled:
        return time.perf_counter() - set_at_s[0]
    finally:
        timer.cancel()
    return None


def _step_s(answer: Answer, stage: str) -> float | None:
    tokens = {
        "extract_decode_s": answer.extraction.generated_tokens,
        "think_decode_s": answer.think_tokens,
        "answer_decode_s": answer.answer_tokens,
    }.get(stage)
    return getattr(answer.timings, stage) / tokens if tokens else None


def _forget(chain: Chain) -> None:
    from edge_et.reasoner import Reasoner

    if isinstance(chain.reasoner, Reasoner):
        chain.reasoner.forget()


def cancel(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    pair: Annotated[str, typer.Option(help="A pair of the registry.")] = "starter",
    extractor: Annotated[str | None, typer.Option(help="Instead of the pair's.")] = None,
    reasoner: Annotated[str | None, typer.Option(help="Instead of the pair's.")] = None,
    decoder: Annotated[str | None, typer.Option(help="Precision of the decoder.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Of extraction, thinking and answer.")] = 24,
    max_tiles: Annotated[int | None, typer.Option(min=1)] = None,
    repeats: Annotated[int, typer.Option(min=1, help="In each stage.")] = 10,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
) -> None:
    """Cancel a call in each of its stages, and print how long it still took to return."""
    import edge_et
    from edge_et.config import GenerationConfig, RuntimeConfig

    runtime = RuntimeConfig(
        threads=threads, decoder_precision=decoder, cache_bytes=0, handoff="off"
    )
    generation = GenerationConfig(
        extraction_budget_tokens=tokens,
        think_budget_tokens=tokens,
        answer_budget_tokens=tokens,
        ignore_stop=True,
        max_tiles=max_tiles,
    )
    with (
        bar() as watched,
        edge_et.load(pair, extractor=extractor, reasoner=reasoner, runtime=runtime) as chain,
    ):
        Shown(watched).show("cancelling", 0, 1)
        found = measure(chain, image, question, generation, repeats)
    typer.echo(table(found))
