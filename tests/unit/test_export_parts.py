"""The parts of export that need no model: policies, vocabularies, parity, staging."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_et.errors import ExportError, ParityError
from edge_et_export.checkpoint import architecture_of, source_of, stop_ids_of
from edge_et_export.families.llava_onevision import image_policy_of
from edge_et_export.parity import agreement, compare, gate
from edge_et_export.reasoner import sampling_of
from edge_et_export.staging import staged_folder
from tests.tiny import QWEN2_SPLIT


def write(folder: Path, name: str, value: object) -> Path:
    (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return folder


def checkpoint(folder: Path, **config: Any) -> Path:
    vision = {"image_size": 384, "patch_size": 14}
    write(folder, "config.json", {"vision_config": vision, "text_config": {}, **config})
    return write(folder, "preprocessor_config.json", {"resample": 3, "image_mean": [0.5, 0.4, 0.3]})


def test_the_anyres_policy_of_a_published_checkpoint(tmp_path):
    grid = [[384, 768], [768, 384]]
    policy = image_policy_of(
        checkpoint(tmp_path, vision_aspect_ratio="anyres_max_9", image_grid_pinpoints=grid)
    )
    assert (policy.name, policy.max_tiles) == ("anyres", 9)
    assert policy.grid_pinpoints_px == ((384, 768), (768, 384))
    assert (policy.tile_size_px, policy.patches_per_side, policy.resample) == (384, 27, "bicubic")
    assert policy.pad_rgb == (127, 102, 76)


def test_the_single_policy_ignores_the_grid(tmp_path):
    folder = checkpoint(
        tmp_path,
        image_aspect_ratio="pad",
        vision_aspect_ratio="anyres_max_9",
        image_grid_pinpoints=[[384, 384]],
    )
    policy = image_policy_of(folder)
    assert (policy.name, policy.grid_pinpoints_px) == ("single", ())


@pytest.mark.parametrize("aspect", ["square", "anyres", "anyres_max_", "anyres_max_9x", None])
def test_an_unknown_image_policy_is_refused(tmp_path, aspect):
    with pytest.raises(ExportError, match="image_aspect_ratio"):
        image_policy_of(checkpoint(tmp_path, image_aspect_ratio=aspect))


@pytest.mark.parametrize("name", ["vision_config", "text_config"])
def test_a_config_without_sizes_is_refused(tmp_path, name):
    with pytest.raises(ExportError, match=f"has no {name}"):
        image_policy_of(checkpoint(tmp_path, vision_aspect_ratio="anyres_max_9", **{name: None}))


def test_two_grids_that_differ_are_refused(tmp_path):
    checkpoint(tmp_path, image_aspect_ratio="anyres_max_9", image_grid_pinpoints=[[384, 768]])
    write(tmp_path, "preprocessor_config.json", {"image_grid_pinpoints": [[768, 384]]})
    with pytest.raises(ExportError, match="different image_grid_pinpoints"):
        image_policy_of(tmp_path)


def test_stop_ids(tmp_path):
    write(tmp_path, "config.json", {"text_config": {"eos_token_id": 7}})
    assert stop_ids_of(tmp_path) == (7,)
    write(tmp_path, "generation_config.json", {"eos_token_id": [5, 6]})
    assert stop_ids_of(tmp_path) == (5, 6)
    with pytest.raises(ExportError, match="never stop"):
        stop_ids_of(tmp_path / "nowhere")


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ExportError, match="not a checkpoint folder"):
        architecture_of(tmp_path / "nowhere")
    with pytest.raises(ExportError, match=r"config\.json is missing"):
        architecture_of(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ExportError, match="not JSON"):
        architecture_of(tmp_path)


def test_the_revision_follows_the_weights(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"a")
    first = source_of(tmp_path, name=None, license_name="MIT")
    weights.write_bytes(b"b")
    second = source_of(tmp_path, name="org/name", license_name="MIT")
    assert first.revision.startswith("sha256:")
    assert first.revision != second.revision
    assert (first.name, second.name) == (tmp_path.name, "org/name")


def test_sampling_defaults(tmp_path):
    assert sampling_of(tmp_path) == {}
    write(tmp_path, "generation_config.json", {"do_sample": False, "temperature": 0.6})
    assert sampling_of(tmp_path) == {}
    write(tmp_path, "generation_config.json", {"do_sample": True, "top_k": 20, "top_p": None})
    assert sampling_of(tmp_path) == {"temperature": 1.0, "top_k": 20.0}


def test_compare_gives_the_numbers():
    reference = np.array([[3.0, 4.0]], np.float32)
    result = compare("decoder", "int8", reference + np.float32(0.5), reference)
    assert result.max_abs_error == pytest.approx(0.5)
    assert result.relative_error == pytest.approx(0.5 * 2**0.5 / 5)
    assert 0.99 < result.cosine < 1


def test_no_tolerance_covers_a_wrong_shape_or_a_nan():
    reference = np.ones(3, np.float32)
    with pytest.raises(ParityError, match="shape"):
        compare("decoder", "int8", np.ones(4, np.float32), reference)
    with pytest.raises(ParityError, match="not finite"):
        compare("decoder", "int8", np.full(3, np.nan, np.float32), reference)


def test_the_gate_names_what_is_over():
    reference = np.array([3.0, 4.0], np.float32)
    good = compare("vision_encoder", "fp32", reference, reference)
    bad = compare("decoder", "fp32", reference * 2, reference)
    gate([good], allow_drift=False)
    gate([good, bad], allow_drift=True)
    with pytest.raises(ParityError, match=r"decoder fp32: relative error 1\.0000 over") as caught:
        gate([good, bad], allow_drift=False)
    assert "vision_encoder" not in caught.value.message
    assert "--allow-drift" in (caught.value.hint or "")


def test_agreement_counts_up_to_the_first_difference():
    assert agreement([1, 2, 3, 4], [1, 2, 3, 4]) == 1
    assert agreement([1, 9, 3, 4], [1, 2, 3, 4]) == 0.25
    assert agreement([1, 2], [1, 2, 3, 4]) == 0.5


def test_staging_replaces_only_a_whole_folder(tmp_path):
    target = tmp_path / "artifact"
    with staged_folder(target, force=False) as staged:
        assert not target.exists()
        (staged / "file").write_text("first")
    with pytest.raises(ExportError, match="exists already"), staged_folder(target, force=False):
        pass
    with pytest.raises(KeyboardInterrupt), staged_folder(target, force=True) as staged:
        (staged / "file").write_text("half")
        raise KeyboardInterrupt
    assert (target / "file").read_text() == "first"
    with staged_folder(target, force=True) as staged:
        (staged / "file").write_text("second")
    assert (target / "file").read_text() == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.parametrize(
    ("hidden", "intermediate", "heads", "head_dim", "expected"),
    [
        (1024, 3072, 16, 128, 128),  # Qwen3-0.6B
        (896, 4864, 14, 64, 128),  # Qwen2-0.5B
        (576, 1536, 9, 64, 64),
        (256, 704, 4, 64, 64),
        (96, 192, 4, 32, 32),
        (40, 100, 4, 10, 32),  # nothing divides: a padded last block
    ],
)
def test_block_size_divides_every_width(hidden, intermediate, heads, head_dim, expected):
    from edge_et_export.decoder import block_size

    config = SimpleNamespace(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=head_dim,
        num_hidden_layers=1,
        vocab_size=10,
        max_position_embeddings=10,
    )
    assert block_size(SimpleNamespace(config=config)) == expected  # type: ignore[arg-type]


def tokenizer(**changes: Any) -> dict[str, Any]:
    split = {
        "type": "Split",
        "pattern": {"Regex": QWEN2_SPLIT},
        "behavior": "Isolated",
        "invert": False,
    }
    letters = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "use_regex": False,
        "trim_offsets": False,
    }
    return {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, letters]},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
        "added_tokens": [
            {"id": 2, "content": "<think>", "special": False},
            {"id": 3, "content": "<|im_end|>", "special": False},
            {"id": 4, "content": "<image>", "special": True},
        ],
        **changes,
    }


def test_vocabulary_types_and_padding(tmp_path):
    gguf = pytest.importorskip("gguf")
    from edge_et_export.vocabulary import read_vocabulary

    vocabulary = read_vocabulary(write(tmp_path, "tokenizer.json", tokenizer()), 6)
    assert vocabulary.pre == "qwen2"
    assert vocabulary.tokens == ["a", "b", "<think>", "<|im_end|>", "<image>", "[PAD5]"]
    kind = gguf.TokenType
    assert vocabulary.types == [
        kind.NORMAL, kind.NORMAL, kind.USER_DEFINED, kind.CONTROL, kind.CONTROL, kind.UNUSED
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"pre_tokenizer": None}, "pre-tokenizer None"),
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        ({"model": {"type": "Unigram", "vocab": []}}, "type 'Unigram'; known is BPE"),
    ],
)
def test_tokenizers_that_llama_cpp_would_read_differently_are_refused(tmp_path, changes, named):
    pytest.importorskip("gguf")
    from edge_et_export.vocabulary import read_vocabulary

    with pytest.raises(ExportError, match=named):
        read_vocabulary(write(tmp_path, "tokenizer.json", tokenizer(**changes)), 6)


def test_a_token_past_the_vocabulary_is_refused(tmp_path):
    pytest.importorskip("gguf")
    from edge_et_export.vocabulary import read_vocabulary

    with pytest.raises(ExportError, match="<image>"):
        read_vocabulary(write(tmp_path, "tokenizer.json", tokenizer()), 4)


def test_importing_export_is_light():
    import subprocess
    import sys

    code = (
        "import sys, edge_et_export; "
        "print([m for m in ('torch', 'transformers', 'onnxruntime', 'optimum', 'llama_cpp', 'gguf')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
