"""The starter inside a program."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge_et
from tests.e2e.starter import PAIR, ROOT


@pytest.fixture(scope="module")
def chain() -> Generator[edge_et.Chain]:
    options = dict(zip(PAIR[::2], PAIR[1::2], strict=True))
    with edge_et.load(
        extractor=options.get("--extractor"), reasoner=options.get("--reasoner")
    ) as chain:
        yield chain


def test_every_kind_of_image_gives_the_same_answer(
    chain: edge_et.Chain, example: dict[str, Any]
) -> None:
    path = ROOT / example["image"]
    with Image.open(path) as image:
        image.load()
    array = np.asarray(image.convert("RGB"))
    for source in (path, str(path), path.read_bytes(), image, array):
        answer = chain.ask(source, example["question"])
        assert answer.text == example["answer"]
        assert answer.image is not None
        size = answer.image.original_width_px, answer.image.original_height_px
        assert size == image.size


def test_stream_ask_and_the_two_halves_agree(chain: edge_et.Chain, example: dict[str, Any]) -> None:
    image, question = ROOT / example["image"], example["question"]
    with chain.stream(image, question) as stream:
        chunks = list(stream)
        answer = stream.result()
    assert "".join(c.text for c in chunks if c.kind == "extraction") == answer.extraction.text
    asked = chain.ask(image, question)
    halves = chain.think(chain.extract(image, question), question)
    for other in (asked, halves):
        assert (other.text, other.thinking) == (answer.text, answer.thinking)


def test_threads_and_tasks_share_the_chain(chain: edge_et.Chain, example: dict[str, Any]) -> None:
    image, question = ROOT / example["image"], example["question"]
    with ThreadPoolExecutor(4) as pool:
        texts = [a.text for a in pool.map(lambda _: chain.ask(image, question), range(8))]
    assert texts == [example["answer"]] * 8

    async def tasks() -> list[edge_et.Answer]:
        return list(await asyncio.gather(*(chain.aask(image, question) for _ in range(8))))

    assert [a.text for a in asyncio.run(tasks())] == [example["answer"]] * 8


def test_leaving_a_stream_early_frees_the_chain(
    chain: edge_et.Chain, example: dict[str, Any]
) -> None:
    image, question = ROOT / example["image"], example["question"]
    for stop_after in (1, 5, 30):
        with chain.stream(image, question) as stream:
            for _ in zip(range(stop_after), stream, strict=False):
                pass
        assert chain.ask(image, question).text == example["answer"]


def test_scenes_never_trained_on(chain: edge_et.Chain) -> None:
    """A smaller exam than `python -m edge_et_tuning evaluate`, so that CI notices a fall."""
    from edge_et_tuning.evaluation import evaluate, summarize

    evaluation = summarize(list(evaluate(chain, 120, 920_000_000)))
    # Three standard deviations under what this pair reaches (96 % of 2,000: tuning/README.md).
    assert evaluation.overall.accuracy > 0.90, evaluation.by_kind
