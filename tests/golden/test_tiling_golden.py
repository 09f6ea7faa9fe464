"""Tiles, pixel values and spliced features against transformers' LLaVA-OneVision, many sizes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_et import tiling
from edge_et.manifest import ImagePolicy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TILE_PX, PATCH_PX, HIDDEN = 32, 8, 6
GRIDS = {
    "square": tuple((h * TILE_PX, w * TILE_PX) for h in range(1, 7) for w in range(1, 7)),
    "unequal": ((32, 64), (64, 32), (64, 64), (32, 96), (96, 32)),
}
SIZES = [
    (32, 32), (1, 1), (7, 5), (64, 64), (48, 640), (640, 48), (100, 101), (101, 100), (333, 500),
    (480, 640), (97, 31), (31, 97), (192, 192), (191, 193), (360, 640), (20, 190), (190, 20),
    (5, 200),
]  # fmt: skip
OTHER_STATISTICS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def noise(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height * 1000 + width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def policy_of(name: str, grid: str = "square", **changes: object) -> ImagePolicy:
    pinpoints = GRIDS[grid] if name == "anyres" else ()
    values = {"tile_size_px": TILE_PX, "patch_size_px": PATCH_PX, "grid_pinpoints_px": pinpoints}
    return ImagePolicy(name=name, **(values | changes))  # type: ignore[arg-type]


def processor_of(policy: ImagePolicy) -> object:
    pinpoints = [list(p) for p in policy.grid_pinpoints_px] or [[TILE_PX, TILE_PX]]
    return transformers.LlavaOnevisionImageProcessor(
        size={"height": TILE_PX, "width": TILE_PX},
        image_grid_pinpoints=pinpoints,
        image_mean=list(policy.mean),
        image_std=list(policy.std),
    )


@pytest.fixture(scope="module")
def packer() -> object:
    """A LlavaOnevisionModel with nothing but the config that `pack_image_features` reads."""
    cls = transformers.models.llava_onevision.modeling_llava_onevision.LlavaOnevisionModel
    model = cls.__new__(cls)
    torch.nn.Module.__init__(model)
    model.config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(image_size=TILE_PX, patch_size=PATCH_PX),
        text_config=transformers.Qwen3Config(hidden_size=HIDDEN),
    )
    return model


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_anyres_pixel_values_are_those_of_transformers(hw: tuple[int, int], grid: str) -> None:
    policy = policy_of("anyres", grid)
    image = noise(*hw)
    if hw == (5, 200) and grid == "unequal":
        pytest.skip("shrunk to 3 rows, which transformers takes for 3 channels when it pads")
    expected = processor_of(policy)(image, input_data_format="channels_last")["pixel_values"][0]
    tiles = tiling.prepare(image, policy)
    assert tiles.pixel_values.dtype == np.float32
    np.testing.assert_array_equal(tiles.pixel_values, expected)


@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_single_pixel_values_are_those_of_several_images(hw: tuple[int, int]) -> None:
    """transformers pads to a square when a prompt holds more than one image."""
    mean, std = OTHER_STATISTICS
    policy = policy_of("single", mean=mean, std=std, pad_rgb=tuple(int(x * 255) for x in mean))
    image = noise(*hw)
    expected = processor_of(policy)([[image, image]], input_data_format="channels_last")[
        "pixel_values"
    ][0]
    np.testing.assert_array_equal(tiling.prepare(image, policy).pixel_values, expected)


@pytest.mark.parametrize("max_tiles", [1, 4, 9])
@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_spliced_features_are_those_of_transformers(
    hw: tuple[int, int], max_tiles: int, packer: object
) -> None:
    policy = policy_of("anyres", max_tiles=max_tiles)
    packer.config.image_grid_pinpoints = [list(p) for p in policy.grid_pinpoints_px]
    tiles = tiling.prepare(noise(*hw), policy)
    rng = np.random.default_rng(1)
    shape = (len(tiles.pixel_values), policy.patches_per_side**2, HIDDEN)
    features = rng.standard_normal(shape, dtype=np.float32)
    newline = rng.standard_normal(HIDDEN, dtype=np.float32)
    expected = packer.pack_image_features(
        [torch.from_numpy(features)],
        torch.tensor([hw]),
        image_newline=torch.from_numpy(newline),
        vision_aspect_ratio=f"anyres_max_{max_tiles}",
    )[0][0]
    spliced = tiling.splice_features(features, tiles, policy, newline)
    assert spliced.shape == expected.shape
    np.testing.assert_allclose(spliced, expected.numpy(), rtol=0, atol=1e-5)
    assert tiling.image_tokens(tiles, policy) == len(spliced)


@pytest.mark.parametrize("max_tiles", [1, 9])
@pytest.mark.parametrize("hw", SIZES, ids=str)
def test_image_tokens_are_those_of_the_processor(hw: tuple[int, int], max_tiles: int) -> None:
    policy = policy_of("anyres", max_tiles=max_tiles)
    counter = transformers.LlavaOnevisionProcessor.__new__(transformers.LlavaOnevisionProcessor)
    counter.image_processor = processor_of(policy)
    counter.num_image_tokens = policy.patches_per_side**2
    counter.vision_aspect_ratio = f"anyres_max_{max_tiles}"
    expected = counter._get_number_of_features(*hw, TILE_PX, TILE_PX)
    assert tiling.image_tokens(tiling.prepare(noise(*hw), policy), policy) == expected


def test_single_features_end_in_one_newline(packer: object) -> None:
    policy = policy_of("single")
    tiles = tiling.prepare(noise(50, 70), policy)
    features = np.random.default_rng(2).standard_normal((1, 16, HIDDEN), dtype=np.float32)
    newline = np.arange(HIDDEN, dtype=np.float32)
    expected = packer.pack_image_features(
        [torch.from_numpy(features)],
        torch.tensor([[50, 70]]),
        image_newline=torch.from_numpy(newline),
    )[0][0]
    spliced = tiling.splice_features(features, tiles, policy, newline)
    np.testing.assert_array_equal(spliced, expected.numpy())
    assert tiling.image_tokens(tiles, policy) == len(spliced) == 17


@pytest.mark.parametrize(
    ("hw", "crops", "tokens"),
    [((384, 384), 2, 1485), ((333, 500), 3, 1836), ((480, 640), 5, 2929), ((768, 1024), 7, 4725),
     ((720, 1280), 9, 5967), ((1080, 1920), 16, 7269)],
    ids=str,
)  # fmt: skip
def test_the_published_extractor_costs_what_the_reference_costs(
    hw: tuple[int, int], crops: int, tokens: int
) -> None:
    """anyres_max_9 on tiles of 384 px, patch 14: counts read off the authors' implementation."""
    policy = ImagePolicy(
        name="anyres",
        tile_size_px=384,
        patch_size_px=14,
        grid_pinpoints_px=tuple((h * 384, w * 384) for h in range(1, 7) for w in range(1, 7)),
    )
    tiles = tiling.prepare(Image.new("RGB", (hw[1], hw[0])), policy)
    assert len(tiles.pixel_values) == crops
    assert tiling.image_tokens(tiles, policy) == tokens
