"""Settings that the heavy libraries read once, on import: no telemetry, no network, no chatter."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator

_SETTINGS = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def release_memory() -> None:
    """Give freed memory back to the system.

    Models hold themselves in circles, and after the vision tower's graphs the C library keeps
    several gigabytes of what was freed.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a library without malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Run an export: what libraries print goes to stderr, their warnings to nobody.

    Enter it before torch, transformers or onnxruntime are first imported; a setting that the
    user made stands.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # It wonders aloud about templates of tokenizers; what came of them is compared anyway.
    logging.getLogger("gguf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
