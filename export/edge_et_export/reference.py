"""What transformers computes for one fixed image and instruction: the reference of an export.

It is kept in the artifact, so that `edge-et verify` compares again on any machine, without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_et import tiling
from edge_et.errors import BadManifest, ExportError
from edge_et.layout import lay_out
from edge_et.prompts import extraction_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edge_et.manifest import ImagePolicy
    from edge_et.tokenization import PromptTokenizer

F32 = NDArray[np.float32]
FILE_NAME = "reference.npz"
GREEDY_TOKENS = 64
USER_TEXT = extraction_prompt("the red circle left of the blue square")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The checkpoint's own results, in float32."""

    features: F32
    """[T, N, H] of the fixed image's tiles."""
    text: F32
    """[P, H], all text of the prompt embedded, marks of the image included, in order."""
    logits: F32
    """[V] of the first token."""
    greedy: NDArray[np.int64]
    """[GREEDY_TOKENS]; goes on past any stop token."""

    def save(self, folder: Path) -> Path:
        path = folder / FILE_NAME
        np.savez(
            path,
            features=self.features,
            text=self.text,
            logits=self.logits,
            greedy=self.greedy,
        )
        return path

    def prompt(self, tokenizer: PromptTokenizer, policy: ImagePolicy, newline: F32 | None) -> F32:
        """Return the whole prompt of the fixed image and instruction [P, H]."""
        tiles = tiling.prepare(fixed_image(), policy)
        layout = lay_out(tokenizer, USER_TEXT, tiles.grid, tiles.original_hw, policy)
        features = tiling.splice_features(self.features, tiles, policy, newline)
        return layout.assemble(self.text, features)

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Raises BadManifest for a file that holds something else."""
        try:
            with np.load(path) as stored:
                return cls(**{name: stored[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError) as exc:
            raise BadManifest(f"{path} is no reference of an export: {exc}") from exc


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
    newline: F32 | None,
) -> Reference:
    """Run the checkpoint itself in float32. Raises ExportError when it computes no numbers."""
    import torch

    tiles = tiling.prepare(fixed_image(), policy)
    layout = lay_out(tokenizer, USER_TEXT, tiles.grid, tiles.original_hw, policy)
    embed = causal.get_input_embeddings()
    with torch.no_grad():
        # one at a time, as the runtime does: the activations of one tile bound the memory
        features = np.concatenate(
            [
                vision(torch.from_numpy(tile)[None])["image_features"].numpy()
                for tile in tiles.pixel_values
            ]
        )
        text = embed(torch.tensor(layout.text_ids)).numpy()
    spliced = tiling.splice_features(features, tiles, policy, newline)
    prompt = torch.from_numpy(layout.assemble(text, spliced))
    logits, greedy = greedy_tokens(causal, {"inputs_embeds": prompt[None]})
    if not (np.isfinite(features).all() and np.isfinite(logits).all()):
        raise ExportError(
            "the checkpoint itself computes values that are not finite",
            hint="its weights are damaged, or overflowed in training",
        )
    return Reference(
        features=features,
        text=text,
        logits=logits,
        greedy=np.asarray(greedy, np.int64),
    )


def greedy_tokens(
    causal: PreTrainedModel, prompt: dict[str, Any], count: int = GREEDY_TOKENS
) -> tuple[F32, list[int]]:
    """Return the first logits [V] and `count` greedy ids, going on past any stop token."""
    import torch

    ids: list[int] = []
    first: F32 | None = None
    with torch.no_grad():
        out = causal(**prompt, use_cache=True, logits_to_keep=1)
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
