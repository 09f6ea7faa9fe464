"""What a killed export leaves: nothing at its target, and nothing for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_et_export.staging import staged_folder
from edge_et_export.workplace import OLD, workplace

_HELD = """
import sys, time
from pathlib import Path
from edge_et_export.workplace import workplace
with workplace(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("made")
    print(folder.name, flush=True)
    time.sleep(60)
"""


def killed_export(target: Path) -> Path:
    """Return what a process that was killed at work has left."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HELD, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        name = process.stdout.readline().strip()
    process.kill()
    process.wait()
    left = target.parent / name
    assert (left / "half").exists()
    return left


def test_the_next_export_of_the_target_clears_it_away(tmp_path: Path) -> None:
    left = killed_export(tmp_path / "artifact")
    with workplace(tmp_path / "another"):
        assert left.exists()
    with workplace(tmp_path / "artifact") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_runs_is_left_alone(tmp_path: Path) -> None:
    with workplace(tmp_path / "artifact") as first:
        (first / "half").write_text("made")
        with workplace(tmp_path / "artifact") as second:
            assert second != first
        assert (first / "half").exists()


def test_an_old_target_that_was_moved_aside_is_put_back(tmp_path: Path) -> None:
    """Killed between the two renames: the old artifact lies in the leftovers alone."""
    target = tmp_path / "artifact"
    left = killed_export(target)
    (left / OLD).mkdir()
    (left / OLD / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt), staged_folder(target, force=True):
        raise KeyboardInterrupt
    assert (target / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_rename_puts_the_old_target_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "artifact"
    target.mkdir()
    (target / "file").write_text("old")
    rename = Path.rename

    def refuse_the_new(self: Path, to: Path) -> Path:
        if self.name == "new":
            raise PermissionError("refused")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(PermissionError), staged_folder(target, force=True):
        pass
    assert (target / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
