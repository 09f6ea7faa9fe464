"""Making a pair: a phase resumes where it was killed; train, export and ask hang together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from edge_et_tuning.training import Schedule, run_phase
from tests.e2e.starter import Run

STEPS = 8


def toy() -> nn.Module:
    torch.manual_seed(3)
    return nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(4, 4)]), "head": nn.Linear(4, 1)})


def train(module: nn.Module, folder: Path, *, stop_at: int | None = None) -> None:
    """Run the toy phase; `stop_at` plays a kill in the middle of a step."""

    def loss_of(step: int) -> dict[str, torch.Tensor]:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        out = module["head"](torch.tanh(module["layers"][0](x)))
        return {"square": (out - x.sum(1, keepdim=True)).square().mean()}

    schedule = Schedule(steps=STEPS, batch_size=16, peak_lr=1e-2, warmup_steps=2)
    run_phase("toy", folder, {"toy": module}, loss_of, schedule, checkpoint_every_s=0)


def test_a_killed_phase_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    whole, broken = toy(), toy()
    train(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(broken, tmp_path / "broken", stop_at=5)
    resumed = toy()
    train(resumed, tmp_path / "broken")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(next(resumed.parameters()), next(toy().parameters()))


def test_a_finished_phase_only_loads(tmp_path: Path) -> None:
    done = toy()
    train(done, tmp_path)
    again = toy()
    train(again, tmp_path, stop_at=0)  # would raise if it took a step
    assert all(map(torch.equal, done.parameters(), again.parameters()))


def test_train_export_ask(edge_et: Run, tmp_path: Path) -> None:
    """The quick recipe sees nothing, but everything it passes through is what makes the starter."""
    command = [sys.executable, "-m", "edge_et_tuning", "train", "--quick", "--out", str(tmp_path)]
    subprocess.run(command, check=True, timeout=900, capture_output=True)
    extractor, reasoner = tmp_path / "artifact", tmp_path / "gguf" / "reasoner.gguf"
    for arguments in (
        ("extractor", str(tmp_path / "extractor"), "--out", str(extractor)),
        ("reasoner", str(tmp_path / "reasoner"), "--out", str(reasoner), "--type", "q4_k_m"),
    ):
        done = edge_et("export", *arguments)
        assert done.returncode == 0, done.stderr
    done = edge_et(
        "ask", "examples/shapes.png", "What colour is the star?", "--think-budget", "8",
        "--answer-budget", "8", "--extractor", str(extractor), "--reasoner", str(reasoner),
    )  # fmt: skip
    assert done.returncode in (0, 7), done.stderr
    assert done.stdout.strip()
