"""How to run (`RuntimeConfig`, at load) and what to sample (`GenerationConfig`, per call)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge_et.errors import InputError

Device = Literal["auto", "cpu", "cuda"]
Handoff = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """How to run a pair on this device.

    `threads=None` takes what this process may really use (affinity and cgroup quota).
    `device="auto"` may fall back to the CPU and reports it; "cuda" never falls back.
    """

    device: Device = "auto"
    threads: int | None = None
    vision_precision: str | None = None
    """Of those that lie in the artifact; None: the first that suits the device."""
    decoder_precision: str | None = None
    verify_hashes: bool = False
    """Hash every file against the manifest at load (reads all weights once)."""
    handoff: Handoff = "auto"
    """Whether the reasoner reads what the extractor writes while it writes (docs/handoff.md).
    "auto": as `edge-et doctor --tune` measured it here; unmeasured, only where the two do not
    share their cores."""

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"unknown device {self.device!r}", hint="use auto, cpu or cuda")
        if self.handoff not in ("auto", "on", "off"):
            raise InputError(f"unknown handoff {self.handoff!r}", hint="use auto, on or off")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads must be at least 1, not {self.threads}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """`temperature=0` is greedy; the other fields then have no effect."""

    temperature: float = 0.0
    top_p: float = 1.0
    """Nucleus mass, (0, 1]."""
    top_k: int = 0
    """0: no limit."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise InputError(f"temperature must not be negative, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p lies in (0, 1], not {self.top_p}")
        if self.top_k < 0:
            raise InputError(f"top_k must not be negative, not {self.top_k}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What an image may cost; None: no limit."""

    max_tiles: int | None = None
    """Crops that go through the vision tower, the whole image included."""
    max_image_tokens: int | None = None
    """Positions that the image takes in the extractor's prompt."""

    def __str__(self) -> str:
        given = [("max_tiles", self.max_tiles), ("max_image_tokens", self.max_image_tokens)]
        return " and ".join(f"{name} {value}" for name, value in given if value is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """Budgets and sampling of one call. Limits count tokens of the part they name.

    The extraction is greedy in the paper (supplement; research/paper.md C2), so it is here by
    default; the reasoner's sampling of None takes the defaults its artifact carries.
    """

    think: bool = True
    think_budget_tokens: int = 4096
    answer_budget_tokens: int = 1024
    extraction_budget_tokens: int = 1024
    extraction_sampling: SamplingConfig = field(default_factory=SamplingConfig)
    reasoner_sampling: SamplingConfig | None = None
    max_tiles: int | None = None
    """Of the image, the whole of it included. When this and the next are None the extractor's own
    limit for a CPU holds there; on CUDA there is none."""
    max_image_tokens: int | None = None
    """Positions that the image takes in the extractor's prompt."""
    ignore_stop: bool = False
    """Run every part to its whole budget, as measuring needs it: no end is sampled."""

    @property
    def image_limits(self) -> ImageLimits:
        return ImageLimits(max_tiles=self.max_tiles, max_image_tokens=self.max_image_tokens)

    def __post_init__(self) -> None:
        if self.think_budget_tokens < 0:
            raise InputError(f"the thinking budget is {self.think_budget_tokens} tokens")
        for name in ("answer_budget_tokens", "extraction_budget_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("max_tiles", "max_image_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
