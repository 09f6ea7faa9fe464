"""Reading a checkpoint folder: strictly, every tensor accounted for, nothing fetched."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_et.errors import ExportError
from edge_et.manifest import ImagePolicy, Source
from edge_et_export.weights_policy import refuse_pickles

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_RESAMPLE = {2: "bilinear", 3: "bicubic"}


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
    names = read_json(folder / "config.json").get("architectures") or ["none"]
    return str(names[0])


def load_strictly(folder: Path, model_class: Any) -> PreTrainedModel:
    """Load in float32; raise ExportError naming the first tensor missing, surplus or misshapen."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        refuse_pickles(folder)
        raise ExportError(f"{folder} holds no safetensors file")
    try:
        model, found = model_class.from_pretrained(
            folder,
            dtype="float32",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as exc:
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


def source_of(folder: Path, *, name: str | None, license_name: str) -> Source:
    """Name the checkpoint by the sha256 over its weight files."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return Source(
        name=name or folder.resolve().name,
        revision=f"sha256:{digest.hexdigest()}",
        license=license_name,
    )


def image_policy_of(folder: Path) -> ImagePolicy:
    """Read how the checkpoint was trained to see an image; unknown values are refused.

    `image_aspect_ratio` is LLaVA-NeXT's key, `vision_aspect_ratio` transformers'.
    """
    config = read_json(folder / "config.json")
    processor = read_json(folder / "preprocessor_config.json")
    vision = config["vision_config"]
    aspect = str(config.get("image_aspect_ratio") or config.get("vision_aspect_ratio"))
    anyres = re.fullmatch(r"anyres_max_(\d+)", aspect)
    if not anyres and aspect != "pad":
        raise ExportError(
            f"{folder}: image_aspect_ratio is {aspect!r}; known are anyres_max_N and pad"
        )
    pinpoints = processor.get("image_grid_pinpoints") or config.get("image_grid_pinpoints") or []
    theirs = config.get("image_grid_pinpoints") or pinpoints
    if anyres and [list(p) for p in theirs] != [list(p) for p in pinpoints]:
        raise ExportError(
            f"{folder}: config.json and preprocessor_config.json have different "
            "image_grid_pinpoints"
        )
    resample = processor.get("resample", 3)
    if resample not in _RESAMPLE:
        raise ExportError(f"{folder}: resample {resample!r} is neither bilinear nor bicubic")
    mean = tuple(float(v) for v in processor.get("image_mean", (0.5, 0.5, 0.5)))
    std = tuple(float(v) for v in processor.get("image_std", (0.5, 0.5, 0.5)))
    red, green, blue = (int(value * 255) for value in mean)
    return ImagePolicy(
        name="anyres" if anyres else "single",
        tile_size_px=int(vision["image_size"]),
        patch_size_px=int(vision["patch_size"]),
        grid_pinpoints_px=tuple((int(h), int(w)) for h, w in pinpoints) if anyres else (),
        max_tiles=int(anyres.group(1)) if anyres else 1,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        pad_rgb=(red, green, blue),
        resample=_RESAMPLE[resample],  # type: ignore[arg-type]
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


def versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "transformers", "optimum-onnx", "onnxruntime", "onnxruntime-genai", "gguf",
             "llama_cpp_python")  # fmt: skip
    return {name: version(name) for name in names}
