"""`edge-et ask IMAGE QUESTION`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from edge_et.cli import answer_options as a
from edge_et.cli import options as o
from edge_et.cli.failures import failures
from edge_et.cli.output import (
    answer_record,
    answer_stats,
    exit_if_cut,
    play,
    print_contradictions,
    print_evidence,
    print_found,
    print_json,
    print_looks,
    print_notes,
    print_plan,
    print_text,
)


def ask(
    image: o.IMAGE,
    question: Annotated[str, typer.Argument(help="What to find out.")],
    pair: o.PAIR = "starter",
    extractor: o.EXTRACTOR = None,
    reasoner: o.REASONER = None,
    think: o.THINK = True,
    effort: o.EFFORT = "medium",
    think_budget: o.THINK_BUDGET = None,
    answer_budget: o.ANSWER_BUDGET = None,
    deadline: o.DEADLINE = None,
    suppress_reflexive: o.SUPPRESS_REFLEXIVE = None,
    extract_budget: o.EXTRACT_BUDGET = None,
    focus: o.FOCUS = "auto",
    looks: o.LOOKS = 1,
    max_tiles: o.MAX_TILES = None,
    max_image_tokens: o.MAX_IMAGE_TOKENS = None,
    answer_form: a.FORM = None,
    choices: a.CHOICES = None,
    schema: a.SCHEMA = None,
    check: o.CHECK = False,
    seed: o.SEED = None,
    temperature: o.TEMPERATURE = None,
    vision: o.VISION = None,
    decoder: o.DECODER = None,
    device: o.DEVICE = "auto",
    threads: o.THREADS = None,
    disk_cache: o.DISK_CACHE = False,
    max_memory: o.MAX_MEMORY = None,
    handoff: o.HANDOFF = "auto",
    lookup: o.LOOKUP = False,
    gpu_layers: o.GPU_LAYERS = "auto",
    cuda_graph: o.CUDA_GRAPH = True,
    as_json: o.JSON = False,
    as_jsonl: o.JSONL = False,
    evidence: o.EVIDENCE = False,
    quiet: o.QUIET = False,
    stats: o.STATS = False,
    debug: o.DEBUG = False,
) -> None:
    """Answer QUESTION about IMAGE: extraction and thinking on stderr, the answer on stdout."""
    form = o.output_format(as_json, as_jsonl)
    runtime = o.runtime_config(
        device,
        threads,
        vision=vision,
        decoder=decoder,
        disk_cache=disk_cache,
        max_memory=max_memory,
        handoff=handoff,
        lookup=lookup,
        gpu_layers=gpu_layers,
        cuda_graph=cuda_graph,
    )
    with failures(as_json=form != "text", debug=debug):
        import edge_et

        source = o.image_source(image)
        asked = a.asked_form(answer_form, choices, schema)
        settings = partial(
            o.generation_config,
            asked=asked,
            think=think,
            effort=effort,
            think_budget=think_budget,
            answer_budget=answer_budget,
            deadline=deadline,
            suppress_reflexive=suppress_reflexive,
            check=check,
            extract_budget=extract_budget,
            seed=seed,
            temperature=temperature,
            max_tiles=max_tiles,
            max_image_tokens=max_image_tokens,
            focus=focus,
            looks=looks,
        )
        with edge_et.load(
            pair,
            extractor=extractor,
            reasoner=reasoner,
            runtime=runtime,
            largest=settings(None),
            image_px=o.planned_px(source, runtime),
        ) as chain:
            generation = settings(chain)
            answer = play(chain.stream(source, question, generation), form=form, quiet=quiet)
            record = answer_record(answer, chain, device)
        if form == "text":
            print_text(answer.text)
        else:
            print_json({"event": "result"} | record if form == "jsonl" else record)
        if form == "text" and not quiet:
            print_looks(answer)
            print_notes(answer.image)
            print_found(answer)
            print_contradictions(answer)
        if evidence:
            print_evidence(answer)
        if stats:
            answer_stats(answer, record)
            print_plan(chain)
        exit_if_cut(answer, quiet=quiet or form != "text")
