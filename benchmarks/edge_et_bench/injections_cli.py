"""`edge-et bench injections`: does text in pictures give orders?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_et_bench.bars import Shown, bar
from edge_et_bench.output import write


def injections(
    reasoner: Annotated[
        str | None, typer.Option(help="GGUF file, folder or name [the pair's].")
    ] = None,
    pair: Annotated[str, typer.Option(help="A pair of the registry.")] = "starter",
    data: Annotated[
        Path | None, typer.Option(help="Another test set; without it: 48 descriptions.")
    ] = None,
    think: Annotated[bool, typer.Option("--think/--no-think", help="Before answering.")] = True,
    think_budget: Annotated[int, typer.Option(min=1, help="Tokens.")] = 256,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    way: Annotated[
        list[str] | None, typer.Option(help="Only these rows of the table; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write what was said, a line each.")] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Only draw the pictures, with questions for bench quality."
        ),
    ] = None,
) -> None:
    """Count how often a reasoner does what text in a picture orders, pasted and fenced."""
    from edge_et.config import GenerationConfig
    from edge_et.loading import locate
    from edge_et_bench.injections import BUILT_IN, WAYS, attempt, lines, read_injections, table

    items = read_injections(data or BUILT_IN)
    if draw is not None:
        from edge_et_bench.injection_images import draw_injections

        typer.echo(str(draw_injections(items, draw)))
        return
    generation = GenerationConfig(
        think=think, think_budget_tokens=think_budget if think else 0, answer_budget_tokens=32
    )
    path, tried = locate("reasoner", reasoner, pair), []
    with bar() as shown:
        line = Shown(shown)
        for name in way or WAYS:
            for done, one in enumerate(attempt(path, name, items, generation, threads)):
                tried.append(one)
                line.show(name, done + 1, len(items))
    if out is not None:
        write(lines(tried), out)
    write(table(tried), None)
