"""Write beside and rename: an export that is killed leaves nothing half made at its target."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edge_et.errors import ExportError
from edge_et_export.full_disk import full_disk_named
from edge_et_export.workplace import OLD, workplace


@contextlib.contextmanager
def staged_folder(target: Path, *, force: bool) -> Iterator[Path]:
    """Yield an empty sibling folder that becomes `target` when the block ends without error.

    Raises ExportError when the target exists and `force` is not given; it is replaced only once
    the new one is whole.
    """
    with workplace(target) as folder:
        if target.exists() and not force:
            raise ExportError(
                f"{target} exists already", hint="choose another --out, or add --force"
            )
        staged = folder / "new"
        staged.mkdir()
        with full_disk_named(target.parent):
            yield staged
        if target.exists():
            target.rename(folder / OLD)
        try:
            staged.rename(target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                (folder / OLD).rename(target)
            raise
