"""An extractor whose models are stand-ins, with its caches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from edge_et.caching.disk import DiskCache
from edge_et.caching.seen import Caches
from edge_et.config import ImageLimits, SamplingConfig
from edge_et.extractor import ExtractionRun, Extractor
from edge_et.image import ImageInput, load_image
from edge_et.manifest import ExtractorManifest
from edge_et.types import Served
from tests.unit.test_extractor import (
    HIDDEN,
    IMAGE_TOKENS,
    ROWS,
    STOP,
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

    def __call__(self, tile: np.ndarray, cancelled: object = None) -> np.ndarray:
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

    def __call__(
        self, embeddings: np.ndarray, past_tokens: int, cancelled: object = None
    ) -> np.ndarray:
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
