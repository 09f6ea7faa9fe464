"""`python -m edge_et_tuning`: make the starter pair, look at scenes, evaluate a pair."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from edge_et.config import GenerationConfig
    from edge_et_tuning.evaluation import Evaluation

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, rich_markup_mode=None)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the run; running again goes on.")],
    quick: Annotated[
        bool, typer.Option(help="A few steps of each phase: does it run, not does it see.")
    ] = False,
    half: Annotated[
        Literal["extractor", "reasoner"] | None,
        typer.Option(help="Only this half; default: one after the other."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all usable.")] = None,
) -> None:
    """Train the starter's two checkpoints from a seed (see tuning/README.md)."""
    import torch

    from edge_et.threads import usable_threads
    from edge_et_tuning.recipe import HALVES, QUICK, STARTER, make_pair

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads or usable_threads())
    done = make_pair(
        out,
        QUICK if quick else STARTER,
        halves=(half,) if half else HALVES,
        compiled=not quick,
    )
    for folder in done:
        typer.echo(folder)


@app.command()
def draw(
    out: Annotated[Path, typer.Option(help="Folder for the image files and scenes.jsonl.")],
    scenes: int = 20,
    seed: int = 900_000_000,
) -> None:
    """Write scenes as image files with a question and its answer each."""
    from edge_et_tuning.evaluation import exam
    from edge_et_tuning.render import encode, render

    out.mkdir(parents=True, exist_ok=True)
    with (out / "scenes.jsonl").open("w", encoding="utf-8") as lines:
        for scene, question in exam(scenes, seed):
            name = f"scene-{scene.seed}.{'png' if scene.jpeg_quality is None else 'jpg'}"
            (out / name).write_bytes(encode(scene, render(scene)))
            record = {"image": name, "question": question.text, "answer": question.answer}
            lines.write(json.dumps(record) + "\n")


@app.command()
def doubt(
    pair: str = "starter",
    scenes: int = 1000,
    seed: int = 930_000_000,
    out: Annotated[
        Path | None,
        typer.Option(help="JSON lines, one a question; a run that was stopped goes on with them."),
    ] = None,
) -> None:
    """Ask with a second look, and say how often answers with contradictions are wrong."""
    import edge_et
    from edge_et_tuning.doubt import ask_twice, read_results, summary

    results = read_results(out)
    with edge_et.load(pair) as chain:
        for result in ask_twice(chain, scenes, seed, skip=len(results)):
            results.append(result)
            if out is not None:
                with out.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(asdict(result)) + "\n")
    typer.echo(summary(results), nl=False)


@app.command()
def evaluate(
    pair: str = "starter",
    scenes: int = 1000,
    seed: int = 900_000_000,
    exam: Annotated[
        Literal["scenes", "unfocused", "distant"],
        typer.Option(help="Ordinary scenes, or such that a first look misses (hidden.py)."),
    ] = "scenes",
    generation: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help='Fields of GenerationConfig, e.g. \'{"focus": "none", "looks": 2}\'.',
        ),
    ] = "{}",
    reasoner: Annotated[
        Path | None, typer.Option(help="A reasoner's folder or GGUF file instead of the pair's.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all usable.")] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Write every result to this file.")
    ] = None,
) -> None:
    """Ask a pair one question on each of many scenes it has never seen."""
    import edge_et
    from edge_et_tuning.evaluation import Result, evaluate, summarize

    results: list[Result] = []
    config = _generation(generation)
    runtime = edge_et.RuntimeConfig(threads=threads)
    with edge_et.load(pair, reasoner=reasoner, runtime=runtime) as chain:
        for result in evaluate(chain, scenes, seed, which=exam, generation=config):
            results.append(result)
            if len(results) % 100 == 0:
                right = sum(r.right for r in results)
                typer.echo(f"{len(results)} asked, {right} right", err=True)
    evaluation = summarize(results)
    if json_out is not None:
        json_out.write_text(json.dumps(asdict(evaluation), indent=1) + "\n", encoding="utf-8")
    for line in table(evaluation):
        typer.echo(line)


@app.command()
def settings(
    out: Annotated[
        Path, typer.Option(help="JSON lines; a run that was stopped goes on with them.")
    ],
    pair: str = "starter",
    scenes: int = 1000,
    seed: int = 940_000_000,
    exam: Annotated[
        Literal["scenes", "unfocused", "distant"], typer.Option(help="As in evaluate.")
    ] = "scenes",
    setting: Annotated[
        list[str] | None, typer.Option(help="Only these; default: all of settings.py.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all usable.")] = None,
) -> None:
    """Ask each question with each setting in turn, and print the table of settings."""
    import edge_et
    from edge_et_tuning.settings import SETTINGS, ask_each, read, settings_table, write

    names = setting or list(SETTINGS)
    unknown = sorted(set(names) - set(SETTINGS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: use {', '.join(SETTINGS)}")
    done = len({asked.seed for asked in read(out)})
    runtime = edge_et.RuntimeConfig(threads=threads, cache_bytes=0)
    with edge_et.load(pair, runtime=runtime) as chain:
        for asked in ask_each(chain, exam, scenes, seed, names, skip=done):
            write(out, asked)
    for line in settings_table(read(out)):
        typer.echo(line)


@app.command()
def settings_of(files: Annotated[list[Path], typer.Argument(help="Files of `settings`.")]) -> None:
    """Print the table of settings of several files together."""
    from edge_et_tuning.settings import read, settings_table

    for line in settings_table(read(*files)):
        typer.echo(line)


def table(evaluation: Evaluation) -> Iterator[str]:
    """Yield the lines of the table: a kind of question each, all of them last."""
    yield (
        f"{'kind':<14}{'asked':>6}{'right':>9}  {'95 % Wilson':<14}"
        f"{'extraction':>12}{'reasoner':>9}{'said so':>9}{'looks':>7}{'median s':>10}"
        f"{'extractor alone':>17}"
    )
    yield f"{'':<46}{'lacked it':>9}{'missed it':>10}"
    for name, score in (*evaluation.by_kind.items(), ("all", evaluation.overall)):
        low, high = score.interval
        direct = score.direct_right / score.asked
        yield (
            f"{name:<14}{score.asked:>6}{score.accuracy:>9.1%}  [{low:.1%}, {high:.1%}]"
            f"{score.extraction_lacked:>10}{score.reasoner_missed:>9}{score.insufficient:>9}"
            f"{score.looks:>7}{score.median_s:>10.3f}{direct:>17.1%}"
        )


def _generation(text: str) -> GenerationConfig:
    """Return the settings that a JSON object of some of their fields stands for."""
    from edge_et.config import GenerationConfig
    from edge_et.plain import Mismatch, build

    try:
        return build(GenerationConfig, json.loads(text), "generation")
    except (json.JSONDecodeError, Mismatch) as exc:
        raise typer.BadParameter(str(exc), param_hint="--generation") from exc
