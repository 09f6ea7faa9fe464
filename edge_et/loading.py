"""From names of the registry, or paths, to a chain."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edge_et.chain import Chain
from edge_et.config import GenerationConfig, RuntimeConfig
from edge_et.device_profile import DeviceProfile, Setting, wants_handoff
from edge_et.extractor import Extractor
from edge_et.memory.planning import LARGEST_IMAGE_PX, plan_pair
from edge_et.memory.residency import Residency
from edge_et.reasoner import Reasoner
from edge_et.registry import DEFAULT_PAIR, ModelRecord, registry
from edge_et.store import Store
from edge_et.threads import usable_threads

Half = Literal["extractor", "reasoner"]
Choice = str | os.PathLike[str] | None


def load(
    pair: str = DEFAULT_PAIR,
    *,
    extractor: Choice = None,
    reasoner: Choice = None,
    runtime: RuntimeConfig | None = None,
    only: Half | None = None,
    largest: GenerationConfig | None = None,
    image_px: int = LARGEST_IMAGE_PX,
) -> Chain:
    """Load a pair of the registry; `extractor` (a folder, or a name of the registry) or `reasoner`
    (a folder, a GGUF file, or a name) replaces that half. A path that exists goes before a name.
    `only` loads one half, for `extract` or `think` alone. Nothing is fetched.
    `largest` and `image_px` (height x width): the largest call that `runtime.max_memory_bytes` must
    hold for; later calls are kept to its contexts and tiles, and their images are refused when they
    are larger.

    Raises UnknownModel, MissingArtifact (with the command that pulls or exports it), BadManifest,
    ChecksumMismatch, DeviceUnavailable, LoadFailed, MissingDependency, MemoryImpossible.
    """
    runtime = runtime or RuntimeConfig()
    extractor_path = locate("extractor", extractor, pair) if only != "reasoner" else None
    reasoner_path = locate("reasoner", reasoner, pair) if only != "extractor" else None
    plan = None
    if runtime.max_memory_bytes is not None:
        plan = plan_pair(extractor_path, reasoner_path, runtime, largest, image_px)
        runtime = replace(runtime, device="cpu", cache_bytes=plan.cache_bytes)
    eyes = None
    if extractor_path is not None:
        eyes = Extractor.load(extractor_path, runtime, plan)
    residency = None if plan is None else Residency(plan=plan, extractor=eyes)
    if residency is not None:
        residency.extracted()
    try:
        thinker = None
        if reasoner_path is not None:
            thinker = Reasoner.load(reasoner_path, runtime, plan)
    except BaseException:
        if eyes is not None:
            eyes.close()
        raise
    if residency is not None:
        residency = replace(residency, reasoner=thinker)
        residency.thought()
    names = [_name("extractor", extractor, pair), _name("reasoner", reasoner, pair)]
    chain = Chain(
        eyes,
        thinker,
        pair="+".join(dict.fromkeys(names)),
        suppress_reflexive=not reasoner and registry().pair(pair).suppress_reflexive,
        residency=residency,
        # measured for the pair as it is, not for a half of it beside another
        focus="question" if extractor or reasoner else registry().pair(pair).focus,
    )
    # both halves at work at once: only where the plan for memory keeps both
    together = residency is None or residency.plan.residency == "all"
    chain.handoff = together and _handoff(chain, runtime)
    return chain


def setting_of(chain: Chain) -> Setting | None:
    """Return what a measurement of this chain is kept under; None for half a chain."""
    eyes, thinker = chain.extractor, chain.reasoner
    if not isinstance(eyes, Extractor) or not isinstance(thinker, Reasoner):
        return None
    return Setting(
        pair=chain.pair,
        extractor_device=eyes.device,
        reasoner_device=thinker.device,
        extractor_threads=eyes.threads,
        reasoner_threads=thinker.threads,
        usable_threads=usable_threads(),
    )


def _handoff(chain: Chain, runtime: RuntimeConfig) -> bool:
    setting = setting_of(chain)
    if setting is None or runtime.handoff != "auto":
        return setting is not None and runtime.handoff == "on"
    return wants_handoff(setting, DeviceProfile())


def locate(half: Half, choice: Choice, pair: str) -> Path:
    """Return where a half lies: the pair's own, or what `choice` names. Raises as `load` does."""
    if not choice:
        record: ModelRecord = getattr(registry().pair(pair), half)
        return Store().locate(record, pair=pair)
    named = _record(half, choice)
    return Path(choice) if named is None else Store().locate(named)


def _record(half: Half, choice: str | os.PathLike[str]) -> ModelRecord | None:
    """Return what `choice` names, unless it is a path of something."""
    known = registry()
    models = known.extractors if half == "extractor" else known.reasoners
    return None if Path(choice).exists() else models.get(os.fspath(choice))


def _name(half: Half, choice: Choice, pair: str) -> str:
    if not choice:
        return pair
    if named := _record(half, choice):
        return named.name
    return Path(choice).name if half == "extractor" else Path(choice).stem
