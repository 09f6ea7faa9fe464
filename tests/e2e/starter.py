"""Where the pair, its examples and its command line lie."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).parent / "edge-et"
PAIR: list[str] = []
"""Options that choose another pair than the default one."""

Run = Callable[..., subprocess.CompletedProcess[str]]


def read_examples() -> list[dict[str, Any]]:
    """Return the images of examples/ with questions and their right answers."""
    path = ROOT / "examples" / "questions.json"
    examples: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return examples
