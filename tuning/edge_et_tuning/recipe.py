"""The starter pair from a seed: tokenizer, scenes, tower, reasoner, projector, everything.

Each phase resumes from its checkpoint, so running the recipe again after a kill goes on.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_et_tuning.training import Schedule

if TYPE_CHECKING:
    from transformers import (
        LlavaOnevisionForConditionalGeneration,
        PreTrainedTokenizerFast,
        Qwen3ForCausalLM,
    )

Half = Literal["extractor", "reasoner"]
HALVES: tuple[Half, ...] = ("extractor", "reasoner")

log = logging.getLogger(__name__)

FIRST_TRAINING_SEED = 1_000_000
CORPUS_SEED = 50_000_000
SECOND_SEED, THIRD_SEED, FOURTH_SEED, FIFTH_SEED = 10_000_000, 20_000_000, 30_000_000, 60_000_000
"""Of the examples of the reasoner's later phases."""
VOCAB_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How much of each phase; the defaults of `STARTER` made the shipped pair."""

    tower: Schedule
    reasoner: Schedule
    turned: Schedule
    projector: Schedule
    everything: Schedule
    hardest: Schedule
    nearest: Schedule
    places: Schedule
    reasoner_places: Schedule
    sizes: Schedule
    looks: Schedule
    scenes: int
    corpus_scenes: int = 6000
    """Scenes whose texts the tokenizer is trained on."""
    seed: int = 0


STARTER = Recipe(
    tower=Schedule(steps=1400, batch_size=48, peak_lr=3e-3),
    reasoner=Schedule(steps=3200, batch_size=48, peak_lr=3e-3),
    turned=Schedule(steps=520, batch_size=48, peak_lr=1e-3),
    projector=Schedule(steps=240, batch_size=32, peak_lr=3e-3),
    everything=Schedule(steps=3800, batch_size=32, peak_lr=2e-3),
    hardest=Schedule(steps=1700, batch_size=32, peak_lr=1.2e-3),
    nearest=Schedule(steps=620, batch_size=32, peak_lr=8e-4),
    places=Schedule(steps=2600, batch_size=32, peak_lr=1.5e-3),
    reasoner_places=Schedule(steps=2400, batch_size=48, peak_lr=1.5e-3),
    sizes=Schedule(steps=640, batch_size=48, peak_lr=8e-4),
    # the shipped one had the rate of a phase of 450 steps up to step 200
    looks=Schedule(steps=260, batch_size=48, peak_lr=8e-4),
    scenes=90_000,
)
QUICK = Recipe(
    tower=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    reasoner=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    turned=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    projector=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    everything=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    hardest=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    nearest=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    places=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    reasoner_places=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    sizes=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    looks=Schedule(steps=3, batch_size=4, peak_lr=1e-3),
    scenes=500,
    corpus_scenes=300,
)


def make_pair(
    folder: Path, recipe: Recipe, *, halves: tuple[Half, ...] = HALVES, compiled: bool = False
) -> list[Path]:
    """Train the `halves` under `folder`; return their checkpoint folders.

    Neither half needs the other, so two processes may make one each, a thread apiece: that is
    faster than both threads on one. `compiled` has the blocks compiled first (a minute, and a C++
    compiler), for twice the speed.
    """
    import torch

    from edge_et_tuning.models import build_extractor, build_reasoner
    from edge_et_tuning.tokenizer import IM_END, load_tokenizer

    ensure_tokenizer(folder / "tokenizer", recipe)
    tokenizer = load_tokenizer(folder / "tokenizer")
    stop_id = tokenizer.convert_tokens_to_ids(IM_END)
    done = []
    if "extractor" in halves:
        torch.manual_seed(recipe.seed)
        extractor = build_extractor(
            vocab_size=VOCAB_ROWS,
            image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
            stop_token_id=stop_id,
        )
        train_extractor(folder, recipe, extractor, tokenizer, compiled=compiled)
        done.append(save_extractor(folder / "extractor", extractor, folder / "tokenizer"))
    if "reasoner" in halves:
        torch.manual_seed(recipe.seed)
        reasoner = build_reasoner(vocab_size=VOCAB_ROWS, stop_token_id=stop_id)
        train_reasoner(folder, recipe, reasoner, tokenizer, compiled=compiled)
        done.append(save_reasoner(folder / "reasoner", reasoner, folder / "tokenizer"))
    return done


def ensure_tokenizer(folder: Path, recipe: Recipe) -> None:
    """Make the tokenizer where it is missing. Two processes at once make the same one."""
    from edge_et_tuning.tokenizer import train_tokenizer

    if folder.exists():
        return
    beside = folder.with_name(f"tokenizer.part-{os.getpid()}")
    train_tokenizer(beside, seed=CORPUS_SEED, scenes=recipe.corpus_scenes)
    try:
        beside.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(beside)


def train_reasoner(
    folder: Path,
    recipe: Recipe,
    reasoner: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    compiled: bool,
) -> None:
    from edge_et_tuning.reasoner_data import EVENLY, PLACES, SIZES
    from edge_et_tuning.reasoner_training import reasoner_loss
    from edge_et_tuning.training import prepare, run_phase

    prepare(reasoner, blocks=reasoner.model, compiled=compiled)
    for name, schedule, first_seed, turned_share, practised, looked_share in (
        ("1-traces", recipe.reasoner, 0, 0.0, EVENLY, 0.0),
        ("2-turned", recipe.turned, SECOND_SEED, 0.2, EVENLY, 0.0),
        ("3-places", recipe.reasoner_places, THIRD_SEED, 0.25, PLACES, 0.0),
        ("4-sizes", recipe.sizes, FOURTH_SEED, 0.2, SIZES, 0.0),
        ("5-looks", recipe.looks, FIFTH_SEED, 0.2, SIZES, 0.35),
    ):
        run_phase(
            f"reasoner-{name}",
            folder,
            {"reasoner": reasoner},
            reasoner_loss(
                reasoner,
                tokenizer,
                batch_size=schedule.batch_size,
                first_seed=first_seed,
                turned_share=turned_share,
                practised=practised,
                looked_share=looked_share,
            ),
            schedule,
        )


def train_extractor(
    folder: Path,
    recipe: Recipe,
    extractor: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    *,
    compiled: bool,
) -> None:
    """Run the six phases in order; finished ones only load their weights."""
    from edge_et_tuning.extraction_data import EVERYTHING, HARDEST, NEAREST, PLACES
    from edge_et_tuning.extractor_training import extractor_loss
    from edge_et_tuning.pool import open_pool
    from edge_et_tuning.tower import PatchHeads, tower_loss
    from edge_et_tuning.training import device, prepare, run_phase

    tower = extractor.model.vision_tower
    prepare(extractor, blocks=extractor.model.language_model, compiled=compiled)
    prepare(tower, blocks=tower, compiled=compiled)
    heads = PatchHeads(tower.config.hidden_size).to(device())
    log.info("drawing %d scenes where they are missing", recipe.scenes)
    pool = open_pool(folder / "pool", first_seed=FIRST_TRAINING_SEED, scenes=recipe.scenes)
    run_phase(
        "extractor-1-tower",
        folder,
        {"tower": tower, "heads": heads},
        tower_loss(tower, heads, pool, batch_size=recipe.tower.batch_size),
        recipe.tower,
    )
    for phase, name, schedule, practised in (
        (2, "projector", recipe.projector, EVERYTHING),
        (3, "everything", recipe.everything, EVERYTHING),
        (4, "hardest", recipe.hardest, HARDEST),
        (5, "nearest", recipe.nearest, NEAREST),
        (6, "places", recipe.places, PLACES),
    ):
        train_tower = name != "projector"
        tower.requires_grad_(train_tower)
        run_phase(
            f"extractor-{phase}-{name}",
            folder,
            {"extractor": extractor, "heads": heads},
            extractor_loss(
                extractor,
                heads,
                tokenizer,
                pool,
                batch_size=schedule.batch_size,
                phase=phase,
                train_tower=train_tower,
                practised=practised,
            ),
            schedule,
        )


def save_extractor(
    out: Path, model: LlavaOnevisionForConditionalGeneration, tokenizer_folder: Path
) -> Path:
    """Write the extractor as an ordinary checkpoint folder, processor files included."""
    from transformers import LlavaOnevisionImageProcessor

    model.save_pretrained(out)
    side = model.config.vision_config.image_size
    LlavaOnevisionImageProcessor(
        size={"height": side, "width": side},
        image_grid_pinpoints=model.config.image_grid_pinpoints,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(out)
    _copy_tokenizer(tokenizer_folder, out)
    return out


def save_reasoner(out: Path, model: Qwen3ForCausalLM, tokenizer_folder: Path) -> Path:
    model.save_pretrained(out)
    _copy_tokenizer(tokenizer_folder, out)
    # Trained on traces without a detour, so its best answer is its likeliest one.
    settings = {
        "do_sample": False,
        "eos_token_id": model.config.eos_token_id,
        "says_missing": True,  # for the manifest: it needs no telling
    }
    (out / "generation_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return out


def _copy_tokenizer(source: Path, out: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (out / name).write_bytes((source / name).read_bytes())
