"""Write beside and rename: an export that is killed leaves nothing half made at its target."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_et.errors import ExportError


@contextlib.contextmanager
def staged_folder(target: Path, *, force: bool) -> Iterator[Path]:
    """Yield an empty sibling folder that becomes `target` when the block ends without error.

    Raises ExportError when the target exists and `force` is not given; it is replaced only once
    the new one is whole.
    """
    if target.exists() and not force:
        raise ExportError(f"{target} exists already", hint="choose another --out, or add --force")
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield staged
        staged.chmod(0o755)
        if target.exists():
            old = staged.with_name(staged.name + "-old")
            target.rename(old)
            staged.rename(target)
            shutil.rmtree(old)
        else:
            staged.rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
