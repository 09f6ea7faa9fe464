"""A planted sleep of 300 ms is found in the stage it was planted in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_et.chain import Chain
from edge_et.chat import CLOSE, OPEN
from edge_et.extractor import Extractor
from edge_et.image import load_image
from edge_et.reasoner import Reasoner
from edge_et_bench import adapters, worker
from edge_et_bench.own import outcome_stages
from edge_et_bench.records import Configuration, Outcome
from edge_et_bench.worker import Job, perform
from tests.bench import WORKLOAD, FakeAdapter
from tests.fakes import picture
from tests.unit.test_extractor import HIDDEN, ROWS, STOP, VOCABULARY, FakeTokenizer, manifest

PLANTED_S = 0.3
EOS = "<|im_end|>"
STAGES = (
    "image", "vision", "extract_prefill", "extract_decode", "handoff", "reason_prefill",
    "think_decode", "answer_decode",
)  # fmt: skip


class Plant:
    """Sleeps once, at the first time that work of its stage is done."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __call__(self, stage: str) -> None:
        if stage == self._stage:
            self._stage = ""
            time.sleep(PLANTED_S)


class Vision:
    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def __call__(self, tile: np.ndarray, cancelled: object = None) -> np.ndarray:
        self._plant("vision")
        return np.full((4, HIDDEN), 7, np.float32)


class Decoder:
    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def start(self, capacity_tokens: int) -> Callable[[np.ndarray, int], np.ndarray]:
        script = iter([10, 11, 12, *[STOP] * 100])

        def step(embeddings: np.ndarray, past_tokens: int, cancelled: object = None) -> np.ndarray:
            logits = np.zeros(VOCABULARY, np.float32)
            self._plant("extract_decode" if len(embeddings) == 1 else "extract_prefill")
            if past_tokens == 0:  # the prompt up to the image's end; the question follows
                return logits
            logits[next(script)] = 1
            return logits

        return step


class LlamaModel:
    """A token is a character, or one of three marks."""

    path, device, context_tokens, vocab_size = Path("fake.gguf"), "cpu", 100_000, 0x110003
    marks = (OPEN, CLOSE, EOS)

    def open(self) -> None:
        pass

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def chat_template(self) -> str:
        return "{{ messages[0]['content'] }}" + OPEN + "\n"

    def token_text(self, which: str) -> str:
        return ""

    def meta(self, key: str) -> None:
        return None

    def tokenize(self, text: str, parse_special: bool) -> tuple[int, ...]:
        if len(text) > 50:  # the prompt, not the few words that are looked up at the load
            self._plant("handoff")
        tokens = []
        while text:
            mark = next((m for m in self.marks if parse_special and text.startswith(m)), None)
            tokens.append(0x110000 + self.marks.index(mark) if mark else ord(text[0]))
            text = text[len(mark or "x") :]
        return tuple(tokens)

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return b"" if token >= 0x110000 else chr(token).encode()

    def marker(self, token: int) -> str | None:
        return self.marks[token - 0x110000] if token >= 0x110000 else None

    def is_stop(self, token: int) -> bool:
        return token == 0x110002

    def close(self) -> None: ...


class LlamaContext:
    room_tokens = 100_000

    def __init__(self, model: LlamaModel, *, context_tokens: int, threads: int) -> None:
        self.context_tokens = context_tokens
        self._plant = model._plant
        self._script = [*"hm", CLOSE, *"red", EOS]

    def start(self, prompt: Sequence[int], sampling: object, stop: object) -> int:
        self._plant("reason_prefill")
        return 0

    def sample(self, banned: object = (), nudge: object = None) -> int:
        self._plant("think_decode" if CLOSE in self._script else "answer_decode")
        word = self._script.pop(0)
        return 0x110000 + LlamaModel.marks.index(word) if len(word) > 1 else ord(word)

    def feed(self, tokens: Sequence[int]) -> None: ...

    def close(self) -> None: ...


def ask(plant: Plant) -> Outcome:
    extractor = Extractor(
        manifest=manifest(context_tokens=1000),
        tokenizer=FakeTokenizer(),  # type: ignore[arg-type]
        vision=Vision(plant),  # type: ignore[arg-type]
        decoder=Decoder(plant),  # type: ignore[arg-type]
        embed=ROWS.__getitem__,
        image_newline=np.full(HIDDEN, -1, np.float32),
        device="cpu",
        threads=1,
    )
    reasoner = Reasoner(LlamaModel(plant), manifest=None, threads=1)  # type: ignore[arg-type]

    def load(source):
        plant("image")
        return load_image(source)

    chain = Chain(extractor, reasoner, pair="fakes", load_image=load)
    started_s = time.perf_counter()
    answer = chain.ask(picture(), "pins")
    total_s = time.perf_counter() - started_s
    assert (answer.text, answer.thinking) == ("red", "hm")
    return Outcome(stages=outcome_stages(answer, total_s), total_s=total_s, answer=answer.text)


@pytest.mark.parametrize("planted", STAGES)
def test_the_sleep_is_in_its_stage(monkeypatch, planted):
    monkeypatch.setattr("edge_et.llama.Context", LlamaContext)
    shares = []
    for _ in range(3):  # a busy machine may take the core away between two stages
        outcome = ask(Plant(planted))
        seconds = {stage.name: stage.seconds for stage in outcome.stages}
        assert max(seconds, key=seconds.__getitem__) == planted
        assert seconds[planted] >= PLANTED_S
        assert sum(seconds.values()) == pytest.approx(outcome.total_s)
        shares.append(seconds["other"] / outcome.total_s)
        if shares[-1] < 0.02:
            break
    assert min(shares) < 0.02


def test_stages_come_in_order_with_their_tokens(monkeypatch):
    monkeypatch.setattr("edge_et.llama.Context", LlamaContext)
    stages = {stage.name: stage for stage in ask(Plant("none")).stages}
    assert tuple(stages) == (*STAGES, "other")
    assert (stages["extract_decode"].tokens, stages["extract_decode"].steps) == (3, 3)
    assert (stages["think_decode"].tokens, stages["answer_decode"].tokens) == (2, 3)
    assert stages["vision"].steps == 1


def job(tmp_path, **options: str) -> Job:
    image = tmp_path / "image.png"
    picture().save(image)
    return Job(
        run_id="r",
        round=0,
        configuration=Configuration(label="fake", runtime="fake", options=options),
        workload=replace(WORKLOAD, image=str(image), warmup=2, repeats=3),
    )


def test_the_load_is_timed_apart(tmp_path, monkeypatch):
    monkeypatch.setitem(adapters.ADAPTERS, "fake", "tests.bench:FakeAdapter")
    run = perform(job(tmp_path, load_s=str(PLANTED_S)), lambda *_: None)
    assert run.load.seconds >= PLANTED_S
    assert all(sample.outcome.total_s < PLANTED_S for sample in run.samples)


def test_warm_ups_are_thrown_away_and_all_is_told(tmp_path, monkeypatch):
    made: list[FakeAdapter] = []
    monkeypatch.setattr(worker, "make_adapter", lambda c: made.append(FakeAdapter(c)) or made[0])
    told: list[tuple[str, int, int]] = []
    run = perform(job(tmp_path), lambda *progress: told.append(progress))
    assert [sample.repeat for sample in run.samples] == [0, 1, 2]
    assert len(made[0].requests) == 5
    assert made[0].closed
    assert [what for what, _, _ in told] == ["load"] + ["warm-up"] * 2 + ["repeats"] * 3
    assert (run.ceilings, run.demands, run.quality) == ((), (), None)
