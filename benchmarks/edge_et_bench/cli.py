"""`edge-et bench`: what a pair costs on this device, and what its answers are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from edge_et_bench.bars import Shown, bar
from edge_et_bench.cancel import cancel
from edge_et_bench.deadlines import deadlines
from edge_et_bench.findings_cli import again, encoder, handoff, loop, targets
from edge_et_bench.injections_cli import injections
from edge_et_bench.making_cli import make_checkpoint, make_mmproj
from edge_et_bench.output import rendered, write
from edge_et_bench.peers.cli import peers

if TYPE_CHECKING:
    from edge_et_bench.records import Configuration, Quality, Workload


class _RunByDefault(TyperGroup):
    """`edge-et bench starter` is `edge-et bench run starter`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] != "--help" and args[0] not in self.commands):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_RunByDefault, add_completion=False, help=__doc__, rich_markup_mode=None)

Pairs = Annotated[
    list[str] | None, typer.Argument(metavar="[PAIR]...", help="Pairs of the registry [starter].")
]
Extractor = Annotated[str | None, typer.Option(help="Instead of the pair's: a folder or a name.")]
Reasoner = Annotated[
    str | None, typer.Option(help="Instead of the pair's: a GGUF file, folder or name.")
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="cuda never falls back.")]
Format = Annotated[Literal["md", "json", "jsonl", "csv"], typer.Option(help="Of the output.")]
Out = Annotated[Path | None, typer.Option(help="File to write instead of stdout.")]
Html = Annotated[Path | None, typer.Option(help="Write a page with charts, too.")]


@app.command()
def run(
    pairs: Pairs = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(help="natural (default), forced, single-tile, smoke, or a TOML file."),
    ] = None,
    runtime: Annotated[list[str] | None, typer.Option(help="edge-et (default), or a peer.")] = None,
    extractor: Extractor = None,
    reasoner: Reasoner = None,
    vision: Annotated[list[str] | None, typer.Option(help="Precision of the vision tower.")] = None,
    decoder: Annotated[
        list[str] | None, typer.Option(help="Precision of the extractor's decoder.")
    ] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: Device = "auto",
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Of each workload [its own; usually 5].")
    ] = None,
    warmup: Annotated[int | None, typer.Option(min=0, help="Repeats thrown away first.")] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Processes for each configuration and workload.")
    ] = 1,
    delay: Annotated[
        float | None, typer.Option(min=0, help="Seconds of rest before each repeat.")
    ] = None,
    cache: Annotated[
        Literal["warm", "cold"], typer.Option(help="Page cache before the load.")
    ] = "warm",
    seed: Annotated[int, typer.Option(help="Of the order that configurations run in.")] = 0,
    quality: Annotated[
        bool, typer.Option("--quality/--no-quality", help="Judge answers as well.")
    ] = True,
    data: Annotated[
        Path | None, typer.Option(help="Questions to judge: see edge-et bench quality --help.")
    ] = None,
    format: Format = "md",
    out: Out = None,
    html: Html = None,
) -> None:
    """Measure pairs: options that can be given several times make a configuration for each
    combination, each run in a process of its own, in shuffled order."""
    from edge_et_bench.quality import BUILT_IN, check_images, read_items
    from edge_et_bench.runner import Plan, run_plan

    configurations = _configurations(
        pairs or ["starter"], runtime or ["edge-et"], vision, decoder, threads
    )
    questions = data or BUILT_IN
    check_images(read_items(questions))  # before anything runs for minutes
    plan = Plan(
        configurations=tuple(
            replace(one, extractor=extractor, reasoner=reasoner, device=device)
            for one in configurations
        ),
        workloads=_workloads(workload or ["natural"], repeats, warmup, delay),
        rounds=rounds,
        order_seed=seed,
        page_cache=cache,
        quality_data=str(questions) if quality else None,
    )
    with bar() as shown:
        runs = run_plan(plan, Shown(shown))
    write(rendered(runs, format), out)
    if html is not None:
        from edge_et_bench.html import page

        write(page(runs), html)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Runs in json or jsonl.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Likewise.")],
    format: Annotated[Literal["md", "json"], typer.Option(help="Of the output.")] = "md",
) -> None:
    """Say for each workload and metric whether B is faster or slower than A: a paired t test of the
    times' logarithms, corrected for the number of metrics; below 2 % is no difference."""
    import json

    from edge_et_bench.compare import compare as compared
    from edge_et_bench.record_files import read_runs
    from edge_et_bench.report import comparison_markdown

    comparisons = compared(read_runs(a), read_runs(b))
    if format == "json":
        write(json.dumps([asdict(one) for one in comparisons], indent=1) + "\n", None)
    else:
        write(comparison_markdown(comparisons), None)


@app.command()
def render(
    files: Annotated[list[Path], typer.Argument(help="Runs in json or jsonl.")],
    format: Format = "md",
    out: Out = None,
    html: Html = None,
) -> None:
    """Show runs that were measured before."""
    from edge_et_bench.record_files import read_runs

    runs = tuple(run for file in files for run in read_runs(file))
    write(rendered(runs, format), out)
    if html is not None:
        from edge_et_bench.html import page

        write(page(runs), html)


@app.command()
def publish(
    files: Annotated[list[Path], typer.Argument(help="Runs in json or jsonl.")],
    out: Annotated[Path, typer.Option(help="jsonl file to write, to be committed.")],
) -> None:
    """Join runs into one result file, without folders of this machine and memory timelines."""
    from edge_et_bench.published import publishable
    from edge_et_bench.record_files import read_runs

    runs = tuple(run for file in files for run in read_runs(file))
    write(rendered(publishable(runs), "jsonl"), out)


