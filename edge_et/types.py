"""What the chain gives back: frozen records, nothing that acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from edge_et.regions import Region

ChunkKind = Literal["extraction", "thinking", "answer"]
AnswerPart = Literal["thinking", "answer"]
ContradictionKind = Literal["answer", "colour", "size", "shape", "pattern", "place", "count"]
FinishReason = Literal[
    "stop",  # the model ended by itself
    "think_budget",  # thinking was closed at its budget; the answer is complete
    "think_loop",  # the thinking went round in circles and was closed; the answer is complete
    "think_deadline",  # thinking was closed in time for the answer, which is complete
    "extraction_length",  # the extraction was cut at its limit; what follows used the cut text
    "extraction_deadline",  # the extraction was ended in time for what follows
    "length",  # the answer was cut at its limit
    "context",  # the context was full before the answer ended
    "deadline",  # the answer was cut for the deadline
    "insufficient",  # the notes of all looks do not hold what the question needs
]
Origin = Literal["computed", "memory", "disk"]
AnswerForm = Literal[
    "free",  # as many sentences as it takes
    "short",  # a word or a phrase
    "yes_no",
    "number",  # digits, with a unit where one was written
    "choice",  # one of the options
    "json",  # by a schema
]
Found = Literal[
    "marker",  # behind "Answer:" or what amounts to it
    "boxed",  # in \boxed{}
    "phrase",  # in a sentence such as "the answer is …"
    "last_line",
    "whole",  # all that was written
    "constrained",  # written under a grammar: the form could not be missed
]
FocusSource = Literal["question", "reasoner", "none", "given"]
"""Who made a focus phrase: the rule over the question, the reasoner, nobody, the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One piece of the stream. Concatenating the `text` of one kind and `look` gives that part
    whole."""

    kind: ChunkKind
    text: str
    look: int = 0
    """0: the first extraction and the thinking over it; n: the n-th further look and what is
    thought with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReport:
    """What was done to the image before the vision tower saw it."""

    original_height_px: int
    original_width_px: int
    used_height_px: int
    """Height of the picture content over all tiles, after resize, without padding."""
    used_width_px: int
    tiles: int
    """Crops that went through the vision tower, the thumbnail included."""
    image_tokens: int
    """Positions the image takes in the extractor's prompt."""
    notes: tuple[str, ...] = ()
    """Each conversion applied, e.g. `exif orientation 6`, `alpha over white`, `16-bit to 8-bit`,
    and what a budget of tiles or image tokens changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds per stage; the stages add up to `total_s` but for the loop's own bookkeeping.

    A stage that did not run is 0.0. The three times to a first token count from the call and are
    None when no such token came.
    """

    queue_s: float = 0.0
    """Waiting for another call on the same chain to end."""
    measure_s: float = 0.0
    """Measuring how fast the pair is, in a chain's first call with a deadline."""
    focus_s: float = 0.0
    """The reasoner's writing of the focus phrase."""
    image_s: float = 0.0
    """Decode, orientation, tiling, normalisation."""
    vision_s: float = 0.0
    extract_prefill_s: float = 0.0
    extract_decode_s: float = 0.0
    handoff_s: float = 0.0
    """Reasoner prompt: template, tokens."""
    reason_prefill_s: float = 0.0
    think_decode_s: float = 0.0
    answer_decode_s: float = 0.0
    check_s: float = 0.0
    """The second look of `GenerationConfig.check`."""
    reason_prefill_hidden_s: float = 0.0
    """Not a stage: prefill of the reasoner while the extractor was at work (docs/handoff.md)."""
    total_s: float = 0.0
    ttft_extract_s: float | None = None
    ttft_think_s: float | None = None
    ttfa_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where each part of the extractor's work came from.

    Each rests on the one below it; None: not needed, because what rests on it was kept.
    """

    extraction: Origin = "computed"
    image_prefill: Origin | None = "computed"
    """The KV cache up to the end of the image."""
    image_features: Origin | None = "computed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What the extractor wrote down. `text` may be edited and thought over again."""

    text: str
    focus_phrase: str
    """Empty: the whole image was asked for."""
    image: ImageReport | None
    """None when the text did not come from an image."""
    prompt_tokens: int
    generated_tokens: int
    finish_reason: FinishReason
    timings: Timings
    served: Served | None = None
    """None when the text did not come from an image."""
    focus_source: FocusSource = "question"
    region: Region | None = None
    """The part of the image that was shown; None: the whole of it."""
    notes: tuple[str, ...] = ()
    """What was done otherwise than asked, e.g. why the reasoner's focus phrase was not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotation:
    """Words of the extraction that come again in what was made of it.

    All four are places in characters: `[start:end]` of the extraction's text and, in `thinking` or
    `text` of the Answer (`part`), `[used_start:used_end]`.
    """

    start: int
    end: int
    part: AnswerPart
    used_start: int
    used_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A sentence of the extraction that the thinking or the answer uses."""

    look: int = 0
    """Of which look: 0 is `Answer.extraction`, n the n-th of `Answer.looks`."""
    sentence: int
    """Its number in that extraction, from 0."""
    text: str
    start: int
    """In characters: `[start:end]` of the extraction's text is `text`."""
    end: int
    quotations: tuple[Quotation, ...]
    """In the order of the thinking, those of the answer last. Never empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """What a second look at the same image says otherwise."""

    about: str
    """`answer`, or the noun that both extractions speak of."""
    kind: ContradictionKind
    first: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer with everything it rests on."""

    text: str
    """The short answer, without the `Answer:` marker. Never empty."""
    thinking: str
    """Of all looks, blank lines between."""
    extraction: Extraction
    """The first."""
    prompt_tokens: int
    """Of the reasoner, over all looks, as are the three counts below."""
    reused_tokens: int = 0
    """Of the prompts: not read again, because the reasoner held them from an earlier call or had
    read them while the extractor wrote."""
    think_tokens: int
    answer_tokens: int
    copied_tokens: int = 0
    """Of the last two and of the closing: had by a draft, written without a step of their own
    (`RuntimeConfig.lookup`)."""
    finish_reason: FinishReason
    timings: Timings
    pair: str
    evidence: tuple[Evidence, ...] = ()
    """The sentences of the extraction that are quoted, in their order."""
    contradictions: tuple[Contradiction, ...] = ()
    """Found by `GenerationConfig.check`: such an answer is wrong more often than others. Empty
    without it."""
    form: AnswerForm = "short"
    found: Found = "whole"
    """How the answer was found in what the reasoner wrote."""
    data: Any = None
    """The parsed JSON of an answer by a schema."""
    looks: tuple[Extraction, ...] = ()
    """The further looks, in order."""
    missing: str | None = None
    """What the reasoner misses in the notes; None: nothing. With it `text` says so instead of
    guessing, and `finish_reason` is insufficient."""

    @property
    def image(self) -> ImageReport | None:
        return self.extraction.image

    @property
    def served(self) -> Served | None:
        return self.extraction.served
