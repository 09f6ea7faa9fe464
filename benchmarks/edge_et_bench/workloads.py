"""Workloads: from TOML to records, and to the request that an adapter answers."""

from __future__ import annotations

import io
import tomllib
from dataclasses import replace
from pathlib import Path

from PIL import Image

from edge_et.errors import InputError
from edge_et.manifest import file_sha256
from edge_et.plain import Mismatch, build
from edge_et_bench.adapters import Request, Tokens
from edge_et_bench.records import Workload

BUILT_IN = Path(__file__).with_name("workloads.toml")
DEFAULT = "natural"
_JPEG_QUALITY = 95


def read_workloads(path: Path = BUILT_IN) -> dict[str, Workload]:
    """Read every workload of a file, image paths made absolute. Raises InputError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            name: _located(build(Workload, {"name": name} | _table(table, name), str(path)), path)
            for name, table in raw.items()
        }
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, Mismatch) as exc:
        raise InputError(f"{path} holds no workloads: {exc}") from exc


def find_workloads(choice: str) -> tuple[Workload, ...]:
    """Return the built-in workload of that name, or all those of a file. Raises InputError."""
    if choice.endswith(".toml"):
        return tuple(read_workloads(Path(choice)).values())
    known = read_workloads()
    if choice not in known:
        raise InputError(
            f"there is no workload {choice!r}", hint=f"take one of {', '.join(known)}, or a file"
        )
    return (known[choice],)


def request_of(workload: Workload) -> Request:
    """Read the image and make the request. Raises InputError."""
    forced = None
    if workload.extraction_tokens is not None:
        assert workload.thinking_tokens is not None  # of the record's own check
        assert workload.answer_tokens is not None
        forced = Tokens(
            extraction=workload.extraction_tokens,
            thinking=workload.thinking_tokens,
            answer=workload.answer_tokens,
        )
    return Request(
        image=_image_of(workload),
        question=workload.question,
        forced=forced,
        max_tiles=workload.max_tiles,
        seed=workload.seed,
        prompt_tokens=workload.prompt_tokens,
    )


def _table(table: object, name: str) -> dict[str, object]:
    if not isinstance(table, dict):
        raise Mismatch(f"{name} is no table")
    return table


def _located(workload: Workload, path: Path) -> Workload:
    image = (path.parent / workload.image).resolve()
    return replace(workload, image=str(image), image_sha256=file_sha256(image))


def _image_of(workload: Workload) -> bytes:
    try:
        data = Path(workload.image).read_bytes()
        if workload.image_height_px is None or workload.image_width_px is None:
            return data
        with Image.open(io.BytesIO(data)) as image:
            resized = image.convert("RGB").resize(
                (workload.image_width_px, workload.image_height_px), Image.Resampling.BICUBIC
            )
    except OSError as exc:
        raise InputError(f"workload {workload.name}: its image cannot be read: {exc}") from exc
    encoded = io.BytesIO()
    resized.save(encoded, "JPEG", quality=_JPEG_QUALITY)
    return encoded.getvalue()
