"""The vision tower of a LLaVA-NeXT checkpoint that holds no vision weights itself.

Its config.json names the tower it was trained with: a folder, or a repo of the Hub.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edge_et.registry import ModelRecord, unlisted

_HEADER_LENGTH_BYTES = 8
_LONGEST_HEADER_BYTES = 100_000_000
"""safetensors' own limit."""


def named_tower(checkpoint: Path) -> str | None:
    """Return what `mm_vision_tower` names, if the weights of the tower are not in the checkpoint.

    None, too, for what cannot be read: the export says what is wrong with it.
    """
    try:
        config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        name = config.get("mm_vision_tower")
        if not isinstance(name, str) or any("vision_tower." in t for t in _tensors(checkpoint)):
            return None
    except (OSError, ValueError, AttributeError):
        return None
    return name


def local_tower(checkpoint: Path, name: str) -> Path | None:
    """Return the folder that `name` names, in the checkpoint or anywhere."""
    folders = (checkpoint / name, Path(name))
    return next((folder for folder in folders if (folder / "config.json").is_file()), None)


def remote_tower(checkpoint: Path) -> ModelRecord | None:
    """Return the Hub's checkpoint of the tower, where it has to come from there."""
    name = named_tower(checkpoint)
    if name is None or local_tower(checkpoint, name) is not None:
        return None
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        return None
    return unlisted(f"hf:{name}", "extractor")


def _tensors(checkpoint: Path) -> set[str]:
    index = checkpoint / "model.safetensors.index.json"
    if index.is_file():
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    files = sorted(checkpoint.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(checkpoint / "*.safetensors")
    return {name for path in files for name in _header(path)}


def _header(path: Path) -> dict[str, Any]:
    """Return what the file says of its tensors, which are not read. Raises OSError, ValueError."""
    with path.open("rb") as file:
        length_bytes = int.from_bytes(file.read(_HEADER_LENGTH_BYTES), "little")
        if length_bytes > _LONGEST_HEADER_BYTES:
            raise ValueError(f"{path} is no safetensors file")
        header: dict[str, Any] = json.loads(file.read(length_bytes))
    return header


__all__ = ["local_tower", "named_tower", "remote_tower"]
