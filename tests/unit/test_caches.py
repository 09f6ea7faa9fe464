"""What the extractor keeps between two calls: when it is used, when not, and what it may take."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_et.caching.disk import DiskCache, Entry
from edge_et.caching.keys import artifact_key
from edge_et.caching.memory import MemoryCache
from edge_et.caching.seen import Caches
from edge_et.config import ImageLimits, RuntimeConfig, SamplingConfig
from edge_et.errors import Cancelled, InputError
from edge_et.extractor import ExtractionRun, Extractor
from edge_et.image import ImageInput, load_image
from edge_et.manifest import ExtractorManifest
from edge_et.types import Served
from tests.unit.test_extractor import (
    HIDDEN,
    IMAGE_TOKENS,
    ROWS,
    STOP,
    TILE_PX,
    VOCABULARY,
    FakeTokenizer,
    manifest,
)

BYTES_PER_TOKEN = 1000
HEAD_TOKENS = 2 + IMAGE_TOKENS
PLENTY_BYTES = 10**7
GREEDY = SamplingConfig()
NO_LIMITS = ImageLimits()
REPLAYED = Served(extraction="memory", image_prefill=None, image_features=None)
CONTINUED = Served(image_prefill="memory", image_features=None)


@dataclass
class Vision:
    """Features that tell pictures apart."""

    tiles: int = 0

    def __call__(self, tile: np.ndarray) -> np.ndarray:
        self.tiles += 1
        return np.full((4, HIDDEN), tile.mean() * 100, np.float32)


@dataclass
class Step:
    """Writes letters that follow from every row that lies in its cache."""

    capacity_tokens: int
    runs: list[tuple[int, int]]
    touched_tokens: int = 0

    def __post_init__(self) -> None:
        self.rows = np.zeros((1, 1, self.capacity_tokens, HIDDEN), np.float32)

    def __call__(self, embeddings: np.ndarray, past_tokens: int) -> np.ndarray:
        self.runs.append((len(embeddings), past_tokens))
        total = past_tokens + len(embeddings)
        assert total <= self.capacity_tokens
        self.touched_tokens = max(self.touched_tokens, total)
        self.rows[0, 0, past_tokens:total] = embeddings
        weights = np.arange(1, total + 1) % 7 + 1
        seen = int(abs(self.rows[0, 0, :total, 0] @ weights))
        logits = np.zeros(VOCABULARY, np.float32)
        written = past_tokens - HEAD_TOKENS
        logits[STOP if written > 12 else seen % 25] = 1
        return logits

    @property
    def held_bytes(self) -> int:
        return self.touched_tokens * BYTES_PER_TOKEN

    def read_rows(self, tokens: int) -> list[np.ndarray]:
        return [self.rows[:, :, :tokens]]

    def write_rows(self, rows: Sequence[np.ndarray]) -> None:
        self.rows[:, :, : rows[0].shape[2]] = rows[0]
        self.touched_tokens = rows[0].shape[2]


@dataclass
class Decoder:
    runs: list[tuple[int, int]] = field(default_factory=list)
    started: list[Step] = field(default_factory=list)
    bytes_per_token: int = BYTES_PER_TOKEN

    def start(self, capacity_tokens: int) -> Step:
        self.started.append(Step(capacity_tokens, self.runs))
        return self.started[-1]


@dataclass
class Rig:
    """An extractor over fakes, and what its models did."""

    memory_bytes: int = PLENTY_BYTES
    folder: Path | None = None
    disk_bytes: int = PLENTY_BYTES
    artifact: str = "a"
    made: ExtractorManifest = field(default_factory=manifest)

    def __post_init__(self) -> None:
        self.vision, self.decoder = Vision(), Decoder()
        disk = DiskCache(self.folder, self.disk_bytes) if self.folder else None
        self.extractor = Extractor(
            manifest=self.made,
            tokenizer=FakeTokenizer(),  # type: ignore[arg-type]
            vision=self.vision,  # type: ignore[arg-type]
            decoder=self.decoder,  # type: ignore[arg-type]
            embed=ROWS.__getitem__,
            image_newline=np.full(HIDDEN, -1, np.float32),
            device="cpu",
            threads=1,
            caches=Caches(self.artifact, memory_bytes=self.memory_bytes, disk=disk),
        )

    def ask(
        self,
        image: ImageInput,
        text: str = "abc",
        *,
        budget_tokens: int = 50,
        sampling: SamplingConfig = GREEDY,
        limits: ImageLimits = NO_LIMITS,
        ignore_stop: bool = False,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[list[str], ExtractionRun]:
        stream = self.extractor.stream(
            load_image(image),
            text,
            budget_tokens=budget_tokens,
            sampling=sampling,
            limits=limits,
            ignore_stop=ignore_stop,
            cancelled=cancelled,
        )
        pieces = []
        while True:
            try:
                pieces.append(next(stream))
            except StopIteration as end:
                return pieces, end.value


def picture(shade: int = 100, size: tuple[int, int] = (20, 10)) -> Image.Image:
    return Image.new("RGB", size, (shade, 50, 50))


def alone(image: ImageInput, text: str = "abc") -> tuple[list[str], str]:
    """Return the pieces and the text of an extractor that keeps nothing."""
    pieces, run = Rig(memory_bytes=0).ask(image, text)
    assert run.served == Served()
    return pieces, run.text


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
    kept = rig.ask(picture(), sampling=hot, budget_tokens=90)[1].served.extraction == "memory"
    ended = rig.ask(picture(), sampling=hot, budget_tokens=90)[1].finish_reason == "stop"
    assert kept == ended
    assert rig.ask(picture(), sampling=replace(hot, seed=6))[1].served == CONTINUED


def test_what_was_cut_is_not_kept() -> None:
    rig = Rig()
    assert rig.ask(picture(), budget_tokens=2)[1].finish_reason == "extraction_length"
    assert rig.ask(picture(), budget_tokens=2)[1].served == CONTINUED
    _, whole = rig.ask(picture())
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


def test_another_process_goes_on_from_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "seen"
    pieces, _ = Rig(folder=folder).ask(picture())
    asked: list[tuple[str, Served]] = [
        ("abc", Served(extraction="disk", image_prefill=None, image_features=None)),
        ("abcdef", Served(image_prefill="disk", image_features=None)),
    ]
    for text, served in asked:
        rig = Rig(folder=folder)
        _, run = rig.ask(picture(), text)
        assert (run.served, run.text) == (served, alone(picture(), text)[1])
        assert rig.vision.tiles == 0
    for path in folder.glob("prefix-*"):
        path.unlink()
    _, run = Rig(folder=folder).ask(picture(), "abcdefg")
    assert run.served == Served(image_features="disk")
    assert run.text == alone(picture(), "abcdefg")[1]
    assert "".join(pieces) == alone(picture())[1]


def test_another_extractor_finds_nothing(tmp_path: Path) -> None:
    Rig(folder=tmp_path).ask(picture())
    assert Rig(folder=tmp_path, artifact="b").ask(picture())[1].served == Served()
    one = artifact_key(manifest(), (), device="cpu", threads=2, engine="e 1")
    others = [
        artifact_key(manifest(), (), device="cpu", threads=1, engine="e 1"),
        artifact_key(manifest(), (), device="cuda", threads=2, engine="e 1"),
        artifact_key(manifest(), (), device="cpu", threads=2, engine="e 2"),
        artifact_key(manifest(context_tokens=99), (), device="cpu", threads=2, engine="e 1"),
    ]
    assert len({one, *others}) == 5


@pytest.mark.parametrize("kind", ["extraction", "prefix", "features"])
@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_damaged_entry_is_made_again(tmp_path: Path, kind: str, place: int) -> None:
    Rig(folder=tmp_path).ask(picture())
    for path in tmp_path.iterdir():
        if path.name.startswith(kind):
            data = bytearray(path.read_bytes())
            data[place] ^= 1
            path.write_bytes(data)
        elif kind == "features" or not path.name.startswith("features"):
            path.unlink()  # so that the damaged one is asked for
    _, run = Rig(folder=tmp_path).ask(picture())
    assert run.text == alone(picture())[1]
    found = {"extraction": run.served.extraction, "prefix": run.served.image_prefill,
             "features": run.served.image_features}  # fmt: skip
    assert found[kind] == "computed"
    assert Rig(folder=tmp_path).ask(picture())[1].served.extraction == "disk"


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, PLENTY_BYTES)
    whole = np.random.default_rng(0).standard_normal((1, 2, 9, 3)).astype(np.float32)
    arrays = (whole[:, :, :4], np.arange(6, dtype=np.float16).reshape(2, 3).T, np.arange(3))
    disk.write("prefix", "k", Entry(about={"a": "\n"}, arrays=arrays))
    read = disk.read("prefix", "k", lambda entry: entry)
    assert read is not None and read.about == {"a": "\n"}
    for wrote, found in zip(arrays, read.arrays, strict=True):
        assert wrote.dtype == found.dtype
        np.testing.assert_array_equal(wrote, found)


def test_a_truncated_entry_and_an_unknown_one_are_dropped(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, PLENTY_BYTES)
    path = tmp_path / "features-k.seen"

    def known(entry: Entry) -> int:
        return int(entry.about["n"])

    disk.write("features", "k", Entry(about={"n": 3}, arrays=(np.arange(5),)))
    assert disk.read("features", "k", known) == 3
    path.write_bytes(path.read_bytes()[:-4])
    assert disk.read("features", "k", known) is None
    assert not path.exists()
    disk.write("features", "k", Entry(about={}))
    assert disk.read("features", "k", known) is None
    assert not path.exists()


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    old = os.umask(0)
    try:
        Rig(folder=folder).ask(picture())
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {0o600}


def test_the_disk_is_bounded_and_the_oldest_entry_goes(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, 10_000)
    keys = ["a", "b", "c", "d"]
    for age, key in enumerate(keys):
        disk.write("features", key, Entry(about={}, arrays=(np.zeros(3000, np.uint8),)))
        path = tmp_path / f"features-{key}.seen"
        if path.exists():
            os.utime(path, (age, age))
        if key == "c":
            assert disk.read("features", "a", lambda entry: 1) == 1  # used just now
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "features-a.seen", "features-c.seen", "features-d.seen",
    ]  # fmt: skip
    assert sum(one.size_bytes for one in disk.contents()) <= 10_000
    disk.write("features", "e", Entry(about={}, arrays=(np.zeros(10_001, np.uint8),)))
    assert sorted(p.name[9] for p in tmp_path.iterdir()) == ["a", "c", "d"]
    disk.clear()
    assert disk.contents() == () and not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    old, new = tmp_path / "x.part", tmp_path / "y.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    DiskCache(tmp_path, PLENTY_BYTES).write("features", "k", Entry(about={}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["features-k.seen", "y.part"]


def test_a_folder_that_cannot_be_written_fails_no_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    rig = Rig(folder=tmp_path / "file" / "seen")
    assert rig.ask(picture())[1].text == alone(picture())[1]
    assert "nothing was cached" in caplog.text


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert RuntimeConfig().disk_cache is None
    rig = Rig()
    rig.extractor.caches = Caches.load("a", RuntimeConfig())
    rig.ask(picture())
    assert rig.extractor.caches.held_bytes and not list(tmp_path.iterdir())


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
