"""LLaVA-NeXT checkpoints: the authors' format and algorithm against the exported artifact, fp32."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_et import decoding, tiling
from edge_et.config import ImageLimits, RuntimeConfig, SamplingConfig
from edge_et.errors import ExportError
from edge_et.extractor import Extractor
from edge_et.image import load_image
from edge_et.prompts import extractor_chat
from tests import llava_next
from tests.greedy import greedy, runtime_greedy

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime_genai")
safetensors = pytest.importorskip("safetensors.torch")

TEXT = "Describe the image. Especially, pay attention to the red circle, 12 of them."
SIZES = [(40, 90), (33, 32), (200, 120)]
NEW_TOKENS = 64


@dataclass(frozen=True)
class Twins:
    extractor: Extractor
    model: llava_next.Model
    tokenizer: Any

    def rows(self, image: Image.Image) -> Any:
        """The image's rows of the prompt, by the authors' algorithm in torch."""
        tiles, grid = llava_next.crops(image, self.model.variant)
        pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            features = self.model.features((pixels - 0.5) / 0.5)
            return llava_next.image_rows(
                features, grid, image.size, self.model.variant, self.model.newline
            )

    def prompt(self, image: Image.Image) -> Any:
        before, after = extractor_chat(TEXT).split("<image>")
        embed = self.model.causal.get_input_embeddings()
        with torch.no_grad():
            texts = [
                embed(torch.tensor(self.tokenizer(t, add_special_tokens=False)["input_ids"]))
                for t in (before, after)
            ]
        return torch.cat([texts[0], self.rows(image), texts[1]])

    def our_prompt(self, image: Image.Image) -> np.ndarray:
        before, after = self.extractor._tokenizer.encode(TEXT)
        vision, _ = self.extractor._loaded()
        tiles = tiling.prepare(image, self.extractor.manifest.image)
        features = self.extractor._features(vision, tiles, lambda: False)
        embed = self.extractor._embed
        return np.concatenate([embed(before), features, embed(after)])


@pytest.fixture(scope="module", params=llava_next.VARIANTS)
def twins(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Twins, None, None]:
    from transformers import AutoTokenizer

    from edge_et_export import ExtractorOptions, export_extractor
    from edge_et_export.precisions import PRESETS

    folder = tmp_path_factory.mktemp(request.param)
    model = llava_next.make(folder / "checkpoint", request.param)
    out = folder / "artifact"
    export_extractor(model.folder, out, ExtractorOptions(precisions=PRESETS["reference"]))
    extractor = Extractor.load(out, RuntimeConfig(device="cpu", threads=1))
    yield Twins(extractor, model, AutoTokenizer.from_pretrained(model.folder))
    extractor.close()


def picture(height: int, width: int) -> Image.Image:
    """Noise that differs by place, so that swapped tiles would show."""
    slope = np.linspace(0, 200, height * width).reshape(height, width, 1)
    noise = np.random.default_rng(height).integers(0, 56, (height, width, 3))
    return Image.fromarray((slope + noise).astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
def test_first_logits_and_greedy_ids_are_the_authors(twins: Twins, size: tuple[int, int]) -> None:
    image = picture(*size)
    expected, ids = greedy(
        twins.model.causal, {"inputs_embeds": twins.prompt(image)[None]}, NEW_TOKENS
    )
    prompt = twins.our_prompt(image)
    logits, ours = runtime_greedy(twins.extractor, prompt, NEW_TOKENS)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-3)
    assert ours == ids
    assert len(ids) == NEW_TOKENS


@pytest.mark.parametrize("size", SIZES)
def test_logits_of_every_step_on_a_varied_path(twins: Twins, size: tuple[int, int]) -> None:
    """Random weights with tied embeddings repeat one greedy token; given tokens vary for all."""
    image = picture(*size)
    given = np.random.default_rng(1).integers(0, 400, NEW_TOKENS).tolist()
    causal = twins.model.causal
    with torch.no_grad():
        then = causal.get_input_embeddings()(torch.tensor(given))
        rows = torch.cat([twins.prompt(image), then])[None]
        expected = causal(inputs_embeds=rows, logits_to_keep=NEW_TOKENS + 1).logits[0].numpy()
    prompt = twins.our_prompt(image)
    step = twins.extractor._loaded()[1].start(len(prompt) + NEW_TOKENS)
    logits = [decoding.prefill(step, prompt, lambda: False).copy()]
    for count, token in enumerate(given):
        logits.append(step(twins.extractor._embed([token]), len(prompt) + count).copy())
    np.testing.assert_allclose(np.stack(logits), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_streamed_text(twins: Twins, size: tuple[int, int]) -> None:
    """The whole call: the same text as the authors' greedy ids up to their stop token."""
    image = picture(*size)
    _, ids = greedy(twins.model.causal, {"inputs_embeds": twins.prompt(image)[None]}, NEW_TOKENS)
    stops = twins.extractor.manifest.stop_token_ids
    end = next((i for i, token in enumerate(ids) if token in stops), len(ids))
    run = twins.extractor.stream(
        load_image(image),
        TEXT,
        budget_tokens=NEW_TOKENS,
        sampling=SamplingConfig(),
        limits=ImageLimits(max_tiles=99),
    )
    while True:
        try:
            next(run)
        except StopIteration as stopped:
            result = stopped.value
            break
    assert result.generated_tokens == end
    assert result.text == twins.tokenizer.decode(ids[:end], skip_special_tokens=True).strip()
    assert result.image.image_tokens == len(twins.rows(image))


