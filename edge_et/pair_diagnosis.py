"""What a pair takes here: its plan for memory, and where its halves land."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil

from edge_et.config import RuntimeConfig
from edge_et.diagnosis import Finding
from edge_et.errors import EdgeETError, MemoryImpossible
from edge_et.loading import Choice, locate
from edge_et.memory.plan import MIB
from edge_et.memory.planning import least_plan, plan_pair

if TYPE_CHECKING:
    from edge_et.placement import Placement


def diagnose_pair(
    pair: str, extractor: Choice, reasoner: Choice, runtime: RuntimeConfig
) -> Iterator[Finding]:
    """Plan for the pair within what is free now, and load it, if it fits, to see where it lands."""
    try:
        memory = _memory(pair, extractor, reasoner, runtime)
        yield memory
        if memory.data.get("residency") == "all":
            yield from _landed(pair, extractor, reasoner, runtime)
    except EdgeETError as exc:
        yield Finding(name=f"pair {pair}", status="problem", detail=exc.message, fix=exc.hint)


def _memory(pair: str, extractor: Choice, reasoner: Choice, runtime: RuntimeConfig) -> Finding:
    paths = locate("extractor", extractor, pair), locate("reasoner", reasoner, pair)
    on_cpu = replace(runtime, device="cpu", max_memory_bytes=None)
    least = least_plan(*paths, on_cpu)
    free_bytes = psutil.virtual_memory().available
    name = f"memory of {pair}"
    data = {"free_bytes": free_bytes, "least_bytes": least.peak_bytes}
    numbers = f"{free_bytes // MIB:,} MiB free, {-(-least.peak_bytes // MIB):,} MiB are the least"
    try:
        plan = plan_pair(*paths, replace(on_cpu, max_memory_bytes=free_bytes))
    except MemoryImpossible as exc:
        return Finding(
            name=name, status="problem", detail=f"{exc.message}; {numbers}", fix=exc.hint, data=data
        )
    data |= {"residency": plan.residency, "peak_bytes": plan.peak_bytes}
    return Finding(
        name=name,
        status="ok" if plan.residency == "all" else "note",
        detail=f"plan {plan.residency}: {plan.peak_bytes // MIB:,} MiB at most; {numbers}",
        fix=None if plan.residency == "all" else f"--max-memory {free_bytes // MIB}MiB",
        data=data,
    )


def _landed(
    pair: str, extractor: Choice, reasoner: Choice, runtime: RuntimeConfig
) -> Iterator[Finding]:
    from edge_et.extractor import Extractor
    from edge_et.loading import load
    from edge_et.reasoner import Reasoner

    with load(pair, extractor=extractor, reasoner=reasoner, runtime=runtime) as chain:
        eyes, thinker = chain.extractor, chain.reasoner
        if isinstance(eyes, Extractor):
            yield Finding(
                name=f"extractor of {pair}",
                status="ok",
                detail="; ".join(f"{name}: {where}" for name, where in eyes.placements.items()),
                data={name: _counts(where) for name, where in eyes.placements.items()},
            )
        if isinstance(thinker, Reasoner):
            where = thinker.offload
            yield Finding(
                name=f"reasoner of {pair}",
                status="ok",
                detail="on the CPU" if where is None else str(where),
                data={} if where is None else {"gpu_layers": where.layers, "layers": where.of},
            )


def _counts(placement: Placement) -> dict[str, dict[str, int]]:
    return {provider: dict(operators) for provider, operators in placement.nodes.items()}
