"""llama.cpp's own converter as the oracle of ours: fetched by pip, run in a process of its own.

It lies in the source package of llama-cpp-python, of the version that is installed. Run as a
script, this file is that process: it has the converter's own `gguf` and never sees ours.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

VERSION = version("llama_cpp_python")
_INSIDE = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
_WANTED = ("convert_hf_to_gguf.py", "conversion/", "gguf-py/gguf/")
# The converter reads tokenizer.model with it.
_SENTENCEPIECE = "sentencepiece==0.2.1"
# What pip says when there is no index to ask, and not when something else is wrong.
_UNREACHABLE = ("(from versions: none)", "NewConnectionError", "ConnectTimeoutError")


class Unreachable(Exception):
    """pip found no index."""


def fetch(cache: Path) -> Path:
    """Return the folder of the converter, downloading it on the first call.

    Raises Unreachable; any other failure is a CalledProcessError.
    """
    folder = cache / f"llama-cpp-{VERSION}"
    if not folder.is_dir():
        partial = cache / "partial"
        partial.mkdir(exist_ok=True)
        package = f"llama-cpp-python=={VERSION}"
        _pip("download", "--no-deps", "--no-binary=:all:", f"--dest={partial}", package)
        archive = partial / f"llama_cpp_python-{VERSION}.tar.gz"
        with tarfile.open(archive) as tar:
            wanted = [m for m in tar if m.name.removeprefix(_INSIDE).startswith(_WANTED)]
            tar.extractall(partial, members=wanted, filter="data")
        archive.unlink()
        _pip("install", "--no-deps", f"--target={partial / _INSIDE / 'site'}", _SENTENCEPIECE)
        (partial / _INSIDE).rename(folder)
    return folder


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and any(sign in done.stderr for sign in _UNREACHABLE):
        raise Unreachable(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)


def convert(folder: Path, checkpoint: Path, out: Path, *, kind: str, pre: str) -> None:
    """Convert `checkpoint` to `out`. `pre`: what the lookup of the pre-tokenizer would find."""
    command = [sys.executable, __file__, str(folder), pre, str(checkpoint)]
    command += ["--outfile", str(out), "--outtype", kind]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"the converter failed:\n{done.stderr[-3000:]}")


def _main() -> None:
    folder, pre, *arguments = sys.argv[1:]
    sys.path[:0] = [folder, str(Path(folder, "gguf-py")), str(Path(folder, "site"))]
    import convert_hf_to_gguf  # type: ignore[import-not-found]
    from conversion.base import TextModel  # type: ignore[import-not-found]

    # It knows published tokenizers by the hash of a text's tokens. Nothing else is changed.
    TextModel.get_vocab_base_pre = lambda *_: pre
    sys.argv = ["convert_hf_to_gguf.py", *arguments]
    convert_hf_to_gguf.main()


if __name__ == "__main__":
    _main()
