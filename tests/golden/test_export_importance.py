"""The importance matrix: its numbers, and what the quantizer makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_et.errors import ExportError
from edge_et.manifest import file_sha256
from tests.tiny import SENTENCES, make_reasoner
from tests.tiny_reasoners import make

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

TEXT = "\n".join(SENTENCES * 3)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reasoner(tmp_path_factory.mktemp("checkpoints") / "wide", "wide")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def loaded(folder: Path) -> tuple[Any, Any, Any]:
    import transformers

    from edge_et_export.architectures import architecture_named
    from edge_et_export.checkpoint import architecture_of, load_strictly

    row = architecture_named(architecture_of(folder), folder)
    model = load_strictly(folder, getattr(transformers, row.model_class))
    return model, transformers.AutoTokenizer.from_pretrained(folder), row


def test_the_numbers_of_a_layer_by_hand(wide: Path, text: Path) -> None:
    """What enters the first attention is the normed embeddings, whatever the windows."""
    from edge_et_export.importance import importance_of

    model, tokenizer, row = loaded(wide)
    found = importance_of(model, tokenizer, row, text)
    ids = tokenizer.encode(TEXT)
    assert len(ids) > 512  # more than one window
    with torch.no_grad():
        enters = model.model.layers[0].input_layernorm(model.model.embed_tokens(torch.tensor(ids)))
        by_hand = enters.double().square().mean(0).numpy()
    for name in ("attn_q", "attn_k", "attn_v"):
        np.testing.assert_allclose(found[f"blk.0.{name}.weight"], by_hand, rtol=1e-5)
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    # The tied head is the embeddings' matrix and stays out.
    assert set(found) == {f"blk.{layer}.{part}.weight" for layer in range(3) for part in parts}
    assert found["blk.2.ffn_down.weight"].shape == (512,)


def test_a_beginning_opens_each_window_and_an_untied_head_is_watched(
    tmp_path: Path, text: Path
) -> None:
    from edge_et_export import importance

    model, tokenizer, row = loaded(make(tmp_path / "llama3", "llama3"))
    windows = importance._windows(tokenizer, text, 100)
    assert {window[0] for window in windows} == {tokenizer.bos_token_id}
    assert [i for window in windows for i in window[1:]] == tokenizer.encode(
        TEXT, add_special_tokens=False
    )
    assert {len(window) for window in windows[:-1]} == {100}
    assert "output.weight" in importance.importance_of(model, tokenizer, row, text)


def test_the_export_uses_it_and_says_so(wide: Path, tmp_path: Path, text: Path) -> None:
    from edge_et_export import ReasonerOptions, export_reasoner

    with_text = ReasonerOptions(type="q4_k_m", calibration=text)
    plain = export_reasoner(wide, tmp_path / "a" / "r.gguf", ReasonerOptions(type="q4_k_m"))
    weighed = export_reasoner(wide, tmp_path / "b" / "r.gguf", with_text)
    assert "calibration" not in plain.made_with
    assert weighed.made_with["calibration"] == f"sha256:{file_sha256(text)}"
    assert plain.part().sha256 != weighed.part().sha256


@pytest.mark.parametrize("kind", ["q4_k_m", "q4_0"])
def test_it_lowers_the_weighted_error_of_every_matrix(
    wide: Path, tmp_path: Path, text: Path, kind: str
) -> None:
    """Against no matrix, and against a flat one: the numbers count, not that there are some."""
    from edge_et_export.gguf_writer import Card, write_gguf
    from edge_et_export.importance import importance_of
    from edge_et_export.quantizer import quantize

    model, tokenizer, row = loaded(wide)
    importance = importance_of(model, tokenizer, row, text)
    flat = {name: np.ones_like(values) for name, values in importance.items()}
    whole = tmp_path / "whole.gguf"
    card = Card(name="x", license="unknown", sampling={})
    write_gguf(model, row, wide, whole, "f32", card)
    errors = []
    for name, weighing in (("true", importance), ("flat", flat), ("none", None)):
        quantize(whole, tmp_path / f"{name}.gguf", kind, weighing)
        errors.append(weighted_errors(tmp_path / f"{name}.gguf", model, importance))
    true, *others = errors
    for other in others:
        assert {name for name in true if true[name] >= other[name]} == set()


def weighted_errors(path: Path, model: Any, importance: Any) -> dict[str, float]:
    from edge_et_export.architectures import architecture_named
    from edge_et_export.gguf_writer import gguf_name, gguf_names

    names = gguf_names(architecture_named("Qwen3ForCausalLM", path), 3)
    exact = {gguf_name(names, name): value.numpy() for name, value in model.state_dict().items()}
    errors = {}
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.name in importance:
            found = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            difference = found - exact[tensor.name]
            errors[tensor.name] = float((difference**2 * importance[tensor.name]).sum())
    return errors


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"too short", "has .* tokens; at least 128"), (b"\xff\xfe", "cannot be read"),
     (None, "cannot be read")],
)  # fmt: skip
def test_a_text_that_says_nothing(
    wide: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    from edge_et_export import ReasonerOptions, export_reasoner

    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExportError, match=message):
        export_reasoner(wide, tmp_path / "o" / "r.gguf", ReasonerOptions(calibration=path))
    assert list((tmp_path / "o").iterdir()) == []


def test_the_command(wide: Path, tmp_path: Path, text: Path) -> None:
    from edge_et_export.cli import app

    out = tmp_path / "o" / "r.gguf"
    arguments = ["reasoner", str(wide), "--out", str(out), "--calibration", str(text), "--type"]
    refused = CliRunner().invoke(app, [*arguments, "bf16"])
    assert refused.exit_code == 1
    assert "calibration text has no use for bf16" in refused.stderr
    done = CliRunner().invoke(app, [*arguments, "q4_0"])
    assert (done.exit_code, done.stdout.strip()) == (0, str(out))
