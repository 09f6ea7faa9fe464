"""A GGUF file in llama.cpp against its checkpoint in transformers: tokens, logits, greedy text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_et.errors import TokenizerMismatch
from edge_et.gguf_header import read_header
from edge_et.manifest import Parity
from edge_et.prompts import reasoning_prompt
from edge_et_export.reference import GREEDY_TOKENS, greedy_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROMPT = reasoning_prompt(
    "A red circle is left of the large blue square. There are 3 yellow stars.",
    "How many yellow stars are there?",
    think=True,
    form="number",
)
# In composed form: llama.cpp does not normalize. Runs of blanks and digits, several scripts, an
# emoji of several code points, and both kinds of added tokens.
_TEXTS = (
    PROMPT,
    "It's 12:34, they'll pay $5,678.90!  Two  blanks,\ttabs\r\n\n and\n   indents.",
    "naïve café über straße, Ελληνικά, кириллица, עברית, हिन्दी, 你好，世界。ひらがな 한국어",
    "👩‍👩‍👧 🏳️‍🌈 ½ ² ™ — “quoted” …",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\nwhy\n</think>\n\nAnswer: B",
)


def check(
    path: Path,
    type_name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    stop_ids: tuple[int, ...],
) -> Parity:
    """Compare tokens, logits and greedy decoding in llama.cpp with transformers.

    Raises TokenizerMismatch for texts that become other tokens: no tolerance covers that.
    """
    import torch

    from edge_et import llama
    from edge_et.config import SamplingConfig
    from edge_et_export.parity import agreement, compare_first, threads_for

    prompt: list[int] = list(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": PROMPT}], add_generation_prompt=True
        )
    )
    reference, ids = greedy_tokens(model, {"input_ids": torch.tensor([prompt])})
    ours = llama.Model(read_header(path), "cpu")
    try:
        _check_tokens(ours, tokenizer, stop_ids)
        context = llama.Context(
            ours,
            context_tokens=len(prompt) + GREEDY_TOKENS,
            threads=threads_for(path.stat().st_size),
        )
        try:
            context.start(prompt, SamplingConfig(), lambda: False)
            result = compare_first("reasoner", type_name, context.logits(), reference)
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
            raise TokenizerMismatch(
                f"llama.cpp reads {text!r} as {found}, transformers as {wanted}"
            )
        back = b"".join(ours.piece(token, special=True) for token in found).decode("utf-8")
        # Some vocabularies read a text with a blank before it.
        if back not in (text, f" {text}"):
            raise TokenizerMismatch(f"llama.cpp writes {text!r} back as {back!r}")
    for token in stop_ids:
        if not ours.is_stop(token):
            raise TokenizerMismatch(
                f"the checkpoint stops at {tokenizer.convert_ids_to_tokens(token)!r}, "
                "llama.cpp does not"
            )
