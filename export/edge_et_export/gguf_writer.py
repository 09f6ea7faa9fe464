"""A causal language model and its tokenizer -> GGUF, in one of the formats that lose nothing more
than rounding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_et.errors import ExportError
from edge_et_export.architectures import (
    Architecture,
    add_numbers,
    head_dim_of,
    refuse_unknown,
    stored,
)
from edge_et_export.rope import FREQUENCIES, add_scaling, frequency_factors, scaling_of
from edge_et_export.vocabulary import Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Formats that are written here; the others are made from one of them by llama.cpp. The values are
# gguf.LlamaFileType's.
_FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the file says of itself beside its weights."""

    name: str
    license: str
    sampling: dict[str, float]


def write_gguf(
    model: PreTrainedModel, row: Architecture, folder: Path, out: Path, kind: str, card: Card
) -> None:
    """Write the weights of `model` and the tokenizer of `folder` to `out`.

    Matrices become `kind`, vectors stay float32, a tied head is left out: llama.cpp then reads the
    embeddings. Tensors are written one by one; at no time a second copy of all is held.
    """
    from gguf import GGUFWriter, size_label

    config = model.config
    refuse_unknown(row, config)
    scaling = scaling_of(config, row.rope_scalings)
    tensors = list(_tensors(model, row))
    if scaling.get("rope_type") == "llama3":
        factors = frequency_factors(scaling, config.rope_theta, head_dim_of(config))
        tensors.append((FREQUENCIES, FREQUENCIES, factors))
    count = sum(tensor.numel() for _, _, tensor in tensors)
    writer = GGUFWriter(str(out), row.gguf)
    try:
        writer.add_type("model")
        writer.add_name(card.name)
        writer.add_license(card.license)
        writer.add_size_label(size_label(count, count, 0, 0))
        writer.add_file_type(_FILE_TYPES[kind])
        writer.add_quantization_version(2)
        add_numbers(writer, row, config)
        add_scaling(writer, scaling, config)
        _add_sampling(writer, card.sampling)
        _add_tokenizer(writer, folder, row, config.vocab_size)
        for name, _, tensor in tensors:
            dtype, raw = _layout(tensor, kind)
            size = tensor.numel() * dtype.itemsize
            writer.add_tensor_info(name, list(tensor.shape), dtype, size, raw_dtype=raw)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, original, tensor in tensors:
            values = stored(row, config, original, tensor)
            writer.write_tensor_data(_array(name, values, kind))
    finally:
        writer.close()


def lossless_kind(folder: Path) -> str:
    """Return the smallest format that holds every weight of the checkpoint as it is."""
    from safetensors import safe_open

    found: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found.update(file.get_slice(name).get_dtype() for name in file.keys())  # noqa: SIM118
    if found == {"BF16"}:
        return "bf16"
    return "f16" if found == {"F16"} else "f32"


def gguf_names(row: Architecture, layers: int) -> Any:
    """Return gguf's map of tensor names for the architecture."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    return get_tensor_name_map(MODEL_ARCH[row.gguf.upper()], layers)


def gguf_name(names: Any, name: str) -> str | None:
    """Return llama.cpp's name of a tensor, or None where the architecture has no place for it."""
    found: str | None = names.get_name(name, try_suffixes=(".weight", ".bias"))
    return found


def _tensors(model: PreTrainedModel, row: Architecture) -> Iterator[tuple[str, str, Any]]:
    """Yield (GGUF name, transformers' name, tensor) for every parameter."""
    names = gguf_names(row, model.config.num_hidden_layers)
    for name, parameter in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        found = gguf_name(names, name)
        if found is None:
            raise ExportError(f"tensor {name} has no place in a {row.gguf} GGUF")
        yield found, name, parameter


def _add_sampling(writer: Any, sampling: dict[str, float]) -> None:
    """The model's own defaults, where other programs look for them too."""
    if "temperature" in sampling:
        writer.add_sampling_temp(sampling["temperature"])
    if "top_p" in sampling:
        writer.add_sampling_top_p(sampling["top_p"])
    if "top_k" in sampling:
        writer.add_sampling_top_k(int(sampling["top_k"]))


def _add_tokenizer(writer: Any, folder: Path, row: Architecture, vocab_size: int) -> None:
    vocabulary = read_vocabulary(folder, vocab_size)
    special = _special(folder, vocabulary, vocab_size)
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    if vocabulary.scores is not None:
        writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.types)
    prefix = _space_prefix(folder, row, vocabulary)
    if prefix is not None:
        writer.add_add_space_prefix(prefix)
    special.add_to_gguf(writer, quiet=True)


def _special(folder: Path, vocabulary: Vocabulary, vocab_size: int) -> Any:
    """Return the special tokens and the chat template; raise ExportError where one is missing."""
    from gguf import SpecialVocab

    special = SpecialVocab(folder, load_merges=vocabulary.model == "gpt2", n_vocab=vocab_size)
    templates = special.chat_template
    if isinstance(templates, list):
        templates = next((t["template"] for t in templates if t["name"] == "default"), None)
    if not isinstance(templates, str):
        raise ExportError(f"{folder} has no chat template", hint="put it in chat_template.jinja")
    ids = special.special_token_ids
    if "eos" not in ids:
        raise ExportError(f"{folder} names no eos_token, so generation would never stop")
    # Without one llama.cpp takes token 11.
    ids.setdefault("bos", ids.get("pad", ids["eos"]))
    special.add_special_token.setdefault("bos", False)
    return special


def _space_prefix(folder: Path, row: Architecture, vocabulary: Vocabulary) -> bool | None:
    """Return what the file must say of a blank before a text; None for llama.cpp's default."""
    if vocabulary.model == "llama" and not vocabulary.space_prefix:
        return False
    if not row.space_prefix_key:
        return None
    from edge_et_export.checkpoint import read_json

    path = folder / "tokenizer_config.json"
    found = read_json(path).get("add_prefix_space") if path.exists() else None
    return found if isinstance(found, bool) else None


def _layout(tensor: Any, kind: str) -> tuple[np.dtype[Any], Any]:
    """Return the dtype of the array to write, and GGUF's type where that is another."""
    from gguf import GGMLQuantizationType

    if tensor.ndim == 1 or kind == "f32":
        return np.dtype(np.float32), None
    if kind == "f16":
        return np.dtype(np.float16), None
    return np.dtype(np.uint16), GGMLQuantizationType.BF16


def _array(name: str, tensor: Any, kind: str) -> NDArray[Any]:
    import torch

    dtype, raw = _layout(tensor, kind)
    if raw is not None:
        values: NDArray[Any] = tensor.bfloat16().contiguous().view(torch.int16).numpy()
        return values.view(dtype)
    values = tensor.float().numpy()
    with np.errstate(over="ignore"):
        values = values.astype(dtype)
    if not np.isfinite(values).all():
        raise ExportError(f"tensor {name} has values that {dtype.name} cannot hold")
    return values