@pytest.mark.parametrize("name", llava_next.VARIANTS)
def test_tiles_and_rows_of_many_sizes(name: str, tmp_path: Path) -> None:
    """200 sizes: the pixels of the crops, and the rows spliced of features that differ by place."""
    from edge_et_export.families.llava_next import _policy

    variant = llava_next.VARIANTS[name]
    config = {"image_aspect_ratio": variant.aspect, "image_grid_pinpoints": variant.pinpoints}
    policy = _policy(config, llava_next.TILE_PX, llava_next.PATCH_PX, tmp_path)
    rng = np.random.default_rng(5)
    newline = rng.normal(size=3).astype(np.float32)
    for _ in range(200):
        width, height = (int(n) for n in np.exp(rng.uniform(np.log(8), np.log(400), 2)))
        image = picture(height, width)
        tiles = tiling.prepare(image, policy)
        wanted, grid = llava_next.crops(image, variant)
        assert tiles.grid == grid[::-1], (width, height)
        pixels = (torch.from_numpy(wanted).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        np.testing.assert_allclose(tiles.pixel_values, pixels.numpy(), rtol=0, atol=1e-6)
        features = rng.normal(size=(len(wanted), 16, 3)).astype(np.float32)
        rows = llava_next.image_rows(
            torch.from_numpy(features), grid, image.size, variant, torch.from_numpy(newline)
        )
        ours = tiling.splice_features(features, tiles, policy, newline)
        np.testing.assert_allclose(ours, rows.numpy(), rtol=0, atol=1e-5)
        assert tiling.image_tokens(tiles, policy) == len(rows)


def _setting(name: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

    return change


def _tensor(edit: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = sorted(folder.glob("*.safetensors"))[0]
        weights = safetensors.load_file(path)
        edit(weights)
        safetensors.save_file(weights, path)

    return change


def _truncated(folder: Path) -> None:
    path = sorted(folder.glob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-100])


def _twice(folder: Path) -> None:
    safetensors.save_file({"model.image_newline": torch.ones(64)}, folder / "more.safetensors")


def _pickled(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_setting("image_aspect_ratio", "pad"), "image_aspect_ratio is 'pad'"),
        (_setting("mm_patch_merge_type", "flat"), "mm_patch_merge_type is 'flat'"),
        (_setting("mm_projector_type", "linear"), "mm_projector_type is 'linear'"),
        (_setting("image_grid_pinpoints", "everything"), "image_grid_pinpoints"),
        (_setting("mm_vision_tower", "somebody/else"), "mm_vision_tower 'somebody/else'"),
        (_setting("model_type", "llava_llama"), "model_type 'llava_llama'"),
        (_tensor(lambda w: w.pop("model.image_newline")), "lacks the tensor model.image_newline"),
        (
            _tensor(lambda w: w.pop("model.mm_projector.2.bias")),
            r"lacks the tensor model\.mm_projector\.2\.bias",
        ),
        (
            _tensor(lambda w: w.update({"model.vision_resampler.query": torch.ones(2)})),
            r"has the tensor model\.vision_resampler\.query",
        ),
        (
            _tensor(lambda w: w.update({"model.image_newline": torch.ones(65)})),
            r"image_newline .* is not of shape \[64\]",
        ),
        (_setting("image_grid_pinpoints", 5), "image_grid_pinpoints 5 is no list"),
        (_setting("image_grid_pinpoints", [[33, 64]]), "grid pinpoint 64 x 33 is no multiple"),
        (_setting("hidden_size", "64"), "missing or not understood: TypeError"),
        (_setting("hidden_act", "nothing"), "missing or not understood: KeyError"),
        (_setting("architectures", 5), "is a none"),
        (_truncated, "damaged or not all there"),
        (_twice, "image_newline in more than one file"),
        (_pickled, "as a pickle"),
    ],
)
def test_what_is_not_understood_is_refused(
    tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    from edge_et_export.families import open_extractor

    model = llava_next.make(tmp_path / "checkpoint", "qwen2")
    change(model.folder)
    with pytest.raises(ExportError, match=message):
        open_extractor(model.folder)
