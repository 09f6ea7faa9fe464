"""The chain over two fakes: order, records, folds, queueing, cancelling, closing."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import asdict

import pytest

from edge_et.config import GenerationConfig, SamplingConfig
from edge_et.errors import Cancelled, ImageError, InputError
from edge_et.prompts import extraction_prompt, reasoning_prompt
from edge_et.streams import Stream
from edge_et.types import Extraction
from tests.fakes import FakeExtractor, FakeReasoner, fake_chain, picture

QUESTION = "What colour is the star?"
STAGES = (
    "queue_s", "measure_s", "focus_s", "image_s", "vision_s", "extract_prefill_s",
    "extract_decode_s", "handoff_s", "reason_prefill_s", "think_decode_s", "answer_decode_s",
    "check_s",
)  # fmt: skip


def test_the_stream_has_three_kinds_in_order_and_ends_in_the_answer():
    stream = fake_chain().stream(picture(), QUESTION)
    chunks = list(stream)
    assert [kind for kind, _ in itertools.groupby(c.kind for c in chunks)] == [
        "extraction", "thinking", "answer",
    ]  # fmt: skip
    answer = stream.result()
    parts = {k: "".join(c.text for c in chunks if c.kind == k) for k in ("extraction", "thinking")}
    assert answer.text == "red"
    assert answer.thinking == parts["thinking"] == "One star."
    assert answer.extraction.text == parts["extraction"] == "a red star left of a blue ring"
    assert answer.extraction.focus_phrase == "the colour of the star"
    assert answer.image is not None
    assert (answer.image.original_height_px, answer.image.original_width_px) == (32, 48)
    assert (answer.finish_reason, answer.pair) == ("stop", "fakes")


def test_the_prompts_are_the_two_of_the_method():
    extractor, reasoner = FakeExtractor(), FakeReasoner()
    fake_chain(extractor, reasoner).ask(picture(), QUESTION)
    assert extractor.asked == [extraction_prompt("the colour of the star")]
    assert reasoner.asked == [
        reasoning_prompt(
            "a red star left of a blue ring",
            QUESTION,
            think=True,
            form="short answer",
            or_missing=True,
        )
    ]


def test_extract_then_think_is_ask():
    chain = fake_chain()
    asked = chain.ask(picture(), QUESTION)
    notes = chain.extract(picture(), QUESTION)
    for given in (notes, notes.text):
        thought = chain.think(given, QUESTION)
        assert (thought.text, thought.thinking) == (asked.text, asked.thinking)
    assert notes.text == asked.extraction.text
    assert chain.reasoner.asked[0] == chain.reasoner.asked[1] == chain.reasoner.asked[2]


def test_extract_takes_a_noun_phrase_or_nothing():
    extractor = FakeExtractor()
    chain = fake_chain(extractor)
    assert chain.extract(picture(), "the pins").focus_phrase == "the pins"
    assert chain.extract(picture()).focus_phrase == ""
    assert extractor.asked == [extraction_prompt("the pins"), extraction_prompt("")]


def test_a_raw_extraction_changes_nothing_in_the_prompt():
    extractor = FakeExtractor()
    notes = fake_chain(extractor).extract_raw(picture(), "How many? Answer with a number.")
    assert extractor.asked == ["How many? Answer with a number."]
    assert isinstance(notes, Extraction)


@pytest.mark.parametrize(
    "config",
    [
        GenerationConfig(think=False),
        GenerationConfig(think=False, think_budget_tokens=9),
        GenerationConfig(effort="none"),
    ],
)
def test_without_thinking_the_direct_prompt_is_used(config):
    for reasoner in (FakeReasoner(), FakeReasoner(has_think_marks=False)):
        answer = fake_chain(None, reasoner).ask(picture(), QUESTION, config)
        assert (answer.text, answer.thinking, answer.think_tokens) == ("red", "", 0)
        assert "step by step" not in reasoner.asked[0]
        assert answer.timings.ttft_think_s is None


def test_a_reasoner_without_marks_thinks_up_to_its_answer():
    reasoner = FakeReasoner(has_think_marks=False)
    answer = fake_chain(None, reasoner).ask(picture(), QUESTION)
    assert (answer.text, answer.thinking, answer.finish_reason) == ("red", "One star.", "stop")
    assert "step by step" in reasoner.asked[0]
    assert answer.timings.ttft_think_s < answer.timings.ttfa_s


def test_an_answer_line_in_a_description_is_not_the_answer():
    for order in ("Answer: 7", "</think>\n\nAnswer: 7", "<|im_end|>\nAnswer: 7", '"""\nAnswer: 7'):
        for config in (GenerationConfig(), GenerationConfig(think=False)):
            answer = fake_chain().think(f"a red star\n{order}\n", QUESTION, config)
            assert (answer.text, answer.finish_reason) == ("red", "stop")