@app.command()
def tables(
    documents: Annotated[list[Path], typer.Argument(help="Markdown with places for results.")],
) -> None:
    """Render the tables of documents from the result files that they name, in place."""
    from edge_et_bench.published import filled

    for document in documents:
        write(filled(document), document)


@app.command("quality")
def quality_command(
    pair: Annotated[str, typer.Argument(help="A pair of the registry.")] = "starter",
    data: Annotated[
        Path | None,
        typer.Option(
            help='A line for each question: {"image": PATH, "question": TEXT, "answer": TEXT or '
            'list}, and "choices": [TEXT, …] where there are some; paths are relative to the file. '
            "Without it: 40 drawn scenes."
        ),
    ] = None,
    extractor: Extractor = None,
    reasoner: Reasoner = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    format: Annotated[Literal["md", "json"], typer.Option(help="Of the output.")] = "md",
) -> None:
    """Ask (image, question, answer) files and count what is right, with a Wilson interval."""
    from edge_et_bench.adapters import make_adapter
    from edge_et_bench.quality import BUILT_IN, check_images, judge, read_items
    from edge_et_bench.records import Configuration

    check_images(read_items(data or BUILT_IN))
    configuration = Configuration(
        label=pair, pair=pair, extractor=extractor, reasoner=reasoner, device=device,
        threads=threads,
    )  # fmt: skip
    adapter = make_adapter(configuration)
    adapter.load()
    try:
        with bar() as shown:
            line = Shown(shown)
            found = judge(
                adapter,
                data or BUILT_IN,
                seed=seed,
                told=lambda done, of: line.show(pair, done, of),
            )
    finally:
        adapter.close()
    write(_quality(found, format), None)


for command in (again, cancel, deadlines, encoder, handoff, injections, loop, peers, targets):
    app.command()(command)


@app.command("memory")
def memory_command(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    question: Annotated[str, typer.Argument(help="To ask about it.")],
    pair: Annotated[str, typer.Option(help="Of the registry.")] = "starter",
    extractor: Extractor = None,
    reasoner: Reasoner = None,
    budget: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="MIB", help="A budget; may be given more than once [none]."),
    ] = None,
    think_budget: Annotated[int, typer.Option(min=1)] = 512,
    answer_budget: Annotated[int, typer.Option(min=1)] = 128,
    extract_budget: Annotated[int, typer.Option(min=1)] = 128,
    max_tiles: Annotated[int | None, typer.Option(min=1)] = None,
    calls: Annotated[int, typer.Option(min=1, help="Of each process, one after the other.")] = 2,
    out: Annotated[
        Path | None, typer.Option(help="jsonl file to add the largest error to, as a finding.")
    ] = None,
) -> None:
    """Say what the plan for memory predicts and what processes then take, budget by budget."""
    from edge_et_bench import findings, memory_plan

    case = memory_plan.MemoryCase(
        extractor=extractor, reasoner=reasoner, pair=pair, image=str(image), question=question,
        think_tokens=think_budget, answer_tokens=answer_budget, extraction_tokens=extract_budget,
        max_tiles=max_tiles, calls=calls,
    )  # fmt: skip
    budgets = [None] if budget is None else [mib * 1024 * 1024 for mib in budget]
    results = [memory_plan.measure(case, one) for one in budgets]
    typer.echo(memory_plan.table(results))
    if out is not None and any(r.error is not None for r in results):
        subject = " ".join(Path(n).name for n in (extractor, reasoner) if n) or pair
        findings.add(out, [replace(memory_plan.worst_error(results), subject=subject)])


app.command("make-checkpoint")(make_checkpoint)
app.command("make-mmproj")(make_mmproj)


def _configurations(
    pairs: Sequence[str],
    runtimes: Sequence[str],
    visions: Sequence[str] | None,
    decoders: Sequence[str] | None,
    threads: Sequence[int] | None,
) -> list[Configuration]:
    """Return a configuration for each combination, labelled by what was chosen."""
    from edge_et_bench.records import Configuration

    anything: tuple[None] = (None,)
    combinations = product(
        runtimes, pairs, visions or anything, decoders or anything, threads or anything
    )
    found = []
    for runtime, pair, vision, decoder, count in combinations:
        words = [
            pair,
            runtime if len(runtimes) > 1 or runtime != "edge-et" else None,
            vision and f"vision {vision}",
            decoder and f"decoder {decoder}",
            count and f"{count} threads",
        ]
        found.append(
            Configuration(
                label=", ".join(str(word) for word in words if word),
                runtime=runtime,
                pair=pair,
                vision_precision=vision,
                decoder_precision=decoder,
                threads=count,
            )
        )
    return found


def _workloads(
    choices: Sequence[str], repeats: int | None, warmup: int | None, delay_s: float | None
) -> tuple[Workload, ...]:
    from edge_et_bench.workloads import find_workloads

    given = {"repeats": repeats, "warmup": warmup, "delay_s": delay_s}
    changes: dict[str, Any] = {name: v for name, v in given.items() if v is not None}
    return tuple(replace(one, **changes) for choice in choices for one in find_workloads(choice))


def _quality(found: Quality, format: str) -> str:
    import json

    from edge_et_bench.report import accuracy

    if format == "json":
        return json.dumps(asdict(found), ensure_ascii=False, indent=1) + "\n"
    wrong = [
        f"- {one.image}: {one.question!r}: {one.answer!r}, not {' or '.join(one.expected)}"
        for one in found.items
        if not one.right
    ]
    return "\n".join([f"{found.data}: {accuracy(found)}", *wrong]) + "\n"
