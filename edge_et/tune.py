"""`edge-et doctor --tune`: measure whether the handoff pays for a pair here, and remember it."""

from __future__ import annotations

import statistics

from PIL import Image, ImageDraw

from edge_et.chain import Chain
from edge_et.config import GenerationConfig, SamplingConfig
from edge_et.device_profile import DeviceProfile, Measured
from edge_et.errors import InputError
from edge_et.loading import setting_of
from edge_et.reasoner import Reasoner

REPEATS = 3
_LEAST_GAIN = 0.02
"""Below that the handoff stays off: it costs memory and heat."""
_QUESTION = "Which shape is left of the red star?"
# A description of ordinary length, run to its end whatever the models say.
_CALL = GenerationConfig(
    extraction_budget_tokens=192,
    think_budget_tokens=1,
    answer_budget_tokens=1,
    reasoner_sampling=SamplingConfig(),
    ignore_stop=True,
)


def tune(chain: Chain, profile: DeviceProfile, *, repeats: int = REPEATS) -> Measured:
    """Ask with the handoff and without, in turn, after one call to warm up; store the faster.

    Takes 2 * `repeats` + 1 calls. Raises InputError on a chain with one half.
    """
    setting = setting_of(chain)
    if setting is None:
        raise InputError("the handoff is measured on a chain with both halves")
    times: dict[bool, list[float]] = {False: [], True: []}
    before = chain.handoff
    try:
        _ask(chain, handoff=False)
        for _ in range(repeats):
            for on, found in times.items():
                found.append(_ask(chain, handoff=on))
    finally:
        chain.handoff = before
    off_s, on_s = statistics.median(times[False]), statistics.median(times[True])
    measured = Measured(
        handoff=on_s < off_s * (1 - _LEAST_GAIN), on_s=on_s, off_s=off_s, repeats=repeats
    )
    profile.remember(setting, measured)
    return measured


def _ask(chain: Chain, *, handoff: bool) -> float:
    """Return the seconds of one call whose prompt the reasoner has never read."""
    chain.handoff = handoff
    if isinstance(chain.reasoner, Reasoner):
        chain.reasoner.forget()
    return chain.ask(_picture(), _QUESTION, _CALL).timings.total_s


def _picture() -> Image.Image:
    picture = Image.new("RGB", (384, 384), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((30, 140, 130, 240), outline="blue", width=12)
    draw.polygon([(260, 100), (350, 250), (180, 250)], fill="red")
    return picture
