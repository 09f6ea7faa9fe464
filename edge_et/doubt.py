"""Doubt: a second look at the same image, and where it says otherwise.

The second look asks for more than the focus phrase does, and the reasoner thinks it over warmer
than the first, so that what was a near thing can fall the other way; what is sure comes out the
same. An answer that the second look does not bear out is wrong far more often than others:
measured in docs/evidence.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace

from edge_et.config import GenerationConfig, SamplingConfig
from edge_et.contradictions import contradictions
from edge_et.focus import Focus
from edge_et.stages import Call
from edge_et.streams import Stream
from edge_et.types import Answer, Chunk, Contradiction
from edge_et.words import words

_WARMTH = 1.0
"""Temperature of the second thinking, where the caller did not ask for more."""
_ARTICLES = frozenset({"a", "an", "the"})


def wider(focus: str) -> str:
    """Return the focus phrase of the second look."""
    return f"the objects and {focus}" if focus else "the objects"


def checked(
    answer: Answer, look_again: Callable[[Focus, Call], Generator[Chunk, None, Answer]], call: Call
) -> Answer:
    """Return `answer` with what a second look contradicts.

    `look_again` takes the second look's focus phrase and a call of its own. Its chunks are not
    passed on: they are no part of the answer.
    """
    started_s = time.perf_counter()
    again = Call(
        config=_warmer(call.config),
        cancelled=call.cancelled,
        rates=call.rates,
        suppress_reflexive=call.suppress_reflexive,
    )
    focus = Focus(phrase=wider(answer.extraction.focus_phrase))
    second = Stream(look_again(focus, again)).result()
    found = doubts(answer, second)
    call.spent(check_s=time.perf_counter() - started_s)
    return replace(answer, contradictions=found, timings=call.timings())


def doubts(first: Answer, second: Answer) -> tuple[Contradiction, ...]:
    """Return what two answers about one image contradict each other in, the answer itself first."""
    found = contradictions(first.extraction.text, second.extraction.text)
    if _said(first.text) == _said(second.text):
        return found
    apart = Contradiction(about="answer", kind="answer", first=first.text, second=second.text)
    return (apart, *found)


def _warmer(config: GenerationConfig) -> GenerationConfig:
    own = config.reasoner_sampling or SamplingConfig()
    warm = replace(own, temperature=max(own.temperature, _WARMTH), seed=own.seed + 1)
    return replace(config, reasoner_sampling=warm, looks=0)


def _said(text: str) -> tuple[str, ...]:
    """Return a short answer as it is compared: articles and case are style."""
    forms = tuple(word.form for word in words(text) if word.form not in _ARTICLES)
    return forms or (text.strip().casefold(),)
