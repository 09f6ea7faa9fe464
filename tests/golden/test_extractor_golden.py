"""An exported extractor against transformers' own LlavaOnevision, from picture to text, in fp32.

The reference of `single` is the model's own path for prompts of several images: the image processor
pads to a square, and `batch_num_images` above 1 tells the model not to cut tiles.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_et import decoding, tiling
from edge_et.config import ImageLimits, RuntimeConfig, SamplingConfig
from edge_et.extractor import ExtractionRun, Extractor
from edge_et.image import LoadedImage, load_image
from edge_et.prompts import extractor_chat
from tests.greedy import greedy, runtime_greedy
from tests.tiny import EXTRACTOR_VARIANTS, make_extractor

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxruntime_genai")

TEXT = "Describe the image. Especially, pay attention to the red circle, 12 of them."
SIZES = [(40, 90), (32, 32), (200, 120)]
NEW_TOKENS = 64


@dataclass(frozen=True)
class Twins:
    """The exported artifact and the checkpoint it came from."""

    extractor: Extractor
    model: Any
    image_processor: Any
    tokenizer: Any

    @property
    def several(self) -> bool:
        return self.extractor.manifest.image.name == "single"

    def reference_inputs(self, image: LoadedImage) -> dict[str, Any]:
        """What transformers feeds its model for this image and TEXT."""
        images = [[image.rgb, image.rgb]] if self.several else image.rgb
        pixels = self.image_processor(images, input_data_format="channels_last")
        inputs = {
            "pixel_values": torch.from_numpy(pixels["pixel_values"][0])[None],
            "image_sizes": torch.tensor([[image.rgb.height, image.rgb.width]]),
        }
        if self.several:
            inputs["batch_num_images"] = torch.tensor([2])
        with torch.no_grad():
            tokens = len(self.model.model.get_image_features(**inputs)[0])
        chat = extractor_chat(TEXT).replace("<image>", "<image>" * tokens)
        ids = self.tokenizer(chat, return_tensors="pt")
        return {**inputs, **ids}

    def prompt(self, image: LoadedImage) -> np.ndarray:
        before, after = self.extractor._tokenizer.encode(TEXT)
        tiles = tiling.prepare(image.rgb, self.extractor.manifest.image)
        vision, _ = self.extractor._loaded()
        features = self.extractor._features(vision, tiles, lambda: False)
        embed = self.extractor._embed
        return np.concatenate([embed(before), features, embed(after)])


@pytest.fixture(scope="module", params=EXTRACTOR_VARIANTS)
def twins(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Twins, None, None]:
    from edge_et_export.extractor import ExtractorOptions, export_extractor
    from edge_et_export.precisions import PRESETS

    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = make_extractor(folder / "checkpoint", request.param)
    export_extractor(
        checkpoint, folder / "artifact", ExtractorOptions(precisions=PRESETS["reference"])
    )
    extractor = Extractor.load(
        folder / "artifact", RuntimeConfig(device="cpu", threads=1, verify_hashes=True)
    )
    model = transformers.LlavaOnevisionForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32
    )
    image_processor = transformers.LlavaOnevisionImageProcessor.from_pretrained(checkpoint)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    yield Twins(extractor, model.eval(), image_processor, tokenizer)
    extractor.close()


def picture(height: int, width: int) -> LoadedImage:
    """Noise that differs by place, so that swapped tiles would show."""
    rng = np.random.default_rng(height)
    slope = np.linspace(0, 200, height * width).reshape(height, width, 1)
    pixels = slope + rng.integers(0, 56, (height, width, 3))
    return load_image(Image.fromarray(pixels.astype(np.uint8)))


def run(stream: Generator[str, None, ExtractionRun]) -> tuple[list[str], ExtractionRun]:
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_prompt_ids_and_length(twins: Twins, hw: tuple[int, int]) -> None:
    image = picture(*hw)
    expected = twins.reference_inputs(image)["input_ids"][0].tolist()
    before, after = twins.extractor._tokenizer.encode(TEXT)
    image_id = twins.extractor.manifest.image_token_id
    tiles = tiling.prepare(image.rgb, twins.extractor.manifest.image)
    count = tiling.image_tokens(tiles, twins.extractor.manifest.image)
    assert [*before, *[image_id] * count, *after] == expected


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_image_features(twins: Twins, hw: tuple[int, int]) -> None:
    image = picture(*hw)
    inputs = twins.reference_inputs(image)
    wanted = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = twins.model.model.get_image_features(**wanted)[0].numpy()
    before, after = twins.extractor._tokenizer.encode(TEXT)
    features = twins.prompt(image)[len(before) : -len(after)]
    assert features.shape == expected.shape
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("chunk", [decoding.PREFILL_CHUNK_TOKENS, 7])
@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_first_logits_and_greedy_ids(
    twins: Twins, hw: tuple[int, int], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "PREFILL_CHUNK_TOKENS", chunk)
    image = picture(*hw)
    expected_logits, expected_ids = greedy(twins.model, twins.reference_inputs(image), NEW_TOKENS)
    prompt = twins.prompt(image)
    logits, ours = runtime_greedy(twins.extractor, prompt, NEW_TOKENS)
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-3)
    assert ours == expected_ids


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_logits_of_every_step_on_a_varied_path(twins: Twins, hw: tuple[int, int]) -> None:
    """Random weights with tied embeddings repeat one greedy token; given tokens vary for all."""
    image = picture(*hw)
    given = np.random.default_rng(1).integers(0, 400, NEW_TOKENS).tolist()
    inputs = twins.reference_inputs(image)
    prompt_tokens = inputs["input_ids"].shape[1]
    for name, more in (("input_ids", torch.tensor([given])), ("attention_mask", None)):
        more = torch.ones(1, NEW_TOKENS, dtype=torch.int64) if more is None else more
        inputs[name] = torch.cat([inputs[name], more], dim=1)
    with torch.no_grad():
        expected = twins.model(**inputs).logits[0, prompt_tokens - 1 :].numpy()
    step = twins.extractor._loaded()[1].start(prompt_tokens + NEW_TOKENS)
    logits = [decoding.prefill(step, twins.prompt(image), lambda: False).copy()]
    for count, token in enumerate(given):
        logits.append(step(twins.extractor._embed([token]), prompt_tokens + count).copy())
    np.testing.assert_allclose(np.stack(logits), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_streamed_text(twins: Twins, hw: tuple[int, int]) -> None:
    """The whole call: the same text as the reference's greedy ids up to its stop token."""
    image = picture(*hw)
    _, ids = greedy(twins.model, twins.reference_inputs(image), NEW_TOKENS)
    stops = twins.extractor.manifest.stop_token_ids
    end = next((i for i, token in enumerate(ids) if token in stops), None)
    expected = twins.tokenizer.decode(ids[:end], skip_special_tokens=True)
    pieces, record = run(
        twins.extractor.stream(
            image, TEXT, budget_tokens=NEW_TOKENS, sampling=SamplingConfig(),
            limits=ImageLimits(max_tiles=99), cancelled=lambda: False,
        )
    )  # fmt: skip
    assert record.text == "".join(pieces) == expected.strip()
    assert record.generated_tokens == (NEW_TOKENS if end is None else end)
    assert record.finish_reason == ("extraction_length" if end is None else "stop")
    prompt_tokens = twins.reference_inputs(image)["input_ids"].shape[1]
    assert record.prompt_tokens == prompt_tokens


