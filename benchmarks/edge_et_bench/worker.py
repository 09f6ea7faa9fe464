"""One run in a process of its own: `python -m edge_et_bench.worker`.

Reads a Job as JSON from stdin and writes events to stdout, a JSON object a line: {"event":
"progress", "doing", "done", "of"} as it goes, at the end {"event": "run", "run"} or {"event":
"error", "code", "message", "hint", "exit_code"}. What a runtime prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from edge_et.errors import EdgeETError
from edge_et.plain import build
from edge_et_bench import page_cache
from edge_et_bench.adapters import Adapter, make_adapter
from edge_et_bench.records import (
    Ceiling,
    Configuration,
    Load,
    Quality,
    Run,
    Sample,
    Used,
    Workload,
)

if TYPE_CHECKING:
    from edge_et_bench.energy import Counters
    from edge_et_bench.memory import Sampler

Told = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    run_id: str
    round: int
    configuration: Configuration
    workload: Workload
    page_cache: Literal["cold", "warm"] = "warm"
    measure_ceiling: bool = True
    quality_data: str | None = None
    """File for `quality.judge`; None: no questions of quality are asked."""


def perform(job: Job, told: Told) -> Run:
    """Run the job in this process; only a fresh one gives numbers that mean something."""
    from edge_et_bench import energy, environment
    from edge_et_bench.memory import Sampler

    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    adapter = make_adapter(job.configuration)
    counters = energy.Counters()
    idle_watts = counters.idle_watts()
    resident_fraction = _prepare_cache(job, adapter.files())
    sampler = Sampler()
    told("load", 0, 1)
    sampler.start()
    try:
        started_s = time.perf_counter()
        adapter.load()
        load = Load(
            seconds=time.perf_counter() - started_s,
            page_cache=job.page_cache,
            resident_fraction=resident_fraction,
        )
        loaded_s = sampler.now_s()
        samples = _repeats(job, adapter, sampler, counters, told)
        sampler.stop()  # what follows is measuring, not the workload
        used = adapter.used()
        return Run(
            run_id=job.run_id,
            started_at=started_at,
            round=job.round,
            environment=environment.describe(),
            configuration=job.configuration,
            used=used,
            workload=job.workload,
            load=load,
            memory=sampler.summary(loaded_s=loaded_s),
            ceilings=_ceilings(job, used, told),
            demands=adapter.demands(samples[-1].outcome),
            quality=_quality(job, adapter, told),
            idle_watts=idle_watts,
            samples=samples,
        )
    finally:
        sampler.stop()
        adapter.close()


def _prepare_cache(job: Job, files: tuple[Path, ...]) -> float | None:
    """Warm or drop the model files; return how much of them then lies in the page cache."""
    if job.page_cache == "warm":
        page_cache.warm(files)
    else:
        page_cache.drop(files)
    return page_cache.resident_fraction(files)


def _repeats(
    job: Job, adapter: Adapter, sampler: Sampler, counters: Counters, told: Told
) -> tuple[Sample, ...]:
    from edge_et_bench.busy import Others
    from edge_et_bench.workloads import request_of

    workload, request, samples = job.workload, request_of(job.workload), []
    for count in range(workload.warmup):
        told("warm-up", count, workload.warmup)
        adapter.ask(request)
    for repeat in range(workload.repeats):
        told("repeats", repeat, workload.repeats)
        time.sleep(workload.delay_s)
        others, energy_before, from_s = Others(), counters.read(), sampler.now_s()
        outcome = adapter.ask(request)
        samples.append(
            Sample(
                run_id=job.run_id,
                repeat=repeat,
                outcome=outcome,
                stage_peaks_bytes=sampler.stage_peaks(from_s, outcome),
                energy_joules=counters.since(energy_before),
                others_share=others.share(),
            )
        )
    return tuple(samples)


def _ceilings(job: Job, used: Used, told: Told) -> tuple[Ceiling, ...]:
    """Measure the CPU with each number of threads that a half used there."""
    threads = {used.threads[h] for h, d in used.devices.items() if d == "cpu" and h in used.threads}
    if not job.measure_ceiling or not threads:
        return ()
    from edge_et_bench import ceiling

    told("ceiling", 0, 1)
    return tuple(ceiling.measure(count) for count in sorted(threads))


def _quality(job: Job, adapter: Adapter, told: Told) -> Quality | None:
    if job.quality_data is None:
        return None
    from edge_et_bench import quality

    return quality.judge(
        adapter,
        Path(job.quality_data),
        seed=job.workload.seed,
        told=lambda done, of: told("quality", done, of),
    )


def _private_stdout() -> TextIO:
    """Keep stdout for the events: what runtimes print from C goes to stderr from here on."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def main() -> None:
    events = _private_stdout()

    def tell(event: str, **fields: Any) -> None:
        events.write(json.dumps({"event": event} | fields, ensure_ascii=False) + "\n")
        events.flush()

    try:
        job = build(Job, json.loads(sys.stdin.read()), "job")
        run = perform(job, lambda doing, done, of: tell("progress", doing=doing, done=done, of=of))
    except EdgeETError as exc:
        tell("error", code=exc.code, message=exc.message, hint=exc.hint, exit_code=exc.exit_code)
        raise SystemExit(exc.exit_code) from exc
    tell("run", run=asdict(run))


if __name__ == "__main__":
    main()
