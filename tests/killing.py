"""Kill a process (-9) in the middle of its work."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable


def kill_at_work(process: subprocess.Popen[bytes], at_work: Callable[[], object]) -> None:
    """Kill `process` once `at_work` gives something true."""
    try:
        deadline_s = time.monotonic() + 120
        while not at_work():
            assert process.poll() is None, "it ended before it wrote anything"
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
