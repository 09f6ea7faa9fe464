"""NVIDIA's counters through NVML, where its library and a GPU are; else nothing."""

from __future__ import annotations

import functools
from typing import Any

from edge_et_bench.records import Gpu


@functools.cache
def _nvml() -> Any:
    """Return pynvml, started; None where it or its driver is missing."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _handles() -> list[Any]:
    nvml = _nvml()
    if nvml is None:
        return []
    return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]


def gpus() -> tuple[Gpu, ...]:
    nvml = _nvml()
    return tuple(
        Gpu(
            name=str(nvml.nvmlDeviceGetName(handle)),
            driver=str(nvml.nvmlSystemGetDriverVersion()),
            memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        )
        for handle in _handles()
    )


def memory_bytes(pids: set[int]) -> int | None:
    """Return the GPU memory that these processes hold; None where no GPU tells."""
    nvml, told = _nvml(), []
    for handle in _handles():
        try:
            running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except nvml.NVMLError:
            continue
        told.append(sum(p.usedGpuMemory or 0 for p in running if p.pid in pids))
    return sum(told) if told else None


def energy_joules() -> dict[str, float]:
    """Return what each GPU used since its driver was loaded; empty where it does not count."""
    nvml, counted = _nvml(), {}
    for index, handle in enumerate(_handles()):
        try:
            counted[f"gpu-{index}"] = nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
        except nvml.NVMLError:
            continue
    return counted
