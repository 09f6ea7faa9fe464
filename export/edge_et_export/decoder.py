"""The language model -> an ONNX decoder, through onnxruntime-genai's model builder.

Its graph is the fastest known for plain onnxruntime: fused attention with an in-place KV cache,
block-quantized weights with int8 arithmetic, logits of the last token only.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edge_et.errors import ExportError
from edge_et.manifest import DecoderSpec

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedModel

log = logging.getLogger(__name__)

PRECISIONS = {"fp32": "fp32", "int8": "int8", "q4": "int4"}
"""Our name -> the builder's."""
TEXT_ARCHITECTURES = {"qwen3": "Qwen3ForCausalLM", "qwen2": "Qwen2ForCausalLM"}


def causal_model(model: LlavaOnevisionForConditionalGeneration) -> PreTrainedModel:
    """Return the extractor's language model with its head, sharing its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    text_config = model.config.text_config
    if text_config.model_type not in TEXT_ARCHITECTURES:
        known = ", ".join(TEXT_ARCHITECTURES)
        raise ExportError(f"text model {text_config.model_type!r} is unknown; known are {known}")
    text_config.architectures = [TEXT_ARCHITECTURES[text_config.model_type]]
    # LLaVA-OneVision keeps the flag on either level
    text_config.tie_word_embeddings = (
        model.lm_head.weight is model.model.language_model.embed_tokens.weight
    )
    with torch.device("meta"):
        causal = AutoModelForCausalLM.from_config(text_config, dtype=torch.float32)
    causal.model, causal.lm_head = model.model.language_model, model.lm_head
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


def export_decoder(causal: PreTrainedModel, out: Path, precision: str) -> tuple[Path, Path]:
    """Write `decoder_model_merged_<precision>.onnx` and its `_data` into `out`; return both.

    inputs_embeds [1, S, H] float32, attention_mask [1, total] int64, past_key_values.i.{key,value}
    -> logits [1, 1, V] of the last token, present.i.{key,value}.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"decoder precision {precision!r} is none of {', '.join(PRECISIONS)}")
    path = out / f"decoder_model_merged_{precision}.onnx"
    with tempfile.TemporaryDirectory(prefix="edge-et-decoder-", dir=out) as scratch:
        source, built = Path(scratch) / "source", Path(scratch) / "built"
        causal.save_pretrained(source)
        options = ["exclude_embeds=true", "prune_lm_head=true", f"filename={path.name}"]
        if precision != "fp32":
            options += ["accuracy_level=4", f"block_size={block_size(causal)}"]
        _build(source, built, Path(scratch), PRECISIONS[precision], options)
        return _adopt(built / path.name, path)


def block_size(causal: PreTrainedModel) -> int:
    """Return the largest block that divides every input width.

    A block carries 8 bytes of scale and sum in the packed layout, so large ones stream fewer bytes
    per weight; a partial last block would be padded.
    """
    config, spec = causal.config, decoder_spec(causal)
    widths = (
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads * spec.head_dim,
    )
    return next((size for size in (128, 64, 32) if all(w % size == 0 for w in widths)), 32)


def _build(source: Path, built: Path, cache: Path, precision: str, options: list[str]) -> None:
    """Run the builder in a process of its own: it prints, and keeps state between models."""
    import transformers

    _save_tokenizer_stub(source)
    command = [
        sys.executable, "-m", "onnxruntime_genai.models.builder",
        "-m", str(source), "-i", str(source), "-o", str(built), "-p", precision, "-e", "cpu",
        "-c", str(cache / "cache"), "--extra_options", *options,
    ]  # fmt: skip
    log.debug("transformers %s, %s", transformers.__version__, " ".join(command))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    log.debug("%s", done.stdout)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExportError(f"the decoder could not be built in {precision}: {last}")


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
