"""SmolVLM and Idefics3 against transformers' own processor and model, from picture to text."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_et import budget, decoding, tiling
from edge_et.config import ImageLimits, RuntimeConfig, SamplingConfig
from edge_et.errors import ExportError
from edge_et.extractor import Extractor
from edge_et.image import LoadedImage, load_image
from edge_et.layout import lay_out
from edge_et.manifest import ImagePolicy
from edge_et.prompts import extractor_chat
from tests.greedy import greedy, runtime_greedy
from tests.tiny import PATCHES, SMOLVLM_VARIANTS, TILE_PX, make_smolvlm

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXT = "Describe the image. Especially, pay attention to the red circle, 12 of them."
# grids of rows that differ from columns, of 4 x 4 (past the places that the tokenizer knows), of
# one row
SIZES = [(40, 90), (64, 64), (200, 20)]
NEW_TOKENS = 64


def noise(height: int, width: int) -> Image.Image:
    """Noise that differs by place, so that swapped tiles would show."""
    rng = np.random.default_rng(height * 1000 + width)
    slope = np.linspace(0, 200, height * width).reshape(height, width, 1)
    return Image.fromarray((slope + rng.integers(0, 56, (height, width, 3))).astype(np.uint8))


def policy_of(longest_edge_px: int, tile_size_px: int = TILE_PX) -> ImagePolicy:
    return ImagePolicy(
        name="split",
        tile_size_px=tile_size_px,
        patch_size_px=8,
        max_tiles=None,
        resample="lanczos",
        longest_edge_px=longest_edge_px,
        pixel_shuffle=2,
    )


def check_tiling(image: Image.Image, policy: ImagePolicy, architecture: str) -> None:
    processor = getattr(transformers, f"{architecture}ImageProcessor")(
        size={"longest_edge": policy.longest_edge_px},
        max_image_size={"longest_edge": policy.tile_size_px},
    )
    expected = processor(image, input_data_format="channels_last", return_row_col_info=True)
    tiles = tiling.prepare(image, policy)
    hw = (image.height, image.width)
    assert (tiles.grid or (0, 0)) == (expected["rows"][0][0], expected["cols"][0][0]), hw
    assert tiles.pixel_values.dtype == np.float32
    np.testing.assert_array_equal(tiles.pixel_values, np.stack(expected["pixel_values"][0]))


@pytest.mark.parametrize("architecture", ["Idefics3", "SmolVLM"])
@pytest.mark.parametrize("longest_edge_px", [128, 80, 64, 32])
def test_tiles_are_those_of_the_processor(longest_edge_px: int, architecture: str) -> None:
    rng = np.random.default_rng(longest_edge_px)
    sizes = rng.integers(1, 200, (200, 2)).tolist()
    sizes += [(1, 1), (1, 300), (300, 1), (2, 299), (128, 128), (128, 64), (129, 127), (32, 32)]
    for height, width in sizes:
        check_tiling(noise(height, width), policy_of(longest_edge_px), architecture)


@pytest.mark.parametrize("hw", [(3, 700), (700, 3), (1, 5000)], ids=str)
def test_a_longest_edge_past_the_bound_of_the_reference(hw: tuple[int, int]) -> None:
    check_tiling(noise(*hw), policy_of(5000, tile_size_px=256), "Idefics3")


@pytest.mark.parametrize(
    ("tile_px", "patch_px", "scale_factor"), [(512, 16, 4), (384, 14, 3), (364, 14, 2)], ids=str
)
@pytest.mark.parametrize("architecture", ["Idefics3", "SmolVLM"])
def test_features_at_the_published_geometries(
    architecture: str, tile_px: int, patch_px: int, scale_factor: int
) -> None:
    """The model finds position ids by comparing floats; where they round differs by geometry."""
    from edge_et_export.families.idefics3 import vision_module

    config = getattr(transformers, f"{architecture}Config")(
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": tile_px, "patch_size": patch_px,
        },
        text_config={
            "model_type": "llama", "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8, "pad_token_id": 0,
        },
        scale_factor=scale_factor,
        image_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{architecture}ForConditionalGeneration")(config).eval()
        torch.nn.init.normal_(model.model.vision_model.embeddings.position_embedding.weight)
        pixels = torch.randn(2, 3, tile_px, tile_px)
    policy = ImagePolicy(
        name="split", tile_size_px=tile_px, patch_size_px=patch_px, max_tiles=None,
        longest_edge_px=4 * tile_px, pixel_shuffle=scale_factor,
    )  # fmt: skip
    with torch.no_grad():
        expected = model.model.get_image_features(pixels[None])
        features = vision_module(model, policy)(pixels)["image_features"]
    assert features.shape == (2, policy.tokens_per_tile, 16)
    np.testing.assert_allclose(features.numpy(), expected.numpy(), rtol=0, atol=1e-5)


@dataclass(frozen=True)
class Twins:
    """The exported artifact and the checkpoint it came from."""

    extractor: Extractor
    model: Any
    processor: Any

    def reference_inputs(self, image: LoadedImage) -> dict[str, Any]:
        """What transformers feeds its model for this image and TEXT."""
        turn = [{"type": "image"}, {"type": "text", "text": TEXT}]
        chat = self.processor.apply_chat_template(
            [{"role": "user", "content": turn}], add_generation_prompt=True
        )
        return dict(
            self.processor(
                images=[image.rgb], text=chat, input_data_format="channels_last",
                return_tensors="pt",
            )
        )  # fmt: skip

    def reference_embeddings(self, image: LoadedImage) -> np.ndarray:
        """What the model's language part is given [prompt, H]."""
        seen: list[Any] = []
        hook = self.model.model.text_model.register_forward_pre_hook(
            lambda _module, _args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
        )
        with torch.no_grad():
            self.model(**self.reference_inputs(image))
        hook.remove()
        return seen[0][0].numpy()

    def layout(self, image: LoadedImage) -> Any:
        policy = self.extractor.manifest.image
        hw = (image.rgb.height, image.rgb.width)
        return lay_out(self.extractor._tokenizer, TEXT, tiling.grid_of(hw, policy), hw, policy)

    def prompt(self, image: LoadedImage) -> np.ndarray:
        tiles = tiling.prepare(image.rgb, self.extractor.manifest.image)
        vision, _ = self.extractor._loaded()
        features = self.extractor._features(vision, tiles, lambda: False)
        layout = self.layout(image)
        return layout.assemble(self.extractor._embed(layout.text_ids), features)


