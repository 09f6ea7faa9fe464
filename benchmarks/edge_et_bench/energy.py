"""Energy counters: Intel's and AMD's RAPL through powercap, NVIDIA's through NVML.

Most machines have none that may be read: virtual machines show none, and Linux keeps RAPL from
everyone but root. Then there is nothing, rather than an estimate.
"""

from __future__ import annotations

import time
from pathlib import Path

from edge_et_bench import gpu

_POWERCAP = Path("/sys/class/powercap")
_IDLE_S = 1.0


class Counters:
    """All counters of the machine, read together."""

    def __init__(self, *, powercap: Path = _POWERCAP) -> None:
        self._zones = [
            zone for zone in sorted(powercap.glob("*-rapl:*")) if _read(zone) is not None
        ]

    def read(self) -> dict[str, float]:
        """Return joules by counter, from an arbitrary zero."""
        zones = {zone: _read(zone) for zone in self._zones}
        return {
            _name(zone): joules for zone, joules in zones.items() if joules is not None
        } | gpu.energy_joules()

    def since(self, before: dict[str, float]) -> dict[str, float] | None:
        """Return the joules used since `before`; None without counters."""
        now = self.read()
        wraps = {_name(zone): _range(zone) for zone in self._zones}
        used = {
            name: now[name] - start if now[name] >= start else now[name] + wraps[name] - start
            for name, start in before.items()
            if name in now
        }
        return used or None

    def idle_watts(self) -> dict[str, float] | None:
        """Return the power while this process waits for a second; None without counters."""
        before = self.read()
        if not before:
            return None
        started_s = time.perf_counter()
        time.sleep(_IDLE_S)
        used = self.since(before) or {}
        passed_s = time.perf_counter() - started_s
        return {name: joules / passed_s for name, joules in used.items()}


def _name(zone: Path) -> str:
    """Return e.g. "package-0 (intel-rapl:0)": names alone repeat between sockets."""
    return f"{(zone / 'name').read_text(encoding='ascii').strip()} ({zone.name})"


def _read(zone: Path) -> float | None:
    try:
        return int((zone / "energy_uj").read_text(encoding="ascii")) / 1e6
    except (OSError, ValueError):
        return None


def _range(zone: Path) -> float:
    return int((zone / "max_energy_range_uj").read_text(encoding="ascii")) / 1e6
