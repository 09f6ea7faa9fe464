"""Qwen3ForCausalLM -> GGUF in float16, and from there to llama.cpp's quantized types."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_et import llama_library
from edge_et.errors import ExportError
from edge_et.threads import usable_threads
from edge_et_export.vocabulary import read_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TYPES = {"f16": 1, "q8_0": 7, "q4_k_m": 15}
"""Our name -> llama.cpp's `llama_ftype`."""


def write_f16(
    model: PreTrainedModel,
    folder: Path,
    out: Path,
    *,
    name: str,
    license_name: str,
    sampling: dict[str, float],
) -> None:
    """Write the weights of `model` and the tokenizer of `folder` to `out`.

    Matrices become float16, vectors stay float32, a tied head is left out: llama.cpp then reads
    the embeddings. Tensors are written one by one; at no time a second copy of all is held.
    """
    from gguf import GGUFWriter

    config = model.config
    _refuse_unknown(config)
    writer = GGUFWriter(str(out), "qwen3")
    try:
        writer.add_type("model")
        writer.add_name(name)
        writer.add_license(license_name)
        _add_shapes(writer, config)
        _add_sampling(writer, sampling)
        _add_tokenizer(writer, folder, config.vocab_size)
        tensors = list(_tensors(model))
        for tensor_name, tensor in tensors:
            dtype = _dtype(tensor)
            size = tensor.numel() * dtype.itemsize
            writer.add_tensor_info(tensor_name, list(tensor.shape), dtype, size)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor_name, tensor in tensors:
            writer.write_tensor_data(_array(tensor_name, tensor))
    finally:
        writer.close()


def quantize(source: Path, target: Path, type_name: str) -> None:
    """Write `target` from the float16 `source` with llama.cpp's own quantizer."""
    api = llama_library.runtime()
    params = api.llama_model_quantize_default_params()
    params.ftype = TYPES[type_name]
    params.nthread = usable_threads()
    code = api.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if code != 0:
        raise ExportError(f"llama.cpp could not quantize to {type_name} (code {code})")


def _refuse_unknown(config: Any) -> None:
    scaling = getattr(config, "rope_scaling", None) or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        raise ExportError(f"rope scaling {kind!r} is not supported")
    for field, known in (("hidden_act", "silu"), ("attention_bias", False),
                         ("use_sliding_window", False)):  # fmt: skip
        if getattr(config, field, known) != known:
            raise ExportError(f"{field} is {getattr(config, field)!r}; known is {known!r}")


def _add_shapes(writer: Any, config: Any) -> None:
    from gguf import LlamaFileType

    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(2)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _add_sampling(writer: Any, sampling: dict[str, float]) -> None:
    """The model's own defaults, where other programs look for them too."""
    if "temperature" in sampling:
        writer.add_sampling_temp(sampling["temperature"])
    if "top_p" in sampling:
        writer.add_sampling_top_p(sampling["top_p"])
    if "top_k" in sampling:
        writer.add_sampling_top_k(int(sampling["top_k"]))


def _add_tokenizer(writer: Any, folder: Path, vocab_size: int) -> None:
    from gguf import SpecialVocab

    vocabulary = read_vocabulary(folder, vocab_size)
    special = SpecialVocab(folder, load_merges=True, n_vocab=vocab_size)
    if not isinstance(special.chat_template, str):
        raise ExportError(
            f"{folder} has no single chat template", hint="put it in chat_template.jinja"
        )
    ids = special.special_token_ids
    if "eos" not in ids:
        raise ExportError(f"{folder} names no eos_token, so generation would never stop")
    # Without one llama.cpp takes token 11. It is never put before a text here.
    ids.setdefault("bos", ids.get("pad", ids["eos"]))
    special.add_special_token["bos"] = False
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    special.add_to_gguf(writer, quiet=True)


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    """Yield (GGUF name, tensor) for every parameter; one without a name is an error."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    names = get_tensor_name_map(MODEL_ARCH.QWEN3, model.config.num_hidden_layers)
    for name, parameter in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        gguf_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            raise ExportError(f"tensor {name} has no place in a qwen3 GGUF")
        yield gguf_name, parameter


def _dtype(tensor: Any) -> np.dtype[Any]:
    return np.dtype(np.float32 if tensor.ndim == 1 else np.float16)


def _array(name: str, tensor: Any) -> NDArray[Any]:
    values: NDArray[Any] = tensor.float().numpy()
    with np.errstate(over="ignore"):
        values = values.astype(_dtype(tensor))
    if not np.isfinite(values).all():
        raise ExportError(f"tensor {name} has values that float16 cannot hold")
    return values
