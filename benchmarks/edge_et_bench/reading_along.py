"""The handoff, on and off in turn: what it hides of the reasoner's reading, and what it costs."""

from __future__ import annotations

from edge_et.chain import Chain
from edge_et.config import GenerationConfig, SamplingConfig
from edge_et.prompts import reasoning_opening
from edge_et.reasoner import Reasoner
from edge_et.types import Answer
from edge_et_bench.findings import Finding, finding
from edge_et_bench.workloads import BUILT_IN_IMAGE

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
    return chain.ask(BUILT_IN_IMAGE, _QUESTION, generation)


def _hidden(chain: Chain, answer: Answer) -> float:
    """Return the share of the description's tokens that were read ahead."""
    reasoner = chain.reasoner
    assert isinstance(reasoner, Reasoner)
    before = reasoner.opening_tokens(reasoning_opening(""))
    through = reasoner.opening_tokens(reasoning_opening(f"{answer.extraction.text} ."))
    return max(0.0, (answer.reused_tokens - before) / (through - before))
