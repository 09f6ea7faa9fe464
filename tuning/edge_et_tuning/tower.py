"""Phase 1, the vision tower alone: name what lies in each patch, and where its owner's centre is.

Dense labels are free here and are what makes the tower see: trained end to end from scratch, the
same tower learns nothing in the same time.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_et_tuning.pool import Pool
from edge_et_tuning.scenes import COLOURS, FILLS, SHAPES, SIZES
from edge_et_tuning.training import LossOf, device

_CLASSES = (len(SHAPES), len(COLOURS), len(SIZES), len(FILLS))
_NAMES = ("shape", "colour", "size", "fill")


class PatchHeads(nn.Module):  # type: ignore[misc]  # torch ships no types we may follow
    """Linear readouts of patch features [B, P, H]; dropped after training."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.owned = nn.Linear(hidden_size, 1)
        self.classes = nn.ModuleList(nn.Linear(hidden_size, n) for n in _CLASSES)
        self.centre = nn.Linear(hidden_size, 2)

    def losses(self, features: Tensor, labels: Tensor, centres: Tensor) -> dict[str, Tensor]:
        """labels int64 [B, P, 4] (-1: background), centres float [B, P, 2] in [0, 1]."""
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 places too roughly
            return self._losses(features.float(), labels, centres)

    def _losses(self, features: Tensor, labels: Tensor, centres: Tensor) -> dict[str, Tensor]:
        features = self.norm(features)
        owned = labels[..., 0] >= 0
        result = {
            "owned": F.binary_cross_entropy_with_logits(
                self.owned(features).squeeze(-1), owned.float()
            )
        }
        inside, truth = features[owned], labels[owned]
        for i, (name, head) in enumerate(zip(_NAMES, self.classes, strict=True)):
            logits = head(inside)
            result[name] = F.cross_entropy(logits, truth[:, i])
            result[f"_{name}_right"] = (logits.argmax(-1) == truth[:, i]).float().mean()
        result["centre"] = 10 * F.smooth_l1_loss(self.centre(inside), centres[owned], beta=0.05)
        return result


def pixel_values(records: NDArray[np.void]) -> Tensor:
    """Return float32 [B, 3, S, S] in [-1, 1], as the runtime's tiling makes them."""
    pixels = torch.from_numpy(records["pixels"]).to(device())
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def patch_targets(records: NDArray[np.void]) -> tuple[Tensor, Tensor]:
    labels = torch.from_numpy(records["labels"].astype(np.int64)).to(device())
    return labels, torch.from_numpy(records["centres"].astype(np.float32)).to(device())


def features_of(tower: nn.Module, pixels: Tensor) -> Tensor:
    """Return the feature layer the decoder gets: the last block's output, before its norm."""
    hidden: Tensor = tower(pixels, output_hidden_states=True).hidden_states[-1]
    return hidden


def tower_loss(tower: nn.Module, heads: PatchHeads, pool: Pool, *, batch_size: int) -> LossOf:
    def loss_of(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((1, step))
        records = pool.rows(rng.integers(0, len(pool), batch_size))
        return heads.losses(features_of(tower, pixel_values(records)), *patch_targets(records))

    return loss_of
