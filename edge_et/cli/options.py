"""Options that several commands share."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

if TYPE_CHECKING:
    from edge_et.chain import Chain
    from edge_et.config import GenerationConfig, GpuLayers, RuntimeConfig, SamplingConfig

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0}


def seconds_of(text: str) -> float:
    """Return the seconds that a duration like 5s, 800ms or 1.5 says."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|)", text.strip())
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"{text!r} is no time like 5s, 800ms or 1m")
    return float(match[1]) * _UNITS_S[match[2] or "s"]


def effort_of(text: str) -> str:
    from edge_et.effort import EFFORTS

    if text not in EFFORTS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(EFFORTS)}")
    return text


IMAGE = Annotated[str, typer.Argument(metavar="IMAGE", help="An image file, or - for stdin.")]
PAIR = Annotated[str, typer.Option(help="A pair of the registry.")]
EXTRACTOR = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|NAME",
        help="Folder of an exported extractor, or a name of the registry, instead of the pair's.",
    ),
]
REASONER = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|FOLDER|NAME",
        help="GGUF file or folder of a reasoner, or a name of the registry, instead of the pair's.",
    ),
]
DEVICE = Annotated[str, typer.Option(help="auto, cpu or cuda; cuda never falls back.")]
VISION = Annotated[
    str | None,
    typer.Option(help="Precision of the vision encoder, where several lie in the extractor."),
]
DECODER = Annotated[
    str | None, typer.Option(help="Precision of the extractor's decoder, likewise.")
]
DISK_CACHE = Annotated[
    bool,
    typer.Option(
        "--disk-cache",
        help="Keep on disk what was seen of the image, so that the next call on it is quicker; "
        "see edge-et cache.",
    ),
]
THREADS = Annotated[int | None, typer.Option(help="CPU threads [default: all usable].")]
MAX_MEMORY = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Most memory of the whole process, e.g. 1.5GiB or 800MB; on the CPU."
    ),
]
HANDOFF = Annotated[
    str,
    typer.Option(
        help="auto, on or off: let the reasoner read while the extractor writes "
        "[auto: as doctor --tune measured it]."
    ),
]
GPU_LAYERS = Annotated[
    str,
    typer.Option(
        "--gpu-layers",
        metavar="N|auto|all",
        help="Layers of the reasoner on the GPU; auto: as many as fit into its free memory.",
    ),
]
CUDA_GRAPH = Annotated[
    bool,
    typer.Option(
        "--cuda-graph/--no-cuda-graph",
        help="On CUDA: replay the extractor's step for one token as a whole.",
    ),
]
LOOKUP = Annotated[
    bool,
    typer.Option("--lookup", help="Let the reasoner copy ahead what repeats itself, and check it."),
]
THINK = Annotated[bool, typer.Option("--think/--no-think", help="Think before answering.")]
EFFORT = Annotated[
    str,
    typer.Option(
        parser=effort_of,
        metavar="EFFORT",
        help="How long to think: none, low, medium or high; names both budgets.",
    ),
]
THINK_BUDGET = Annotated[
    int | None,
    typer.Option(
        help="Tokens of thinking before it is closed [default: by --effort: 0, 256, 1024, 4096]."
    ),
]
ANSWER_BUDGET = Annotated[
    int | None,
    typer.Option(help="Tokens of answer [default: by --effort: 512, 256, 512, 1024]."),
]
DEADLINE = Annotated[
    float | None,
    typer.Option(
        parser=seconds_of,
        metavar="TIME",
        help="When the answer is due once the models are loaded: 5s, 800ms, 1m.",
    ),
]
SUPPRESS_REFLEXIVE = Annotated[
    bool | None,
    typer.Option(
        "--suppress-reflexive/--allow-reflexive",
        help='Think without "wait", "but" and the like [default: as the pair has it].',
    ),
]
EXTRACT_BUDGET = Annotated[int | None, typer.Option(help="Tokens of extraction [default: 1024].")]
MAX_TILES = Annotated[
    int | None,
    typer.Option(
        min=1, help="Tiles that the image is seen in, at most [default: the extractor's own]."
    ),
]
MAX_IMAGE_TOKENS = Annotated[
    int | None, typer.Option(min=1, help="Image tokens in the extractor's prompt, at most.")
]
FOCUS = Annotated[
    str,
    typer.Option(
        metavar="auto|question|reasoner|none|WORDS",
        help="What the extraction pays attention to: a phrase made of the question by rule, or "
        "written by the reasoner; nothing in particular; or your own words.",
    ),
]
LOOKS = Annotated[
    int,
    typer.Option(min=0, help="Further looks at the image where the description lacks the answer."),
]
SEED = Annotated[int | None, typer.Option(help="Seed of the reasoner's sampling.")]
TEMPERATURE = Annotated[
    float | None,
    typer.Option(help="Of the reasoner; 0 is greedy [default: the model's own]."),
]
CHECK = Annotated[
    bool,
    typer.Option(
        "--check", help="Look a second time and say what of the two looks contradicts the other."
    ),
]
EVIDENCE = Annotated[
    bool, typer.Option("--evidence", help="Sentences of the extraction that are used, on stderr.")
]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
JSONL = Annotated[
    bool, typer.Option("--jsonl", help="Print an event a line on stdout, the result last.")
]
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")]
STATS = Annotated[bool, typer.Option("--stats", help="Timings on stderr.")]
DEBUG = Annotated[bool, typer.Option("--debug", help="Tracebacks and the library's log.")]


