"""`edge-et bench again`: what the caches save when an image is asked about a second time.

In each repeat a new image is asked about three times, by one loaded extractor: a first question,
another one, and the first again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

import edge_et
from edge_et.config import GenerationConfig, RuntimeConfig
from edge_et.errors import InputError
from edge_et.extractor import Extractor
from edge_et.loading import locate
from edge_et.types import Extraction, Served, Timings
from edge_et_bench.findings import Finding, finding
from edge_et_bench.metrics import Ratio, Spread, paired_ratio, spread

if TYPE_CHECKING:
    from edge_et.chain import Chain

Asked = Literal["first", "other", "same"]
_QUESTIONS: dict[Asked, str] = {
    "first": "Which object is higher, the pink circle or the white object?",
    "other": "What colour is the smallest object on the left side?",
    "same": "Which object is higher, the pink circle or the white object?",
}
_IMAGE = Path(__file__).with_name("data") / "scene-900500000.jpg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one kind of question."""

    first_token_s: Spread
    """From the call to the first logits, image work included: a token without text counts too."""
    total_s: Spread
    served: Served
    """The last repeat's."""
    sooner: Ratio | None
    """How many times as long the first question's first token takes; None for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    threads: int
    device: str
    image_tokens: int
    prompt_tokens: int
    held_bytes: int
    """In memory at the end."""
    costs: dict[Asked, Cost]
    sooner: tuple[float, ...]
    """A first question's first token over another one's, image by image."""


def measure(
    pair: str,
    extractor: str | None,
    *,
    repeats: int,
    generation: GenerationConfig,
    runtime: RuntimeConfig,
    size_px: tuple[int, int],
    told: Callable[[int, int], None],
) -> Report:
    """Ask about `repeats` images of `size_px` (height, width), after one that is thrown away.

    Raises as `edge_et.load` does, and InputError for less than two repeats.
    """
    if repeats < 2:
        raise InputError("a ratio needs at least two repeats")
    folder = locate("extractor", extractor, pair)
    with edge_et.load(pair, extractor=folder, runtime=runtime, only="extractor") as chain:
        rounds = []
        for repeat in range(repeats + 1):
            told(repeat, repeats + 1)
            rounds.append(_round(chain, _picture(size_px, repeat), generation))
        used = chain.extractor
        assert isinstance(used, Extractor)
        last = rounds[-1]["first"]
        return Report(
            threads=used.threads,
            device=used.device,
            image_tokens=last.image.image_tokens if last.image else 0,
            prompt_tokens=last.prompt_tokens,
            held_bytes=used.caches.held_bytes,
            costs={asked: _cost(asked, rounds[1:]) for asked in get_args(Asked)},
            sooner=tuple(
                _first_token_s(one["first"].timings) / _first_token_s(one["other"].timings)
                for one in rounds[1:]
            ),
        )


def findings_of(report: Report, subject: str) -> tuple[Finding, ...]:
    """Return what is held to a target: how much sooner another question's first token comes, and
    whether the same one needs the extractor at all."""
    kept = report.costs["same"].served.extraction in ("memory", "disk")
    return (
        finding("another question", subject, report.sooner),
        finding("same question", subject, [float(kept)]),
    )


def _round(
    chain: Chain, image: npt.NDArray[np.uint8], generation: GenerationConfig
) -> dict[Asked, Extraction]:
    return {asked: chain.extract(image, text, generation) for asked, text in _QUESTIONS.items()}


def _picture(size_px: tuple[int, int], number: int) -> npt.NDArray[np.uint8]:
    """Return the scene with one pixel that tells it from those before."""
    height, width = size_px
    with Image.open(_IMAGE) as image:
        pixels = np.array(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
    pixels[0, 0] = number % 256, number // 256, 0
    return pixels


def _cost(asked: Asked, rounds: list[dict[Asked, Extraction]]) -> Cost:
    firsts = [_first_token_s(one["first"].timings) for one in rounds]
    these = [_first_token_s(one[asked].timings) for one in rounds]
    served = rounds[-1][asked].served
    assert served is not None  # there was an image
    return Cost(
        first_token_s=spread(these),
        total_s=spread([one[asked].timings.total_s for one in rounds]),
        served=served,
        sooner=None if asked == "first" else paired_ratio(these, firsts),
    )


def _first_token_s(timings: Timings) -> float:
    return timings.image_s + timings.vision_s + timings.extract_prefill_s


def markdown(report: Report) -> str:
    from edge_et_bench.report import table

    rows = [
        (
            asked, f"{cost.first_token_s.p50:.4f}", f"{cost.first_token_s.p90:.4f}",
            f"{cost.total_s.p50:.4f}", _sooner(cost.sooner), _served(cost.served),
        )
        for asked, cost in report.costs.items()
    ]  # fmt: skip
    heads = ("question", "first token p50 s", "p90 s", "whole p50 s", "sooner", "kept")
    return (
        f"{report.device}, threads {report.threads}; {report.prompt_tokens} prompt tokens, "
        f"{report.image_tokens} of them the image's; {report.held_bytes / 1e6:.1f} MB kept\n\n"
        f"{table(heads, rows)}\n"
    )


def _sooner(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio.value:.1f} times ({ratio.low:.1f} to {ratio.high:.1f}, n {ratio.n})"


def _served(served: Served) -> str:
    origins: dict[str, Any] = {
        "extraction": served.extraction,
        "image prefill": served.image_prefill,
        "image features": served.image_features,
    }
    return ", ".join(name for name, origin in origins.items() if origin in ("memory", "disk"))
