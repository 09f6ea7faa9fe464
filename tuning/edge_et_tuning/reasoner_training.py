"""The reasoner: a small Qwen3 taught to think over descriptions."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from edge_et.notes import MISSING
from edge_et_tuning.reasoner_data import EVENLY, Exchange, exchange
from edge_et_tuning.scenes import sample_scene
from edge_et_tuning.tokenizer import IM_END
from edge_et_tuning.training import LossOf, device

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


def sample_exchange(
    seed: int,
    turned_share: float = 0.0,
    practised: Mapping[str, float] = EVENLY,
    looked_share: float = 0.0,
) -> Exchange:
    """Return the example of `seed`; tries scenes until the drawn kind can be asked."""
    rng = random.Random(f"exchange-{seed}")
    while True:
        scene, other = (sample_scene(rng.randrange(2_000_000, 40_000_000)) for _ in range(2))
        example = exchange(scene, other, rng, turned_share, practised, looked_share)
        if example is not None:
            return example


def prompt_text(tokenizer: PreTrainedTokenizerFast, example: Exchange) -> str:
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": example.prompt}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=example.thinking is not None,
    )
    return text


def target_text(example: Exchange) -> str:
    """Return what the reasoner writes: Qwen3's layout of thinking and answer."""
    marker = "" if example.answer.startswith(MISSING) else "Answer: "
    answer = f"{marker}{example.answer}{IM_END}"
    if example.thinking is None:
        return answer
    return f"<think>\n{example.thinking}\n</think>\n\n{answer}"


_GROUP = 4
_LENGTH_STEP = 16


def reasoner_loss(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    batch_size: int,
    first_seed: int = 0,
    turned_share: float = 0.0,
    practised: Mapping[str, float] = EVENLY,
    looked_share: float = 0.0,
) -> LossOf:
    """Return the step function. Batches of like length come four at a time: less padding."""

    @functools.lru_cache(maxsize=1)
    def group(number: int) -> list[tuple[list[int], list[int]]]:
        count = _GROUP * batch_size
        first = first_seed + number * count
        seeds = range(first, first + count)
        examples = [sample_exchange(s, turned_share, practised, looked_share) for s in seeds]
        prompts = tokenizer([prompt_text(tokenizer, e) for e in examples])["input_ids"]
        targets = tokenizer([target_text(e) for e in examples])["input_ids"]
        pairs = list(zip(prompts, targets, strict=True))
        return sorted(pairs, key=lambda pair: len(pair[0]) + len(pair[1]))

    def loss_of(step: int) -> dict[str, Tensor]:
        number, part = divmod(step, _GROUP)
        # in another order each time, or the learning rate would follow the length
        part = (part + number) % _GROUP
        pairs = group(number)[part * batch_size : (part + 1) * batch_size]
        prompts, targets = zip(*pairs, strict=True)
        rows = [p + t for p, t in zip(prompts, targets, strict=True)]
        # whole rows of the matrix units
        length = -(-max(map(len, rows)) // _LENGTH_STEP) * _LENGTH_STEP
        tokens = np.zeros((len(rows), length), np.int64)
        wanted = np.zeros(tokens.shape, bool)
        for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            tokens[i, : len(row)] = row
            wanted[i, len(prompt) : len(row)] = True
        ids = torch.from_numpy(tokens).to(device())
        mask = torch.from_numpy(wanted).to(device())
        # right-padded under a causal mask: no attention mask is needed
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[:, :-1][mask[:, 1:]])
        truth = ids[:, 1:][mask[:, 1:]]
        return {
            "text": F.cross_entropy(logits.float(), truth),
            "_text_right": (logits.argmax(-1) == truth).float().mean(),
        }

    return loss_of
