"""`edge-et export` takes a source as it is; what a checkpoint names beside itself comes along."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.starter import ROOT
from tests.e2e.test_pull import Pull, command, error_of, hub, run  # noqa: F401 (fixtures)
from tests.hub import Repo, StandIn

pytest.importorskip("torch")
pytest.importorskip("onnxruntime_genai")
pytestmark = pytest.mark.network

COMMIT, TOWER_COMMIT = "ab" * 20, "cd" * 20
REGISTRY = """
schema = 1
[extractors.eyes]
source = "hf:someone/eyes"
form = "checkpoint"
license = "MIT"
summary = "its vision tower lies elsewhere"
"""


def repo(folder: Path, commit: str, **more: bytes) -> Repo:
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    return Repo(files | {"README.md": b"words", "pytorch_model.bin": b"pickle"}, commit=commit)


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "edge_et.json").read_text())
    return found


def without_files(asked: Any) -> list[str]:
    return [a.path for a in asked if a.path.endswith((".bin", ".md"))]


def test_a_reasoner_of_the_hub(run: Pull, hub: StandIn, tmp_path: Path) -> None:  # noqa: F811
    from tests.tiny import make_reasoner

    hub.repos["someone/thinks"] = repo(make_reasoner(tmp_path / "checkpoint"), COMMIT)
    out = tmp_path / "out" / "r.gguf"
    arguments = ("export", "reasoner", f"hf:someone/thinks@{COMMIT}", "--out", str(out))
    offline = run(*arguments, HF_HUB_OFFLINE="1")
    assert (offline.returncode, hub.asked) == (4, [])
    assert "error[missing_artifact]" in offline.stderr and "HF_HUB_OFFLINE" in offline.stderr
    assert not out.parent.exists()

    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    announced, begun = done.stderr.index("0.5 MB to fetch"), done.stderr.index("part: load")
    assert announced < begun
    assert without_files(hub.asked) == []
    source = manifest_of(out.parent)["source"]
    assert source == {"name": "someone/thinks", "revision": COMMIT, "license": "unknown"}

    hub.asked.clear()
    again = run(*arguments, "--force", "--type", "f16", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert hub.asked == []
    assert manifest_of(out.parent)["source"]["revision"] == COMMIT


def test_a_file_at_an_address(run: Pull, hub: StandIn, tmp_path: Path) -> None:  # noqa: F811
    gguf = (ROOT / "edge_et/models/starter/reasoner/reasoner.gguf").read_bytes()
    hub.repos["someone/files"] = Repo({"r.gguf": gguf})
    sha256 = hashlib.sha256(gguf).hexdigest()
    source = f"{hub.url}/cdn/{sha256}/r.gguf#sha256={sha256}"
    refused = run("export", "extractor", source, "--out", str(tmp_path / "e"))
    assert (refused.returncode, hub.asked) == (1, [])
    assert "the checkpoint of an extractor is a folder" in refused.stderr
    done = run("export", "reasoner", source, "--out", str(tmp_path / "out" / "r.gguf"))
    assert done.returncode == 0, done.stderr
    found = manifest_of(tmp_path / "out")["source"]
    assert found["revision"] == f"sha256:{sha256}"
    assert found["name"] == f"{hub.url}/cdn/{sha256}/r.gguf"


def eyes(hub: StandIn, folder: Path) -> None:  # noqa: F811
    from tests import llava_next

    model = llava_next.make(folder / "checkpoint", "untied_tower_elsewhere")
    path = model.folder / "config.json"
    config = json.loads(path.read_text()) | {"mm_vision_tower": "someone/siglip"}
    path.write_text(json.dumps(config))
    hub.repos["someone/eyes"] = repo(model.folder, COMMIT)
    hub.repos["someone/siglip"] = repo(folder / "siglip", TOWER_COMMIT)


def test_the_tower_comes_with_the_export(
    run: Pull,  # noqa: F811
    hub: StandIn,  # noqa: F811
    tmp_path: Path,
) -> None:
    eyes(hub, tmp_path / "made")
    out = tmp_path / "out"
    done = run("export", "extractor", "hf:someone/eyes", "--out", str(out), "--allow-drift")
    assert done.returncode == 0, done.stderr
    for words in ("hf:someone/eyes at", "hf:someone/siglip at", "part: vision", "part: gate"):
        assert words in done.stderr
    assert without_files(hub.asked) == []
    manifest = manifest_of(out)
    assert manifest["source"]["revision"] == COMMIT
    assert manifest["made_with"]["vision_tower"] == f"someone/siglip@{TOWER_COMMIT}"
    vision = next(r for r in manifest["parity"] if r["part"] == "vision_encoder")
    assert vision["relative_error"] < vision["tolerance"]

    hub.asked.clear()
    kept = run("export", "extractor", "hf:someone/eyes", "--out", str(out), HF_HUB_OFFLINE="1")
    assert kept.returncode == 0, kept.stderr
    assert hub.asked == []
    assert "is already this export" in kept.stderr


def test_the_tower_comes_with_the_pull(
    command: tuple[list[str], dict[str, str]],  # noqa: F811
    hub: StandIn,  # noqa: F811
    tmp_path: Path,
) -> None:
    start, env = command
    Path(start[-1]).write_text(REGISTRY)
    eyes(hub, tmp_path / "made")

    def edge_et(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*start, *arguments], capture_output=True, text=True, env=env | more, cwd=ROOT,
            timeout=300,
        )  # fmt: skip

    done = edge_et("pull", "eyes", "--json")
    assert done.returncode == 0, done.stderr
    checkpoint, tower = json.loads(done.stdout)["pulled"]
    assert (checkpoint["name"], checkpoint["revision"]) == ("eyes", COMMIT)
    assert (tower["source"], tower["revision"]) == ("hf:someone/siglip", TOWER_COMMIT)
    assert (Path(tower["path"]) / "model.safetensors").is_file()
    hub.asked.clear()
    out = tmp_path / "out"
    local = edge_et(
        "export", "extractor", checkpoint["path"], "--out", str(out), "--allow-drift",
        HF_HUB_OFFLINE="1",
    )  # fmt: skip
    assert local.returncode == 0, local.stderr
    assert hub.asked == []
    assert manifest_of(out)["made_with"]["vision_tower"] == f"someone/siglip@{TOWER_COMMIT}"

    del hub.repos["someone/siglip"].files["model.safetensors"]
    (Path(tower["path"]) / "model.safetensors").resolve().unlink()
    broken = edge_et("pull", "eyes", "--json")
    assert (broken.returncode, error_of(broken)["code"]) == (4, "missing_artifact")
    assert "someone/siglip holds no safetensors" in error_of(broken)["message"]