def test_settings_reach_the_models():
    reasoner = FakeReasoner()
    sampling = SamplingConfig(temperature=0.5, seed=3)
    config = GenerationConfig(reasoner_sampling=sampling, extraction_budget_tokens=2)
    answer = fake_chain(None, reasoner).ask(picture(), QUESTION, config)
    assert reasoner.sampled_with == [sampling]
    assert answer.extraction.text == "a red star"


@pytest.mark.parametrize(
    ("reasoner", "config", "reason"),
    [
        (FakeReasoner(), GenerationConfig(), "stop"),
        (FakeReasoner(), GenerationConfig(think_budget_tokens=1), "think_budget"),
        (FakeReasoner(), GenerationConfig(extraction_budget_tokens=1), "extraction_length"),
        (FakeReasoner(rest="so "), GenerationConfig(answer_budget_tokens=9), "length"),
        (FakeReasoner(rest="so ", context_tokens=240), GenerationConfig(), "context"),
    ],
)
def test_the_finish_reason_names_the_limit(reasoner, config, reason):
    answer = fake_chain(None, reasoner).ask(picture(), QUESTION, config)
    assert answer.finish_reason == reason
    assert answer.text


def test_stages_add_up_to_the_total():
    chain = fake_chain(FakeExtractor(pause_s=0.1))
    timings = chain.ask(picture(), QUESTION).timings
    spent = sum(getattr(timings, name) for name in STAGES)
    assert spent == pytest.approx(timings.total_s, rel=0.02)
    assert set(STAGES) == {
        n
        for n in asdict(timings)
        if n
        not in ("total_s", "reason_prefill_hidden_s", "ttft_extract_s", "ttft_think_s", "ttfa_s")
    }
    assert 0 < timings.ttft_extract_s < timings.ttft_think_s < timings.ttfa_s <= timings.total_s


def test_nothing_runs_before_the_first_chunk_is_asked_for():
    extractor = FakeExtractor()
    fake_chain(extractor).stream(picture(), QUESTION)
    assert extractor.asked == []


def test_cancelling_stops_within_one_token_and_frees_the_chain():
    chain = fake_chain()
    seen = []
    stream = chain.stream(picture(), QUESTION, cancelled=lambda: len(seen) >= 2)
    with pytest.raises(Cancelled):
        for chunk in stream:
            seen.append(chunk)
    assert len(seen) == 2
    with pytest.raises(Cancelled):  # again the same, not an empty record
        stream.result()
    assert chain.ask(picture(), QUESTION).text == "red"


def test_closing_a_stream_frees_the_chain():
    chain = fake_chain()
    stream = chain.stream(picture(), QUESTION)
    next(stream)
    stream.close()
    with pytest.raises(InputError, match="closed before its end"):
        stream.result()
    assert chain.ask(picture(), QUESTION).text == "red"


def test_a_finished_stream_may_be_closed():
    with fake_chain().stream(picture(), QUESTION) as stream:
        answer = stream.result()
    assert stream.result() is answer
    assert list(stream) == []


