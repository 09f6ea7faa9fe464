"""Deadlines, on a clock that the test moves."""

from __future__ import annotations

import pytest

from edge_et.budget import ImageCost
from edge_et.config import GenerationConfig, ImageLimits
from edge_et.deadline import Pace
from edge_et.errors import InputError
from edge_et.rates import ExtractorSpeed, Rates, ReasonerSpeed
from tests.fakes import FakeExtractor, FakeReasoner, fake_chain, picture

QUESTION = "What colour is the star?"
ENDLESS = [f"w{i} " for i in range(5000)]
COSTS = tuple(ImageCost(None, tiles, 100 * tiles) for tiles in (10, 5, 3, 1))


class Time:
    """time, as the modules under test see it."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Time()
    for module in ("edge_et.deadline", "edge_et.stages", "edge_et.thinking", "tests.fakes"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


def rates(*, tile_s=0.0, prefill_s=0.0, extract_s=0.0, read_s=0.0, decode_s=0.0):
    known = Rates()
    known.extractor_measured(
        ExtractorSpeed(tile_s=tile_s, prefill_token_s=prefill_s, decode_token_s=extract_s)
    )
    known.reasoner_measured(ReasonerSpeed(prefill_token_s=read_s, decode_token_s=decode_s))
    return known


def pace(clock, deadline_s=10.0, *, thinks=True, answers=True, **speeds):
    return Pace(
        rates=rates(**speeds), due_s=clock.now + deadline_s, deadline_s=deadline_s,
        thinks=thinks, answers=answers, answer_budget_tokens=512,
    )  # fmt: skip


def test_another_look_has_its_share_of_what_is_left(clock):
    ours = pace(clock, extract_s=0.1, read_s=0.0, decode_s=0.001)
    assert not ours.extraction_over(0)
    clock.sleep(5.0)
    assert ours.extraction_over(50)
    ours.think_spent(0)
    ours.share_anew()
    assert not ours.extraction_over(0)
    clock.sleep(2.0)
    assert ours.think_spent(0) == 0.0, "it counts from the thinking that begins now"


def test_a_part_of_the_deadline_is_kept_for_the_unforeseen(clock):
    assert pace(clock, 4.0).left_s == pytest.approx(3.8)
    assert pace(clock, 0.1).left_s == pytest.approx(0.09)
    assert pace(clock, 100.0).left_s == pytest.approx(99.5)


@pytest.mark.parametrize(
    ("tile_s", "prefill_s", "tiles"), [(0.1, 0.0, 10), (0.6, 0.0, 5), (2.0, 0.0, 1), (0.1, 0.02, 1)]
)
def test_the_image_gets_half_of_what_is_free(clock, tile_s, prefill_s, tiles):
    limits = pace(clock, tile_s=tile_s, prefill_s=prefill_s).image_limits(COSTS, ImageLimits())
    if tiles == 10:
        assert limits == ImageLimits()
    else:
        assert (limits.max_tiles, limits.max_image_tokens) == (tiles, 100 * tiles)
        assert "for the deadline" in str(limits)


def test_what_the_answer_needs_is_set_aside_before_the_image(clock):
    # 32 tokens of answer and 4 of closing at 0.2 s leave 2.3 s: half is 1.15 s
    limits = pace(clock, tile_s=0.3, decode_s=0.2).image_limits(COSTS, ImageLimits())
    assert limits.max_tiles == 3
    # a call that is over with the extraction has no answer to keep time for
    free = pace(clock, tile_s=0.3, decode_s=0.2, answers=False)
    assert free.image_limits(COSTS, ImageLimits()) == ImageLimits()


def extraction_time(clock, **settings):
    """Return how long an extraction that never ends goes on, at a tenth of a second a token."""
    given = pace(clock, extract_s=0.1, **settings)
    started, tokens = clock.now, 0
    while not given.extraction_over(tokens):
        clock.now += 0.1
        tokens += 1
    return clock.now - started


def test_the_extraction_leaves_half_of_what_is_free_to_the_thinking(clock):
    assert extraction_time(clock) == pytest.approx(9.5 / 2, abs=0.2)
    assert extraction_time(clock, thinks=False) == pytest.approx(9.5, abs=0.2)
    assert extraction_time(clock, answers=False, thinks=False) == pytest.approx(9.5, abs=0.2)


def test_each_token_of_extraction_has_to_be_read_too(clock):
    # 160 tokens of prompt and 36 of answer take 1.96 s; each further token 0.1 and 0.01
    spent = extraction_time(clock, thinks=False, read_s=0.01, decode_s=0.01)
    assert spent == pytest.approx((9.5 - 1.96) / 1.1, abs=0.2)


def test_thinking_ends_when_the_answers_time_begins(clock):
    given = pace(clock, decode_s=0.05)
    started = clock.now
    assert given.think_spent(0) == 0.0
    clock.now = started + 4.0
    half = given.think_spent(80)
    assert 0.4 < half < 0.6
    clock.now = started + 9.5 - 37 * 0.05
    assert given.think_spent(153) == pytest.approx(1.0, abs=0.01)


def test_a_device_that_turns_slow_while_thinking_is_heeded(clock):
    given = pace(clock, decode_s=0.01)
    given.think_spent(0)
    clock.now += 4.0
    assert given.think_spent(400) < 0.5
    assert given.think_spent(20) >= 1.0  # 0.2 s a token: an answer would take 7 s


def test_rates_are_the_slowest_of_the_last_calls_and_measured_ones_give_way():
    known = rates(decode_s=9.0)
    assert known.of("reason_decode") == 9.0
    chain = fake_chain(FakeExtractor(), FakeReasoner())
    chain._rates = known
    chain.ask(picture(), QUESTION)
    assert 0 < known.of("reason_decode") < 1.0
    assert known.answer_tokens == 16  # three were said


@pytest.mark.parametrize(
    ("extractor", "reasoner", "reason"),
    [
        ({}, {}, "stop"),
        ({"words": ENDLESS}, {}, "extraction_deadline"),
        ({}, {"thinking": ENDLESS}, "think_deadline"),
        ({}, {"answer": ENDLESS}, "deadline"),
        ({"words": ENDLESS}, {"thinking": ENDLESS, "answer": ENDLESS}, "deadline"),
    ],
)
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("marks", [False, True])
def test_the_answer_comes_in_time_and_the_limit_is_named(
    clock, extractor, reasoner, reason, known, marks
):
    chain = fake_chain(
        FakeExtractor(**extractor, pause_s=0.01),
        FakeReasoner(**reasoner, pause_s=0.01, has_think_marks=marks),
    )
    if known:
        chain.ask(picture(), QUESTION, GenerationConfig(deadline_s=3.0))
    started = clock.now
    answer = chain.ask(picture(), QUESTION, GenerationConfig(deadline_s=3.0))
    assert clock.now - started <= 3.0
    assert answer.finish_reason == reason
    assert answer.text
    assert chain.extractor.measured == chain.reasoner.measured == 1


def test_without_a_deadline_nothing_is_measured():
    chain = fake_chain()
    answer = chain.ask(picture(), QUESTION)
    assert (chain.extractor.measured, answer.timings.measure_s) == (0, 0.0)
    chain.ask(picture(), QUESTION, GenerationConfig(deadline_s=60.0))
    assert chain.extractor.measured == 0  # the first call told


def test_waiting_and_the_image_count(clock):
    """Seconds that are gone before the models run are gone."""
    from edge_et.chain import Chain
    from edge_et.image import load_image

    def load(source):
        clock.now += 2.5
        return load_image(source)

    slow = Chain(
        FakeExtractor(words=ENDLESS, pause_s=0.01), FakeReasoner(pause_s=0.001),
        pair="slow", load_image=load,
    )  # fmt: skip
    started = clock.now
    answer = slow.ask(picture(), QUESTION, GenerationConfig(deadline_s=3.0))
    assert clock.now - started <= 3.0
    assert answer.finish_reason == "extraction_deadline"
    assert answer.extraction.generated_tokens < 30


def test_a_deadline_that_has_passed_still_answers(clock):
    chain = fake_chain(FakeExtractor(tile_s=5.0), FakeReasoner(pause_s=1.0, answer=ENDLESS))
    answer = chain.ask(picture(), QUESTION, GenerationConfig(deadline_s=0.5))
    assert answer.text
    assert answer.finish_reason == "deadline"
    assert chain.extractor.limits[0].max_tiles == 1


def test_time_that_runs_out_before_a_marker_brings_one(clock):
    """An explanation is broken off for the answer itself."""
    reasoner = FakeReasoner(answer=ENDLESS, pause_s=0.01)
    answer = fake_chain(None, reasoner).think(
        "a star", QUESTION, GenerationConfig(deadline_s=1.0, think=False)
    )
    assert answer.text.split()[0] == f"w{answer.answer_tokens - 8}"
    assert answer.answer_tokens > 50


def test_an_answer_under_way_is_only_cut(clock):
    reasoner = FakeReasoner(answer=["Answer", ":", *ENDLESS], pause_s=0.01)
    answer = fake_chain(None, reasoner).think(
        "a star", QUESTION, GenerationConfig(deadline_s=1.0, think=False)
    )
    assert (answer.text.split()[0], answer.finish_reason) == ("w0", "deadline")


def test_extracting_alone_has_the_whole_deadline(clock):
    chain = fake_chain(FakeExtractor(words=ENDLESS, pause_s=0.01), FakeReasoner(pause_s=0.5))
    chain.ask(picture(), QUESTION, GenerationConfig(deadline_s=30.0))
    started = clock.now
    notes = chain.extract(picture(), QUESTION, GenerationConfig(deadline_s=2.0))
    assert 1.7 < clock.now - started <= 2.0
    assert notes.finish_reason == "extraction_deadline"


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_deadline_is_a_time(seconds):
    with pytest.raises(InputError, match="deadline_s"):
        GenerationConfig(deadline_s=seconds)
