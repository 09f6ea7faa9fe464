"""The plan for memory: its order of preference, its limits, its refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from edge_et.cli.options import runtime_config
from edge_et.errors import MemoryImpossible
from edge_et.manifest import ImagePolicy
from edge_et.memory import footprint
from edge_et.memory.footprint import ExtractorFootprint, ReasonerFootprint, image_tokens
from edge_et.memory.plan import MIB, Demand, MemoryPlan, plan_memory

EXTRACTOR = ExtractorFootprint(
    vision_bytes=400 * MIB,
    vision_load_bytes=160 * MIB,
    vision_work_bytes=70 * MIB,
    decoder_bytes=600 * MIB,
    decoder_load_bytes=150 * MIB,
    decoder_bytes_per_row=120_000,
    decoder_bytes_per_score=80,
    kv_bytes_per_token=229_376,
    kv_int8_bytes_per_token=57_344,
    rounding_bytes=8 * MIB,
    row_bytes=4096,
    context_tokens=40_960,
    image_tokens={2: 1485, 3: 2241, 5: 3753, 7: 5265},
    default_max_tiles=5,
    tile_px=384 * 384,
    engine_bytes=30 * MIB,
)
REASONER = ReasonerFootprint(
    weights_bytes=600 * MIB,
    vocabulary_bytes=24 * MIB,
    kv_bytes_per_token=114_688,
    work_bytes=30 * MIB,
    context_tokens=40_960,
    engine_bytes=5 * MIB,
)
DEMAND = Demand(think_tokens=4096, answer_tokens=1024, extraction_tokens=1024, image_px=1_000_000)
BASE = 70 * MIB


def plan(budget_mib: int | None, demand: Demand = DEMAND, **halves) -> MemoryPlan:
    both = {"extractor": EXTRACTOR, "reasoner": REASONER} | halves
    budget_bytes = None if budget_mib is None else budget_mib * MIB
    return plan_memory(
        both["extractor"],
        both["reasoner"],
        base_bytes=BASE,
        demand=demand,
        budget_bytes=budget_bytes,
    )


def test_less_budget_never_means_more_memory_and_the_order_of_preference_holds():
    order, peaks = [], []
    for budget_mib in range(4500, 1300, -20):
        made = plan(budget_mib)
        assert made.peak_bytes <= budget_mib * MIB
        peaks.append(made.peak_bytes)
        key = (made.residency, made.reasoner_context_tokens, made.max_tiles)
        if key not in order:
            order.append(key)
    assert peaks == sorted(peaks, reverse=True)
    residencies = list(dict.fromkeys(residency for residency, _, _ in order))
    assert residencies == ["all", "weights", "reasoner", "one"]
    assert order[0] == ("all", 6656, 5)
    assert order[-1][2] == 2, "fewer tiles come last"


def test_contexts_shrink_before_tiles():
    first = next(p for mib in range(2300, 1300, -10) if (p := plan(mib)).max_tiles != 5)
    before = next(
        p
        for mib in range(2300, 1300, -10)
        if (p := plan(mib)).extractor_context_tokens == 3753 + 128 + 128
    )
    assert before.max_tiles == 5
    assert before.peak_bytes > first.peak_bytes


def test_a_refusal_names_the_smallest_budget_and_that_one_works():
    with pytest.raises(MemoryImpossible) as caught:
        plan(1000)
    assert caught.value.exit_code == 6
    assert caught.value.hint is not None
    least_mib = int(caught.value.hint.split("--max-memory ")[1].split("MiB")[0])
    made = plan(least_mib)
    assert (made.residency, made.max_tiles) == ("one", 2)
    with pytest.raises(MemoryImpossible):
        plan(least_mib - 1)


def test_caches_go_first():
    wanted = replace(DEMAND, cache_bytes=500 * MIB)
    everything = plan(None, wanted)
    assert everything.cache_bytes == 500 * MIB
    tight = plan(everything.peak_bytes // MIB - 1, wanted)
    assert (tight.residency, tight.cache_bytes) == ("all", 0)
    assert tight.peak_bytes == everything.peak_bytes - 500 * MIB


def test_one_graph_never_lies_beside_another():
    made = plan(2100)
    assert made.residency == "one"
    weights = {"vision tower", "extractor's decoder", "reasoner's weights"}
    for phase in made.phases:
        assert len(weights & {line.name for line in phase.lines}) == 1, phase


def test_a_half_alone_takes_nothing_of_the_other():
    eyes, thinker = plan(None, reasoner=None), plan(None, extractor=None)
    assert eyes.reasoner_context_tokens is None
    assert (thinker.extractor_context_tokens, thinker.max_tiles) == (None, None)
    assert [phase.name for phase in thinker.phases] == ["thinking"]
    assert not any("reasoner" in line.name for phase in eyes.phases for line in phase.lines)


def test_the_peak_is_the_sum_that_is_printed():
    made = plan(None)
    text = "\n".join(made.describe())
    assert f"{made.peak_bytes / MIB:,.0f} MiB" in text
    assert all(line.name in text for line in made.peak.lines)


@given(st.integers(900, 5000), st.integers(0, 8192), st.integers(1, 4096), st.integers(1, 12))
def test_a_plan_keeps_to_its_budget_or_is_refused(budget_mib, think, extraction, tiles):
    demand = replace(DEMAND, think_tokens=think, extraction_tokens=extraction, max_tiles=tiles)
    try:
        made = plan(budget_mib, demand)
    except MemoryImpossible:
        return
    assert max(phase.total_bytes for phase in made.phases) <= budget_mib * MIB
    assert made.max_tiles is not None
    assert made.max_tiles <= max(tiles, 2)


def test_image_tokens_of_a_grid_are_a_bound():
    policy = ImagePolicy(
        name="anyres",
        tile_size_px=384,
        patch_size_px=14,
        grid_pinpoints_px=((384, 384), (768, 384), (768, 768), (1152, 384)),
    )
    assert image_tokens(policy) == {
        2: 729 + 27 * 28,
        3: 729 + 54 * 28,
        4: 729 + 81 * 28,
        5: 729 + 54 * 55,
    }


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1.5GiB", 3 * 2**29), ("800MB", 800_000_000), ("512 mib", 2**29), ("1k", 1000), ("7", 7)],
)
def test_sizes(text, size_bytes):
    assert runtime_config("cpu", None, max_memory=text).max_memory_bytes == size_bytes


@pytest.mark.parametrize("text", ["", "much", "-1GiB", "1TiB", "0", "0.0MB", "1.5.2G"])
def test_what_is_no_size(text):
    with pytest.raises(typer.BadParameter):
        runtime_config("cpu", None, max_memory=text)


@pytest.mark.parametrize(("nodes", "patch_bytes"), [(b"MultiHeadAttention", 110_000), (b"", None)])
def test_fused_attention_keeps_no_scores(tmp_path, nodes, patch_bytes):
    graph = tmp_path / "vision.onnx"
    weights = b"MultiHeadAttention" + bytes(100)  # that far behind, it is a weight's bytes
    graph.write_bytes(b"nodes" + nodes + bytes(footprint._NODES_BYTES) + weights)
    found = [footprint._vision_work_bytes(graph, patches) for patches in (729, 1458)]
    if patch_bytes is not None:
        assert found == [729 * patch_bytes, 1458 * patch_bytes]
    else:
        assert found[1] - 2 * found[0] == 2 * 729**2 * 64  # scores grow with the square
