"""`edge-et bench deadlines`: do answers come when they are due?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_et.cli.options import seconds_of
from edge_et.reasoner import Reasoner
from edge_et_bench.bars import Shown, bar

if TYPE_CHECKING:
    from edge_et.chain import Chain
    from edge_et.types import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Calls with one deadline, the first of them on a chain that had measured nothing."""

    deadline_s: float
    totals_s: tuple[float, ...]
    reasons: tuple[tuple[str, int], ...]
    """How often each finish_reason came, the most frequent first."""
    think_tokens: float
    """Mean."""

    @property
    def in_time(self) -> int:
        return sum(total_s <= self.deadline_s for total_s in self.totals_s)


def keep(
    load: Callable[[], Chain], ask: Callable[[Chain, float], Answer], deadline_s: float, calls: int
) -> Kept:
    """Ask `calls` times on a chain that is loaded for it.

    The calls ask the same, so the chain must keep nothing of the image, and its reasoner is made to
    forget: each call does all of its work.
    """
    answers = []
    with load() as chain:
        for _ in range(calls):
            if isinstance(chain.reasoner, Reasoner):
                chain.reasoner.forget()
            answers.append(ask(chain, deadline_s))
    return Kept(
        deadline_s=deadline_s,
        totals_s=tuple(answer.timings.total_s for answer in answers),
        reasons=tuple(Counter(answer.finish_reason for answer in answers).most_common()),
        think_tokens=sum(answer.think_tokens for answer in answers) / calls,
    )


def table(rows: Sequence[Kept]) -> str:
    """Return a Markdown table."""
    import numpy as np

    lines = [
        "| deadline s | calls | in time | first s | p50 s | p95 s | max s | thinking tokens "
        "| ended by |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        p50_s, p95_s = np.percentile(row.totals_s, (50, 95))
        reasons = ", ".join(f"{reason} {count}" for reason, count in row.reasons)
        lines.append(
            f"| {row.deadline_s:g} | {len(row.totals_s)} | {row.in_time} | {row.totals_s[0]:.3f} "
            f"| {p50_s:.3f} | {p95_s:.3f} | {max(row.totals_s):.3f} "
            f"| {row.think_tokens:.0f} | {reasons} |"
        )
    return "\n".join(lines)


def deadlines(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    question: Annotated[str, typer.Argument(help="What to ask each time.")],
    deadline: Annotated[
        list[float], typer.Option(parser=seconds_of, metavar="TIME", help="5s, 800ms; repeatable.")
    ],
    calls: Annotated[int, typer.Option(min=1, help="For each deadline.")] = 100,
    pair: Annotated[str, typer.Option(help="A pair of the registry.")] = "starter",
    extractor: Annotated[str | None, typer.Option(help="Instead of the pair's.")] = None,
    reasoner: Annotated[str | None, typer.Option(help="Instead of the pair's.")] = None,
    notes: Annotated[
        bool, typer.Option("--notes", help="IMAGE is the text to think over.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    effort: Annotated[str, typer.Option(help="none, low, medium or high.")] = "medium",
) -> None:
    """Ask with a deadline, over and over, and print how many answers came in time."""
    from typing import cast

    import edge_et
    from edge_et.config import GenerationConfig, RuntimeConfig
    from edge_et.effort import Effort

    def load() -> Chain:
        return edge_et.load(
            pair,
            extractor=extractor,
            reasoner=reasoner,
            runtime=RuntimeConfig(threads=threads, cache_bytes=0),
            only="reasoner" if notes else None,
        )

    def ask(chain: Chain, deadline_s: float) -> Answer:
        generation = GenerationConfig(deadline_s=deadline_s, effort=cast(Effort, effort))
        if notes:
            return chain.think(image.read_text(encoding="utf-8"), question, generation)
        return chain.ask(image, question, generation)

    rows = []
    with bar() as watched:
        shown = Shown(watched)
        for done, deadline_s in enumerate(deadline):
            shown.show(f"deadline {deadline_s:g} s", done, len(deadline))
            rows.append(keep(load, ask, deadline_s, calls))
    typer.echo(table(rows))
