"""Which devices onnxruntime can use here, by trying."""

from __future__ import annotations

import functools
import logging

import numpy as np

from edge_et.config import Device
from edge_et.errors import DeviceUnavailable
from edge_et.ort import ERRORS_ONLY, PROVIDERS, SEE_WHAT_WORKS, UsedDevice, runtime

_log = logging.getLogger(__name__)
_FATAL_ONLY = 4
# y = x + x over float[1], IR 8, opset 13: the smallest model that makes a provider do something.
_PROBE_MODEL = bytes.fromhex(
    "0808 3a35 0a0e 0a0178 0a0178 120179 2203 416464 120167"
    "5a0f 0a0178 120a 0a08 0801 1204 0a02 0801"
    "620f 0a0179 120a 0a08 0801 1204 0a02 0801 4204 0a00 100d"
)


@functools.cache
def usable_providers() -> tuple[str, ...]:
    """Return the execution providers that run a model here, by trying; best first.

    A wheel lists every provider it was built with, whether its libraries load or not.
    """
    names = runtime().get_available_providers()
    return tuple(name for name in names if _probe(name))


def resolve_device(wanted: Device) -> UsedDevice:
    """Return the device to run on. `auto` takes CUDA where it works; "cuda" never falls back."""
    if wanted == "cpu":
        return "cpu"
    if PROVIDERS["cuda"] in usable_providers():
        return "cuda"
    built_in = PROVIDERS["cuda"] in runtime().get_available_providers()
    if wanted == "cuda":
        raise DeviceUnavailable(
            "CUDA was asked for and onnxruntime cannot use it here"
            + ("" if built_in else ": the installed wheel is built without it"),
            hint=SEE_WHAT_WORKS
            if built_in
            else "pip uninstall onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'; "
            "or run on the CPU: --device cpu",
        )
    if built_in:
        _log.warning("onnxruntime has CUDA built in but cannot use it here; running on the CPU")
    return "cpu"


def _probe(provider: str) -> bool:
    ort = runtime()
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = 1
    if provider != PROVIDERS["cpu"]:  # else the CPU would quietly run the probe for it
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    ort.set_default_logger_severity(_FATAL_ONLY)  # a provider's library complains before a session
    try:
        session = ort.InferenceSession(
            _PROBE_MODEL, options, providers=[provider], enable_fallback=0
        )
        result = session.run(None, {"x": np.ones(1, np.float32)})[0]
        return provider in session.get_providers() and float(result[0]) == 2.0
    except Exception as exc:
        _log.debug("%s is not usable: %s", provider, exc)
        return False
    finally:
        ort.set_default_logger_severity(ERRORS_ONLY)