@pytest.fixture(scope="module", params=SMOLVLM_VARIANTS)
def twins(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Twins, None, None]:
    pytest.importorskip("onnxruntime_genai")
    from edge_et_export.extractor import ExtractorOptions, export_extractor
    from edge_et_export.precisions import PRESETS

    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = make_smolvlm(folder / "checkpoint", request.param)
    variant = SMOLVLM_VARIANTS[request.param]
    export_extractor(
        checkpoint, folder / "artifact", ExtractorOptions(precisions=PRESETS["reference"])
    )
    extractor = Extractor.load(
        folder / "artifact", RuntimeConfig(device="cpu", threads=1, verify_hashes=True)
    )
    model = getattr(
        transformers, f"{variant.architecture}ForConditionalGeneration"
    ).from_pretrained(checkpoint, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    # SmolVLM's own processor class wants a video processor, and that wants torchvision; for
    # images it is this one
    processor = transformers.Idefics3Processor(
        transformers.Idefics3ImageProcessor.from_pretrained(checkpoint),
        tokenizer,
        image_seq_len=PATCHES // variant.scale_factor**2,
        chat_template=tokenizer.chat_template,
    )
    yield Twins(extractor, model.eval(), processor)
    extractor.close()


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_prompt_ids(twins: Twins, hw: tuple[int, int]) -> None:
    image = load_image(noise(*hw))
    expected = twins.reference_inputs(image)["input_ids"][0].tolist()
    layout = twins.layout(image)
    ids = np.full(layout.prompt_tokens, twins.extractor.manifest.image_token_id)
    ids[~layout.is_feature()] = layout.text_ids
    assert ids.tolist() == expected


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_the_whole_prompt_embedded(twins: Twins, hw: tuple[int, int]) -> None:
    image = load_image(noise(*hw))
    expected = twins.reference_embeddings(image)
    np.testing.assert_allclose(twins.prompt(image), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_first_logits_and_greedy_ids(twins: Twins, hw: tuple[int, int]) -> None:
    image = load_image(noise(*hw))
    expected_logits, expected_ids = greedy(twins.model, twins.reference_inputs(image), NEW_TOKENS)
    prompt = twins.prompt(image)
    logits, ours = runtime_greedy(twins.extractor, prompt, NEW_TOKENS)
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-3)
    assert ours == expected_ids


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_logits_of_every_step_on_a_varied_path(twins: Twins, hw: tuple[int, int]) -> None:
    """Random weights with tied embeddings repeat one greedy token; given tokens vary for all."""
    image = load_image(noise(*hw))
    given = np.random.default_rng(1).integers(0, 400, NEW_TOKENS).tolist()
    inputs = twins.reference_inputs(image)
    prompt_tokens = inputs["input_ids"].shape[1]
    for name, more in (("input_ids", given), ("attention_mask", [1] * NEW_TOKENS)):
        inputs[name] = torch.cat([inputs[name], torch.tensor([more])], dim=1)
    with torch.no_grad():
        expected = twins.model(**inputs).logits[0, prompt_tokens - 1 :].numpy()
    step = twins.extractor._loaded()[1].start(prompt_tokens + NEW_TOKENS)
    logits = [decoding.prefill(step, twins.prompt(image), lambda: False).copy()]
    for count, token in enumerate(given):
        logits.append(step(twins.extractor._embed([token]), prompt_tokens + count).copy())
    np.testing.assert_allclose(np.stack(logits), expected, rtol=0, atol=1e-3)


def test_a_call_counts_the_marks_and_takes_typed_marks_for_text(twins: Twins) -> None:
    image = load_image(noise(40, 90))
    inputs = twins.reference_inputs(image)
    stream = twins.extractor.stream(
        image, TEXT, budget_tokens=4, sampling=SamplingConfig(), limits=ImageLimits(max_tiles=99)
    )
    record = None
    while record is None:
        try:
            next(stream)
        except StopIteration as end:
            record = end.value
    around = twins.processor.tokenizer.convert_tokens_to_ids("<fake_token_around_image>")
    places = [i for i, token in enumerate(inputs["input_ids"][0].tolist()) if token == around]
    assert record.image.image_tokens == places[-1] - places[0] + 1
    assert record.image.tiles == inputs["pixel_values"].shape[1]
    assert record.prompt_tokens == inputs["input_ids"].shape[1]
    _, after = twins.extractor._tokenizer.encode("a <image> <row_1_col_1> <end_of_utterance>")
    special = set(twins.processor.tokenizer.all_special_ids)
    assert sum(token in special for token in after) == 1  # the layout's own


def test_a_budget_is_a_smaller_longest_edge_of_the_reference(twins: Twins) -> None:
    image, policy = noise(90, 90), twins.extractor.manifest.image
    marks = twins.extractor._tokenizer.marks
    narrowed, note = budget.within(policy, (90, 90), ImageLimits(max_tiles=5), marks)
    if policy.longest_edge_px == TILE_PX:
        assert (narrowed, note) == (policy, None)
        return
    assert narrowed.longest_edge_px == 2 * TILE_PX and note is not None
    check_tiling(image, narrowed, "SmolVLM")
    inputs = twins.processor(
        images=[image], text="<image>", size={"longest_edge": 2 * TILE_PX}, return_tensors="pt"
    )
    assert f"({inputs['input_ids'].shape[1]} image tokens) by max_tiles 5" in note


def test_a_chat_template_of_another_layout_is_refused(tmp_path: Path) -> None:
    from edge_et_export.families import open_extractor

    folder = make_smolvlm(tmp_path, "smolvlm_unsplit")
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|im_start|>", "<|begin_of_text|>"))
    with pytest.raises(ExportError, match="begin_of_text"):
        open_extractor(folder)


def test_the_layout_is_the_checkpoints_chat_template(twins: Twins) -> None:
    turn = [{"type": "image"}, {"type": "text", "text": TEXT}]
    chat = twins.processor.apply_chat_template(
        [{"role": "user", "content": turn}], add_generation_prompt=True
    )
    assert chat == extractor_chat(TEXT, "smolvlm")
