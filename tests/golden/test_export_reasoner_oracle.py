"""Our GGUF files against llama.cpp's own converter and against transformers, per architecture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden import llama_converter
from tests.tiny import make_reasoner
from tests.tiny_reasoners import VARIANTS, make

pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

# Key -> why ours may differ. Everything else must be equal.
_OURS_ALONE = {
    "general.license": "from the command; the converter reads model cards",
    "tokenizer.ggml.bos_token_id": "of a checkpoint without one: llama.cpp would take token 11",
    "tokenizer.ggml.add_bos_token": "of a checkpoint that does not say: llama.cpp would guess",
}
# The converter has merges of SentencePiece's kind go the way of byte-level ones and loses that
# "<0x0A>" is a byte: llama.cpp would then write those six letters.
_BYTE_TOKENS = "tokenizer.ggml.token_type"

QWEN3 = ("tied", "untied")
CASES = (*QWEN3, *VARIANTS)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two files of one checkpoint."""

    ours: Any
    theirs: Any


@pytest.fixture(scope="session")
def converter(request: pytest.FixtureRequest) -> Path:
    cache = request.config.cache
    assert cache is not None
    try:
        return llama_converter.fetch(cache.mkdir("llama-converter"))
    except llama_converter.Unreachable as exc:
        pytest.skip(f"pip reaches no index: {exc}")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("checkpoints")
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            maker = make_reasoner if name in QWEN3 else make
            made[name] = maker(folder / name, name)
        return made[name]

    return get


def export(checkpoint: Path, out: Path, **options: Any) -> Any:
    from edge_et_export import ReasonerOptions, export_reasoner

    return export_reasoner(checkpoint, out, ReasonerOptions(**options))


def both(converter: Path, checkpoint: Path, folder: Path, *, kind: str, pre: str) -> Pair:
    export(checkpoint, folder / "ours" / "r.gguf", type=kind)
    theirs = folder / "theirs.gguf"
    llama_converter.convert(converter, checkpoint, theirs, kind=kind, pre=pre)
    return Pair(ours=gguf.GGUFReader(folder / "ours" / "r.gguf"), theirs=gguf.GGUFReader(theirs))


def pre_of(name: str) -> str:
    return VARIANTS[name].pre if name in VARIANTS else "qwen2"


def assert_tensors_equal(pair: Pair) -> None:
    ours = {tensor.name: tensor for tensor in pair.ours.tensors}
    theirs = {tensor.name: tensor for tensor in pair.theirs.tensors}
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].tensor_type == tensor.tensor_type, name
        assert list(ours[name].shape) == list(tensor.shape), name
        assert np.asarray(ours[name].data).tobytes() == np.asarray(tensor.data).tobytes(), name


def metadata(reader: Any) -> dict[str, Any]:
    # Under "GGUF." the reader keeps counts of what it read.
    return {n: f.contents() for n, f in reader.fields.items() if not n.startswith("GGUF.")}


def assert_metadata_equal(pair: Pair, name: str) -> None:
    ours, theirs = metadata(pair.ours), metadata(pair.theirs)
    assert theirs.keys() <= ours.keys()
    assert ours.keys() - theirs.keys() <= _OURS_ALONE.keys()
    # The converter makes a title of the folder's name.
    assert ours.pop("general.name").title() == theirs.pop("general.name")
    if name == "gemma3_merges":
        tokens = ours["tokenizer.ggml.tokens"]
        types = ours.pop(_BYTE_TOKENS)
        assert [t for t, k in zip(tokens, types, strict=True) if k == gguf.TokenType.BYTE] == [
            f"<0x{i:02X}>" for i in range(256)
        ]
        byte, normal = gguf.TokenType.BYTE, gguf.TokenType.NORMAL
        assert [normal if kind == byte else kind for kind in types] == theirs.pop(_BYTE_TOKENS)
    assert {key: ours[key] for key in theirs} == theirs


@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_converter(
    converter: Path, checkpoints: Any, tmp_path: Path, name: str
) -> None:
    """Every tensor bit for bit in f16, every key."""
    pair = both(converter, checkpoints(name), tmp_path, kind="f16", pre=pre_of(name))
    assert_tensors_equal(pair)
    assert_metadata_equal(pair, name)


@pytest.mark.parametrize("name", ["llama3", "gemma3"])
def test_bf16_is_equal_too(converter: Path, checkpoints: Any, tmp_path: Path, name: str) -> None:
    pair = both(converter, checkpoints(name), tmp_path, kind="bf16", pre=pre_of(name))
    assert_tensors_equal(pair)
    assert_metadata_equal(pair, name)


# llama.cpp keeps keys and values in float16: on these models its logits are off by up to 0.035.
_TIE = 0.08


@pytest.mark.parametrize("name", VARIANTS)
def test_equal_to_transformers(checkpoints: Any, tmp_path: Path, name: str) -> None:
    """In llama.cpp: the tokens of all texts (checked by the export), the logits after every token
    of prompt and answer, and 64 greedy tokens, save where transformers' own choice is a tie."""
    manifest = export(checkpoints(name), tmp_path / "r.gguf", type="f16")
    architecture = json.loads((checkpoints(name) / "config.json").read_text())["architectures"][0]
    assert manifest.family == architecture.removesuffix("ForCausalLM").lower()
    assert manifest.sampling == {"temperature": 0.7, "top_p": 0.9, "top_k": 40}
    (result,) = manifest.parity
    assert result.relative_error < 5e-3
    assert result.greedy_tokens == 64

    ids, reference = read_by_transformers(checkpoints(name), architecture)
    ours = read_by_llama_cpp(tmp_path / "r.gguf", ids)
    norms = np.linalg.norm(reference, axis=1)
    assert (np.linalg.norm(ours - reference, axis=1) / norms).max() < 0.01
    best, second = np.sort(reference, axis=1)[:, :-3:-1].T
    clear = best - second > _TIE
    assert (ours.argmax(1) == reference.argmax(1))[clear].all()
    # What agrees with the greedy tokens goes on to the first tie at least.
    greedy_clear = clear[-64:]
    until = 64 if greedy_clear.all() else int(greedy_clear.argmin())
    assert result.greedy_agreement is not None
    assert result.greedy_agreement >= until / 64


_FIRST = 8
"""Tokens that are read at once; the others one by one."""


def read_by_transformers(checkpoint: Path, architecture: str) -> tuple[list[int], Any]:
    """Return prompt and greedy tokens but the last, and the logits after each from _FIRST on."""
    import torch
    import transformers

    from edge_et_export.reasoner_check import PROMPT
    from edge_et_export.reference import greedy_tokens

    model = getattr(transformers, architecture).from_pretrained(checkpoint, dtype="float32").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    turn = [{"role": "user", "content": PROMPT}]
    prompt = list(tokenizer.apply_chat_template(turn, add_generation_prompt=True))
    _, greedy = greedy_tokens(model, {"input_ids": torch.tensor([prompt])})
    ids = prompt + greedy[:-1]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, _FIRST - 1 :]
    return ids, logits.numpy()


def read_by_llama_cpp(path: Path, ids: list[int]) -> Any:
    from edge_et import llama
    from edge_et.config import SamplingConfig
    from edge_et.gguf_header import read_header

    model = llama.Model(read_header(path), "cpu")
    context = llama.Context(model, context_tokens=len(ids), threads=1)
    context.start(ids[:_FIRST], SamplingConfig(), lambda: False)
    logits = [context.logits()]
    for token in ids[_FIRST:]:
        context.feed([token])
        logits.append(context.logits())
    context.close()
    model.close()
    return np.stack(logits)
