"""From paths to configurations: a peer is chosen by giving it something to run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from edge_et.errors import InputError
from edge_et_bench.records import Configuration

DTYPES = ("fp32", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to run, by runtime; nothing where a runtime is not wanted."""

    extractors: tuple[Path, ...] = ()
    """Of edge-et: their decoder alone for workloads with prompt_tokens, else the whole."""
    decoders: tuple[str, ...] = ()
    """Precisions of each extractor's decoder; none: its manifest's first."""
    reasoner: str | None = None
    ggufs: tuple[Path, ...] = ()
    mmproj: Path | None = None
    checkpoints: tuple[Path, ...] = ()
    genai: tuple[Path, ...] = ()
    openvino: tuple[Path, ...] = ()
    url: str | None = None
    url_model: str = "default"
    threads: int | None = None


def configurations(choice: Choice, *, alone: bool) -> tuple[Configuration, ...]:
    """Return a configuration for each; `alone`: the workload is for a language model alone.

    Raises InputError when nothing was chosen.
    """
    found = (*_own(choice, alone=alone), *_peers(choice))
    if not found:
        raise InputError(
            "no runtime was given anything to run",
            hint="edge-et bench peers --gguf FILE --checkpoint FOLDER …: see --help",
        )
    return found


def _own(choice: Choice, *, alone: bool) -> Iterator[Configuration]:
    for (folder, name), precision in product(_named(choice.extractors), choice.decoders or (None,)):
        yield Configuration(
            label=f"edge-et {name} {precision or ''}".rstrip(),
            runtime="edge-et-decoder" if alone else "edge-et",
            extractor=str(folder),
            reasoner=choice.reasoner,
            decoder_precision=precision,
            device="cpu",
            threads=choice.threads,
        )


def _peers(choice: Choice) -> Iterator[Configuration]:
    eyes = {"mmproj": str(choice.mmproj)} if choice.mmproj else {}
    for file, name in _named(choice.ggufs):
        yield _peer(choice, "llama.cpp", name, {"model": str(file)} | eyes)
    for folder, name in _named(choice.checkpoints):
        for dtype in DTYPES:
            options = {"checkpoint": str(folder), "dtype": dtype}
            yield _peer(choice, "transformers", f"{name} {dtype}", options)
    for runtime, folders in (
        ("onnxruntime-genai", choice.genai),
        ("openvino-genai", choice.openvino),
    ):
        for folder, name in _named(folders):
            yield _peer(choice, runtime, name, {"model": str(folder)})
    if choice.url is not None:
        options = {"url": choice.url, "model": choice.url_model}
        yield _peer(choice, "openai-url", choice.url_model, options)


def _peer(choice: Choice, runtime: str, what: str, options: dict[str, str]) -> Configuration:
    return Configuration(
        label=f"{runtime} {what}",
        runtime=runtime,
        device="cpu",
        threads=choice.threads,
        options=options,
    )


def _named(paths: tuple[Path, ...]) -> list[tuple[Path, str]]:
    """Give each a name that no other has: the last part of it, the whole where that is not
    enough."""
    short = [path.stem if path.suffix == ".gguf" else path.name for path in paths]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    return list(zip(paths, names, strict=True))
