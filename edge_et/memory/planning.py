"""From the files of a pair to its plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge_et import llama_library, ort
from edge_et.config import GenerationConfig, RuntimeConfig
from edge_et.errors import InputError
from edge_et.gguf_header import read_header
from edge_et.manifest import ExtractorManifest, read_manifest
from edge_et.memory import footprint, measure
from edge_et.memory.footprint import ExtractorFootprint, ReasonerFootprint
from edge_et.memory.plan import Demand, MemoryPlan, plan_least, plan_memory
from edge_et.parts import graph_parts
from edge_et.reasoner import find_file

LARGEST_IMAGE_PX = 12_000_000
"""Height x width that is planned for when nothing else is asked for: a telephone's photograph."""


def plan_pair(
    extractor: Path | None,
    reasoner: Path | None,
    runtime: RuntimeConfig,
    largest: GenerationConfig | None = None,
    image_px: int = LARGEST_IMAGE_PX,
) -> MemoryPlan:
    """Plan for the halves at these paths; what the process holds already is counted.

    Raises MemoryImpossible; InputError for another device than the CPU; and what reading the
    manifests raises.
    """
    if runtime.max_memory_bytes is not None and runtime.device == "cuda":
        raise InputError(
            "a budget of memory is planned for the CPU only", hint="take --device cpu as well"
        )
    eyes, thinker = _footprints(extractor, reasoner, runtime)
    return plan_memory(
        eyes,
        thinker,
        base_bytes=measure.resident_bytes(),
        demand=_demand(
            largest or GenerationConfig(),
            image_px,
            cache_bytes=0 if eyes is None else runtime.cache_bytes,
        ),
        budget_bytes=runtime.max_memory_bytes,
    )


def least_plan(extractor: Path | None, reasoner: Path | None, runtime: RuntimeConfig) -> MemoryPlan:
    """Return the plan that takes least; its peak is the smallest budget that works."""
    eyes, thinker = _footprints(extractor, reasoner, runtime)
    demand = _demand(GenerationConfig(), LARGEST_IMAGE_PX, cache_bytes=0)
    return plan_least(eyes, thinker, base_bytes=measure.resident_bytes(), demand=demand)


def _footprints(
    extractor: Path | None, reasoner: Path | None, runtime: RuntimeConfig
) -> tuple[ExtractorFootprint | None, ReasonerFootprint | None]:
    """Return what the files say; both engines are in memory afterwards."""
    eyes = thinker = None
    if extractor is not None:
        ort.runtime()
        manifest = read_manifest(extractor, ExtractorManifest)
        on_cpu = replace(runtime, device="cpu")
        eyes = footprint.of_extractor(extractor, manifest, graph_parts(manifest, on_cpu))
    if reasoner is not None:
        llama_library.runtime()
        thinker = footprint.of_reasoner(read_header(find_file(reasoner)[0]))
    return eyes, thinker


def _demand(largest: GenerationConfig, image_px: int, *, cache_bytes: int) -> Demand:
    return Demand(
        think_tokens=largest.think_tokens if largest.thinks else 0,
        answer_tokens=largest.answer_tokens,
        extraction_tokens=largest.extraction_budget_tokens,
        max_tiles=largest.max_tiles,
        image_px=image_px,
        cache_bytes=cache_bytes,
    )
