"""Budgets of memory in real processes: kept to, refused with numbers, and nothing leaks."""

from __future__ import annotations

import ctypes
import json
import re
import sys
from typing import Any

import pytest

from edge_et.memory.measure import give_back, resident_bytes
from edge_et_bench.memory_plan import MemoryCase, measure, table
from tests.e2e.starter import ROOT, Run
from tests.leaks import resident_after_each, slope_bytes

MIB = 1024 * 1024
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
SMALL = ("--think-budget", "512", "--answer-budget", "128", "--extract-budget", "128")


def case(example: dict[str, Any]) -> MemoryCase:
    return MemoryCase(
        extractor=None, reasoner=None, image=str(ROOT / example["image"]),
        question=example["question"], think_tokens=512, answer_tokens=128, extraction_tokens=128,
    )  # fmt: skip


def test_a_budget_too_small_is_6_and_names_one_that_works(
    edge_et: Run, example: dict[str, Any]
) -> None:
    ask = ("ask", example["image"], example["question"], "--json", *SMALL)
    refused = edge_et(*ask, "--max-memory", "40MiB")
    assert refused.returncode == 6, refused.stderr
    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "memory_impossible"
    named = re.search(r"--max-memory (\d+)MiB", error["hint"])
    assert named is not None
    # what the libraries take differs by a few pages from one process to the next
    done = edge_et(*ask, "--max-memory", f"{int(named[1]) + 2}MiB")
    assert (done.returncode, json.loads(done.stdout)["answer"]) == (0, example["answer"])


@pytest.mark.parametrize("command", ["extract", "think"])
def test_half_a_pair_has_a_budget_too(edge_et: Run, example: dict[str, Any], command: str) -> None:
    if command == "extract":
        arguments = ("extract", example["image"], example["question"])
    else:
        arguments = ("think", "--from", "-", example["question"])
    run = {"stdin": "one red star"} if command == "think" else {}
    assert edge_et(*arguments, "--max-memory", "30MiB", **run).returncode == 6
    done = edge_et(*arguments, "--max-memory", "1GiB", "--stats", **run)
    assert done.returncode == 0
    assert "memory: everything stays" in done.stderr


@linux
def test_the_peak_keeps_to_the_plan_in_every_residency(example: dict[str, Any]) -> None:
    free = measure(case(example), None)
    assert free.predicted_bytes is not None
    results = [free]
    for less_mib in range(0, 40, 12):
        results.append(measure(case(example), free.predicted_bytes - less_mib * MIB))
        if results[-1].refused:
            break
    ran = [r for r in results if not r.refused]
    shown = table(results)
    assert len({r.residency for r in ran}) > 1, shown
    for result in ran:
        assert result.measured_bytes is not None
        assert result.predicted_bytes is not None
        assert result.measured_bytes <= result.predicted_bytes, shown
        if result.budget_bytes is not None:
            assert result.measured_bytes <= result.budget_bytes, shown


@linux
def test_answers_are_the_same_whatever_stays(example: dict[str, Any]) -> None:
    import edge_et as library
    from edge_et.memory import plan
    from edge_et.memory.residency import Residency

    def answers(residency: plan.Residency) -> list[str]:
        runtime = library.RuntimeConfig(device="cpu", max_memory_bytes=1 << 40)
        with library.load(runtime=runtime) as chain:
            kept = chain.residency
            assert isinstance(kept, Residency)
            changed = plan.replace(kept.plan, residency=residency)
            chain.residency = plan.replace(kept, plan=changed)
            return [chain.ask(example["image"], example["question"]).text for _ in range(2)]

    for residency in plan.RESIDENCIES:
        assert answers(residency) == [example["answer"]] * 2


CACHE = 512 * MIB
"""So much more than the pair that a plan without it leaves everything else as it was."""


