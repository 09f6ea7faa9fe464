"""Reading a checkpoint folder: strictly, every tensor accounted for, nothing fetched."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_et.errors import ExportError
from edge_et.manifest import Source

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_RESAMPLE: dict[int, Literal["bicubic", "bilinear", "lanczos"]] = {
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}
"""Pillow's numbers."""


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ExportError(
            f"{path} is missing: a checkpoint folder has it beside its safetensors"
        ) from exc
    except ValueError as exc:
        raise ExportError(f"{path} is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise ExportError(f"{path} does not hold an object")
    return value


def architecture_of(folder: Path) -> str:
    """Return the class name that `config.json` names."""
    if not folder.is_dir():
        raise ExportError(f"{folder} is not a checkpoint folder")
    names = read_json(folder / "config.json").get("architectures")
    return str(names[0]) if isinstance(names, list) and names else "none"


def section(config: dict[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """Return a part of config.json that transformers would fill with another model's sizes."""
    part = config.get(name)
    if not isinstance(part, dict):
        raise ExportError(f"{folder / 'config.json'} has no {name}, so the model's size is unknown")
    return part


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of a checkpoint, sharded or not, each whole. Pickles are refused:
    loading one can run anything that its maker put in."""
    weights = sorted(folder.glob("*.safetensors"))
    if weights:
        for path in weights:
            _check_whole(path)
        return weights
    pickles = sorted(p.name for kind in ("*.bin", "*.pt", "*.pth") for p in folder.glob(kind))
    if pickles:
        raise ExportError(
            f"{folder} holds its weights as a pickle ({pickles[0]}), which can run code",
            hint="save it as safetensors: model.save_pretrained(folder, safe_serialization=True)",
        )
    raise ExportError(f"{folder} holds no safetensors file")


def _check_whole(path: Path) -> None:
    """Read the header, which says how long the file is."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as exc:
        raise ExportError(
            f"{path} is damaged or not all there: {exc}", hint="copy or download it again"
        ) from exc


def load_strictly(folder: Path, model_class: Any) -> PreTrainedModel:
    """Load in float32; raise ExportError naming the first tensor missing, surplus or misshapen."""
    from transformers.utils.logging import disable_progress_bar

    weights = weight_files(folder)
    disable_progress_bar()  # the export has its own, with all its parts
    try:
        model, found = model_class.from_pretrained(
            folder,
            dtype="float32",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as exc:
        raise ExportError(f"{folder} cannot be loaded as {model_class.__name__}: {exc}") from exc
    for name in sorted(found["mismatched_keys"]):
        wanted = list(model.state_dict()[name].shape)
        raise ExportError(f"the tensor {name} of {folder} is not of shape {wanted}")
    if missing := sorted(found["missing_keys"]):
        raise ExportError(f"{folder} lacks {_listed(missing)}")
    if surplus := sorted(found["unexpected_keys"]):
        raise ExportError(f"{folder} has {_listed(surplus)}, which the model does not know")
    _check_head(model, weights)
    model.eval()
    return model


def _check_head(model: PreTrainedModel, weights: list[Path]) -> None:
    """Refuse a tied checkpoint that carries another head: loading would drop it in silence."""
    import torch
    from safetensors import safe_open

    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or head.weight is not embeddings.weight:
        return
    for path in weights:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                if name.endswith("lm_head.weight") and not torch.equal(
                    file.get_tensor(name).float(), embeddings.weight
                ):
                    raise ExportError(
                        f"{path} has a tensor {name} that differs from the embeddings, "
                        "and config.json ties them",
                        hint="set tie_word_embeddings to false, or remove the tensor",
                    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"the tensor {names[0]}{more}"


def source_of(
    folder: Path, *, name: str | None, license_name: str, revision: str | None = None
) -> Source:
    """Name the checkpoint, by the sha256 over its weight files unless its revision is known."""
    return Source(
        name=name or folder.resolve().name,
        revision=revision or _digest(folder),
        license=license_name,
    )


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorValues:
    """What every family's preprocessor_config.json says of pixels."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Literal["bicubic", "bilinear", "lanczos"]


def processor_values(folder: Path, processor: dict[str, Any]) -> ProcessorValues:
    resample = processor.get("resample", 3)
    if resample not in _RESAMPLE:
        known = ", ".join(_RESAMPLE.values())
        raise ExportError(f"{folder}: resample {resample!r} is none of {known}")
    mean = tuple(float(v) for v in processor.get("image_mean", (0.5, 0.5, 0.5)))
    std = tuple(float(v) for v in processor.get("image_std", (0.5, 0.5, 0.5)))
    return ProcessorValues(
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        resample=_RESAMPLE[resample],
    )


def stop_ids_of(folder: Path) -> tuple[int, ...]:
    """Return the end-of-sequence ids of generation_config.json, or of config.json."""
    for name in ("generation_config.json", "config.json"):
        if not (folder / name).exists():
            continue
        config = read_json(folder / name)
        ids = config.get("eos_token_id") or config.get("text_config", {}).get("eos_token_id")
        if ids is not None:
            return tuple(ids) if isinstance(ids, list) else (int(ids),)
    raise ExportError(f"{folder} names no eos_token_id, so generation would never stop")


def write_tokenizer(folder: Path, out: Path) -> list[Path]:
    """Copy the tokenizer's files; a checkpoint without a tokenizer.json (saved by the slow
    tokenizer, as LLaVA-NeXT does) gets the one that transformers makes of its vocabulary."""
    if not (folder / "tokenizer.json").exists():
        return _convert_tokenizer(folder, out)
    copied = []
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (folder / name).exists():
            shutil.copyfile(folder / name, out / name)
            copied.append(out / name)
    return copied


def _convert_tokenizer(folder: Path, out: Path) -> list[Path]:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
        tokenizer.backend_tokenizer.save(str(out / "tokenizer.json"))
    except Exception as exc:
        raise ExportError(
            f"{folder} has no tokenizer.json and none can be made of its other files: {exc}",
            hint="save the tokenizer beside the weights with transformers",
        ) from exc
    return [out / "tokenizer.json"]


def versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "transformers", "optimum-onnx", "onnxruntime", "onnxruntime-genai", "gguf",
             "llama_cpp_python")  # fmt: skip
    return {name: version(name) for name in names}
