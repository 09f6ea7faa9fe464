"""The extractor around models that answer with what they were given: budgets, order, timing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_et.config import Device, ImageLimits, RuntimeConfig, SamplingConfig
from edge_et.errors import (
    BadManifest,
    Cancelled,
    ChecksumMismatch,
    ContextOverflow,
    DeviceUnavailable,
    InputError,
    MissingArtifact,
)
from edge_et.extractor import ExtractionRun, Extractor
from edge_et.image import load_image
from edge_et.manifest import (
    DecoderSpec,
    ExtractorManifest,
    ImagePolicy,
    Part,
    Source,
    describe_part,
    write_manifest,
)
from edge_et.parts import device_for, pick

TILE_PX, HIDDEN, VOCABULARY, STOP = 8, 3, 64, 63
IMAGE_TOKENS = 4 + 1
GREEDY = SamplingConfig()
NO_LIMITS = ImageLimits()


class FakeTokenizer:
    """Token n is the n-th letter; 60 is a space."""

    def encode(self, user_text: str) -> tuple[list[int], list[int]]:
        return [1, 2], [*(3 for _ in user_text), 4]

    def marks(self, grid: tuple[int, int] | None) -> list[list[int]]:
        return [[], []]

    def decode(self, ids: list[int]) -> str:
        return "".join(" " if i == 60 else chr(ord("a") + i) for i in ids)


class FakeVision:
    def __init__(self, pause_s: float = 0) -> None:
        self.tiles: list[tuple[int, ...]] = []
        self.pause_s = pause_s

    def __call__(self, tile: np.ndarray, cancelled: object = None) -> np.ndarray:
        time.sleep(self.pause_s)
        self.tiles.append(tile.shape)
        return np.full((4, HIDDEN), 7, np.float32)


class FakeDecoder:
    """Writes `script`, then the stop token for ever."""

    def __init__(self, script: list[int], pause_s: float = 0) -> None:
        self.script, self.pause_s = script, pause_s
        self.capacity_tokens = 0
        self.prompt = np.zeros((0, HIDDEN), np.float32)

    def start(self, capacity_tokens: int) -> Callable[[np.ndarray, int], np.ndarray]:
        self.capacity_tokens = capacity_tokens
        written = iter([*self.script, *[STOP] * 100])
        prompt: list[np.ndarray] = []

        def step(embeddings: np.ndarray, past_tokens: int, cancelled: object = None) -> np.ndarray:
            time.sleep(self.pause_s)
            assert past_tokens + len(embeddings) <= capacity_tokens
            logits = np.zeros(VOCABULARY, np.float32)
            if len(embeddings) > 1:  # the prompt, up to the image's end and after it
                assert past_tokens == sum(map(len, prompt))
                prompt.append(embeddings)
                self.prompt = np.concatenate(prompt)
                if len(prompt) == 1:
                    return logits
            logits[next(written)] = 1
            return logits

        return step


def manifest(context_tokens: int = 100, parts: tuple[Part, ...] = ()) -> ExtractorManifest:
    return ExtractorManifest(
        family="fake",
        source=Source(name="fake", revision="0", license="MIT"),
        parts=parts,
        image=ImagePolicy(name="single", tile_size_px=TILE_PX, patch_size_px=4),
        decoder=DecoderSpec(
            layers=1,
            kv_heads=1,
            head_dim=2,
            hidden_size=HIDDEN,
            vocab_size=VOCABULARY,
            context_tokens=context_tokens,
        ),
        template="qwen_1_5",
        image_token_id=62,
        stop_token_ids=(STOP,),
    )


ROWS = np.repeat(np.arange(VOCABULARY, dtype=np.float32)[:, None], HIDDEN, axis=1)


def make(
    script: list[int], *, context_tokens: int = 100, pause_s: float = 0
) -> tuple[Extractor, FakeVision, FakeDecoder]:
    vision, decoder = FakeVision(pause_s), FakeDecoder(script, pause_s)
    extractor = Extractor(
        manifest=manifest(context_tokens),
        tokenizer=FakeTokenizer(),  # type: ignore[arg-type]
        vision=vision,  # type: ignore[arg-type]
        decoder=decoder,  # type: ignore[arg-type]
        embed=np.repeat(
            np.arange(VOCABULARY, dtype=np.float32)[:, None], HIDDEN, axis=1
        ).__getitem__,
        image_newline=np.full(HIDDEN, -1, np.float32),
        device="cpu",
        threads=1,
    )
    return extractor, vision, decoder


def collect(
    extractor: Extractor,
    *,
    budget_tokens: int = 50,
    cancelled: Callable[[], bool] = lambda: False,
    text: str = "abc",
    limits: ImageLimits = NO_LIMITS,
    ignore_stop: bool = False,
    over: Callable[[int], bool] = lambda tokens: False,
) -> tuple[list[str], ExtractionRun]:
    image = load_image(Image.new("RGB", (20, 10)))
    stream = extractor.stream(
        image,
        text,
        budget_tokens=budget_tokens,
        sampling=GREEDY,
        limits=limits,
        ignore_stop=ignore_stop,
        over=over,
        cancelled=cancelled,
    )
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


def test_the_record_tells_the_run() -> None:
    extractor, vision, decoder = make([60, 0, 1, 60, 2, 60])
    pieces, run = collect(extractor)
    assert run.text == "".join(pieces) == "ab c"
    assert (run.prompt_tokens, run.generated_tokens) == (2 + IMAGE_TOKENS + 4, 6)
    assert run.finish_reason == "stop"
    assert run.image.tiles == 1 and run.image.image_tokens == IMAGE_TOKENS
    assert (run.image.original_height_px, run.image.original_width_px) == (10, 20)
    assert (run.image.used_height_px, run.image.used_width_px) == (4, 8)
    assert vision.tiles == [(3, TILE_PX, TILE_PX)]
    assert decoder.capacity_tokens == run.prompt_tokens + 50


def test_ignoring_the_end_takes_the_budget_whole() -> None:
    extractor, _, _ = make([0, 1])  # then the stop token for ever
    _, run = collect(extractor, budget_tokens=7, ignore_stop=True)
    assert (run.generated_tokens, run.finish_reason) == (7, "extraction_length")


def test_features_stand_where_the_image_stood() -> None:
    extractor, _, decoder = make([])
    collect(extractor)
    assert decoder.prompt[:, 0].tolist() == [1, 2, 7, 7, 7, 7, -1, 3, 3, 3, 4]
    assert decoder.prompt.dtype == np.float32


def test_the_budget_names_itself() -> None:
    _, run = collect(make([0] * 20)[0], budget_tokens=5)
    assert (run.text, run.generated_tokens, run.finish_reason) == ("aaaaa", 5, "extraction_length")


def test_a_small_context_clips_the_budget_and_says_so() -> None:
    extractor, _, decoder = make([0] * 20, context_tokens=14)
    _, run = collect(extractor)
    assert (run.generated_tokens, run.finish_reason) == (3, "context")
    assert decoder.capacity_tokens == 14


def test_a_prompt_that_does_not_fit_is_refused_before_any_work() -> None:
    extractor, vision, _ = make([0], context_tokens=11)
    with pytest.raises(ContextOverflow, match=r"11 tokens.*holds 11"):
        collect(extractor)
    assert vision.tiles == []


def test_a_cpu_keeps_to_the_manifests_limit_unless_asked_otherwise() -> None:
    grid = tuple((h * TILE_PX, w * TILE_PX) for h in (1, 2) for w in (1, 2))
    image = ImagePolicy(
        name="anyres", tile_size_px=TILE_PX, patch_size_px=4, grid_pinpoints_px=grid,
        default_max_tiles=2,
    )  # fmt: skip
    seen = []
    for device, limits in (
        ("cpu", ImageLimits()),
        ("cuda", ImageLimits()),
        ("cpu", ImageLimits(max_tiles=3)),
        ("cpu", ImageLimits(max_image_tokens=50)),
    ):
        extractor, vision, _ = make([])
        extractor.manifest, extractor.device = replace(extractor.manifest, image=image), device
        _, run = collect(extractor, limits=limits)
        assert run.image.tiles == len(vision.tiles)
        assert len(run.image.notes) == (run.image.tiles < 3)
        seen.append(run.image.tiles)
    assert seen == [2, 3, 3, 3]


def test_an_empty_extraction_is_a_record_too() -> None:
    pieces, run = collect(make([])[0])
    assert pieces == [] and run.text == "" and run.generated_tokens == 0


def test_cancel() -> None:
    extractor, vision, _ = make([0] * 20)
    with pytest.raises(Cancelled):
        collect(extractor, cancelled=lambda: True)
    assert vision.tiles == []
    image = load_image(Image.new("RGB", (8, 8)))
    seen: list[str] = []
    stream = extractor.stream(
        image, "", budget_tokens=50, sampling=GREEDY, cancelled=lambda: len(seen) >= 2
    )
    with pytest.raises(Cancelled):
        for piece in stream:
            seen.append(piece)
    assert seen == ["a", "a"]


def test_stages_add_up_to_the_wall_clock() -> None:
    extractor, _, _ = make([0] * 20, pause_s=0.002)
    start = time.perf_counter()
    _, run = collect(extractor)
    wall_s = time.perf_counter() - start
    stages_s = run.tile_s + run.vision_s + run.prefill_s + run.decode_s
    assert stages_s <= wall_s
    assert stages_s == pytest.approx(wall_s, rel=0.02)
    assert min(run.tile_s, run.vision_s, run.prefill_s, run.decode_s) > 0


def test_a_closed_extractor_and_an_empty_budget_are_refused() -> None:
    extractor, _, _ = make([])
    with pytest.raises(InputError, match="at least 1"):
        collect(extractor, budget_tokens=0)
    extractor.close()
    extractor.close()
    with pytest.raises(InputError, match="closed"):
        collect(extractor)


def test_folders_that_are_no_extractor(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="edge-et export extractor"):
        Extractor.load(tmp_path, RuntimeConfig())
    path = tmp_path / "embed_tokens_fp16.npy"
    path.write_bytes(b"12345678")
    part = describe_part(tmp_path, path, role="embed_tokens", precision="fp16")
    write_manifest(tmp_path, manifest(parts=(part,)))
    path.write_bytes(b"1234567")
    with pytest.raises(ChecksumMismatch):
        Extractor.load(tmp_path, RuntimeConfig())
    path.write_bytes(b"87654321")
    with pytest.raises(ChecksumMismatch):
        Extractor.load(tmp_path, RuntimeConfig(verify_hashes=True))


def test_the_part_that_suits_the_device() -> None:
    def part(path: str, precision: str) -> Part:
        return Part(role="decoder", path=path, precision=precision, sha256="", size_bytes=0)

    weights = part("decoder_fp16.onnx_data", "fp16")
    both = manifest(parts=(weights, part("a.onnx", "fp16"), part("b.onnx", "int8")))
    assert pick(both, "decoder", ".onnx", "cuda").path == "a.onnx"
    assert pick(both, "decoder", ".onnx", "cpu").path == "b.onnx"
    only = manifest(parts=(part("b.onnx", "int8"),))
    assert pick(only, "decoder", ".onnx", "cuda").path == "b.onnx"
    assert pick(both, "decoder", ".onnx", "cpu", "fp16").path == "a.onnx"
    with pytest.raises(MissingArtifact, match="no decoder in q4; it has fp16, int8"):
        pick(both, "decoder", ".onnx", "cpu", "q4")


def test_cuda_needs_a_decoder_that_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else onnxruntime would quietly run the attention on the CPU."""
    cuda_works = {"auto": "cuda", "cuda": "cuda", "cpu": "cpu"}
    monkeypatch.setattr("edge_et.providers.resolve_device", cuda_works.__getitem__)

    def artifact(precision: str) -> ExtractorManifest:
        part = Part(role="decoder", path="d.onnx", precision=precision, sha256="", size_bytes=0)
        return manifest(parts=(part,))

    def used(precision: str, device: Device) -> str:
        return device_for(artifact(precision), RuntimeConfig(device=device))

    devices: tuple[Device, ...] = ("auto", "cuda", "cpu")
    assert [used("fp16", d) for d in devices] == ["cuda", "cuda", "cpu"]
    assert used("q4f16", "auto") == "cuda"
    assert [used("int8", "auto"), used("int8", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(DeviceUnavailable, match="no decoder with fp16"):
        used("int8", "cuda")


def test_a_template_that_the_image_policy_cannot_fill_is_refused() -> None:
    with pytest.raises(BadManifest, match="template smolvlm does not fit the image policy single"):
        replace(manifest(), template="smolvlm")


def test_an_extraction_that_is_over_ends_before_the_next_token() -> None:
    asked: list[int] = []

    def over(tokens: int) -> bool:
        asked.append(tokens)
        return tokens == 3

    pieces, run = collect(make([0] * 20)[0], over=over)
    assert (run.text, run.generated_tokens) == ("".join(pieces), 3) == ("aaa", 3)
    assert run.finish_reason == "extraction_deadline"
    assert asked == [0, 1, 2, 3]
    _, run = collect(make([0] * 20)[0], over=lambda tokens: True)
    assert (run.text, run.generated_tokens) == ("", 0)


def test_measuring_takes_a_tile_and_a_few_tokens() -> None:
    extractor, vision, decoder = make([0] * 20, pause_s=0.01)
    speed = extractor.measure()
    assert vision.tiles == [(3, TILE_PX, TILE_PX)]
    assert decoder.capacity_tokens == 68
    assert speed.tile_s >= 0.01 and speed.decode_token_s >= 0.01
    assert 0 < speed.prefill_token_s < speed.decode_token_s  # one run for many tokens
    with pytest.raises(Cancelled):
        extractor.measure(lambda: True)


def test_the_costs_of_an_image() -> None:
    extractor, _, _ = make([])
    image = load_image(Image.new("RGB", (20, 10)))
    (cost,) = extractor.image_costs(image, NO_LIMITS)
    assert (cost.tiles, cost.tokens) == (1, IMAGE_TOKENS)
    assert extractor.image_costs(image, ImageLimits(max_image_tokens=1)) == ()