def image_source(argument: str) -> Path | bytes:
    """Return what the library takes: a path, or the bytes of stdin for `-`.

    Raises ImageError when there is no such file, before models are loaded for it.
    """
    from edge_et.errors import ImageError

    if argument == "-":
        return sys.stdin.buffer.read()
    path = Path(argument)
    if path.is_dir():
        raise ImageError(f"{argument} is a folder, not an image file")
    if not path.is_file() and "://" not in argument:
        raise ImageError(f"there is no image file {argument}")
    return path


def planned_px(source: Path | bytes, runtime: RuntimeConfig) -> int:
    """Return the image's size where memory is planned: a command has one image, and knows it.

    Raises ImageError.
    """
    from edge_et.image import image_px
    from edge_et.memory.planning import LARGEST_IMAGE_PX

    return LARGEST_IMAGE_PX if runtime.max_memory_bytes is None else image_px(source)


def runtime_config(
    device: str,
    threads: int | None,
    *,
    vision: str | None = None,
    decoder: str | None = None,
    disk_cache: bool = False,
    max_memory: str | None = None,
    handoff: str = "auto",
    lookup: bool = False,
    gpu_layers: str = "auto",
    cuda_graph: bool = True,
) -> RuntimeConfig:
    from dataclasses import replace

    from edge_et.caching.disk import default_folder
    from edge_et.config import Device, Handoff, RuntimeConfig

    if device not in ("auto", "cpu", "cuda"):
        raise typer.BadParameter(f"{device!r} is none of auto, cpu, cuda", param_hint="--device")
    if handoff not in ("auto", "on", "off"):
        raise typer.BadParameter(f"{handoff!r} is none of auto, on, off", param_hint="--handoff")
    if threads is not None and threads < 1:
        raise typer.BadParameter("must be at least 1", param_hint="--threads")
    runtime = RuntimeConfig(
        device=cast(Device, device),
        threads=threads,
        vision_precision=vision,
        decoder_precision=decoder,
        disk_cache=default_folder() if disk_cache else None,
        handoff=cast(Handoff, handoff),
        lookup=lookup,
        gpu_layers=_gpu_layers(gpu_layers),
        cuda_graph=cuda_graph,
    )
    if max_memory is None:
        return runtime
    # a command makes one call: what it would keep for a second only takes room in the plan
    return replace(runtime, max_memory_bytes=_size_bytes(max_memory), cache_bytes=0)


def _gpu_layers(text: str) -> GpuLayers:
    if text in ("auto", "all"):
        return cast("GpuLayers", text)
    if text.isdecimal():
        return int(text)
    raise typer.BadParameter(
        f"{text!r} is none of auto, all and a number", param_hint="--gpu-layers"
    )


def _size_bytes(text: str) -> int:
    """Read a size: a number and B, kB, MB, GB, KiB, MiB or GiB."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(?:(|k|m|g)(i?)b?)\s*", text, re.IGNORECASE)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is no size such as 1.5GiB or 800MB", param_hint="--max-memory"
        )
    number, prefix, binary = found.groups()
    step = 1024.0 if binary else 1000.0
    size_bytes = round(float(number) * step ** " kmg".index(prefix.lower() or " "))
    if size_bytes < 1:
        raise typer.BadParameter("must be more than nothing", param_hint="--max-memory")
    return size_bytes


def generation_config(
    chain: Chain | None,
    *,
    asked: GenerationConfig | None = None,
    think: bool = True,
    effort: str = "medium",
    think_budget: int | None = None,
    answer_budget: int | None = None,
    extract_budget: int | None = None,
    seed: int | None = None,
    temperature: float | None = None,
    max_tiles: int | None = None,
    max_image_tokens: int | None = None,
    deadline: float | None = None,
    suppress_reflexive: bool | None = None,
    check: bool = False,
    focus: str = "auto",
    looks: int = 1,
) -> GenerationConfig:
    """Return the settings of one call; what is None stays as in `asked`, or at its default. Without
    a chain the reasoner's sampling stays at its own, as for planning."""
    from dataclasses import replace

    from edge_et.config import GenerationConfig
    from edge_et.effort import Effort

    given = {"extraction_budget_tokens": extract_budget}
    return replace(
        asked or GenerationConfig(),
        think=think,
        effort=cast(Effort, effort),
        think_budget_tokens=think_budget,
        answer_budget_tokens=answer_budget,
        deadline_s=deadline,
        suppress_reflexive=suppress_reflexive,
        check=check,
        reasoner_sampling=_sampling(chain, seed, temperature),
        max_tiles=max_tiles,
        max_image_tokens=max_image_tokens,
        focus=focus,
        looks=looks,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )


def _sampling(
    chain: Chain | None, seed: int | None, temperature: float | None
) -> SamplingConfig | None:
    """Return the reasoner's own sampling with what was asked for changed in it."""
    from dataclasses import replace

    from edge_et.reasoner import Reasoner

    if chain is None or (seed is None and temperature is None):
        return None
    if not isinstance(chain.reasoner, Reasoner):
        return None
    own = chain.reasoner.sampling
    return replace(
        own,
        seed=own.seed if seed is None else seed,
        temperature=own.temperature if temperature is None else temperature,
    )


Format = Literal["text", "json", "jsonl"]


def output_format(as_json: bool, as_jsonl: bool) -> Format:
    if as_json and as_jsonl:
        raise typer.BadParameter("take one of --json and --jsonl")
    return "json" if as_json else "jsonl" if as_jsonl else "text"
