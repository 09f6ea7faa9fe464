"""`edge-et bench peers`: other runtimes beside edge-et, on the same work, in turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edge_et_bench.bars import Shown, bar

if TYPE_CHECKING:
    from edge_et_bench.runner import Plan

Paths = list[Path] | None
_BY_DEFAULT = "language-half"


def peers(
    extractor: Annotated[
        Paths, typer.Option(help="edge-et: an extractor artifact's folder.")
    ] = None,
    decoder: Annotated[
        list[str] | None, typer.Option(help="edge-et: precisions of its decoder.")
    ] = None,
    reasoner: Annotated[
        str | None, typer.Option(help="edge-et: for workloads with an image [the starter's].")
    ] = None,
    gguf: Annotated[Paths, typer.Option(help="llama.cpp: a GGUF file.")] = None,
    mmproj: Annotated[
        Path | None, typer.Option(help="llama.cpp: vision tower and projector, for all of them.")
    ] = None,
    checkpoint: Annotated[
        Paths, typer.Option(help="transformers: a checkpoint folder; run in fp32 and in bf16.")
    ] = None,
    genai: Annotated[
        Paths, typer.Option(help="onnxruntime-genai: a folder of its model builder.")
    ] = None,
    openvino: Annotated[
        Paths, typer.Option(help="openvino-genai: a folder of optimum-intel's export.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="A server with OpenAI's API, up to and with /v1.")
    ] = None,
    url_model: Annotated[str, typer.Option(help="The server's name for the model.")] = "default",
    workload: Annotated[
        str,
        typer.Option(help="language-half: no image; single-tile: with one; or a TOML file."),
    ] = _BY_DEFAULT,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of each.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="In each process.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Processes for each runtime.")] = 1,
    delay: Annotated[
        float | None, typer.Option(min=0, help="Seconds of rest before each repeat.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order that the runtimes run in.")] = 0,
    format: Annotated[
        Literal["md", "json", "jsonl", "csv"],
        typer.Option(help="md: one table; the others: the whole records."),
    ] = "md",
    out: Annotated[Path | None, typer.Option(help="File to write instead of stdout.")] = None,
) -> None:
    """Compare edge-et with other runtimes: each that is given something to run, in a process of
    its own, on the same tokens and threads, in shuffled order. One that is not installed, or
    fails, is reported and left out."""
    from edge_et_bench.peers.choice import Choice, configurations
    from edge_et_bench.runner import Plan
    from edge_et_bench.workloads import find_workloads

    given: dict[str, Any] = {"repeats": repeats, "delay_s": delay}
    changes = {name: value for name, value in given.items() if value is not None}
    workloads = tuple(replace(one, **changes) for one in find_workloads(workload))
    choice = Choice(
        extractors=tuple(extractor or ()),
        decoders=tuple(decoder or ()),
        reasoner=reasoner,
        ggufs=tuple(gguf or ()),
        mmproj=mmproj,
        checkpoints=tuple(checkpoint or ()),
        genai=tuple(genai or ()),
        openvino=tuple(openvino or ()),
        url=url,
        url_model=url_model,
        threads=threads,
    )
    alone = all(one.prompt_tokens is not None for one in workloads)
    plan = Plan(
        configurations=configurations(choice, alone=alone),
        workloads=workloads,
        rounds=rounds,
        order_seed=seed,
    )
    _report(plan, format, out)


def _report(plan: Plan, format: str, out: Path | None) -> None:
    """Run, and write what ran; raise the first failure when nothing did."""
    from edge_et_bench.output import rendered, write
    from edge_et_bench.peers.side_by_side import not_run, side_by_side
    from edge_et_bench.runner import WorkerFailed, run_plan

    failures: dict[str, WorkerFailed] = {}
    with bar() as shown:
        runs = run_plan(
            plan,
            Shown(shown),
            lambda job, error: failures.update({job.configuration.label: error}),
        )
    if failures and format != "md":
        typer.echo(not_run(failures), err=True)
    if not runs:
        raise next(iter(failures.values()))
    write(side_by_side(runs, failures) if format == "md" else rendered(runs, format), out)