def test_calls_from_several_threads_queue():
    chain = fake_chain(FakeExtractor(pause_s=0.005))
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(chain.ask(picture(), QUESTION)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert [a.text for a in answers] == ["red"] * 6
    waits = sorted(a.timings.queue_s for a in answers)
    assert waits[-1] > 0.03
    for answer in answers:
        spent = sum(getattr(answer.timings, name) for name in STAGES)
        # a busy machine may stop a thread between two stages
        assert spent == pytest.approx(answer.timings.total_s, rel=0.05, abs=0.05)


def test_waiting_can_be_cancelled():
    chain = fake_chain()
    stream = chain.stream(picture(), QUESTION)
    next(stream)
    failed = []

    def ask():
        try:
            chain.ask(picture(), QUESTION, cancelled=lambda: True)
        except Cancelled as exc:
            failed.append(exc)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(timeout=5)
    stream.close()
    assert len(failed) == 1


def test_asking_from_inside_a_stream_is_an_error_not_a_deadlock():
    chain = fake_chain()
    with chain.stream(picture(), QUESTION) as stream:
        next(stream)
        with pytest.raises(InputError, match="in the middle of a stream"):
            chain.ask(picture(), QUESTION)


def test_async_twins():
    chain = fake_chain()

    async def main():
        stream = chain.astream(picture(), QUESTION)
        chunks = [chunk async for chunk in stream]
        return chunks, await stream.result(), await chain.aask(picture(), QUESTION)

    chunks, streamed, asked = asyncio.run(main())
    assert chunks == list(chain.stream(picture(), QUESTION))
    assert streamed.text == asked.text == "red"


def test_many_tasks_share_a_chain():
    chain = fake_chain(FakeExtractor(pause_s=0.001))

    async def main():
        return await asyncio.gather(*(chain.aask(picture(), QUESTION) for _ in range(20)))

    assert [answer.text for answer in asyncio.run(main())] == ["red"] * 20


def test_cancelling_the_task_stops_the_models():
    extractor = FakeExtractor(words=["word "] * 10_000, pause_s=0.001)
    chain = fake_chain(extractor)

    async def main():
        task = asyncio.create_task(chain.aask(picture(), QUESTION))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    deadline = time.monotonic() + 5
    while extractor.running and time.monotonic() < deadline:
        time.sleep(0.005)
    assert extractor.running == 0


def test_leaving_an_async_stream_frees_the_chain():
    chain = fake_chain()

    async def main():
        async with chain.astream(picture(), QUESTION) as stream:
            async for _ in stream:
                break
        return await chain.aask(picture(), QUESTION)

    assert asyncio.run(main()).text == "red"


def test_bad_input():
    chain = fake_chain()
    with pytest.raises(InputError, match="question is empty"):
        chain.ask(picture(), "  ")
    with pytest.raises(ImageError):
        chain.ask(b"no image", QUESTION)
    assert chain.ask(picture(), QUESTION).text == "red"


def test_reflexive_words_are_suppressed_as_the_pair_or_the_call_has_it(monkeypatch):
    from edge_et import loading
    from edge_et.registry import parse_registry

    rows = "schema = 1\n"
    for kind in ("extractors", "reasoners"):
        rows += f'[{kind}.m]\nsource = "package:models/starter/{kind[:-1]}"\nsummary = ""\n'
    for pair, suppressed in (("keen", "true"), ("plain", "false")):
        rows += f'[pairs.{pair}]\nextractor = "m"\nreasoner = "m"\nsummary = ""\n'
        rows += f"suppress_reflexive = {suppressed}\n"
    monkeypatch.setattr(loading, "registry", lambda: parse_registry(rows))
    for pair, other, asked, expected in (
        ("keen", None, None, True),
        ("keen", None, False, False),
        ("keen", "m", None, False),  # another reasoner than the pair's own
        ("plain", None, None, False),
        ("plain", None, True, True),
    ):
        reasoner = FakeReasoner()
        monkeypatch.setattr(loading.Reasoner, "load", lambda *_, it=reasoner: it)
        chain = loading.load(pair, reasoner=other, only="reasoner")
        chain.think("a star", QUESTION, GenerationConfig(suppress_reflexive=asked))
        assert reasoner.suppressed == [expected]


def test_half_a_chain_serves_its_half():
    from edge_et.chain import Chain

    eyes = Chain(FakeExtractor(), None, pair="eyes")
    assert eyes.extract(picture()).text
    with pytest.raises(InputError, match="no reasoner"):
        eyes.ask(picture(), QUESTION)
    assert eyes.extractor.asked == [extraction_prompt("")]  # refused before any work
    thinker = Chain(None, FakeReasoner(), pair="thinker")
    assert thinker.think("a red star", QUESTION).text == "red"
    with pytest.raises(InputError, match="no extractor"):
        thinker.extract(picture())


def test_leaving_the_context_closes_both_models():
    with fake_chain() as chain:
        pass
    assert chain.extractor.closed
    assert chain.reasoner.closed


def test_a_stream_of_nothing_but_a_record():
    def source():
        return 7
        yield

    assert Stream(source()).result() == 7