def test_the_plan_limits_the_caches(example: dict[str, Any]) -> None:
    import edge_et as library
    from edge_et.memory.residency import Residency

    def twice(max_memory_bytes: int) -> tuple[int, list[library.Answer], int]:
        runtime = library.RuntimeConfig(
            device="cpu", max_memory_bytes=max_memory_bytes, cache_bytes=CACHE
        )
        with library.load(runtime=runtime) as chain:
            assert isinstance(chain.residency, Residency)
            assert chain.residency.extractor is not None
            caches = chain.residency.extractor.caches
            peaks.append(chain.residency.plan.peak_bytes)
            assert chain.residency.plan.residency == "all"
            answers = [chain.ask(example["image"], example["question"]) for _ in range(2)]
            return chain.residency.plan.cache_bytes, answers, caches.held_bytes

    peaks: list[int] = []
    cache_bytes, answers, held_bytes = twice(1 << 40)
    assert cache_bytes == CACHE
    assert 0 < held_bytes <= CACHE
    assert answers[1].served is not None
    assert answers[1].served.extraction == "memory"
    cache_bytes, answers, held_bytes = twice(peaks[0] - CACHE // 2)
    assert (cache_bytes, held_bytes) == (0, 0)
    assert answers[1].served == library.Served()
    assert [answer.text for answer in answers] == [example["answer"]] * 2


def test_released_graphs_take_what_was_kept_with_them(example: dict[str, Any]) -> None:
    import edge_et as library
    from edge_et.memory.residency import Residency

    runtime = library.RuntimeConfig(device="cpu", max_memory_bytes=1 << 40, cache_bytes=CACHE)
    with library.load(runtime=runtime, only="extractor") as chain:
        assert isinstance(chain.residency, Residency)
        eyes = chain.residency.extractor
        assert eyes is not None
        first = chain.extract(example["image"], example["question"])
        assert eyes.caches.held_bytes > 0
        eyes.release()
        assert eyes.caches.held_bytes == 0
        again = chain.extract(example["image"], example["question"])
    assert (again.text, again.served) == (first.text, library.Served())


@pytest.mark.parametrize("residency", ["all", "one"])
def test_a_budget_and_a_deadline_together(example: dict[str, Any], residency: str) -> None:
    import edge_et as library
    from edge_et.memory import plan
    from edge_et.memory.residency import Residency

    runtime = library.RuntimeConfig(device="cpu", max_memory_bytes=1 << 40)
    generation = library.GenerationConfig(deadline_s=300.0)
    with library.load(runtime=runtime) as chain:
        kept = chain.residency
        assert isinstance(kept, Residency)
        changed = plan.replace(kept.plan, residency=residency)
        chain.residency = plan.replace(kept, plan=changed)
        thinker = kept.reasoner
        assert thinker is not None
        stream = chain.stream(example["image"], example["question"], generation)
        assert next(stream).kind == "extraction"
        # measured before, and not left beside the extractor's graphs
        assert (thinker._model is not None and bool(thinker._model.handle)) == (residency == "all")
        answer = stream.result()
    assert answer.text == example["answer"]
    assert answer.timings.measure_s > 0


@linux
def test_freed_memory_goes_back_to_the_system() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    block = 100_000  # below the size that malloc maps on its own
    blocks = [libc.malloc(block) for _ in range(1000)]
    for address in blocks:
        ctypes.memset(address, 1, block)
    pin = blocks.pop()  # the highest: it keeps the heap from shrinking by itself
    for address in blocks:
        libc.free(address)
    before = resident_bytes()
    give_back()
    libc.free(pin)
    assert before - resident_bytes() > 50 * MIB


@linux
@pytest.mark.parametrize("max_memory_bytes", [None, 1 << 40])
def test_many_images_leave_nothing_behind(max_memory_bytes: int | None) -> None:
    points = resident_after_each(48, max_memory_bytes=max_memory_bytes)
    assert slope_bytes(points[12:]) < 20_000, [p // 1024 for p in points]


@linux
def test_a_leak_would_be_seen() -> None:
    points = resident_after_each(48, leaked_bytes=60_000)
    assert slope_bytes(points[12:]) > 20_000
