"""Answer questions about images on the device itself, with an extractor and a reasoner.

    import edge_et
    with edge_et.load("starter") as chain:
        print(chain.ask("board.png", "How many red pins are left of the switch?").text)

Names are imported when they are first used, so `import edge_et` costs nothing.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_et.chain import Chain
    from edge_et.config import GenerationConfig, RuntimeConfig, SamplingConfig
    from edge_et.errors import (
        AccessDenied,
        ArtifactError,
        BackendError,
        BadManifest,
        Cancelled,
        ChecksumMismatch,
        ContextOverflow,
        DeviceUnavailable,
        DownloadFailed,
        EdgeETError,
        ImageError,
        InferenceFailed,
        InputError,
        InsufficientDisk,
        LoadFailed,
        MemoryImpossible,
        MissingArtifact,
        MissingDependency,
        UnknownModel,
        Unreachable,
    )
    from edge_et.loading import load
    from edge_et.streams import AsyncStream, Stream
    from edge_et.types import (
        Answer,
        Chunk,
        Contradiction,
        Evidence,
        Extraction,
        ImageReport,
        Quotation,
        Served,
        Timings,
    )

__version__ = "0.1.0"

_HOMES = {
    "chain": ("Chain",),
    "config": ("GenerationConfig", "RuntimeConfig", "SamplingConfig"),
    "errors": (
        "AccessDenied", "ArtifactError", "BackendError", "BadManifest", "Cancelled",
        "ChecksumMismatch", "ContextOverflow", "DeviceUnavailable", "DownloadFailed",
        "EdgeETError", "ImageError", "InferenceFailed", "InputError", "InsufficientDisk",
        "LoadFailed", "MemoryImpossible", "MissingArtifact", "MissingDependency",
        "UnknownModel", "Unreachable",
    ),
    "loading": ("load",),
    "streams": ("AsyncStream", "Stream"),
    "types": (
        "Answer", "Chunk", "Contradiction", "Evidence", "Extraction", "ImageReport", "Quotation",
        "Served", "Timings",
    ),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AccessDenied", "Answer", "ArtifactError", "AsyncStream", "BackendError", "BadManifest",
    "Cancelled", "Chain", "ChecksumMismatch", "Chunk", "ContextOverflow", "Contradiction",
    "DeviceUnavailable", "DownloadFailed", "EdgeETError", "Evidence", "Extraction",
    "GenerationConfig", "ImageError", "ImageReport", "InferenceFailed", "InputError",
    "InsufficientDisk", "LoadFailed", "MemoryImpossible", "MissingArtifact", "MissingDependency",
    "Quotation", "RuntimeConfig", "SamplingConfig", "Served", "Stream", "Timings", "UnknownModel",
    "Unreachable", "__version__", "load",
]  # fmt: skip

# A library keeps quiet unless its user configures logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
