"""The machine and the software that a run was made with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

import edge_et
from edge_et import llama_library
from edge_et.threads import usable_threads
from edge_et_bench import gpu
from edge_et_bench.records import Environment

LIBRARIES = (
    "edge-et", "onnxruntime", "onnxruntime-gpu", "llama-cpp-python", "numpy", "pillow",
    "tokenizers", "onnxruntime-genai", "openvino-genai", "transformers", "torch",
)  # fmt: skip
_CPUINFO = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_GIT_S = 10


def describe() -> Environment:
    return Environment(
        cpu=_cpu(),
        usable_cores=usable_threads(),
        governor=_read(_GOVERNOR),
        ram_bytes=psutil.virtual_memory().total,
        gpus=gpu.gpus(),
        os=platform.platform(),
        python=platform.python_version(),
        versions=_versions(),
        commit=_commit(Path(edge_et.__file__).parent),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if "llama-cpp-python" in found and (build := llama_library.build()) is not None:
        found["llama.cpp"] = build
    return found


def _cpu() -> str:
    for line in (_read(_CPUINFO) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()


def _commit(folder: Path) -> str | None:
    """Return the commit that `folder` was checked out at; None outside a checkout."""
    head = _git(folder, "rev-parse", "--short=12", "HEAD")
    if head is None or _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None  # inside a repository, but not of it: an environment, say
    return f"{head}+changes" if _git(folder, "status", "--porcelain", "--", ".") else head


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(folder), *arguments],
            capture_output=True, text=True, timeout=_GIT_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
