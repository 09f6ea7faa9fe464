"""llama.cpp as a library: the only importer of llama_cpp. Its log, its build, its devices."""

from __future__ import annotations

import collections
import ctypes
import functools
import logging
import platform
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from edge_et.config import Device
from edge_et.errors import DeviceUnavailable, MissingDependency
from edge_et.gguf_header import GGUFHeader

UsedDevice = Literal["cpu", "cuda", "gpu"]
"""`gpu`: llama.cpp was built for another accelerator than CUDA (Metal, Vulkan …)."""

_log = logging.getLogger(__name__)
# ggml's levels; it reports every tensor as INFO, and WARN is mostly advice to its own developers.
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.INFO, 4: logging.ERROR}
_GPU_KINDS = (1, 2)
_RELAID = {2, 12, 20}
"""ggml's Q4_0, Q4_K and IQ4_NL, with AVX2. A type that is missing here costs memory, one that is
wrongly here a file that is read in place of mapped; neither changes a number."""
_RELAID_ON_ARM = _RELAID | {8, 13, 14}
"""Q8_0, Q5_K and Q6_K as well."""
_ARM = {"arm64", "aarch64"}
_recent_errors: collections.deque[str] = collections.deque(maxlen=4)
_kept: list[object] = []
"""Callbacks of which C holds only the pointer."""


@functools.cache
def runtime() -> Any:
    """Import llama_cpp on first use, route its log to `logging`, and return it."""
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as exc:  # absent, or its library does not load
        raise MissingDependency(
            f"llama-cpp-python cannot be imported: {exc}",
            hint="pip install 'llama-cpp-python>=0.3.36,<0.4'",
        ) from exc
    callback = llama_cpp.llama_log_callback(_on_log)
    _kept.append(callback)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


def features() -> dict[str, bool]:
    """Return what this build was compiled with (AVX2, CUDA, OPENMP …), and GPU offload."""
    found = {"GPU_OFFLOAD": bool(runtime().llama_supports_gpu_offload())}
    text: str = runtime().llama_print_system_info().decode("utf-8", "replace")
    for entry in text.replace(":", "|").split("|"):
        name, equals, value = entry.partition("=")
        if equals:
            found[name.strip()] = value.strip() != "0"
        elif name.strip():
            found[name.strip()] = True
    return found


def build() -> str | None:
    """Return the version and the commit of the llama.cpp sources (ggml's: they carry no other);
    None where the build does not say."""
    library = getattr(runtime().llama_cpp, "_lib", None)
    words = []
    for name in ("ggml_version", "ggml_commit"):
        function = getattr(library, name, None)
        if function is None:
            return None
        function.restype = ctypes.c_char_p
        words.append(function().decode("ascii", "replace"))
    return "ggml " + " ".join(words)


def relays() -> bool:
    """Return whether weights may be laid out anew for the processor: faster, but a build with
    Intel's matrix tiles, which come with it, may crash (docs/decisions/0002)."""
    return not features().get("AMX_INT8", False)


def are_relaid(header: GGUFHeader) -> bool:
    """Return whether most of a model's weights are laid out anew while it is loaded on the CPU.

    What they were made of is then never read again. Mapped, it would stay in memory beside them.
    """
    types = _RELAID_ON_ARM if platform.machine().lower() in _ARM else _RELAID
    sizes = [(prod(t.shape), t.type in types) for t in header.tensors]
    return relays() and 2 * sum(n for n, anew in sizes if anew) > sum(n for n, _ in sizes)


def resolve_device(wanted: Device) -> UsedDevice:
    """Return the device to run on. `auto` takes what the build can use; "cuda" never falls back."""
    if wanted == "cpu":
        return "cpu"
    have = features()
    cuda = "CUDA" in have
    if wanted == "cuda" and not (have["GPU_OFFLOAD"] and cuda):
        reason = "finds no device" if cuda else "was built without it"
        raise DeviceUnavailable(
            f"CUDA was asked for and llama.cpp {reason}",
            hint="CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-cache-dir "
            "'llama-cpp-python>=0.3.36,<0.4'; or run on the CPU: --device cpu",
        )
    if not have["GPU_OFFLOAD"]:
        return "cpu"
    return "cuda" if cuda else "gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    name: str
    kind: int
    """ggml's: 0 a CPU, 1 a GPU, 2 one that shares the CPU's memory, 3 an accelerator beside it."""
    free_bytes: int
    total_bytes: int


def device_memory() -> tuple[DeviceMemory, ...]:
    """List the devices that this build of llama.cpp can use, with their memory as it is now."""
    library = runtime().llama_cpp._lib
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.restype = ctypes.c_void_p
    library.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    library.ggml_backend_dev_name.restype = ctypes.c_char_p
    library.ggml_backend_dev_name.argtypes = [ctypes.c_void_p]
    library.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    size = ctypes.POINTER(ctypes.c_size_t)
    library.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size, size]
    library.ggml_backend_dev_memory.restype = None
    found = []
    for number in range(library.ggml_backend_dev_count()):
        device = library.ggml_backend_dev_get(number)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        library.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
        found.append(
            DeviceMemory(
                name=library.ggml_backend_dev_name(device).decode("utf-8", "replace"),
                kind=library.ggml_backend_dev_type(device),
                free_bytes=free.value,
                total_bytes=total.value,
            )
        )
    return tuple(found)


def gpu_memory() -> tuple[DeviceMemory, ...]:
    """List those of `device_memory` that layers can be offloaded to."""
    return tuple(memory for memory in device_memory() if memory.kind in _GPU_KINDS)


def forget_errors() -> None:
    """Start listening for what the next call complains of."""
    _recent_errors.clear()


def complaints() -> str:
    """Return what llama.cpp logged as errors since `forget_errors`."""
    return "; ".join(_recent_errors) or "no reason given"


def _on_log(level: int, text: bytes, _: Any) -> None:
    line = text.decode("utf-8", "replace").strip()
    if not line:
        return
    severity = _LEVELS.get(level, logging.DEBUG)
    if severity == logging.ERROR:
        _recent_errors.append(line)
    _log.log(severity, "%s", line)
