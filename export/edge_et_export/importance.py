"""The importance matrix: how strongly a calibration text drives each input channel of a matrix.

Quantization then spends its precision where it matters. Exact and simple: the checkpoint itself
reads the text in float32, and hooks watch what enters each linear layer.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_et.errors import ExportError
from edge_et_export.architectures import Architecture
from edge_et_export.gguf_writer import gguf_name, gguf_names
from edge_et_export.quantizer import Importance

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

_WINDOW_TOKENS = 512
_FEWEST_TOKENS = 128
"""Below this a channel that matters may never have fired."""


def importance_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, row: Architecture, text: Path
) -> Importance:
    """Return E[x^2] per input channel of each linear layer over the windows of `text`.

    Raises ExportError when the text is missing or too short to say anything.
    """
    import torch

    windows = _windows(tokenizer, text, model.config.max_position_embeddings)
    watch = _Watch(model, row)
    try:
        with torch.no_grad():
            for number, window in enumerate(windows, 1):
                log.info("calibrating: window %d of %d", number, len(windows))
                model(input_ids=torch.tensor([window]), use_cache=False)
    finally:
        watch.close()
    return watch.means()


def _windows(
    tokenizer: PreTrainedTokenizerBase, text: Path, context_tokens: int
) -> list[list[int]]:
    """Cut the text into windows, each opened as the tokenizer opens a text."""
    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ExportError(f"the calibration text {text} cannot be read: {exc}") from exc
    ids: list[int] = tokenizer.encode(content, add_special_tokens=False)
    if len(ids) < _FEWEST_TOKENS:
        raise ExportError(
            f"the calibration text {text} has {len(ids)} tokens; at least {_FEWEST_TOKENS} are "
            "needed",
            hint="take some pages of what the reasoner will read and write",
        )
    opening: list[int] = tokenizer.encode("")
    size = min(_WINDOW_TOKENS, context_tokens) - len(opening)
    return [opening + ids[first : first + size] for first in range(0, len(ids), size)]


class _Watch:
    """Sums of squares of what enters the linear layers, while it is open."""

    def __init__(self, model: PreTrainedModel, row: Architecture) -> None:
        import torch

        self._sums: dict[str, Any] = {}
        self._rows: dict[str, int] = {}
        names = gguf_names(row, model.config.num_hidden_layers)
        tied = model.config.tie_word_embeddings
        self._hooks = [
            module.register_forward_pre_hook(self._hook(str(gguf_name(names, f"{name}.weight"))))
            for name, module in model.named_modules()
            # A tied head is the embeddings' matrix, which is looked up too.
            if isinstance(module, torch.nn.Linear) and not (tied and name == "lm_head")
        ]

    def _hook(self, name: str) -> Any:
        def add(_: Any, inputs: tuple[Any, ...]) -> None:
            rows = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
            self._sums[name] = self._sums.get(name, 0) + rows.square().sum(0)
            self._rows[name] = self._rows.get(name, 0) + len(rows)

        return add

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def means(self) -> dict[str, Any]:
        return {
            name: (total / self._rows[name]).numpy().astype(np.float32)
            for name, total in self._sums.items()
        }
