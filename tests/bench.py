"""Benchmark records made by hand, and an adapter that answers at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from edge_et_bench.adapters import Request
from edge_et_bench.records import (
    Ceiling,
    Configuration,
    Demand,
    Environment,
    Load,
    Memory,
    MemoryPoint,
    Outcome,
    Part,
    Run,
    Sample,
    Stage,
    Used,
    Workload,
)

WORKLOAD = Workload(name="hand", summary="made by hand", image="a.png", question="What?")


def outcome(total_s: float = 1.0, *, answer: str = "red") -> Outcome:
    """Half of the time in vision, a quarter in the answer, the rest in nothing that is named."""
    return Outcome(
        stages=(
            Stage(name="vision", seconds=total_s / 2, tokens=100, steps=2),
            Stage(name="answer_decode", seconds=total_s / 4, tokens=10, steps=10),
            Stage(name="other", seconds=total_s / 4),
        ),
        total_s=total_s,
        answer=answer,
        ttfa_s=total_s * 0.8,
    )


def environment(cpu: str = "a processor") -> Environment:
    return Environment(
        cpu=cpu,
        usable_cores=2,
        governor=None,
        ram_bytes=8_000_000_000,
        gpus=(),
        os="Linux",
        python="3.11",
        versions={"edge-et": "0.1.0"},
        commit=None,
    )


def run_of(
    totals_s: Sequence[float],
    *,
    label: str = "starter",
    workload: Workload = WORKLOAD,
    run_id: str = "r0",
    cpu: str = "a processor",
    number: int = 0,
) -> Run:
    return Run(
        run_id=run_id,
        started_at="2026-01-01T00:00:00+00:00",
        round=number,
        environment=environment(cpu),
        configuration=Configuration(label=label),
        used=Used(
            name="starter",
            devices={"extractor": "cpu"},
            threads={"extractor": 2},
            parts=(
                Part(role="decoder", path="d", precision="int8", sha256="ab" * 32, size_bytes=1),
            ),
        ),
        workload=workload,
        load=Load(seconds=0.5, page_cache="warm", resident_fraction=None),
        memory=Memory(
            baseline_bytes=50_000_000,
            peak_bytes=150_000_000,
            peak_anonymous_bytes=None,
            peak_file_bytes=None,
            peak_gpu_bytes=None,
            load_peak_bytes=100_000_000,
            timeline=(
                MemoryPoint(
                    at_s=0.1,
                    rss_bytes=100_000_000,
                    anonymous_bytes=60_000_000,
                    file_bytes=40_000_000,
                    gpu_bytes=None,
                ),
            ),
        ),
        ceilings=(
            Ceiling(
                threads=2, read_bytes_per_s=1e9, macs_per_s={"fp32": 1e9, "int8": 4e9}, method="-"
            ),
        ),
        demands=(
            Demand(stage="answer_decode", threads=2, bytes_per_step=10_000_000, macs_per_token=1),
            Demand(stage="vision", threads=2, macs_per_step=100_000_000),
        ),
        quality=None,
        idle_watts=None,
        samples=tuple(
            Sample(
                run_id=run_id,
                repeat=repeat,
                outcome=outcome(total_s),
                stage_peaks_bytes={"vision": 120_000_000},
                energy_joules=None,
                others_share=0.25,
            )
            for repeat, total_s in enumerate(totals_s)
        ),
    )


class FakeAdapter:
    """Answers "red" to everything; the load takes as long as the configuration's option says."""

    def __init__(self, configuration: Configuration) -> None:
        self._options = configuration.options or {}
        self.requests: list[Request] = []
        self.closed = False

    def files(self) -> tuple[Path, ...]:
        return ()

    def load(self) -> None:
        time.sleep(float(self._options.get("load_s", 0)))

    def used(self) -> Used:
        return Used(name="fake", devices={}, threads={}, parts=())

    def ask(self, request: Request) -> Outcome:
        self.requests.append(request)
        return outcome(0.01)

    def demands(self, outcome: Outcome) -> tuple[Demand, ...]:
        return ()

    def close(self) -> None:
        self.closed = True
