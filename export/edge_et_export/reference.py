"""What transformers computes for one fixed image and instruction: the reference of an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_et import tiling
from edge_et.manifest import ImagePolicy
from edge_et.prompts import extraction_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edge_et.tokenization import PromptTokenizer

F32 = NDArray[np.float32]
GREEDY_TOKENS = 32
USER_TEXT = extraction_prompt("the red circle left of the blue square")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """pixel tiles, features [T, N, H], prompt embeddings [P, H], logits [V], greedy ids."""

    tiles: tiling.Tiles
    before: list[int]
    after: list[int]
    features: F32
    prompt: F32
    logits: F32
    greedy: list[int]


def fixed_image() -> Image.Image:
    """Return a picture with edges, slopes and noise, wider than high; always the same."""
    ys, xs = np.mgrid[0:120, 0:200]
    waves = np.stack([xs, ys * 2, (xs + ys)], axis=-1) % 256
    noise = np.random.default_rng(7).integers(0, 40, waves.shape)
    waves[30:80, 40:110] = (200, 30, 40)
    return Image.fromarray((waves * 0.8 + noise).clip(0, 255).astype(np.uint8))


def reference_of(
    vision: PreTrainedModel,
    causal: PreTrainedModel,
    tokenizer: PromptTokenizer,
    policy: ImagePolicy,
    newline: F32,
) -> Reference:
    """Run the checkpoint itself in float32."""
    import torch

    tiles = tiling.prepare(fixed_image(), policy)
    before, after = tokenizer.encode(USER_TEXT)
    with torch.no_grad():
        features = vision(torch.from_numpy(tiles.pixel_values))["image_features"].numpy()
        embed = causal.get_input_embeddings()
        spliced = tiling.splice_features(features, tiles, policy, newline)
        prompt = np.concatenate(
            [embed(torch.tensor(before)).numpy(), spliced, embed(torch.tensor(after)).numpy()]
        )
    logits, greedy = greedy_tokens(causal, {"inputs_embeds": torch.from_numpy(prompt)[None]})
    return Reference(
        tiles=tiles,
        before=before,
        after=after,
        features=features,
        prompt=prompt,
        logits=logits,
        greedy=greedy,
    )


def greedy_tokens(
    causal: PreTrainedModel, prompt: dict[str, Any], count: int = GREEDY_TOKENS
) -> tuple[F32, list[int]]:
    """Return the first logits [V] and `count` greedy ids, going on past any stop token."""
    import torch

    ids: list[int] = []
    first: F32 | None = None
    with torch.no_grad():
        out = causal(**prompt, use_cache=True)
        while len(ids) < count:
            logits = out.logits[0, -1].float().numpy()
            first = logits if first is None else first
            ids.append(int(logits.argmax()))
            out = causal(
                input_ids=torch.tensor([[ids[-1]]]),
                past_key_values=out.past_key_values,
                use_cache=True,
            )
    assert first is not None
    return first, ids
