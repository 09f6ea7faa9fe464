"""What this installation can do here, and the command that mends what it cannot."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from edge_et import llama_library, ort, providers
from edge_et.errors import (
    ArtifactError,
    ChecksumMismatch,
    EdgeETError,
    MissingArtifact,
    MissingDependency,
)
from edge_et.manifest import (
    ExtractorManifest,
    Manifest,
    ReasonerManifest,
    check_files,
    read_manifest,
)
from edge_et.registry import ModelRecord, registry
from edge_et.sources import PackageSource
from edge_et.store import Store
from edge_et.threads import cgroup_quota_cpus, usable_threads

_LIBRARIES = (
    "edge-et", "onnxruntime", "onnxruntime-gpu", "llama-cpp-python", "numpy", "pillow",
    "tokenizers", "jinja2",
)  # fmt: skip
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_REINSTALL = "pip install --force-reinstall --no-deps edge-et"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. A `problem` keeps the default pair from answering."""

    name: str
    status: Literal["ok", "note", "problem"]
    detail: str
    fix: str | None = None
    """The command that mends it."""
    data: dict[str, Any] = field(default_factory=dict)


def diagnose() -> Iterator[Finding]:
    """Look at versions, onnxruntime, threads, llama.cpp and every model of the registry that is
    embedded or was pulled.

    Model files are hashed, so this reads them once.
    """
    yield _versions()
    yield from _guarded("onnxruntime wheel", _wheels)
    yield from _guarded("onnxruntime providers", _providers)
    yield _threads()
    yield from _guarded("llama.cpp", _llama)
    try:
        known = registry()
    except ArtifactError as exc:
        yield Finding(name="registry", status="problem", detail=exc.message, fix=_REINSTALL)
        return
    for extractor in filter(_is_expected, known.extractors.values()):
        yield _model(extractor, lambda path: read_manifest(path, ExtractorManifest))
    for reasoner in filter(_is_expected, known.reasoners.values()):
        yield _model(reasoner, lambda path: read_manifest(path, ReasonerManifest))


def _guarded(name: str, look: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield look()
    except EdgeETError as exc:
        yield Finding(name=name, status="problem", detail=exc.message, fix=exc.hint)


def _versions() -> Finding:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        if (installed := _version(name)) is not None:
            found[name] = installed
    where = f"{platform.system()} {platform.machine()}"
    detail = ", ".join(f"{name} {number}" for name, number in found.items())
    return Finding(
        name="versions", status="ok", detail=f"{detail}; {where}", data=found | {"platform": where}
    )


def _wheels() -> Finding:
    wheels = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)]
    if len(wheels) == 2:
        return Finding(
            name="onnxruntime wheel",
            status="problem",
            detail="onnxruntime and onnxruntime-gpu overwrite each other's files",
            fix="pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime",
            data={"installed": wheels},
        )
    if not wheels:
        raise MissingDependency("onnxruntime is not installed", hint="pip install onnxruntime")
    return Finding(
        name="onnxruntime wheel", status="ok", detail=wheels[0], data={"installed": wheels}
    )


def _providers() -> Finding:
    built_in = tuple(ort.runtime().get_available_providers())
    usable = providers.usable_providers()
    data = {"built_in": built_in, "usable": usable}
    detail = f"usable: {', '.join(usable) or 'none'}"
    if _CPU not in usable:
        return Finding(
            name="onnxruntime providers",
            status="problem",
            detail=detail,
            fix="pip install --force-reinstall onnxruntime",
            data=data,
        )
    if _CUDA in built_in and _CUDA not in usable:
        return Finding(
            name="onnxruntime providers",
            status="note",
            detail=f"{detail}; CUDA is built in but does not work here",
            fix="pip install 'onnxruntime-gpu[cuda,cudnn]'",
            data=data,
        )
    return Finding(name="onnxruntime providers", status="ok", detail=detail, data=data)


def _threads() -> Finding:
    try:
        affinity = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        affinity = os.cpu_count() or 1
    data = {
        "usable": usable_threads(),
        "affinity": affinity,
        "cgroup_quota_cpus": cgroup_quota_cpus(),
        "host": os.cpu_count(),
    }
    quota = data["cgroup_quota_cpus"]
    detail = (
        f"{data['usable']} usable (affinity {affinity}, cgroup quota "
        f"{'none' if quota is None else f'{quota:g}'}, host {data['host']})"
    )
    return Finding(name="threads", status="ok", detail=detail, data=data)


def _llama() -> Finding:
    have = llama_library.features()
    names = [name for name, on in have.items() if on]
    return Finding(name="llama.cpp", status="ok", detail=" ".join(names), data=have)


def _is_expected(record: ModelRecord) -> bool:
    return isinstance(record.origin, PackageSource) or Store().state(record) != "absent"


def _model(record: ModelRecord, read: Callable[[Path], Manifest]) -> Finding:
    name = f"{record.kind} {record.name}"
    ours = isinstance(record.origin, PackageSource)
    try:
        path = Store().locate(record)
    except MissingArtifact as exc:
        status: Literal["note", "problem"] = "problem" if ours else "note"
        fix = _REINSTALL if ours else exc.hint
        return Finding(name=name, status=status, detail=exc.message, fix=fix)
    data: dict[str, Any] = {"path": str(path)}
    try:
        if path.is_file():  # a GGUF file that came as it is: the store compares it
            pulled = Store().find(record, hashes=True)
            if pulled is None:
                raise ChecksumMismatch(f"{path} is not the file that was pulled")
            data |= {"size_bytes": pulled.size_bytes}
        else:
            manifest = read(path)
            check_files(path, manifest, hashes=True)
            size_bytes = sum(part.size_bytes for part in manifest.parts)
            data |= {"size_bytes": size_bytes, "family": manifest.family}
    except ArtifactError as exc:
        fix = _REINSTALL if ours else exc.hint or f"edge-et pull {record.name}"
        status = "problem" if ours else "note"
        return Finding(name=name, status=status, detail=exc.message, fix=fix, data=data)
    data |= {"hashes_hold": True}
    detail = f"{data['size_bytes'] / 1e6:.1f} MB, hashes hold, {path}"
    return Finding(name=name, status="ok", detail=detail, data=data)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
