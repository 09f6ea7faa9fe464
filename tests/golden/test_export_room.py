"""What an export needs, promised before and measured; what happens when there is less."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_et.downloads import size_below
from edge_et.errors import OutOfDisk, OutOfMemory
from tests.tiny import make_extractor, make_reasoner

pytest.importorskip("torch")
pytest.importorskip("onnxruntime_genai")
psutil = pytest.importorskip("psutil")

COMMAND = [sys.executable, "-c", "from edge_et.cli import main; main()", "export"]
Usage = namedtuple("Usage", "total used free")
NOT_TOO_FAR = 3


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        "extractor": make_extractor(folder / "extractor", "anyres_untied"),
        "reasoner": make_reasoner(folder / "reasoner"),
    }


@contextmanager
def watched(measure: Callable[[], int]) -> Iterator[list[int]]:
    """Yield a list that holds the largest value measured, in the end."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], measure())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def resident_bytes(process: Any) -> int:
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def run(kind: str, checkpoint: Path, out: Path, *options: str) -> tuple[int, int]:
    """Export in a process of its own; return the most bytes on the disk and in memory."""
    command = [*COMMAND, kind, str(checkpoint), "--out", str(out), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seen = psutil.Process(process.pid)
    with (
        watched(lambda: size_below(out.parent)) as disk,
        watched(lambda: resident_bytes(seen)) as memory,
    ):
        _, complaints = process.communicate(timeout=600)
    assert process.returncode == 0, complaints.decode()
    return disk[0], memory[0]


def check(promised: int, measured: int) -> None:
    assert measured <= promised <= NOT_TOO_FAR * measured, (measured, promised)


@pytest.mark.parametrize(
    ("vision", "decoder", "embeddings"),
    [("int8", "int8", "fp16"), ("int8,fp32", "q4,fp32,int8", "fp32")],
)
def test_the_estimate_of_an_extractor(
    checkpoints: dict[str, Path], tmp_path: Path, vision: str, decoder: str, embeddings: str
) -> None:
    from edge_et_export.precisions import Precisions, listed
    from edge_et_export.room import extractor_estimate

    wanted = Precisions(vision=listed(vision), decoder=listed(decoder), embeddings=embeddings)
    promised = extractor_estimate(checkpoints["extractor"], wanted)
    disk_bytes, memory_bytes = run(
        "extractor", checkpoints["extractor"], tmp_path / "out",
        "--vision", vision, "--decoder", decoder, "--embeddings", embeddings, "--allow-drift",
    )  # fmt: skip
    check(promised.disk_bytes, disk_bytes)
    check(promised.memory_bytes, memory_bytes)


@pytest.mark.parametrize(("kind", "lossless"), [("q4_k_m", "f32"), ("f16", "f16")])
def test_the_estimate_of_a_reasoner(
    checkpoints: dict[str, Path], tmp_path: Path, kind: str, lossless: str
) -> None:
    from edge_et_export.room import reasoner_estimate

    promised = reasoner_estimate(checkpoints["reasoner"], kind, lossless)
    disk_bytes, memory_bytes = run(
        "reasoner", checkpoints["reasoner"], tmp_path / "out.gguf", "--type", kind
    )
    check(promised.disk_bytes, disk_bytes)
    check(promised.memory_bytes, memory_bytes)


def export(kind: str, checkpoint: Path, out: Path, **options: Any) -> None:
    import edge_et_export as api

    if kind == "extractor":
        api.export_extractor(checkpoint, out, api.ExtractorOptions(**options))
    else:
        api.export_reasoner(checkpoint, out, api.ReasonerOptions(**options))


@pytest.mark.parametrize(("kind", "out"), [("extractor", "out"), ("reasoner", "out.gguf")])
def test_a_disk_and_a_memory_that_are_too_small(
    checkpoints: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    out: str,
) -> None:
    from edge_et_export import room

    with monkeypatch.context() as patch:
        patch.setattr(room.shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 200_000))
        with pytest.raises(OutOfDisk, match=r"needs \d+ MB while it runs.* 0 MB free") as full:
            export(kind, checkpoints[kind], tmp_path / out)
    assert (full.value.code, full.value.exit_code) == ("out_of_disk", 1)
    assert "--skip-room-check" in (full.value.hint or "")
    Memory = namedtuple("Memory", "available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(300_000_000))
    with pytest.raises(OutOfMemory, match="MB of memory, and 300 MB are available") as short:
        export(kind, checkpoints[kind], tmp_path / out)
    assert (short.value.code, short.value.exit_code) == ("out_of_memory", 6)
    assert list(tmp_path.iterdir()) == []
    if kind == "reasoner":
        export(kind, checkpoints[kind], tmp_path / out, check_room=False, type="f16")
        assert (tmp_path / out).is_file()


# A file that may not grow further fails with EFBIG, at the same calls as a full disk with ENOSPC.
# The limits let one writer more pass each time: numpy, the vision graph, the checkpoint's copy for
# the decoder's builder (Rust), the builder itself (another process).
@pytest.mark.parametrize(
    ("kind", "limit_bytes", "options"),
    [
        ("extractor", 10_000, ()),
        ("extractor", 60_000, ()),
        ("extractor", 150_000, ()),
        ("extractor", 500_000, ()),
        ("extractor", 657_000, ("--decoder", "fp32", "--embeddings", "int8")),
        ("reasoner", 20_000, ("--type", "f16")),
        ("reasoner", 50_000, ()),
    ],
)
def test_a_disk_that_is_full_on_the_way(
    checkpoints: dict[str, Path],
    tmp_path: Path,
    kind: str,
    limit_bytes: int,
    options: tuple[str, ...],
) -> None:
    out = tmp_path / "out.gguf" if kind == "reasoner" else tmp_path / "out"
    done = subprocess.run(
        [*COMMAND, kind, str(checkpoints[kind]), "--out", str(out), *options],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
    )
    assert "error[out_of_disk]" in done.stderr, done.stderr[-2000:]
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr and "free some space" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_quantizing_onto_a_full_disk(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp writes by itself: only the file it makes may not be written."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    import edge_et_export.reasoner as module

    real = module.quantize
    monkeypatch.setattr(
        module, "quantize", lambda whole, _, kind, weights: real(whole, Path("/dev/full"), kind)
    )
    with pytest.raises(OutOfDisk):
        export("reasoner", checkpoints["reasoner"], tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []
