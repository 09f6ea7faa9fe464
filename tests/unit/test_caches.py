"""What the extractor keeps between two calls: when it is used, when not, and what it may take."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_et.caching.memory import MemoryCache
from edge_et.config import ImageLimits, RuntimeConfig, SamplingConfig
from edge_et.errors import Cancelled, InputError
from edge_et.image import load_image
from edge_et.types import Served
from tests.caching import (
    BYTES_PER_TOKEN,
    CONTINUED,
    GREEDY,
    HEAD_TOKENS,
    REPLAYED,
    Rig,
    Step,
    alone,
    picture,
)
from tests.unit.test_extractor import (
    TILE_PX,
    manifest,
)


def test_a_second_question_starts_where_the_image_ends() -> None:
    rig = Rig()
    _, first = rig.ask(picture(), "abc")
    tiles, runs = rig.vision.tiles, len(rig.decoder.runs)
    _, second = rig.ask(picture(), "abcdef")
    assert (first.served, second.served) == (Served(), CONTINUED)
    assert rig.vision.tiles == tiles
    assert rig.decoder.runs[0] == (HEAD_TOKENS, 0)
    assert rig.decoder.runs[runs] == (len("abcdef") + 1, HEAD_TOKENS)
    assert len(rig.decoder.started) == 1
    assert second.text == alone(picture(), "abcdef")[1] != first.text
    assert (second.image, second.vision_s) == (first.image, 0.0)


def test_the_same_question_is_answered_without_a_model_and_still_streamed() -> None:
    rig = Rig()
    pieces, first = rig.ask(picture())
    assert len(pieces) > 3
    runs = len(rig.decoder.runs)
    again, second = rig.ask(picture())
    assert again == pieces == alone(picture())[0]
    assert second.served == REPLAYED
    assert len(rig.decoder.runs) == runs
    timeless = {"tile_s": 0.0, "vision_s": 0.0, "prefill_s": 0.0, "decode_s": 0.0}
    assert replace(second, served=first.served, **timeless) == replace(first, **timeless)


def test_content_decides_and_not_where_it_came_from(tmp_path: Path) -> None:
    rig, path, other = Rig(), tmp_path / "a.png", tmp_path / "b.png"
    picture().save(path)
    picture().save(other)
    rig.ask(path)
    array = np.asarray(picture())
    for source in (other, path.read_bytes(), picture(), array):
        assert rig.ask(source)[1].served == REPLAYED
    picture(101).save(path)  # the same path with new bytes
    assert rig.ask(path)[1].served == Served()
    assert rig.ask(array.reshape(20, 10, 3))[1].served == Served()


def test_the_tiles_are_part_of_the_key() -> None:
    grid = tuple((h * TILE_PX, w * TILE_PX) for h in (1, 2) for w in (1, 2))
    image = replace(manifest().image, name="anyres", grid_pinpoints_px=grid)
    rig = Rig(made=replace(manifest(), image=image))
    asked = [(3, Served()), (2, Served()), (3, REPLAYED), (99, REPLAYED)]
    for max_tiles, served in asked:  # 3 tiles are all that it wants
        _, run = rig.ask(picture(), limits=ImageLimits(max_tiles=max_tiles))
        assert (run.served, run.image.tiles) == (served, min(3, max_tiles))


def test_sampling_is_part_of_the_key_where_it_is_read() -> None:
    rig = Rig()
    rig.ask(picture())
    assert rig.ask(picture(), sampling=SamplingConfig(seed=5))[1].served == REPLAYED
    hot = SamplingConfig(temperature=1.0, seed=5)
    assert rig.ask(picture(), sampling=hot, budget_tokens=90)[1].served == CONTINUED
    assert rig.ask(picture(), sampling=hot, budget_tokens=90)[1].served == REPLAYED
    assert rig.ask(picture(), sampling=replace(hot, seed=6))[1].served == CONTINUED


def test_what_was_cut_is_kept_for_the_room_it_was_cut_at() -> None:
    rig = Rig()
    _, cut = rig.ask(picture(), budget_tokens=2)
    assert (cut.served, cut.finish_reason) == (Served(), "extraction_length")
    assert rig.ask(picture(), budget_tokens=3)[1].served == CONTINUED
    _, whole = rig.ask(picture())
    assert whole.served == CONTINUED
    for _ in range(2):
        _, again = rig.ask(picture(), budget_tokens=2)
        assert (again.served, again.finish_reason) == (REPLAYED, "extraction_length")
        assert (again.text, again.generated_tokens) == (cut.text, 2)
    assert (whole.finish_reason, whole.text) == ("stop", alone(picture())[1])
    for budget_tokens, served in (
        (whole.generated_tokens + 1, REPLAYED),
        (whole.generated_tokens, CONTINUED),  # the end itself would not fit
    ):
        _, run = rig.ask(picture(), budget_tokens=budget_tokens)
        assert run.served == served
        assert run.text == whole.text


def test_a_cancelled_call_keeps_the_image_and_not_the_text() -> None:
    rig, asked = Rig(), iter([False] * 8)
    with pytest.raises(Cancelled):
        rig.ask(picture(), cancelled=lambda: next(asked, True))
    assert rig.ask(picture())[1].served == CONTINUED
    with pytest.raises(Cancelled):
        rig.ask(picture(), cancelled=lambda: True)


def test_a_stream_that_is_closed_gives_its_cache_back() -> None:
    rig = Rig()
    stream = rig.extractor.stream(load_image(picture()), "abc", budget_tokens=50, sampling=GREEDY)
    next(stream)
    assert rig.extractor.caches.prefixes.held_bytes == 0
    stream.close()
    assert rig.ask(picture())[1].served == CONTINUED


def test_measuring_neither_reads_nor_writes() -> None:
    rig = Rig()
    rig.ask(picture(), ignore_stop=True)
    assert rig.extractor.caches.held_bytes == 0
    rig.ask(picture())
    assert rig.ask(picture(), ignore_stop=True)[1].served == Served()


def test_a_longer_question_moves_into_a_larger_cache() -> None:
    rig = Rig(made=manifest(context_tokens=1000))
    rig.ask(picture(), budget_tokens=20)
    _, run = rig.ask(picture(), budget_tokens=400)
    assert run.served == REPLAYED
    _, run = rig.ask(picture(), "abcdef", budget_tokens=400)
    assert run.served == CONTINUED
    assert [step.capacity_tokens >= 400 for step in rig.decoder.started] == [False, True]
    assert run.text == alone(picture(), "abcdef")[1]


def test_a_cache_on_a_gpu_is_neither_copied_nor_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Step, "read_rows", lambda self, tokens: None)
    rig = Rig(folder=tmp_path, made=manifest(context_tokens=1000))
    rig.ask(picture(), budget_tokens=20)
    assert not list(tmp_path.glob("prefix-*"))
    assert rig.ask(picture(), "x", budget_tokens=20)[1].served == CONTINUED
    _, run = rig.ask(picture(), "abcdef", budget_tokens=400)
    assert run.served == Served(image_features="memory")
    assert run.text == alone(picture(), "abcdef")[1]


def test_memory_is_bounded_and_the_oldest_image_goes() -> None:
    one_bytes = 40 * BYTES_PER_TOKEN  # a prompt and an extraction of these fakes are less
    rig = Rig(memory_bytes=one_bytes)
    held = []
    for shade in (100, 101):
        rig.ask(picture(shade))
        held.append(rig.extractor.caches.prefixes.held_bytes)
    assert 0 < held[0] == held[1] <= rig.extractor.caches.held_bytes <= one_bytes
    assert rig.ask(picture(101), "x")[1].served == CONTINUED
    # its features are small, so they outlive its KV cache
    assert rig.ask(picture(100), "x")[1].served == Served(image_features="memory")


def test_room_is_made_before_the_memory_is_taken() -> None:
    rig = Rig(memory_bytes=40 * BYTES_PER_TOKEN)
    rig.ask(picture(100))
    held: list[int] = []
    start = rig.decoder.start

    def watched(capacity_tokens: int) -> Step:
        held.append(rig.extractor.caches.prefixes.held_bytes)
        return start(capacity_tokens)

    rig.decoder.start = watched  # type: ignore[method-assign]
    rig.ask(picture(101), "a" * 20)
    assert held == [0]


def test_nothing_is_kept_that_is_larger_than_the_limit() -> None:
    rig = Rig(memory_bytes=4096)
    for _ in range(2):
        assert rig.ask(picture(), "abcd")[1].served.image_prefill == "computed"
        assert rig.extractor.caches.held_bytes <= 4096
        rig.extractor.caches.small.clear()


def test_closing_frees_what_was_kept() -> None:
    rig = Rig()
    rig.ask(picture())
    assert rig.extractor.caches.held_bytes > HEAD_TOKENS * BYTES_PER_TOKEN
    rig.extractor.close()
    assert rig.extractor.caches.held_bytes == 0


def test_what_was_used_just_now_stays() -> None:
    cache: MemoryCache[int] = MemoryCache(20)
    cache.put("a", 1, 10)
    cache.put("b", 2, 10)
    assert cache.get("a") == 1
    cache.put("c", 3, 10)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_one_entry_is_taken_by_one_thread() -> None:
    cache: MemoryCache[int] = MemoryCache(1000)
    start = threading.Barrier(8)

    def take(round_: int) -> int:
        start.wait()
        return sum(cache.take(str(key)) is not None for key in range(50))

    for key in range(50):
        cache.put(str(key), key, 10)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 50
    assert cache.held_bytes == 0


def test_sizes_are_refused_when_negative() -> None:
    for wrong in ({"cache_bytes": -1}, {"disk_cache_bytes": -1}):
        with pytest.raises(InputError, match="negative"):
            RuntimeConfig(**wrong)  # type: ignore[arg-type]
