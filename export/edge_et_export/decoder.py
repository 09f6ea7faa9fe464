"""The language model -> an ONNX decoder, through onnxruntime-genai's model builder.

Its graph is the fastest known for plain onnxruntime: fused attention with an in-place KV cache,
block-quantized weights with int8 arithmetic, logits of the last token only.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_et.errors import ExportError
from edge_et.manifest import DecoderSpec
from edge_et_export import fused_products, int8_cache, w8a8

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How the builder is asked for one of our precisions."""

    precision: str
    provider: str = "cpu"
    options: tuple[str, ...] = ()
    searched: bool = False
    """Whether scales are searched for, where the widths allow it."""


# Scales and zero points by search, as llama.cpp finds them: 4 bits throughout come as near to the
# checkpoint as the mix below does with plain rounding (docs/decisions/0008).
_SEARCHED = ("algo_config=k_quant",)
# 4 bits, and 8 where 4 lose most: the head, and the attention input and down projections of the
# first, the last and every third layer between, as llama.cpp mixes them.
_MIXED = ("matmul_mixed_precision=last_matmul:int8,mixed_layers:int8",)
_INT8_ARITHMETIC = "accuracy_level=4"
# Qwen3's norms of queries and keys inside the attention kernel are for CUDA only. Outside it the
# graph runs everywhere, and a machine without a GPU can hold it against its checkpoint.
_PORTABLE = "fuse_qk_norm_gqa=false"
_RECIPES = {
    "fp32": _Recipe("fp32"),
    "fp16": _Recipe("fp16", "cuda", options=(_PORTABLE,)),
    "int8": _Recipe("int8", options=(_INT8_ARITHMETIC,)),
    "w8a8": _Recipe("int8", options=(_INT8_ARITHMETIC,)),  # rewritten afterwards
    "q4": _Recipe("int4", options=(_INT8_ARITHMETIC, *_MIXED), searched=True),
    "q4_pure": _Recipe("int4", options=(_INT8_ARITHMETIC,), searched=True),
    "q4f16": _Recipe("int4", "cuda", options=(_PORTABLE, *_MIXED)),
}

_FOR_CPU = ("int8", "w8a8", "q4", "q4_pure")
"""These are rewritten for how a CPU is fastest. fp32 stays as it is built, to be held against; CUDA
has no use for a choice inside its graph."""


def causal_lm(text_config: Any, body: Any, head: Any) -> PreTrainedModel:
    """Return `body` and `head` of a multimodal model as the causal LM that `text_config` names."""
    import torch
    from transformers import AutoModelForCausalLM

    # Multimodal configs keep the flag on either level; the weights tell.
    text_config.tie_word_embeddings = head.weight is body.get_input_embeddings().weight
    with torch.device("meta"):
        causal = AutoModelForCausalLM.from_config(text_config, dtype=torch.float32)
    causal.model, causal.lm_head = body, head
    # weights made on the meta device know no parameters of ours; the config above is the truth
    return causal.eval()


def decoder_spec(causal: PreTrainedModel) -> DecoderSpec:
    config = causal.config
    heads = config.num_attention_heads
    return DecoderSpec(
        layers=config.num_hidden_layers,
        kv_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        context_tokens=config.max_position_embeddings,
    )


def stage_decoder(causal: PreTrainedModel, folder: Path) -> Path:
    """Write `causal` as a checkpoint for the builder into `folder`, and return where.

    Once it lies there, the model need not stay in memory beside the builder's own copy.
    """
    source = folder / "source"
    causal.save_pretrained(source)
    _save_tokenizer_stub(source)
    return source


def export_decoder(
    source: Path,
    out: Path,
    precisions: tuple[str, ...],
    *,
    block: int,
    spec: DecoderSpec,
    prompt: F32,
) -> dict[str, list[Path]]:
    """Write `decoder_model_merged_<precision>.onnx` and its `_data` for each; return their files.

    inputs_embeds [1, S, H], attention_mask [1, total] int64, past_key_values.i.{key,value}
    -> logits [1, 1, V] of the last token, present.i.{key,value}; those of 8 bits and less for a CPU
    also what `int8_cache.add` gives them. `source` is what `stage_decoder`
    wrote; `block`: weights that share a scale; `prompt` [tokens, H]: the reference's, for w8a8.
    """
    made = {}
    with tempfile.TemporaryDirectory(prefix="edge-et-decoder-", dir=out) as scratch:
        for precision in precisions:
            recipe = _RECIPES[precision]
            path = out / f"decoder_model_merged_{precision}.onnx"
            options = ["exclude_embeds=true", "prune_lm_head=true", f"filename={path.name}"]
            options += recipe.options
            if recipe.searched and _can_search(source, block):
                options += _SEARCHED
            if recipe.precision.startswith("int"):
                options.append(f"block_size={block}")
            built = Path(scratch) / precision
            _build(source, built, recipe, options)
            if precision not in _FOR_CPU:
                made[precision] = list(_adopt(built / path.name, path))
                continue
            if precision == "w8a8":
                made[precision] = w8a8.rewrite(built / path.name, path, prompt, spec)
            else:
                made[precision] = fused_products.rewrite(built / path.name, path)
            shutil.rmtree(built)
            int8_cache.add(path, spec)
    return made


def block_size(causal: PreTrainedModel) -> int:
    """Return the largest block that divides every input width.

    A block carries 8 bytes of scale and sum in the packed layout, so large ones stream fewer bytes
    per weight; a partial last block would be padded.
    """
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "head_dim")
    widths = _input_widths({name: getattr(causal.config, name, None) for name in names})
    return next((size for size in (128, 64, 32) if all(w % size == 0 for w in widths)), 32)


def _input_widths(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return how wide the inputs of a language model's products are, from its config.json."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    return hidden, config["intermediate_size"], heads * head_dim


def _can_search(source: Path, block: int) -> bool:
    """Return whether scales can be searched for: zero points are packed two blocks of a row at a
    time, and onnxruntime's search fails where one is left over."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    return all(width % (2 * block) == 0 for width in _input_widths(config))


def _build(source: Path, built: Path, recipe: _Recipe, options: list[str]) -> None:
    """Run the builder in a process of its own: it prints, and keeps state between models."""
    command = [
        sys.executable, "-m", "onnxruntime_genai.models.builder",
        "-m", str(source), "-i", str(source), "-o", str(built),
        "-p", recipe.precision, "-e", recipe.provider,
        "-c", str(built.with_name("cache")), "--extra_options", *options,
    ]  # fmt: skip
    log.debug("%s", " ".join(command))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    log.debug("%s", done.stdout)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExportError(f"the decoder could not be built in {recipe.precision}: {last}")


def _save_tokenizer_stub(folder: Path) -> None:
    """Give the builder a tokenizer to copy; it insists on one and we do not use its copy."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    stub = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=stub).save_pretrained(folder)


def _adopt(built: Path, path: Path) -> tuple[Path, Path]:
    """Move graph and weights to `path` and `<path>_data`, renaming the reference inside."""
    import onnx

    data = path.with_name(path.name + "_data")
    graph = onnx.load(built, load_external_data=False)
    locations = set()
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                locations.add(entry.value)
                entry.value = data.name
    if len(locations) != 1:
        raise ExportError(f"the decoder's weights lie in {len(locations)} files, not in one")
    (built.parent / locations.pop()).rename(data)
    onnx.save(graph, path)
    return path, data
