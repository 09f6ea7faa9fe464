"""What the peers share: each is one model, in the extractor's place.

It reads a prompt, with the image where it can see, and writes the extraction's tokens. So its
stages are the extractor's, and stand beside those of edge-et.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_et.errors import InputError, MissingArtifact
from edge_et.manifest import file_sha256
from edge_et.threads import usable_threads
from edge_et_bench.adapters import Request
from edge_et_bench.records import Configuration, Outcome, Part, Stage, StageName, Used


class Laps:
    """The stages of one answer: each starts where the last one ended, so none is lost."""

    def __init__(self) -> None:
        self._started_s = self._last_s = time.perf_counter()
        self._first_s: float | None = None
        self._stages: list[Stage] = []

    def first_token(self) -> None:
        """The first token is known. Later calls change nothing."""
        if self._first_s is None:
            self._first_s = time.perf_counter() - self._started_s

    def end(self, name: StageName, *, tokens: int | None = None, steps: int | None = None) -> None:
        """The stage that ran until now was `name`."""
        now_s = time.perf_counter()
        seconds, self._last_s = now_s - self._last_s, now_s
        self._stages.append(Stage(name=name, seconds=seconds, tokens=tokens, steps=steps))

    def count(self, name: StageName, tokens: int | None) -> None:
        """The stage `name`, which has ended, had so many tokens."""
        self._stages = [replace(s, tokens=tokens) if s.name == name else s for s in self._stages]

    def outcome(self, answer: str = "", finish_reason: str | None = None) -> Outcome:
        total_s = time.perf_counter() - self._started_s
        other_s = total_s - sum(stage.seconds for stage in self._stages)
        return Outcome(
            stages=(*self._stages, Stage(name="other", seconds=max(0.0, other_s))),
            total_s=total_s,
            answer=answer,
            finish_reason=finish_reason,
            ttft_extract_s=self._first_s,
        )


def new_tokens(request: Request) -> int:
    """Return how many tokens to write. Raises InputError in the natural mode."""
    if request.forced is None:
        raise InputError(
            "a peer writes a forced number of tokens, and this workload forces none",
            hint="take one that does: --workload single-tile, or language-half",
        )
    return request.forced.extraction


def prompt_ids(count: int, *, vocab_size: int, seed: int) -> list[int]:
    """Make up a prompt: the same for every runtime with the same vocabulary."""
    return [int(i) for i in np.random.default_rng(seed).integers(0, vocab_size, count)]


def needed_prompt(request: Request) -> int:
    """Return the prompt's length for a language model alone. Raises InputError without one."""
    if request.prompt_tokens is None:
        raise InputError(
            "this peer is a language model alone and sees no image: its workload must say "
            "prompt_tokens",
            hint="take the one that does: --workload language-half",
        )
    return request.prompt_tokens


def option(configuration: Configuration, name: str) -> str:
    """Return an option that the adapter cannot do without. Raises InputError."""
    value = (configuration.options or {}).get(name)
    if value is None:
        raise InputError(f"{configuration.runtime} needs the option {name!r}")
    return value


def path_option(configuration: Configuration, name: str) -> Path:
    """Raises InputError, MissingArtifact."""
    path = Path(option(configuration, name))
    if not path.exists():
        raise MissingArtifact(f"{path}, for {configuration.runtime}, does not exist")
    return path


def threads_of(configuration: Configuration) -> int:
    return configuration.threads or usable_threads()


def used(name: str, *, device: str, threads: int, parts: tuple[Part, ...]) -> Used:
    """Return the record of a runtime with one model; it stands where the extractor does."""
    return Used(
        name=name, devices={"extractor": device}, threads={"extractor": threads}, parts=parts
    )


def part(path: Path, *, role: str, precision: str) -> Part:
    return Part(
        role=role,
        path=path.name,
        precision=precision,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
    )


def graph_parts(files: Sequence[Path], precision: str) -> tuple[Part, ...]:
    """Return the decoder's graph, which names the precision, and the weights beside it."""
    return tuple(
        part(file, role="decoder", precision="none" if index else precision)
        for index, file in enumerate(files)
    )
