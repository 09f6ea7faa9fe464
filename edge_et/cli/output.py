"""Chunks and records -> stdout and stderr."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO
from unicodedata import category

import typer

if TYPE_CHECKING:
    from edge_et.chain import Chain
    from edge_et.streams import RecordT, Stream
    from edge_et.types import Answer, Chunk, Extraction, ImageReport, Timings

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
LIMIT_REACHED = 7
_LIMITS = {
    "think_budget": "the thinking was closed at its budget (--think-budget)",
    "think_loop": "the thinking went round in circles and was closed",
    "think_deadline": "the thinking was closed for the deadline (--deadline)",
    "extraction_deadline": "the extraction was ended for the deadline (--deadline)",
    "deadline": "the answer was cut for the deadline (--deadline)",
    "extraction_length": "the extraction was cut (--extract-budget)",
    "length": "the answer was cut (--answer-budget)",
    "context": "the reasoner's context was full before the answer ended",
    "insufficient": "the notes do not hold what the question needs (--looks)",
}


class Monologue:
    """Extraction and thinking as they come, dim where a person watches, on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        self._part: tuple[str, int] | None = None

    def show(self, chunk: Chunk) -> None:
        if self._quiet or chunk.kind == "answer":
            return
        part = (chunk.kind, chunk.look)
        if self._part not in (None, part):
            self._write("\n\n")
        self._part = part
        text = visible(chunk.text, sys.stderr)
        self._write(f"{_DIM}{text}{_PLAIN}" if self._colour else text)

    def end(self) -> None:
        if self._part is not None:
            self._write("\n\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def visible(text: str, file: TextIO) -> str:
    """Return `text` as a terminal may show it: words in a picture give it no orders either."""
    if not file.isatty():
        return text
    return "".join(c if c in "\n\t" or not category(c).startswith("C") else "\ufffd" for c in text)


def print_text(text: str) -> None:
    typer.echo(visible(text, sys.stdout))


def play(stream: Stream[RecordT], *, form: str, quiet: bool) -> RecordT:
    """Show a stream while it runs (`form`: text, json, jsonl) and return its record."""
    monologue = Monologue(quiet=quiet or form != "text")
    with stream:
        try:
            for chunk in stream:
                if form == "jsonl":
                    again = {"look": chunk.look} if chunk.look else {}
                    print_json({"event": chunk.kind, "text": chunk.text} | again)
                monologue.show(chunk)
        finally:
            monologue.end()
        return stream.result()


def print_json(record: dict[str, Any]) -> None:
    typer.echo(json.dumps(record, ensure_ascii=False))


def print_notes(image: ImageReport | None) -> None:
    """Say on stderr what was done to the image."""
    for note in image.notes if image is not None else ():
        typer.echo(f"image: {note}", err=True)


def print_found(answer: Answer) -> None:
    """Say on stderr when the answer had to be insisted on."""
    if answer.found == "constrained" and answer.form != "json":
        typer.echo("answer: what was written had another form; insisted under a grammar", err=True)


def print_contradictions(answer: Answer) -> None:
    """Say on stderr what a second look says otherwise."""
    for one in answer.contradictions:
        about = "the answer" if one.kind == "answer" else f"{one.about}, {one.kind}"
        text = f"doubt: {about}: {one.first!r}, at a second look {one.second!r}"
        typer.echo(visible(text, sys.stderr), err=True)


def print_evidence(answer: Answer) -> None:
    """Print to stderr the sentences that are used, and the words of each that come again."""
    for one in answer.evidence:
        where = f"look {one.look + 1}, " if answer.looks else ""
        line = f"evidence {where}{one.sentence + 1}: {one.text}"
        typer.echo(visible(line, sys.stderr), err=True)
        for quotation in one.quotations:
            used = answer.thinking if quotation.part == "thinking" else answer.text
            words = used[quotation.used_start : quotation.used_end]
            line = f"  {quotation.part}: {' '.join(words.split())}"
            typer.echo(visible(line, sys.stderr), err=True)
    if not answer.evidence:
        typer.echo("evidence: no words of the extraction are used", err=True)


def print_looks(answer: Answer) -> None:
    """Say on stderr what was looked at again, and what became of the focus that was asked for."""
    for number, look in enumerate((answer.extraction, *answer.looks)):
        if number:
            where = look.region.name if look.region else "the whole image"
            what = look.focus_phrase or "everything"
            typer.echo(f"look {number + 1}: {where}, with attention to {what}", err=True)
        for note in look.notes:
            typer.echo(f"focus: {note}", err=True)


def answer_record(answer: Answer, chain: Chain, device: str) -> dict[str, Any]:
    """Return the result of `ask` and `think` as plain data."""
    record = asdict(answer)
    record["answer"] = record.pop("text")
    record["image"] = record["extraction"].pop("image")
    record["served"] = record["extraction"].pop("served")
    return record | _where(chain, device)


def extraction_record(extraction: Extraction, chain: Chain, device: str) -> dict[str, Any]:
    record = asdict(extraction)
    image, timings, served = record.pop("image"), record.pop("timings"), record.pop("served")
    reason = extraction.finish_reason
    return {
        "extraction": record, "image": image, "timings": timings, "finish_reason": reason,
        "pair": chain.pair, "served": served,
    } | _where(chain, device)  # fmt: skip


def _where(chain: Chain, device: str) -> dict[str, Any]:
    halves = {"extractor": chain.extractor, "reasoner": chain.reasoner}
    used = {name: getattr(half, "device", None) for name, half in halves.items() if half}
    threads = {name: getattr(half, "threads", None) for name, half in halves.items() if half}
    return {"device": {"requested": device} | used, "threads": threads, "placed": _placed(chain)}


def _placed(chain: Chain) -> dict[str, str]:
    """Say how much of each half lies on the GPU; nothing without one."""
    from edge_et.extractor import Extractor
    from edge_et.reasoner import Reasoner

    eyes, thinker = chain.extractor, chain.reasoner
    placed: dict[str, str] = {}
    if isinstance(eyes, Extractor) and eyes.device != "cpu":
        placed |= {name: str(placement) for name, placement in eyes.placements.items()}
    if isinstance(thinker, Reasoner) and thinker.offload is not None:
        placed["reasoner"] = str(thinker.offload)
    return placed


def print_stats(timings: Timings, record: dict[str, Any], *, tokens: dict[str, int]) -> None:
    """Print to stderr where it ran and what was kept of it (from the `record`), the stages, and
    the speeds of `tokens` {stage without _s: count}."""
    for half, threads in record["threads"].items():
        where = f"{record['device'][half]}, {threads} thread{'s' if threads != 1 else ''}"
        typer.echo(f"{half:<16}{where:>11}", err=True)
    for half, where in record["placed"].items():
        typer.echo(f"{half:<16}{where}", err=True)
    for part, origin in (record["served"] or {}).items():
        if origin in ("memory", "disk"):
            typer.echo(f"{part:<16}{f'from {origin}':>11}", err=True)
    for name, value in asdict(timings).items():
        if value is not None and value >= 0.0005:
            count = tokens.get(name.removesuffix("_s"))
            speed = f"{count:>7} tokens {count / value:>9.1f} tokens/s" if count else ""
            typer.echo(f"{name.removesuffix('_s'):<16}{value:>9.3f} s{speed}", err=True)


def print_plan(chain: Chain) -> None:
    """Print to stderr the plan for memory, if there is one, and what was really taken."""
    from edge_et.memory.measure import highest_resident_bytes
    from edge_et.memory.residency import Residency

    highest_bytes = highest_resident_bytes()
    if highest_bytes is not None:
        typer.echo(f"{'peak memory':<16}{highest_bytes / 1024**2:>9,.0f} MiB", err=True)
    if isinstance(chain.residency, Residency):
        for line in chain.residency.plan.describe():
            typer.echo(line, err=True)


def answer_stats(answer: Answer, record: dict[str, Any]) -> None:
    seen = (answer.extraction, *answer.looks)
    print_stats(
        answer.timings,
        record,
        tokens={
            "extract_prefill": sum(one.prompt_tokens for one in seen),
            "extract_decode": sum(one.generated_tokens for one in seen),
            "reason_prefill": answer.prompt_tokens - answer.reused_tokens,
            "think_decode": answer.think_tokens,
            "answer_decode": answer.answer_tokens,
        },
    )


def exit_if_cut(answer: Answer, *, quiet: bool = False) -> None:
    """Name the limit that was hit; leave with 7 when the answer is incomplete for it."""
    if answer.finish_reason == "stop":
        return
    if not quiet:
        typer.echo(f"limit reached: {_LIMITS[answer.finish_reason]}", err=True)
    if answer.finish_reason in ("length", "context", "deadline", "insufficient"):
        raise typer.Exit(LIMIT_REACHED)
