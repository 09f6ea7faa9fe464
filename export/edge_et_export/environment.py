"""Settings that the heavy libraries read once, on import: no telemetry, no network, no chatter."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator

_SETTINGS = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


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
