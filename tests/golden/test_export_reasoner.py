"""What `edge-et export reasoner` writes, and what it refuses to write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_et.errors import ExportError, ParityError
from edge_et.manifest import FILE_NAME, ReasonerManifest, check_files, read_manifest
from tests.tiny import REASONER_VARIANTS, make_reasoner

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")
safetensors = pytest.importorskip("safetensors.torch")


def export(checkpoint: Path, out: Path, **options: Any) -> ReasonerManifest:
    from edge_et_export import ReasonerOptions, export_reasoner

    return export_reasoner(checkpoint, out, ReasonerOptions(**options))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: make_reasoner(folder / name, name) for name in REASONER_VARIANTS}


def fields(reader: Any) -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items()}


@pytest.mark.parametrize("variant", REASONER_VARIANTS)
def test_f16_holds_the_checkpoints_tensors(
    checkpoints: dict[str, Path], tmp_path: Path, variant: str
) -> None:
    """Every tensor once, under llama.cpp's name, matrices rounded to f16 and vectors exact."""
    out = tmp_path / "r.gguf"
    export(checkpoints[variant], out, type="f16")
    weights = safetensors.load_file(checkpoints[variant] / "model.safetensors")
    reader = gguf.GGUFReader(out)
    found = {tensor.name: tensor for tensor in reader.tensors}
    shape = REASONER_VARIANTS[variant]
    assert ("output.weight" in found) is not shape.tied
    assert len(found) == len(weights)
    values = {name: np.asarray(t.data).astype(np.float32).ravel() for name, t in found.items()}
    for name, weight in weights.items():
        rounded = weight if weight.ndim == 1 else weight.half().float()
        same = [n for n, v in values.items() if np.array_equal(v, rounded.numpy().ravel())]
        assert len(same) == 1, name
        wanted = [int(n) for n in reversed(weight.shape)]
        assert [int(n) for n in found[same[0]].shape] == wanted
        kind = "F32" if weight.ndim == 1 else "F16"
        assert found[same[0]].tensor_type.name == kind


