"""What the Idefics3 family reads of a checkpoint's configuration, and what it refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from edge_et.errors import BadManifest, ExportError
from edge_et.manifest import ImagePolicy
from edge_et_export.families.idefics3 import image_policy_of

# as SmolVLM-256M-Instruct has them
CONFIG: dict[str, Any] = {
    "scale_factor": 4,
    "text_config": {"model_type": "llama", "use_resampler": False, "qk_layer_norms": False},
    "vision_config": {"image_size": 512, "patch_size": 16},
}
PREPROCESSOR: dict[str, Any] = {
    "do_image_splitting": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "Idefics3ImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "max_image_size": {"longest_edge": 512},
    "resample": 1,
    "rescale_factor": 0.00392156862745098,
    "size": {"longest_edge": 2048},
}


def checkpoint(folder: Path, **changes: Any) -> Path:
    """Write the three files; a change is named FILE__KEY or FILE__KEY__KEY."""
    files = {
        "config": copy.deepcopy(CONFIG),
        "preprocessor": copy.deepcopy(PREPROCESSOR),
        "processor": {"image_seq_len": 64},
    }
    for name, value in changes.items():
        *path, last = name.split("__")
        target: Any = files
        for key in path:
            target = target[key]
        if value is None:
            del target[last]
        else:
            target[last] = value
    for name, content in files.items():
        stem = name if name == "config" else f"{name}_config"
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


def test_the_policy_of_a_published_checkpoint(tmp_path: Path) -> None:
    policy = image_policy_of(checkpoint(tmp_path))
    assert (policy.name, policy.tile_size_px, policy.longest_edge_px) == ("split", 512, 2048)
    assert (policy.tokens_per_tile, policy.resample, policy.max_tiles) == (64, "lanczos", None)


def test_what_is_absent_is_what_the_processor_class_does(tmp_path: Path) -> None:
    folder = checkpoint(
        tmp_path, preprocessor__resample=None, preprocessor__do_image_splitting=None
    )
    assert image_policy_of(folder) == image_policy_of(checkpoint(tmp_path))


def test_a_tile_that_is_no_whole_number_of_patches(tmp_path: Path) -> None:
    """SmolVLM 2.2B: 384 px in patches of 14, the last pixels unseen."""
    folder = checkpoint(
        tmp_path,
        config__scale_factor=3,
        config__vision_config={"image_size": 384, "patch_size": 14},
        preprocessor__max_image_size={"longest_edge": 384},
        preprocessor__size={"longest_edge": 1536},
        processor__image_seq_len=81,
    )
    assert image_policy_of(folder).tokens_per_tile == 81


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"preprocessor__do_image_splitting": False}, "do_image_splitting is False"),
        ({"preprocessor__do_resize": False}, "do_resize"),
        ({"preprocessor__image_processor_type": "CLIPImageProcessor"}, "image_processor_type"),
        ({"preprocessor__rescale_factor": 1.0}, "rescale_factor"),
        ({"preprocessor__size": {"height": 512, "width": 512}}, "size is"),
        ({"preprocessor__size": None}, "size is None"),
        ({"preprocessor__max_image_size": {"longest_edge": 364}}, "tiles of 364 px"),
        ({"preprocessor__resample": 0}, "resample"),
        ({"config__text_config__use_resampler": True}, "use_resampler"),
        ({"config__text_config__model_type": "mistral"}, "model_type is 'mistral'"),
        ({"processor__image_seq_len": 169}, "image_seq_len is 169"),
        # transformers would make up a model of 8 billion weights
        ({"config__text_config": None}, "has no text_config"),
        ({"config__vision_config": None}, "has no vision_config"),
    ],
)
def test_unknown_settings_are_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ExportError, match=named):
        image_policy_of(checkpoint(tmp_path, **changes))


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("split", {}, "longest_edge_px"),
        ("single", {"longest_edge_px": 64}, "longest_edge_px"),
        ("split", {"longest_edge_px": 64, "pixel_shuffle": 3}, "pixel_shuffle 3"),
        ("split", {"longest_edge_px": 64, "default_max_tiles": 0}, "default_max_tiles"),
        ("squash", {}, "known are anyres, single, split"),
    ],
)
def test_policies_that_cannot_be(name: Any, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(BadManifest, match=named):
        ImagePolicy(name=name, tile_size_px=32, patch_size_px=8, **changes)
