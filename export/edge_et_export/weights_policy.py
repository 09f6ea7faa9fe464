"""Which files may hold weights: safetensors, and nothing that runs code when it is read."""

from __future__ import annotations

from pathlib import Path

from edge_et.errors import ExportError

PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def refuse_pickles(folder: Path) -> None:
    """Raise ExportError when the weights of `folder` are pickles."""
    found = sorted(path for path in folder.iterdir() if path.suffix in PICKLES)
    if found:
        raise ExportError(
            f"{found[0]} is no safetensors file but a pickle, and reading a pickle can run any "
            "code that somebody put into it",
            hint="take a revision of the model that has safetensors, or convert it where nothing "
            "can be lost: model.save_pretrained(FOLDER, safe_serialization=True)",
        )
