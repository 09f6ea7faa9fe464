"""`edge-et extract IMAGE [QUESTION]`."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_et.cli import options as o
from edge_et.cli.failures import failures
from edge_et.cli.output import (
    extraction_record,
    play,
    print_json,
    print_notes,
    print_plan,
    print_stats,
    print_text,
)


def extract(
    image: o.IMAGE,
    question: Annotated[
        str | None, typer.Argument(help="What to look for; without it the whole image.")
    ] = None,
    pair: o.PAIR = "starter",
    extractor: o.EXTRACTOR = None,
    extract_budget: o.EXTRACT_BUDGET = None,
    max_tiles: o.MAX_TILES = None,
    max_image_tokens: o.MAX_IMAGE_TOKENS = None,
    vision: o.VISION = None,
    decoder: o.DECODER = None,
    device: o.DEVICE = "auto",
    threads: o.THREADS = None,
    cuda_graph: o.CUDA_GRAPH = True,
    disk_cache: o.DISK_CACHE = False,
    max_memory: o.MAX_MEMORY = None,
    as_json: o.JSON = False,
    as_jsonl: o.JSONL = False,
    stats: o.STATS = False,
    debug: o.DEBUG = False,
) -> None:
    """Write down what in IMAGE matters for QUESTION. `edge-et think --from -` takes it up."""
    form = o.output_format(as_json, as_jsonl)
    runtime = o.runtime_config(
        device,
        threads,
        vision=vision,
        decoder=decoder,
        disk_cache=disk_cache,
        max_memory=max_memory,
        cuda_graph=cuda_graph,
    )
    with failures(as_json=form != "text", debug=debug):
        import edge_et

        source = o.image_source(image)
        generation = o.generation_config(
            None,
            extract_budget=extract_budget,
            max_tiles=max_tiles,
            max_image_tokens=max_image_tokens,
        )
        with edge_et.load(
            pair,
            extractor=extractor,
            runtime=runtime,
            only="extractor",
            largest=generation,
            image_px=o.planned_px(source, runtime),
        ) as chain:
            stream = chain.stream_extract(source, question, generation)
            extraction = play(stream, form=form, quiet=True)
            record = extraction_record(extraction, chain, device)
        if form == "text":
            print_text(extraction.text)
        else:
            print_json({"event": "result"} | record if form == "jsonl" else record)
        if form == "text":
            print_notes(extraction.image)
        if form == "text" and extraction.finish_reason != "stop":
            typer.echo(f"the extraction was cut: {extraction.finish_reason}", err=True)
        if stats:
            counts = {
                "extract_prefill": extraction.prompt_tokens,
                "extract_decode": extraction.generated_tokens,
            }
            print_stats(extraction.timings, record, tokens=counts)
            print_plan(chain)
