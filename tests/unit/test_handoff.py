"""The reasoner reads along: what it is given, how it stops, what the clock says."""

from __future__ import annotations

import threading
import time

import pytest

from edge_et.chain import Chain
from edge_et.config import GenerationConfig
from edge_et.errors import Cancelled, InferenceFailed
from edge_et.handoff import ReadAhead
from edge_et.prompts import reasoning_opening, reasoning_prompt
from tests.fakes import FakeExtractor, FakeReasoner, picture

QUESTION = "What colour is the star?"
STAGES = (
    "queue_s", "measure_s", "focus_s", "image_s", "vision_s", "extract_prefill_s",
    "extract_decode_s", "handoff_s", "reason_prefill_s", "think_decode_s", "answer_decode_s",
)  # fmt: skip


class SlowReader(FakeReasoner):
    """Reads until it is stopped, or for `read_s`."""

    read_s = 0.05
    stopped = False

    def read_ahead(self, opening, *, think, reserve_tokens, cancelled):
        self.read.append(opening)
        until_s = time.monotonic() + self.read_s
        while time.monotonic() < until_s:
            if cancelled():
                self.stopped = True
                raise Cancelled("stopped")
            time.sleep(0.002)
        return 0


class FailingReader(FakeReasoner):
    def read_ahead(self, opening, *, think, reserve_tokens, cancelled):
        raise InferenceFailed("no more memory")


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "edge-et-read-ahead"]


def test_all_that_is_read_ahead_begins_the_prompt():
    reasoner = FakeReasoner()
    chain = Chain(FakeExtractor(pause_s=0.02), reasoner, pair="fakes", handoff=True)
    answer = chain.ask(picture(), QUESTION)
    assert answer.text == "red"
    assert len(reasoner.read) >= 2, "the head first, then the description as it grew"
    assert all(reasoner.asked[0].startswith(opening) for opening in reasoner.read)
    assert not any(o.endswith("ring") for o in reasoner.read), "a last word may go on"
    assert not readers()


def test_only_the_first_look_is_read_ahead():
    reasoner = FakeReasoner()
    chain = Chain(FakeExtractor(words=("a house ", "on a hill")), reasoner, pair="fakes")
    chain.handoff = True
    answer = chain.ask(picture(), QUESTION, GenerationConfig(focus="none"))
    assert len(answer.looks) == 1
    assert "Looked again" in reasoner.asked[0]
    assert reasoner.read
    assert all(reasoner.asked[0].startswith(opening) for opening in reasoner.read)
    assert not any("Looked again" in opening for opening in reasoner.read)


def test_without_the_handoff_nothing_is_read_ahead():
    reasoner = FakeReasoner()
    Chain(FakeExtractor(), reasoner, pair="fakes").ask(picture(), QUESTION)
    assert reasoner.read == []


@pytest.mark.parametrize(
    "text",
    [
        'a sign says """stop""" in red. ',
        '  "" " """"five""""" marks, and \'\'\'three',
        "it's 3.5 m\n\nwide _and_ high",
        "",
        "红色的星星，在蓝色的圆环左边。",
    ],
)
def test_an_opening_begins_every_prompt_that_goes_on_from_there(text):
    for end in range(len(text) + 1):
        opening = reasoning_opening(text[:end])
        for rest in (text[end:], "", '"', '""" x', " y", "z"):
            prompt = reasoning_prompt(text[:end] + rest, QUESTION, think=True, form="answer")
            assert prompt.startswith(opening)


def test_hidden_time_is_no_stage():
    chain = Chain(FakeExtractor(pause_s=0.1), SlowReader(), pair="fakes", handoff=True)
    timings = chain.ask(picture(), QUESTION).timings
    assert timings.reason_prefill_hidden_s > 0.01
    spent = sum(getattr(timings, name) for name in STAGES)
    assert spent == pytest.approx(timings.total_s, rel=0.05)


@pytest.mark.parametrize("how", ["cancel", "close", "extractor"])
def test_what_stops_the_extraction_stops_the_reading(how):
    reasoner, seen = SlowReader(), []
    reasoner.read_s = 30.0
    extractor = FakeExtractor(pause_s=0.02)
    if how == "extractor":
        extractor.words = ("a ", None)  # joining them fails
    chain = Chain(extractor, reasoner, pair="fakes", handoff=True)
    stream = chain.stream(picture(), QUESTION, cancelled=lambda: how == "cancel" and bool(seen))
    started_s = time.monotonic()
    if how == "close":
        next(stream)
        stream.close()
    else:
        with pytest.raises(Cancelled if how == "cancel" else TypeError):
            for chunk in stream:
                seen.append(chunk)
    assert time.monotonic() - started_s < 10
    assert reasoner.stopped
    assert not readers()
    reasoner.read_s = 0.0
    chain.extractor.words = ("a red ", "star")
    assert chain.ask(picture(), QUESTION).text == "red"


def test_an_error_of_the_reader_stops_the_extraction():
    extractor = FakeExtractor(pause_s=0.02, words=["star "] * 500)
    chain = Chain(extractor, FailingReader(), pair="fakes", handoff=True)
    started_s = time.monotonic()
    with pytest.raises(InferenceFailed, match="no more memory"):
        chain.ask(picture(), QUESTION, GenerationConfig())
    assert time.monotonic() - started_s < 5
    assert extractor.running == 0
    assert not readers()


def test_finishing_waits_for_what_is_being_read():
    done = []

    def read(opening, stop):
        time.sleep(0.05)
        done.append(opening)
        return 0

    ahead = ReadAhead(read)
    time.sleep(0.02)
    assert ahead.finish() > 0
    assert done == [reasoning_opening("")]
    ahead.stop()
