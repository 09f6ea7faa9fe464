"""Phases 2 and 3, the extractor: projector and decoder before a frozen tower, then everything.

The paper's order (connector, then all parameters), with one difference: our decoder starts from
nothing, so phase 2 teaches it to write while the tower, already seeing, stays still.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from edge_et.prompts import IMAGE_TOKEN, extractor_chat
from edge_et_tuning.extraction_data import EVERYTHING, Turn, extraction_turn
from edge_et_tuning.pool import Pool
from edge_et_tuning.scenes import sample_scene
from edge_et_tuning.tokenizer import IM_END
from edge_et_tuning.tower import PatchHeads, features_of, patch_targets, pixel_values
from edge_et_tuning.training import LossOf, device

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

_IGNORED = -100
_PATCH_WEIGHT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """Texts around the image. before int64 [P]; after, labels int64 [B, L], right-padded.

    The image features stand between `before` and `after`; labels are -100 but on the target.
    """

    before: Tensor
    after: Tensor
    labels: Tensor


def encode_turns(tokenizer: PreTrainedTokenizerFast, turns: list[Turn]) -> TokenBatch:
    """Tokenize turns; the loss is on what the assistant writes, `<|im_end|>` included."""
    image_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    prompts = tokenizer([extractor_chat(t.user_text) for t in turns])["input_ids"]
    targets = tokenizer([t.target + IM_END for t in turns])["input_ids"]
    cut = prompts[0].index(image_id)
    rows = [p[cut + 1 :] + t for p, t in zip(prompts, targets, strict=True)]
    length = max(map(len, rows))
    after = np.zeros((len(rows), length), np.int64)
    labels = np.full((len(rows), length), _IGNORED, np.int64)
    for i, (row, target) in enumerate(zip(rows, targets, strict=True)):
        after[i, : len(row)] = row
        labels[i, len(row) - len(target) : len(row)] = target
    return TokenBatch(
        before=torch.tensor(prompts[0][:cut], device=device()),
        after=torch.from_numpy(after).to(device()),
        labels=torch.from_numpy(labels).to(device()),
    )


def image_embeddings(model: LlavaOnevisionForConditionalGeneration, features: Tensor) -> Tensor:
    """Project tower features [B, N, V] and append the newline: [B, N + 1, H].

    transformers packs a single tile the same way (`pack_image_features`).
    """
    projected = model.model.multi_modal_projector(features)
    newline = model.model.image_newline.expand(len(projected), 1, -1)
    return torch.cat([projected, newline], dim=1)


def text_loss(
    model: LlavaOnevisionForConditionalGeneration, images: Tensor, batch: TokenBatch
) -> dict[str, Tensor]:
    """Return the loss on target tokens and the share of them that come first.

    Rows are right-padded under a causal mask, so no attention mask is needed.
    """
    decoder = model.model.language_model
    embed = decoder.get_input_embeddings()
    before = embed(batch.before).expand(len(batch.after), -1, -1)
    embeddings = torch.cat([before, images, embed(batch.after)], dim=1)
    hidden = decoder(inputs_embeds=embeddings, use_cache=False).last_hidden_state
    # the position before each target token predicts it
    start = embeddings.shape[1] - batch.after.shape[1] - 1
    predicting = hidden[:, start:-1]
    wanted = batch.labels != _IGNORED
    logits = model.lm_head(predicting[wanted])
    truth = batch.labels[wanted]
    return {
        "text": F.cross_entropy(logits.float(), truth),
        "_text_right": (logits.argmax(-1) == truth).float().mean(),
    }


def extractor_loss(
    model: LlavaOnevisionForConditionalGeneration,
    heads: PatchHeads,
    tokenizer: PreTrainedTokenizerFast,
    pool: Pool,
    *,
    batch_size: int,
    phase: int,
    train_tower: bool,
    practised: Mapping[str, float] = EVERYTHING,
) -> LossOf:
    """Return the step function; with the tower, its patch labels stay a small part of the loss.

    `phase` seeds the batches; `practised` weighs the kinds of question.
    """

    def loss_of(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((phase, step))
        indices = rng.integers(0, len(pool), batch_size)
        turns = [
            extraction_turn(
                sample_scene(pool.first_seed + int(i)),
                random.Random(f"{phase}-{step}-{row}"),
                practised,
            )
            for row, i in enumerate(indices)
        ]
        records = pool.rows(indices)
        losses: dict[str, Any] = {}
        with torch.set_grad_enabled(train_tower):
            features = features_of(model.model.vision_tower, pixel_values(records))
        if train_tower:
            patch = heads.losses(features, *patch_targets(records))
            named = [v for k, v in patch.items() if not k.startswith("_")]
            losses["patch"] = _PATCH_WEIGHT * torch.stack(named).sum()
            losses |= {k: v for k, v in patch.items() if k in ("_shape_right", "_colour_right")}
        images = image_embeddings(model, features)
        return losses | text_loss(model, images, encode_turns(tokenizer, turns))

    return loss_of
