"""One resumable training phase: optimizer, schedule, checkpoint, one log line a minute.

A batch is a pure function of its step number, so a phase that was killed goes on where its last
checkpoint stood and sees the same batches as one that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

LossOf = Callable[[int], dict[str, Tensor]]
"""Step number -> named scalars; the sum of those not starting with `_` is minimised.

Called under `autocast`: what must stay float32 says so itself.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Linear warm-up to `peak_lr`, then cosine to a twentieth of it."""

    steps: int
    batch_size: int
    peak_lr: float
    warmup_steps: int = 60

    def lr_at(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.peak_lr * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.peak_lr * (0.05 + 0.95 * (1 + math.cos(math.pi * min(1.0, done))) / 2)


def device() -> torch.device:
    """Return the GPU if there is one; everything below runs on either unchanged."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast() -> torch.autocast:
    """Return the context to compute losses in: bfloat16 where the hardware multiplies it.

    Weights and optimizer stay float32. On CPUs without bfloat16 units it would only be slower.
    """
    where = device().type
    fast = where == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(where, torch.bfloat16, enabled=fast)


def prepare(model: Any, *, blocks: Any, compiled: bool) -> None:
    """Put `model` where it trains and, if `compiled`, have its `blocks` compiled at first use.

    Small models spend their time on elementwise passes over memory, which compiling fuses; eager
    attention, fused with the rest, then trains twice as fast here as the flash kernel.
    """
    model.to(device())
    if compiled:
        model.set_attn_implementation("eager")
        blocks.compile(dynamic=True)


class Optimizers:
    """Muon for the matrices inside the blocks, AdamW for embeddings, norms, biases and heads.

    Muon's update has unit scale per matrix; `match_rms_adamw` lets both share one learning rate.
    """

    def __init__(self, modules: Iterable[nn.Module], *, peak_lr: float) -> None:
        matrices: dict[int, nn.Parameter] = {}
        others: dict[int, nn.Parameter] = {}
        for module in modules:
            for name, parameter in module.named_parameters():
                if not parameter.requires_grad:
                    continue
                inside = parameter.ndim == 2 and "layers." in name
                (matrices if inside else others)[id(parameter)] = parameter
        self._all = [
            torch.optim.AdamW(
                others.values(), lr=peak_lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True
            )
        ]
        if matrices:
            self._all.append(
                torch.optim.Muon(
                    matrices.values(),
                    lr=peak_lr,
                    weight_decay=0.01,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        self.parameters = [*matrices.values(), *others.values()]

    def step(self, lr: float) -> None:
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self._all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)


def run_phase(
    name: str,
    folder: Path,
    modules: dict[str, nn.Module],
    loss_of: LossOf,
    schedule: Schedule,
    *,
    checkpoint_every_s: float = 120.0,
) -> None:
    """Train `modules` through `schedule`; resume from, and leave behind, `folder/<name>.pt`.

    Returns at once when the phase has been finished before (its weights are loaded).
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.pt"
    optimizers = Optimizers(modules.values(), peak_lr=schedule.peak_lr)
    step, trained_s = 0, 0.0
    if path.exists():
        saved = torch.load(path, map_location=device(), weights_only=True)
        for key, module in modules.items():
            module.load_state_dict(saved["modules"][key])
        optimizers.load_state_dict(saved["optimizers"])
        step, trained_s = saved["step"], saved["trained_s"]
        log.info("%s: resumed at step %d of %d", name, step, schedule.steps)

    def save() -> None:
        state = {
            "modules": {key: module.state_dict() for key, module in modules.items()},
            "optimizers": optimizers.state_dict(),
            "step": step,
            "trained_s": trained_s + time.monotonic() - start_s,
        }
        beside = path.with_suffix(".part")
        torch.save(state, beside)
        beside.replace(path)

    start_s = saved_s = logged_s = time.monotonic()
    sums: dict[str, float] = {}
    since = 0
    while step < schedule.steps:
        with autocast():
            losses = loss_of(step)
        total = torch.stack([v for k, v in losses.items() if not k.startswith("_")]).sum()
        total.backward()
        optimizers.step(schedule.lr_at(step))
        step, since = step + 1, since + 1
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach())
        now_s = time.monotonic()
        if now_s - logged_s >= 60 or step == schedule.steps:
            means = "  ".join(f"{k.lstrip('_')} {v / since:.4f}" for k, v in sums.items())
            rate = since * schedule.batch_size / (now_s - logged_s)
            log.info("%s %d/%d  %s  %.1f/s", name, step, schedule.steps, means, rate)
            logged_s, sums, since = now_s, {}, 0
        if now_s - saved_s >= checkpoint_every_s or step == schedule.steps:
            save()
            saved_s = now_s
