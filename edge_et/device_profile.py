"""What was measured on this device about a pair (`edge-et doctor --tune`), kept for later loads.

One JSON file in the user's state folder: {key: {"handoff": true, …}}; the key names the pair and
where and how it runs, so that another device or thread count is another measurement.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A pair as it runs here."""

    pair: str
    extractor_device: str
    reasoner_device: str
    extractor_threads: int
    reasoner_threads: int
    usable_threads: int

    @property
    def key(self) -> str:
        return "|".join(str(value) for value in asdict(self).values())

    @property
    def shares_cores(self) -> bool:
        """Whether the two halves, at work at once, would want more cores than there are."""
        if self.extractor_device != "cpu":
            return False
        threads = self.extractor_threads
        threads += self.reasoner_threads if self.reasoner_device == "cpu" else 1
        return threads > self.usable_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Medians of the time to the first token after the extraction, with the handoff and without."""

    handoff: bool
    """Whether it won."""
    on_s: float
    off_s: float
    repeats: int


class DeviceProfile:
    """`folder` is the user's state folder unless it is given."""

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            import platformdirs

            folder = platformdirs.user_state_path("edge-et", appauthor=False)
        self.path = folder / "device_profile.json"

    def find(self, setting: Setting) -> Measured | None:
        """Return what was measured; a file that cannot be read counts as none."""
        found = self._read().get(setting.key)
        try:
            return Measured(**found) if isinstance(found, dict) else None
        except TypeError:
            return None

    def remember(self, setting: Setting, measured: Measured) -> None:
        """Store it, in place of what was measured before."""
        settings = self._read() | {setting.key: asdict(measured)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".json.part")
        text = json.dumps({"schema": _SCHEMA, "settings": settings}, indent=1)
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(self.path)

    def _read(self) -> dict[str, Any]:
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            settings = record["settings"] if record["schema"] == _SCHEMA else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return settings if isinstance(settings, dict) else {}


def wants_handoff(setting: Setting, profile: DeviceProfile) -> bool:
    """Return what was measured; unmeasured, on only where the halves do not share their cores."""
    measured = profile.find(setting)
    return not setting.shares_cores if measured is None else measured.handoff
