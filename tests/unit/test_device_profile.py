"""What is remembered of this device, and what holds where nothing was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_et.device_profile import DeviceProfile, Measured, Setting, wants_handoff

SHARED = Setting(
    pair="starter", extractor_device="cpu", reasoner_device="cpu", extractor_threads=2,
    reasoner_threads=1, usable_threads=2,
)  # fmt: skip
WON = Measured(handoff=True, on_s=1.0, off_s=2.0, repeats=3)


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        (SHARED, False),
        (replace(SHARED, usable_threads=4), True),
        (replace(SHARED, extractor_device="cuda"), True),
        (replace(SHARED, reasoner_device="cuda"), False),
    ],
)
def test_unmeasured_it_is_on_where_no_core_is_shared(
    tmp_path: Path, setting: Setting, wanted: bool
) -> None:
    assert wants_handoff(setting, DeviceProfile(tmp_path)) is wanted


def test_a_measurement_holds_for_its_own_setting_alone(tmp_path: Path) -> None:
    profile = DeviceProfile(tmp_path / "new")
    profile.remember(SHARED, WON)
    other = replace(SHARED, extractor_threads=1)
    profile.remember(other, replace(WON, handoff=False))
    again = DeviceProfile(tmp_path / "new")
    assert again.find(SHARED) == WON
    assert wants_handoff(SHARED, again) is True
    assert wants_handoff(other, again) is False
    assert wants_handoff(replace(SHARED, pair="other"), again) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"schema": 1}',
        '{"schema": 2, "settings": {}}',
        '{"schema": 1, "settings": 3}',
    ],
)
def test_a_broken_file_counts_as_none(tmp_path: Path, text: str) -> None:
    profile = DeviceProfile(tmp_path)
    profile.path.write_text(text, encoding="utf-8")
    assert profile.find(SHARED) is None
    profile.remember(SHARED, WON)
    assert profile.find(SHARED) == WON
