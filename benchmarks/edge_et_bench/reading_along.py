"""The handoff, on and off in turn: what it hides of the reasoner's reading, and what it costs."""

from __future__ import annotations

from pathlib import Path

from edge_et.chain import Chain
from edge_et.config import GenerationConfig, SamplingConfig
from edge_et.prompts import reasoning_opening
from edge_et.reasoner import Reasoner
from edge_et.types import Answer
from edge_et_bench.findings import Finding, finding

_IMAGE = Path(__file__).with_name("data") / "scene-900500000.jpg"
_QUESTION = "Which object is higher, the pink circle or the white object?"


def measure(chain: Chain, *, extraction_tokens: int, repeats: int) -> tuple[Finding, ...]:
    """Ask 2 x `repeats` times after one call to warm up.

    Returns the share of the description's tokens that the reasoner had read when the extraction
    ended (the tokens before it, which do not change, are not counted as hidden), and the time of a
    whole call without the handoff over one with it.
    """
    generation = GenerationConfig(
        extraction_budget_tokens=extraction_tokens, think_budget_tokens=1, answer_budget_tokens=1,
        reasoner_sampling=SamplingConfig(), ignore_stop=True,
    )  # fmt: skip
    _ask(chain, generation, handoff=False)
    hidden, ratios = [], []
    for _ in range(repeats):
        off = _ask(chain, generation, handoff=False)
        on = _ask(chain, generation, handoff=True)
        hidden.append(_hidden(chain, on))
        ratios.append(off.timings.total_s / on.timings.total_s)
    return finding("handoff hidden", "", hidden), finding("handoff total", "", ratios)


def _ask(chain: Chain, generation: GenerationConfig, *, handoff: bool) -> Answer:
    chain.handoff = handoff
    assert isinstance(chain.reasoner, Reasoner)
    chain.reasoner.forget()
    return chain.ask(_IMAGE, _QUESTION, generation)


def _hidden(chain: Chain, answer: Answer) -> float:
    """Return the share of the description's tokens that were read ahead."""
    reasoner = chain.reasoner
    assert isinstance(reasoner, Reasoner)
    empty, whole = (
        len(reasoner.opening_ids(reasoning_opening(text), think=True))
        for text in ("", f"{answer.extraction.text} .")
    )
    return min(1.0, max(0.0, (answer.reused_tokens - empty) / (whole - empty)))