def test_a_cache_can_be_rewound(twins: Twins) -> None:
    """Rows past the current length are never read, so going back to an earlier one is exact."""
    prompt = twins.prompt(picture(40, 90))
    step = twins.extractor._loaded()[1].start(len(prompt) + 4)
    first = decoding.prefill(step, prompt, lambda: False).copy()
    step(prompt[:4], len(prompt))
    again = step(prompt[-1:], len(prompt) - 1)
    np.testing.assert_allclose(again, first, rtol=0, atol=1e-5)


def test_past_and_present_are_one_buffer_of_the_needed_size(twins: Twins) -> None:
    """The graph writes its keys into the very array that it reads; nothing past them is touched."""
    spec = twins.extractor.manifest.decoder
    prompt = twins.prompt(picture(32, 32))
    step = twins.extractor._loaded()[1].start(len(prompt) + 3)
    decoding.prefill(step, prompt, lambda: False)
    keys = step._binding._kept["past_key_values.0.key"].numpy()
    assert keys.shape == (1, spec.kv_heads, len(prompt) + 3, spec.head_dim)
    assert np.abs(keys[:, :, : len(prompt)]).min(axis=-1).all()
    assert not keys[:, :, len(prompt) :].any()
    with pytest.raises(ValueError, match="exceed the cache"):
        step(prompt[:4], len(prompt))


def test_sampling_is_repeatable(twins: Twins) -> None:
    image = picture(32, 32)
    texts = []
    for seed in (3, 3, 4):
        config = SamplingConfig(temperature=1.0, seed=seed)
        stream = twins.extractor.stream(
            image, TEXT, budget_tokens=16, sampling=config, cancelled=lambda: False
        )
        texts.append(run(stream)[1].text)
    assert texts[0] == texts[1] != texts[2]


def test_special_tokens_in_the_question_are_text(twins: Twins) -> None:
    image = picture(32, 32)
    stream = twins.extractor.stream(
        image, "a <image> b <|im_end|>", budget_tokens=2, sampling=SamplingConfig()
    )
    _, record = run(stream)
    markers = {"<image>", "<|im_end|>", "<|im_start|>"}
    vocabulary = twins.tokenizer.get_vocab()
    _, after = twins.extractor._tokenizer.encode("a <image> b <|im_end|>")
    assert sum(i in {vocabulary[m] for m in markers} for i in after) == 2  # the layout's own
    assert record.image.image_tokens > 0


def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    from edge_et.errors import MissingArtifact

    with pytest.raises(MissingArtifact, match=tmp_path.name):
        Extractor.load(tmp_path, RuntimeConfig())
