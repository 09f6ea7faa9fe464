"""What a benchmark run leaves behind: frozen records.

A run is one process: one configuration on one workload. What a runtime does not have or cannot
tell is absent (None, or no entry), never zero; so any runtime can fill the same record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_et.errors import InputError

SCHEMA = 1

StageName = Literal[
    "image",  # decode, orientation, tiling, normalisation
    "vision",  # vision tower, projector, splicing
    "extract_prefill",
    "extract_decode",
    "handoff",  # the reasoner's prompt: template, tokens
    "reason_prefill",
    "think_decode",
    "answer_decode",
    "other",  # the wall clock less all of the above
]
Compute = Literal["fp32", "int8"]
"""Number format of the multiply-adds, as far as it decides their rate on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a model."""

    role: str
    path: str
    precision: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    name: str
    driver: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the software."""

    cpu: str
    usable_cores: int
    """Of affinity mask and quota."""
    governor: str | None
    ram_bytes: int
    gpus: tuple[Gpu, ...]
    os: str
    python: str
    versions: dict[str, str]
    """Of each library that is installed."""
    commit: str | None
    """Of the checkout that edge-et was imported from, with `+changes` when it differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What to run and how; made before the process starts."""

    label: str
    """Shown in reports; unique within a call."""
    runtime: str = "edge-et"
    """Key of `adapters.ADAPTERS`."""
    pair: str = "starter"
    extractor: str | None = None
    reasoner: str | None = None
    vision_precision: str | None = None
    decoder_precision: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    options: dict[str, str] | None = None
    """Whatever else a peer's adapter reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What the configuration came down to once it was loaded, by half (extractor, reasoner)."""

    name: str
    devices: dict[str, str]
    threads: dict[str, int]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What each repeat does. All three token counts or none: none is the natural mode, where the
    models end their texts themselves."""

    name: str
    summary: str
    image: str
    """File; relative paths are taken from the workload file's folder."""
    question: str
    image_sha256: str = ""
    """Of the file; filled in when the workload is read."""
    image_height_px: int | None = None
    """The image is resized to this before it is encoded again, in memory; None: as it is."""
    image_width_px: int | None = None
    extraction_tokens: int | None = None
    thinking_tokens: int | None = None
    answer_tokens: int | None = None
    max_tiles: int | None = None
    prompt_tokens: int | None = None
    """For one model alone: a prompt of so many made-up tokens instead of image and question."""
    seed: int = 0
    warmup: int = 1
    repeats: int = 5
    delay_s: float = 0.0
    """Rest before each repeat."""

    @property
    def forced(self) -> bool:
        return self.extraction_tokens is not None

    def __post_init__(self) -> None:
        counts = (self.extraction_tokens, self.thinking_tokens, self.answer_tokens)
        if len({count is None for count in counts}) > 1:
            raise InputError(f"workload {self.name}: force all three token counts or none")
        if any(count is not None and count < 1 for count in counts):
            raise InputError(f"workload {self.name}: forced token counts are at least 1")
        if self.prompt_tokens is not None and (self.prompt_tokens < 1 or not self.forced):
            raise InputError(
                f"workload {self.name}: prompt_tokens is at least 1 and wants forced token counts"
            )
        if (self.image_height_px is None) != (self.image_width_px is None):
            raise InputError(f"workload {self.name}: an image size is a height and a width")
        if self.repeats < 1 or self.warmup < 0 or self.delay_s < 0:
            raise InputError(
                f"workload {self.name}: repeats are at least 1, warmup and delay_s not negative"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    name: StageName
    seconds: float
    tokens: int | None = None
    """Read in prefill, made in decode, image tokens in vision."""
    steps: int | None = None
    """Passes through the model: tiles in vision, about one a token in decode."""

    @property
    def tokens_per_s(self) -> float | None:
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One question answered: what an adapter returns. Stages are in the order they ran in."""

    stages: tuple[Stage, ...]
    total_s: float
    answer: str
    finish_reason: str | None = None
    ttft_extract_s: float | None = None
    """To the first visible piece of the extraction, from the call; likewise below."""
    ttft_think_s: float | None = None
    ttfa_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One repeat."""

    run_id: str
    repeat: int
    outcome: Outcome
    stage_peaks_bytes: dict[str, int]
    """Resident memory of the process tree, by stage; a stage too short to be seen is absent."""
    energy_joules: dict[str, float] | None
    """By counter; None where the machine has none."""
    others_share: float
    """Of all cores' time, used by other processes meanwhile; 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPoint:
    """Resident memory of the process tree at one moment; with `gpu_bytes` where NVML tells."""

    at_s: float
    """From the start of the load."""
    rss_bytes: int
    anonymous_bytes: int | None
    file_bytes: int | None
    gpu_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of the whole run, the process tree's."""

    baseline_bytes: int
    """After the imports, before the load."""
    peak_bytes: int
    """The kernel's own high-water mark of the process where it has one, else the highest point."""
    peak_anonymous_bytes: int | None
    peak_file_bytes: int | None
    peak_gpu_bytes: int | None
    load_peak_bytes: int
    timeline: tuple[MemoryPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Files to a chain that can answer."""

    seconds: float
    page_cache: Literal["cold", "warm"]
    resident_fraction: float | None
    """Of the model's bytes that lay in the page cache before; None where it cannot be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one stage asks of the hardware."""

    stage: StageName
    threads: int
    """CPU threads it runs on: of the ceiling to hold it against."""
    bytes_per_step: int | None = None
    """Weights and KV cache read in one pass; None in stages that do not stream them."""
    macs_per_token: int | None = None
    """Multiply-adds with weights; attention scores are left out."""
    macs_per_step: int | None = None
    """The same for vision, whose tokens are not the rows that it computes."""
    compute: Compute = "int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What the hardware gave with the same threads, just after the repeats."""

    threads: int
    read_bytes_per_s: float
    macs_per_s: dict[str, float]
    """By `Compute`."""
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One question of the quality set."""

    image: str
    question: str
    expected: tuple[str, ...]
    answer: str
    right: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    data: str
    sha256: str
    """Of the data file."""
    correct: int
    n: int
    low: float
    """Wilson interval of the accuracy, 95 %."""
    high: float
    items: tuple[Judged, ...]

    @property
    def accuracy(self) -> float:
        return self.correct / self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process. `samples` are kept apart in jsonl, a line each."""

    run_id: str
    started_at: str
    """ISO 8601, UTC."""
    round: int
    environment: Environment
    configuration: Configuration
    used: Used
    workload: Workload
    load: Load
    memory: Memory
    ceilings: tuple[Ceiling, ...]
    """One for each number of CPU threads in use."""
    demands: tuple[Demand, ...]
    quality: Quality | None
    idle_watts: dict[str, float] | None
    """By energy counter, over a second before the load."""
    samples: tuple[Sample, ...]
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise InputError(f"run {self.run_id} has schema {self.schema}; this reads {SCHEMA}")
