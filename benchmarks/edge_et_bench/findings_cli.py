"""`edge-et bench again|encoder|handoff|loop|targets`: findings, and what they are held to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edge_et_bench.bars import Shown, bar
from edge_et_bench.output import write

if TYPE_CHECKING:
    from edge_et_bench.findings import Finding

Extractor = Annotated[str | None, typer.Option(help="Instead of the pair's: a folder or a name.")]
Reasoner = Annotated[
    str | None, typer.Option(help="Instead of the pair's: a GGUF file, folder or name.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.")]
Decoder = Annotated[str | None, typer.Option(help="Precision of the extractor's decoder.")]
Findings = Annotated[
    Path | None, typer.Option("--out", help="jsonl file to add what was found to.")
]


def again(
    pair: Annotated[str, typer.Argument(help="A pair of the registry.")] = "starter",
    extractor: Extractor = None,
    repeats: Annotated[int, typer.Option(min=2, help="Images.")] = 5,
    budget: Annotated[int, typer.Option(min=1, help="Tokens of each extraction.")] = 256,
    size: Annotated[
        tuple[int, int], typer.Option(metavar="HEIGHT WIDTH", help="Of the images, in pixels.")
    ] = (768, 768),
    max_tiles: Annotated[
        int | None, typer.Option(min=1, help="Of the vision tower [the extractor's own].")
    ] = None,
    cache_mb: Annotated[
        int | None, typer.Option(min=0, help="Memory for the caches [the runtime's own].")
    ] = None,
    threads: Threads = None,
    decoder: Decoder = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="cuda never falls back.")
    ] = "auto",
    format: Annotated[Literal["md", "json"], typer.Option(help="Of the output.")] = "md",
    out: Findings = None,
) -> None:
    """Measure a second question about an image against a first one: another, and the same."""
    import json

    from edge_et.config import GenerationConfig, RuntimeConfig
    from edge_et_bench import again as questions

    runtime = RuntimeConfig(device=device, threads=threads, decoder_precision=decoder)
    if cache_mb is not None:
        runtime = replace(runtime, cache_bytes=cache_mb * 10**6)
    with bar() as shown:
        line = Shown(shown)
        report = questions.measure(
            pair,
            extractor,
            repeats=repeats,
            generation=GenerationConfig(extraction_budget_tokens=budget, max_tiles=max_tiles),
            runtime=runtime,
            size_px=size,
            told=lambda done, of: line.show("again", done, of),
        )
    as_json = json.dumps(asdict(report), indent=1) + "\n"
    write(as_json if format == "json" else questions.markdown(report), None)
    if out is not None:
        _keep(out, questions.findings_of(report, _subject(pair, extractor, None, decoder)))


def loop(
    pair: Annotated[str, typer.Argument(help="A pair of the registry.")] = "starter",
    extractor: Extractor = None,
    reasoner: Reasoner = None,
    threads: Threads = None,
    decoder: Decoder = None,
    prompt: Annotated[int, typer.Option(min=1, help="Tokens of the reasoner's prompt.")] = 512,
    decode: Annotated[int, typer.Option(min=4, help="Tokens to write.")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="After one to warm up.")] = 5,
    out: Findings = None,
) -> None:
    """Say what our token loops cost beside the kernels: against bare llama_decode calls in turn,
    and the share of time outside them, on the CPU."""
    import edge_et
    from edge_et.config import RuntimeConfig
    from edge_et.extractor import Extractor as Eyes
    from edge_et.reasoner import Reasoner as Thinker
    from edge_et_bench.loop import extractor_outside, reasoner_loop

    runtime = RuntimeConfig(device="cpu", threads=threads, decoder_precision=decoder, cache_bytes=0)
    with edge_et.load(pair, extractor=extractor, reasoner=reasoner, runtime=runtime) as chain:
        eyes, thinker = chain.extractor, chain.reasoner
        assert isinstance(eyes, Eyes)
        assert isinstance(thinker, Thinker)
        found = (
            *reasoner_loop(thinker, prompt_tokens=prompt, decode_tokens=decode, repeats=repeats),
            extractor_outside(eyes, decode_tokens=decode, repeats=repeats),
        )
    _show(found, out, _subject(pair, extractor, reasoner, decoder))


def handoff(
    pair: Annotated[str, typer.Argument(help="A pair of the registry.")] = "starter",
    extractor: Extractor = None,
    reasoner: Reasoner = None,
    threads: Threads = None,
    decoder: Decoder = None,
    extraction: Annotated[int, typer.Option(min=1, help="Tokens of each extraction.")] = 192,
    repeats: Annotated[int, typer.Option(min=1, help="After one to warm up.")] = 5,
    out: Findings = None,
) -> None:
    """Ask with the handoff and without, in turn: how much of the description the reasoner has read
    when the extraction ends, and what that does to the whole. With --threads 1 on two cores each
    half has a core of its own."""
    import edge_et
    from edge_et.config import RuntimeConfig
    from edge_et_bench.reading_along import measure

    runtime = RuntimeConfig(
        device="cpu", threads=threads, decoder_precision=decoder, cache_bytes=0, handoff="on"
    )
    with edge_et.load(pair, extractor=extractor, reasoner=reasoner, runtime=runtime) as chain:
        found = measure(chain, extraction_tokens=extraction, repeats=repeats)
    subject = _subject(pair, extractor, reasoner, decoder)
    _show(found, out, f"{subject}, {threads or 'all'} threads a half")


def encoder(
    extractor: Annotated[Path, typer.Argument(help="Folder with the encoder in fp32, too.")],
    precision: Annotated[str, typer.Option(help="Of the encoder that fp32 is beside.")] = "int8",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    repeats: Annotated[int, typer.Option(min=1)] = 5,
    out: Findings = None,
) -> None:
    """Run a vision encoder and the same in fp32 on one tile, in turn, on the CPU."""
    from edge_et_bench.vision import against_fp32

    _show(against_fp32(extractor, precision, threads, repeats), out, extractor.name)


def targets(
    files: Annotated[list[Path], typer.Argument(help="Result files: runs and findings.")],
    format: Annotated[Literal["md", "json"], typer.Option(help="Of the output.")] = "md",
) -> None:
    """Hold result files against what was aimed at: figure, peer, ratio, ceiling, and the cause of
    what is missed."""
    import json

    from edge_et_bench.targets import markdown, rows

    found = rows(files)
    if format == "json":
        write(json.dumps([asdict(row) for row in found], indent=1) + "\n", None)
    else:
        write(markdown(found) + "\n", None)


def _subject(pair: str, extractor: str | None, reasoner: str | None, decoder: str | None) -> str:
    """Return names without folders, for the record."""
    names = [Path(name).name for name in (extractor, reasoner) if name] or [pair]
    if decoder is not None:
        names.insert(1, decoder)
    return " ".join(names)


def _show(found: Iterable[Finding], out: Path | None, subject: str) -> None:
    from edge_et_bench.findings import markdown

    named = [replace(one, subject=subject) for one in found]
    write(markdown(named) + "\n", None)
    if out is not None:
        _keep(out, named)


def _keep(out: Path, found: Iterable[Finding]) -> None:
    from edge_et_bench.findings import add

    add(out, found)
