"""llama.cpp's own quantizer, with or without an importance matrix."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_et import llama_library
from edge_et.errors import ExportError
from edge_et.threads import usable_threads

TYPES = {"f16": 1, "bf16": 32, "q8_0": 7, "q5_k_m": 17, "q4_k_m": 15, "q4_0": 2}
"""Our name -> llama.cpp's `llama_ftype`."""
PLAIN = ("f16", "bf16")
"""Those that are rounded, not quantized."""

Importance = Mapping[str, NDArray[np.float32]]
"""GGUF name of a matrix -> mean square of what reaches each of its input channels."""


def quantize(
    source: Path, target: Path, type_name: str, importance: Importance | None = None
) -> None:
    """Write `target` from the unquantized `source`."""
    api = llama_library.runtime()
    params = api.llama_model_quantize_default_params()
    params.ftype = TYPES[type_name]
    params.nthread = usable_threads()
    entries = _entries(api, importance or {})
    if importance:
        params.imatrix = entries
    llama_library.forget_errors()
    # `entries` and the arrays it points to live until this returns.
    code = api.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if code != 0:
        raise ExportError(
            f"llama.cpp could not quantize to {type_name} (code {code}): "
            f"{llama_library.complaints()}"
        )


def _entries(api: Any, importance: Importance) -> Any:
    """Return a C array over the numbers of `importance`, which must outlive it; a null ends it."""
    entries = (api.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(entries, importance.items(), strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return entries
