"""A second look: what it asks, what it finds, what it leaves alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edge_et.config import GenerationConfig, SamplingConfig
from edge_et.doubt import wider
from edge_et.errors import Cancelled, InputError
from edge_et.prompts import extraction_prompt
from edge_et.types import Contradiction
from tests.fakes import FakeExtractor, FakeReasoner, fake_chain, picture

QUESTION = "What colour is the star?"
CHECK = GenerationConfig(check=True)


@dataclass
class FickleExtractor(FakeExtractor):
    """Writes `later` from the second look on."""

    later: tuple[str, ...] = ("a blue ", "star")

    def stream(self, *args, **kwargs):
        if self.asked:
            self.words = self.later
        return super().stream(*args, **kwargs)


@dataclass
class FickleReasoner(FakeReasoner):
    later: tuple[str, ...] = ("Answer", ":", " blue")

    def stream(self, *args, **kwargs):
        if self.asked:
            self.answer = self.later
        return super().stream(*args, **kwargs)


def test_a_second_look_that_says_the_same_leaves_no_doubt():
    extractor, reasoner = FakeExtractor(), FakeReasoner()
    answer = fake_chain(extractor, reasoner).ask(picture(), QUESTION, CHECK)
    assert answer.contradictions == ()
    focus = answer.extraction.focus_phrase
    assert extractor.asked == [extraction_prompt(focus), extraction_prompt(wider(focus))]
    assert answer.timings.check_s > 0


def test_contradictions_of_answer_and_extraction_are_reported_and_the_first_answer_stands():
    answer = fake_chain(FickleExtractor(), FickleReasoner()).ask(picture(), QUESTION, CHECK)
    assert answer.text == "red"
    assert answer.extraction.text == "a red star left of a blue ring"
    assert answer.contradictions == (
        Contradiction(about="answer", kind="answer", first="red", second="blue"),
        Contradiction(about="star", kind="colour", first="red", second="blue"),
    )


@pytest.mark.parametrize("later", [("Answer", ":", " the", " Red")])
def test_articles_and_case_make_no_other_answer(later):
    answer = fake_chain(None, FickleReasoner(later=later)).ask(picture(), QUESTION, CHECK)
    assert answer.contradictions == ()


def test_without_check_there_is_one_look():
    extractor = FakeExtractor()
    answer = fake_chain(extractor, FickleReasoner()).ask(picture(), QUESTION)
    assert (len(extractor.asked), answer.contradictions) == (1, ())
    assert answer.timings.check_s == 0


def test_the_second_thinking_is_warmer_with_another_seed():
    reasoner = FakeReasoner()
    chain = fake_chain(None, reasoner)
    hot = SamplingConfig(temperature=1.5, top_p=0.9, seed=7)
    chain.ask(picture(), QUESTION, CHECK)
    chain.ask(picture(), QUESTION, GenerationConfig(check=True, reasoner_sampling=hot))
    assert reasoner.sampled_with == [
        None,
        SamplingConfig(temperature=1.0, seed=1),
        hot,
        SamplingConfig(temperature=1.5, top_p=0.9, seed=8),
    ]


def test_chunks_of_the_second_look_are_not_streamed():
    stream = fake_chain(FickleExtractor(), FickleReasoner()).stream(picture(), QUESTION, CHECK)
    text = dict.fromkeys(("extraction", "thinking", "answer"), "")
    for chunk in stream:
        text[chunk.kind] += chunk.text
    answer = stream.result()
    assert answer.contradictions
    assert text["extraction"].strip() == answer.extraction.text
    assert text["answer"].strip() == "Answer: red"


def test_the_second_look_can_be_cancelled():
    chain, extractor = fake_chain(), FakeExtractor()
    chain.extractor = extractor
    with pytest.raises(Cancelled):
        chain.ask(picture(), QUESTION, CHECK, cancelled=lambda: len(extractor.asked) > 1)
    assert chain.ask(picture(), QUESTION).text == "red"


def test_the_stages_with_a_check_add_up():
    timings = fake_chain(FakeExtractor(pause_s=0.02)).ask(picture(), QUESTION, CHECK).timings
    assert timings.check_s >= 0.06
    assert timings.check_s < timings.total_s


def test_a_deadline_leaves_no_time_for_a_second_look():
    with pytest.raises(InputError, match="second look"):
        GenerationConfig(check=True, deadline_s=3)


def test_a_question_without_focus_is_looked_at_again_all_the_same():
    assert wider("") == "the objects"
    assert wider("the star") == "the objects and the star"
