"""`edge-et think --from FILE|- QUESTION`."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
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
    print_evidence,
    print_found,
    print_json,
    print_plan,
    print_text,
)
from edge_et.errors import InputError


def think(
    question: Annotated[str, typer.Argument(help="What to find out.")],
    source: Annotated[
        str, typer.Option("--from", metavar="FILE|-", help="The extraction: text or JSON.")
    ],
    pair: o.PAIR = "starter",
    reasoner: o.REASONER = None,
    think: o.THINK = True,
    effort: o.EFFORT = "medium",
    think_budget: o.THINK_BUDGET = None,
    answer_budget: o.ANSWER_BUDGET = None,
    deadline: o.DEADLINE = None,
    suppress_reflexive: o.SUPPRESS_REFLEXIVE = None,
    answer_form: a.FORM = None,
    choices: a.CHOICES = None,
    schema: a.SCHEMA = None,
    seed: o.SEED = None,
    temperature: o.TEMPERATURE = None,
    device: o.DEVICE = "auto",
    threads: o.THREADS = None,
    max_memory: o.MAX_MEMORY = None,
    lookup: o.LOOKUP = False,
    gpu_layers: o.GPU_LAYERS = "auto",
    as_json: o.JSON = False,
    as_jsonl: o.JSONL = False,
    evidence: o.EVIDENCE = False,
    quiet: o.QUIET = False,
    stats: o.STATS = False,
    debug: o.DEBUG = False,
) -> None:
    """Answer QUESTION from an extraction: thinking on stderr, the answer on stdout."""
    form = o.output_format(as_json, as_jsonl)
    runtime = o.runtime_config(
        device, threads, max_memory=max_memory, lookup=lookup, gpu_layers=gpu_layers
    )
    with failures(as_json=form != "text", debug=debug):
        import edge_et

        notes = _read_notes(source)
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
            seed=seed,
            temperature=temperature,
        )
        with edge_et.load(
            pair, reasoner=reasoner, runtime=runtime, only="reasoner", largest=settings(None)
        ) as chain:
            generation = settings(chain)
            answer = play(chain.stream_think(notes, question, generation), form=form, quiet=quiet)
            record = answer_record(answer, chain, device)
        if form == "text":
            print_text(answer.text)
        else:
            print_json({"event": "result"} | record if form == "jsonl" else record)
        if form == "text" and not quiet:
            print_found(answer)
        if evidence:
            print_evidence(answer)
        if stats:
            answer_stats(answer, record)
            print_plan(chain)
        exit_if_cut(answer, quiet=quiet or form != "text")


def _read_notes(source: str) -> str:
    """Return the text of an extraction: plain, or what `edge-et extract --json` prints."""
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        text = data.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"the extraction cannot be read: {exc}") from exc
    try:
        record = json.loads(text)
    except ValueError:
        return text
    inner = record.get("extraction", record) if isinstance(record, dict) else None
    return str(inner["text"]) if isinstance(inner, dict) and "text" in inner else text
