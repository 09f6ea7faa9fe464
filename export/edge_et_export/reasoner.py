"""Reasoner checkpoint folder -> one GGUF file with its manifest beside."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_et.errors import ExportError, ParityError
from edge_et.manifest import (
    FILE_NAME,
    Parity,
    ReasonerManifest,
    describe_part,
    write_manifest,
)
from edge_et.prompts import reasoning_prompt
from edge_et_export.checkpoint import (
    architecture_of,
    load_strictly,
    read_json,
    source_of,
    stop_ids_of,
    versions,
)
from edge_et_export.environment import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

ARCHITECTURE = "Qwen3ForCausalLM"
_PROMPT = reasoning_prompt(
    "A red circle is left of the large blue square. There are 3 yellow stars.",
    "How many yellow stars are there?",
    think=True,
    form="number",
)
# In composed form: llama.cpp does not normalize. Runs of blanks and digits, several scripts, an
# emoji of several code points, and both kinds of added tokens.
_TEXTS = (
    _PROMPT,
    "It's 12:34, they'll pay $5,678.90!  Two  blanks,\ttabs\r\n\n and\n   indents.",
    "naïve café über straße, Ελληνικά, кириллица, עברית, हिन्दी, 你好，世界。ひらがな 한국어",
    "👩‍👩‍👧 🏳️‍🌈 ½ ² ™ — “quoted” …",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\nwhy\n</think>\n\nAnswer: B",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonerOptions:
    """`type` is llama.cpp's name of the weights' format: f16, q8_0 or q4_k_m."""

    type: str = "q4_k_m"
    name: str | None = None
    """Of the source, for the manifest; default: the folder's."""
    license: str = "unknown"
    allow_drift: bool = False
    force: bool = False


def export_reasoner(checkpoint: Path, out: Path, options: ReasonerOptions) -> ReasonerManifest:
    """Write the GGUF file `out` and `edge_et.json` beside it; return the manifest.

    Raises ExportError (unknown architecture, tensors or tokenizer that do not fit, existing
    target) and ParityError; in either case nothing is left at `out`.
    """
    from edge_et_export.gguf_writer import TYPES

    if options.type not in TYPES:
        raise ExportError(f"type {options.type!r} is none of {', '.join(TYPES)}")
    architecture = architecture_of(checkpoint)
    if architecture != ARCHITECTURE:
        raise ExportError(
            f"{checkpoint} is a {architecture}; reasoners are {ARCHITECTURE} checkpoints"
        )
    _check_target(out, force=options.force)
    out.parent.mkdir(parents=True, exist_ok=True)
    with quiet(), tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as scratch:
        staged = Path(scratch)
        manifest = _export(checkpoint, staged, out.name, options)
        write_manifest(staged, manifest)
        # At every moment: the old pair, a whole file without a manifest, or the new pair.
        (out.parent / FILE_NAME).unlink(missing_ok=True)
        (staged / out.name).replace(out)
        (staged / FILE_NAME).replace(out.parent / FILE_NAME)
    return manifest


def _check_target(out: Path, *, force: bool) -> None:
    if out.suffix != ".gguf":
        raise ExportError(f"{out} should be named FILE.gguf")
    beside = out.parent / FILE_NAME
    if beside.exists() and read_json(beside).get("kind") != "reasoner":
        raise ExportError(
            f"{out.parent} holds another model's {FILE_NAME}",
            hint="a reasoner needs a folder of its own: choose another --out",
        )
    if not force and (out.exists() or beside.exists()):
        found = out if out.exists() else beside
        raise ExportError(f"{found} exists already", hint="choose another --out, or add --force")


def _export(
    checkpoint: Path, staged: Path, file_name: str, options: ReasonerOptions
) -> ReasonerManifest:
    from transformers import AutoTokenizer, Qwen3ForCausalLM

    from edge_et_export.gguf_writer import quantize, write_f16
    from edge_et_export.parity import gate

    model = load_strictly(checkpoint, Qwen3ForCausalLM)
    source = source_of(checkpoint, name=options.name, license_name=options.license)
    sampling = sampling_of(checkpoint)
    path, f16 = staged / file_name, staged / f"{file_name}.f16"
    log.info("weights to f16")
    write_f16(
        model, checkpoint, f16,
        name=source.name, license_name=source.license, sampling=sampling,
    )  # fmt: skip
    if options.type == "f16":
        f16.rename(path)
    else:
        log.info("quantizing to %s", options.type)
        quantize(f16, path, options.type)
        f16.unlink()
    log.info("comparing with the checkpoint")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    parity = check(path, options.type, model, tokenizer, stop_ids_of(checkpoint))
    gate([parity], allow_drift=options.allow_drift)
    return ReasonerManifest(
        family="qwen3",
        source=source,
        parts=(describe_part(staged, path, role="reasoner", precision=options.type),),
        context_tokens=model.config.max_position_embeddings,
        sampling=sampling,
        parity=(parity,),
        made_with=versions(),
    )


def sampling_of(folder: Path) -> dict[str, float]:
    """Return temperature, top_p and top_k of generation_config.json; empty when it is greedy."""
    path = folder / "generation_config.json"
    config = read_json(path) if path.exists() else {}
    if not config.get("do_sample"):
        return {}
    names = ("temperature", "top_p", "top_k")
    given = {name: float(config[name]) for name in names if config.get(name) is not None}
    return {"temperature": 1.0, **given}


def check(
    path: Path,
    type_name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    stop_ids: tuple[int, ...],
) -> Parity:
    """Compare tokens, logits and greedy decoding in llama.cpp with transformers.

    Raises ParityError for texts that become other tokens: no tolerance covers that.
    """
    import torch

    from edge_et import llama
    from edge_et.config import SamplingConfig
    from edge_et_export.parity import agreement, compare, threads_for
    from edge_et_export.reference import GREEDY_TOKENS, greedy_tokens

    prompt: list[int] = list(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": _PROMPT}], add_generation_prompt=True
        )
    )
    reference, ids = greedy_tokens(model, {"input_ids": torch.tensor([prompt])})
    ours = llama.Model(path, "cpu")
    try:
        _check_tokens(ours, tokenizer, stop_ids)
        context = llama.Context(
            ours,
            context_tokens=len(prompt) + GREEDY_TOKENS,
            threads=threads_for(path.stat().st_size),
        )
        try:
            context.start(prompt, SamplingConfig(), lambda: False)
            result = compare("reasoner", type_name, context.logits(), reference)
            chosen: list[int] = []
            while len(chosen) < GREEDY_TOKENS:
                chosen.append(context.sample())
                context.feed(chosen[-1:])
        finally:
            context.close()
    finally:
        ours.close()
    return replace(result, greedy_agreement=agreement(chosen, ids), greedy_tokens=len(ids))


def _check_tokens(ours: Any, tokenizer: PreTrainedTokenizerBase, stop_ids: tuple[int, ...]) -> None:
    for text in _TEXTS:
        wanted = tokenizer.encode(text, add_special_tokens=False)
        found = list(ours.tokenize(text, True))
        if found != wanted:
            raise ParityError(f"llama.cpp reads {text!r} as {found}, transformers as {wanted}")
        back = b"".join(ours.piece(token, special=True) for token in found).decode("utf-8")
        if back != text:
            raise ParityError(f"llama.cpp writes {text!r} back as {back!r}")
    for token in stop_ids:
        if not ours.is_stop(token):
            raise ParityError(
                f"the checkpoint stops at {tokenizer.convert_ids_to_tokens(token)!r}, "
                "llama.cpp does not"
            )
