"""Evidence: which sentences of the extraction the thinking and the answer rest on.

Computed from the texts, never generated: a quotation is a run of words that stands in the
extraction and again in the thinking. The thinking may leave words out ("third diamond" quotes
"third an outlined orange diamond") but not turn them round.

What does not count: articles and other words that carry nothing, one word alone in the thinking
(numbers of two digits and more do), and an echo of the question, unless it repeats a whole sentence
of the extraction. In the answer, which is short, one word is enough.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from edge_et.types import AnswerPart, Evidence, Extraction, Quotation
from edge_et.words import Word, sentences, words

_SKIPPED_WORDS = 3
"""How many words of the extraction a quotation may leave out between two that it keeps."""
_WHOLE = 0.75
"""Share of a sentence's words from which an echo of the question counts as that sentence."""
_LONG = 20
"""So many words in a row are no accident: no longer quotation is looked for (a model that repeats
itself would make that slow)."""
_BREAK = re.compile(r"[.!?;:,\n](?=\s|$)|\n")
_STEP_END = re.compile(r"[.!?;](?=\s|$)|\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A content word of the extraction."""

    word: Word
    sentence: int
    clause: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A quotation as indices: of the extraction's places, in as many words of the other text."""

    places: tuple[int, ...]
    first: Word
    last: Word


def evidence_of(
    seen: Sequence[Extraction], question: str, *, thinking: str, answer: str
) -> tuple[Evidence, ...]:
    """Return the evidence in the extractions of all looks, in their order."""
    return tuple(
        replace(one, look=look)
        for look, notes in enumerate(seen)
        for one in find_evidence(notes.text, question, thinking=thinking, answer=answer)
    )


def find_evidence(
    extraction: str, question: str, *, thinking: str, answer: str
) -> tuple[Evidence, ...]:
    """Return the sentences of `extraction` that are used, in their order; empty when none is.

    `answer` is the short answer. Places in `Quotation` count from the start of these very texts.
    """
    source = _Source(extraction, question)
    runs: list[tuple[AnswerPart, _Run]] = [
        ("thinking", run) for step in _steps(thinking) for run in source.quotations(step)
    ]
    quoted = [place for _, run in runs for place in run.places]
    runs += [("answer", run) for run in source.answered(tuple(_content(words(answer))), quoted)]
    return source.evidence(runs)


class _Source:
    """The extraction, ready to be looked up in."""

    def __init__(self, text: str, question: str) -> None:
        self._text = text
        self._sentences = tuple(sentences(text))
        self._places = tuple(_places(text, self._sentences))
        self._asked = {word.form for word in words(question)}
        self._by_form: dict[str, list[int]] = defaultdict(list)
        self._lengths: dict[int, int] = defaultdict(int)
        for index, place in enumerate(self._places):
            self._by_form[place.word.form].append(index)
            self._lengths[place.sentence] += 1

    def quotations(self, step: Sequence[Word]) -> Iterator[_Run]:
        """Yield the longest quotations in one step of the thinking, from left to right."""
        at = 0
        while at < len(step):
            chain = self._longest(step, at)
            if self._counts(chain):
                last = step[at + len(chain) - 1]
                yield _Run(places=chain, first=step[at], last=last)
                at += len(chain)
            else:
                at += 1

    def answered(self, said: Sequence[Word], quoted: Sequence[int]) -> Iterator[_Run]:
        """Yield what the answer takes over: quotations, else its lone words. `quoted` are the
        places that the thinking quotes, in its order."""
        runs = list(self.quotations(said))
        for word in () if runs else said:
            index = self._origin(word, quoted)
            if index is not None:
                runs.append(_Run(places=(index,), first=word, last=word))
        yield from runs

    def _origin(self, word: Word, quoted: Sequence[int]) -> int | None:
        """Return where a lone word of the answer comes from: the clause that the thinking quoted
        last goes before its other clauses, these before the rest of the text."""
        found = self._by_form[word.form]
        for near in map(self._where, reversed(quoted)):
            for index in found:
                if self._where(index) == near:
                    return index
        return found[0] if found and word.form not in self._asked else None

    def _where(self, index: int) -> tuple[int, int]:
        return self._places[index].sentence, self._places[index].clause

    def evidence(self, runs: Iterable[tuple[AnswerPart, _Run]]) -> tuple[Evidence, ...]:
        quotations: dict[int, list[Quotation]] = defaultdict(list)
        for part, run in runs:
            first, last = self._places[run.places[0]], self._places[run.places[-1]]
            quotations[first.sentence].append(
                Quotation(
                    start=first.word.start,
                    end=last.word.end,
                    part=part,
                    used_start=run.first.start,
                    used_end=run.last.end,
                )
            )
        return tuple(
            Evidence(
                sentence=index,
                text=self._text[slice(*self._sentences[index])],
                start=self._sentences[index][0],
                end=self._sentences[index][1],
                quotations=tuple(quotations[index]),
            )
            for index in sorted(quotations)
        )

    def _longest(self, step: Sequence[Word], at: int) -> tuple[int, ...]:
        """Return the longest chain that begins with the word `at` of the step, the tightest of
        several; empty when the extraction does not hold the word."""
        best: tuple[int, ...] = ()
        for start in self._by_form[step[at].form]:
            best = max(best, self._chain(step, at, start), key=_worth)
            if len(best) >= _LONG:
                break
        return best

    def _chain(self, step: Sequence[Word], at: int, start: int) -> tuple[int, ...]:
        """Follow the step's words after `at` through the extraction from place `start`."""
        chain = [start]
        for word in islice(step, at + 1, None):
            here = self._places[chain[-1]]
            for skipped, index in enumerate(range(chain[-1] + 1, chain[-1] + 2 + _SKIPPED_WORDS)):
                if index >= len(self._places) or self._places[index].sentence != here.sentence:
                    return tuple(chain)
                there = self._places[index]
                if there.word.form == word.form and (not skipped or there.clause == here.clause):
                    chain.append(index)
                    break
            else:
                break
        return tuple(chain)

    def _counts(self, chain: tuple[int, ...]) -> bool:
        kept = [self._places[i] for i in chain]
        if len(kept) == 1:
            form = kept[0].word.form
            return kept[0].word.is_number and len(form) > 1 and form not in self._asked
        if len(kept) > 1 and any(p.word.form not in self._asked for p in kept):
            return True
        return len(kept) > 1 and len(kept) >= _WHOLE * self._lengths[kept[0].sentence]


def _worth(chain: tuple[int, ...]) -> tuple[int, int]:
    return len(chain), chain[0] - chain[-1] if chain else 0


def _places(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[_Place]:
    for sentence, (start, end) in enumerate(spans):
        ends = [m.start() for m in _BREAK.finditer(text, start, end)]
        for word in _content(words(text, start, end)):
            clause = sum(stop < word.start for stop in ends)
            yield _Place(word=word, sentence=sentence, clause=clause)


def _steps(text: str) -> Iterator[tuple[Word, ...]]:
    """Yield the content words of each step of the thinking; a quotation stays within one."""
    start = 0
    for stop in [*(m.end() for m in _STEP_END.finditer(text)), len(text)]:
        yield tuple(_content(words(text, start, stop)))
        start = stop


def _content(found: Iterable[Word]) -> Iterator[Word]:
    return (word for word in found if word.is_content)