def test_metadata(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "r.gguf"
    export(checkpoints["untied"], out, type="f16", name="tiny/two", license="MIT")
    meta = fields(gguf.GGUFReader(out))
    expected = {
        "general.architecture": "qwen3",
        "general.name": "tiny/two",
        "general.license": "MIT",
        "qwen3.block_count": 2,
        "qwen3.context_length": 1024,
        "qwen3.embedding_length": 64,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 32,
        "qwen3.attention.value_length": 32,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.add_bos_token": False,
        "general.sampling.top_k": 20,
    }
    assert {name: meta[name] for name in expected} == expected
    config = json.loads((checkpoints["untied"] / "config.json").read_text())
    tokens = meta["tokenizer.ggml.tokens"]
    assert len(tokens) == config["vocab_size"]
    assert tokens[meta["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert tokens[meta["tokenizer.ggml.padding_token_id"]] == "<|endoftext|>"
    assert tokens[meta["tokenizer.ggml.bos_token_id"]] == "<|endoftext|>"
    types = dict(zip(tokens, meta["tokenizer.ggml.token_type"], strict=True))
    assert types["<|im_start|>"] == gguf.TokenType.CONTROL
    assert types["<think>"] == gguf.TokenType.USER_DEFINED
    assert types[tokens[-1]] == gguf.TokenType.UNUSED
    template = (checkpoints["untied"] / "chat_template.jinja").read_text()
    assert meta["tokenizer.chat_template"] == template


TYPES = {
    "f16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q5_k_m": "Q5_K", "q4_k_m": "Q4_K",
    "q4_0": "Q4_0",
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_each_type(checkpoints: dict[str, Path], tmp_path: Path, kind: str) -> None:
    out = tmp_path / "r.gguf"
    manifest = export(checkpoints["wide"], out, type=kind)
    assert manifest == read_manifest(tmp_path, ReasonerManifest)
    check_files(tmp_path, manifest, hashes=True)
    assert {p.name for p in tmp_path.iterdir()} == {"r.gguf", FILE_NAME}
    assert manifest.sampling == {"temperature": 0.6, "top_p": 0.95, "top_k": 20}
    assert manifest.context_tokens == 1024
    (result,) = manifest.parity
    assert (result.part, result.precision, result.greedy_tokens) == ("reasoner", kind, 64)
    assert result.relative_error < result.tolerance
    weights = {t.name: t.tensor_type.name for t in gguf.GGUFReader(out).tensors}
    assert weights["blk.0.attn_q.weight"] == TYPES[kind]
    assert weights["blk.0.attn_norm.weight"] == "F32"


def copy_with(checkpoint: Path, folder: Path, name: str, change: Any) -> Path:
    """Copy `checkpoint` with one of its JSON files changed."""
    shutil.copytree(checkpoint, folder)
    value = json.loads((folder / name).read_text())
    change(value)
    (folder / name).write_text(json.dumps(value))
    return folder


def test_an_unknown_pre_tokenizer_is_named(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    def change(tokenizer: dict[str, Any]) -> None:
        tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "[a-z]+"

    folder = copy_with(checkpoints["tied"], tmp_path / "checkpoint", "tokenizer.json", change)
    with pytest.raises(ExportError, match=r"\[a-z\]\+.*known is that of qwen2"):
        export(folder, tmp_path / "out" / "r.gguf")
    assert list((tmp_path / "out").iterdir()) == []


def test_other_tokens_than_transformers_fail_at_any_tolerance(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_et_export import vocabulary

    # GPT-2's cutter keeps runs of digits together, Qwen2's does not.
    steps = (vocabulary._QWEN2, vocabulary._BYTES)
    monkeypatch.setitem(vocabulary._NAMES, (steps, False), "gpt-2")
    with pytest.raises(ParityError, match=r"llama\.cpp reads"):
        export(checkpoints["tied"], tmp_path / "r.gguf", allow_drift=True)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_chat_template_is_named(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoints["tied"], folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ExportError, match="chat template"):
        export(folder, tmp_path / "r.gguf")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rope_scaling", {"rope_type": "dynamic", "factor": 4.0}, "'dynamic' is not supported"),
        (
            "rope_scaling",
            {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5},
            "'yarn' with 'attention_factor'",
        ),
        ("hidden_act", "gelu", "hidden_act"),
    ],
)
def test_what_the_graph_would_compute_differently_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path, field: str, value: Any, message: str
) -> None:
    folder = copy_with(
        checkpoints["tied"], tmp_path / "c", "config.json", lambda c: c.update({field: value})
    )
    with pytest.raises(ExportError, match=message):
        export(folder, tmp_path / "out" / "r.gguf")


def test_a_pickle_is_refused_with_the_reason(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoints["tied"], folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        ExportError, match=r"as a pickle \(pytorch_model\.bin\), which can run code"
    ):
        export(folder, tmp_path / "out" / "r.gguf")
    assert list((tmp_path / "out").iterdir()) == []


def test_tensors_are_accounted_for(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoints["tied"], folder)
    path = folder / "model.safetensors"
    weights = safetensors.load_file(path)
    head = {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}

    def save(tensors: dict[str, Any]) -> None:
        safetensors.save_file(tensors, path, metadata={"format": "pt"})

    save({**weights, "model.layers.0.self_attn.q_proj.bias": torch.ones(64)})
    with pytest.raises(ExportError, match=r"q_proj\.bias"):
        export(folder, tmp_path / "out" / "r.gguf")
    # Published tied checkpoints may carry the head too; it must be the embeddings then.
    save({**weights, **head})
    export(folder, tmp_path / "same" / "r.gguf", type="f16")
    head["lm_head.weight"][3, 3] += 1
    save({**weights, **head})
    with pytest.raises(ExportError, match=r"lm_head\.weight that differs"):
        export(folder, tmp_path / "out" / "r.gguf")
    weights.pop("model.norm.weight")
    save(weights)
    with pytest.raises(ExportError, match=r"lacks the tensor model\.norm\.weight"):
        export(folder, tmp_path / "out" / "r.gguf")
    assert not (tmp_path / "out" / "r.gguf").exists()


def test_what_is_right_already_is_kept(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "r.gguf"
    export(checkpoints["tied"], out, type="f16")
    made_ns = out.stat().st_mtime_ns
    export(checkpoints["tied"], out, type="f16")
    assert out.stat().st_mtime_ns == made_ns
    for other in ({"type": "q8_0"}, {"type": "f16", "name": "another"}):
        with pytest.raises(ExportError, match="exists already"):
            export(checkpoints["tied"], out, **other)
    data = bytearray(out.read_bytes())
    data[-1] ^= 1
    out.write_bytes(data)
    with pytest.raises(ExportError, match="exists already"):
        export(checkpoints["tied"], out, type="f16")


def test_targets(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "r.gguf"
    with pytest.raises(ExportError, match=r"FILE\.gguf"):
        export(checkpoints["tied"], tmp_path / "folder")
    export(checkpoints["tied"], out, type="f16")
    before = out.read_bytes()
    with pytest.raises(ExportError, match="exists already"):
        export(checkpoints["untied"], out)
    with pytest.raises(ExportError, match="exists already"):  # its manifest would be replaced
        export(checkpoints["untied"], tmp_path / "other.gguf")
    assert out.read_bytes() == before
    export(checkpoints["untied"], out, type="f16", force=True)
    check_files(tmp_path, read_manifest(tmp_path, ReasonerManifest), hashes=True)
    assert out.read_bytes() != before
    (tmp_path / FILE_NAME).write_text(json.dumps({"kind": "extractor"}))
    with pytest.raises(ExportError, match="another model's"):
        export(checkpoints["tied"], out, force=True)


def test_drift(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_et_export import parity

    monkeypatch.setitem(parity.TOLERANCES["reasoner"], "q4_k_m", 1e-6)
    with pytest.raises(ParityError, match=r"reasoner q4_k_m: relative error"):
        export(checkpoints["tied"], tmp_path / "r.gguf", type="q4_k_m")
    assert list(tmp_path.iterdir()) == []
    export(checkpoints["tied"], tmp_path / "r.gguf", type="q4_k_m", allow_drift=True)


def test_the_command(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    from edge_et_export.cli import app

    out = tmp_path / "r.gguf"
    arguments = ["reasoner", str(checkpoints["tied"]), "--out", str(out), "--type", "f16"]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout.strip()) == (0, str(out))
    assert "reasoner f16: relative error" in done.stderr
    again = CliRunner().invoke(app, [*arguments[:-1], "q8_0"])
    assert again.exit_code == 1
    assert again.stderr.startswith("error[export_failed]: ")
    assert again.stdout == ""
