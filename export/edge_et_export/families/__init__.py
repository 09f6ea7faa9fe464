"""Extractor families: a checkpoint folder of any known kind -> what export needs of it.

One file a family. Each reads its own configuration and refuses what it does not know; graphs,
precisions and the gate are shared and know no family.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edge_et.errors import BadManifest, ExportError
from edge_et.manifest import ImagePolicy, TemplateName
from edge_et_export.checkpoint import architecture_of, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edge_et_export.tower import Tower

_MODULES = {
    "LlavaOnevisionForConditionalGeneration": "llava_onevision",
    "LlavaQwen3ForCausalLM": "llava_next",
    "LlavaQwenForCausalLM": "llava_next",
    "Idefics3ForConditionalGeneration": "idefics3",
    "SmolVLMForConditionalGeneration": "idefics3",
}
"""`architectures[0]` of config.json -> the file that knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorCheckpoint:
    """An opened checkpoint: its parts in float32, and how it sees and speaks."""

    family: str
    vision: PreTrainedModel
    """pixel_values [T, 3, S, S] -> {"image_features": [T, N, H]}, projector included."""
    causal: PreTrainedModel
    """The language model with its head, as a causal LM of its own."""
    newline: NDArray[np.float32] | None
    """image_newline [H], where the family has one."""
    image: ImagePolicy
    template: TemplateName
    image_token_id: int
    tower: Tower | None = None
    """Where the vision weights came from, if not from the checkpoint."""


class _Family(Protocol):
    def open_checkpoint(self, folder: Path) -> ExtractorCheckpoint: ...


def open_extractor(folder: Path) -> ExtractorCheckpoint:
    """Open `folder` by the architecture that its config.json names.

    Raises ExportError: an unknown architecture, an unknown setting, one that is missing or of the
    wrong kind, a tensor missing, surplus or misshapen.
    """
    architecture = architecture_of(folder)
    if architecture not in _MODULES:
        known = ", ".join(_MODULES)
        raise ExportError(f"{folder} is a {architecture}; extractors are one of {known}")
    weight_files(folder)  # a pickle or half a file needs no torch to be seen
    module = importlib.import_module(f"edge_et_export.families.{_MODULES[architecture]}")
    try:
        return cast(_Family, module).open_checkpoint(folder)
    except BadManifest as exc:
        raise ExportError(f"{folder}: {exc.message}") from exc
    except (KeyError, TypeError, ValueError) as exc:
        raise ExportError(
            f"a setting in the JSON files of {folder} is missing or not understood: {exc!r}"
        ) from exc
