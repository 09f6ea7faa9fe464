"""How to run (`RuntimeConfig`, at load) and what to sample (`GenerationConfig`, per call)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from edge_et.effort import DEFAULT_EFFORT, EFFORTS, Effort
from edge_et.errors import InputError
from edge_et.schema import JsonSchema
from edge_et.types import AnswerForm

Device = Literal["auto", "cpu", "cuda"]
Handoff = Literal["auto", "on", "off"]
GpuLayers = int | Literal["auto", "all"]
FOCUS_MODES = ("auto", "question", "reasoner", "none")


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
    cache_bytes: int = 768 * 2**20
    """What the extractor may keep in memory between two calls, so that a second question about an
    image starts where the image ends; 0: nothing. See docs/caches.md."""
    disk_cache: Path | None = None
    """Folder to keep the same in between two processes; None: nothing is written anywhere. What an
    extractor read in a picture may be private."""
    disk_cache_bytes: int = 2 * 2**30
    max_memory_bytes: int | None = None
    """Of the whole process, on the CPU; what is loaded when is planned within it (docs/memory.md).
    None: everything stays in memory."""
    handoff: Handoff = "auto"
    """Whether the reasoner reads what the extractor writes while it writes (docs/handoff.md).
    "auto": as `edge-et doctor --tune` measured it here; unmeasured, only where the two do not
    share their cores."""
    gpu_layers: GpuLayers = "auto"
    """Layers of the reasoner on the GPU, the output product counted as one; "auto": as many as fit
    into its free memory. Without a GPU it means nothing."""
    cuda_graph: bool = True
    """On CUDA, whether the extractor's step for one token is captured and replayed as a whole."""
    lookup: bool = False
    """Whether the reasoner drafts what it writes from what stands before it, and checks a draft in
    one step (docs/thinking.md)."""

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"unknown device {self.device!r}", hint="use auto, cpu or cuda")
        if self.handoff not in ("auto", "on", "off"):
            raise InputError(f"unknown handoff {self.handoff!r}", hint="use auto, on or off")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads must be at least 1, not {self.threads}")
        if isinstance(self.gpu_layers, str) and self.gpu_layers not in ("auto", "all"):
            raise InputError(
                f"unknown gpu_layers {self.gpu_layers!r}", hint="use a number, auto or all"
            )
        if isinstance(self.gpu_layers, int) and self.gpu_layers < 0:
            raise InputError(f"gpu_layers must not be negative, not {self.gpu_layers}")
        for name in ("cache_bytes", "disk_cache_bytes"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative, not {getattr(self, name)}")
        if self.max_memory_bytes is not None and self.max_memory_bytes < 1:
            raise InputError(f"max_memory_bytes must be positive, not {self.max_memory_bytes}")


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
    for_deadline: bool = False
    """Whether a deadline set them, and not the caller."""

    def __str__(self) -> str:
        given = [("max_tiles", self.max_tiles), ("max_image_tokens", self.max_image_tokens)]
        text = " and ".join(f"{name} {value}" for name, value in given if value is not None)
        return f"{text} for the deadline" if self.for_deadline else text


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """Budgets and sampling of one call. Limits count tokens of the part they name.

    The extraction is greedy in the paper (supplement; research/paper.md C2), so it is here by
    default; the reasoner's sampling of None takes the defaults its artifact carries.
    """

    think: bool = True
    effort: Effort = DEFAULT_EFFORT
    """Names the two budgets that are None below (`edge_et.effort`); "none" does not think."""
    think_budget_tokens: int | None = None
    answer_budget_tokens: int | None = None
    extraction_budget_tokens: int = 1024
    extraction_sampling: SamplingConfig = field(default_factory=SamplingConfig)
    reasoner_sampling: SamplingConfig | None = None
    max_tiles: int | None = None
    """Of the image, the whole of it included. When this and the next are None the extractor's own
    limit for a CPU holds there; on CUDA there is none."""
    max_image_tokens: int | None = None
    """Positions that the image takes in the extractor's prompt."""
    form: AnswerForm | None = None
    """Of the answer; None: what the question's wording asks for. Yes or no and a number are held to
    when they are asked for here."""
    choices: tuple[str, ...] = ()
    """Options: the answer is one of these texts. Without them those that stand in the question."""
    schema: JsonSchema | None = None
    """The answer is JSON by this schema: a mapping, or a class with `model_json_schema`, such as a
    pydantic model."""
    ignore_stop: bool = False
    """Run every part to its whole budget, as measuring needs it: no end is sampled, and nothing is
    looked at again."""
    suppress_reflexive: bool | None = None
    """Keep words that reopen a train of thought ("wait", "but") out of the thinking
    (`edge_et.reflexive`). None: as the pair's row of the registry has it."""
    check: bool = False
    """Look a second time and say where the two looks contradict each other (`edge_et.doubt`). The
    chunks of the second look are not streamed; it costs as much time as the first, the vision
    tower's share aside. Only where there is an image."""
    deadline_s: float | None = None
    """The answer is due so many seconds after the call, waiting for other calls included
    (`edge_et.deadline`)."""
    focus: str = "auto"
    """What the extraction pays attention to. `question`: the phrase that a rule makes of the
    question; `reasoner`: one that the reasoner writes; `none`: the whole image; `auto`: what
    measured best for the pair; anything else is the phrase itself."""
    looks: int = 1
    """How many more looks at the image the reasoner may have when the notes lack what the question
    needs."""

    @property
    def looks_again(self) -> int:
        """The further looks in force."""
        return 0 if self.ignore_stop else self.looks

    @property
    def thinks(self) -> bool:
        """Whether to think: a budget that is given speaks louder than the effort."""
        return self.think and (self.effort != "none" or self.think_budget_tokens is not None)

    @property
    def think_tokens(self) -> int:
        """The thinking budget in force."""
        given = self.think_budget_tokens
        return EFFORTS[self.effort].think_tokens if given is None else given

    @property
    def answer_tokens(self) -> int:
        """The answer's budget in force."""
        given = self.answer_budget_tokens
        return EFFORTS[self.effort].answer_tokens if given is None else given

    @property
    def image_limits(self) -> ImageLimits:
        return ImageLimits(max_tiles=self.max_tiles, max_image_tokens=self.max_image_tokens)

    def __post_init__(self) -> None:
        if self.effort not in EFFORTS:
            raise InputError(f"unknown effort {self.effort!r}", hint=f"use {', '.join(EFFORTS)}")
        if self.think_tokens < 0:
            raise InputError(f"the thinking budget is {self.think_budget_tokens} tokens")
        if not self.focus.strip():
            raise InputError("the focus is empty", hint="none looks at the whole image")
        if self.looks < 0:
            raise InputError(f"looks must not be negative, not {self.looks}")
        for name in (
            "answer_budget_tokens", "extraction_budget_tokens", "max_tiles", "max_image_tokens",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
        # "not >" so that NaN is refused too
        if self.deadline_s is not None and not self.deadline_s > 0:
            raise InputError(f"deadline_s must be more than 0, not {self.deadline_s}")
        if self.check and self.deadline_s is not None:
            raise InputError(
                "a second look takes the time that the deadline leaves for the first",
                hint="leave out one of check and deadline_s",
            )
        self._check_form()

    def _check_form(self) -> None:
        given = [name for name in ("form", "choices", "schema") if getattr(self, name)]
        if len(given) > 1:
            raise InputError(f"{given[0]} and {given[1]} both say how the answer looks: give one")
        if self.ignore_stop and given:
            raise InputError(f"with ignore_stop no answer ends, so {given[0]} cannot be held")
        if self.form is not None and self.form not in get_args(AnswerForm):
            known = ", ".join(get_args(AnswerForm))
            raise InputError(f"unknown form {self.form!r}", hint=f"use one of {known}")
        if self.form == "json":
            raise InputError("the form json needs a schema", hint="give schema in its place")
        choices: object = self.choices
        if isinstance(choices, str):
            raise InputError("choices are a tuple of texts, not one text")
        texts = [choice.strip() for choice in self.choices]
        if texts and (len(set(texts)) < max(2, len(texts)) or not all(texts)):
            raise InputError(f"choices must be two or more different texts, not {texts}")
