"""Jobs -> runs: each in a fresh process, in shuffled order, one after the other."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import product
from typing import Any, Literal
from uuid import uuid4

from edge_et.errors import BackendError, MissingDependency
from edge_et_bench.record_files import run_of
from edge_et_bench.records import Configuration, Run, Workload
from edge_et_bench.worker import Job

_WORKER = "edge_et_bench.worker"
_NEEDED = ("onnx", "scipy")
"""What a run and its summary import, of the extra `bench`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every configuration on every workload, `rounds` times."""

    configurations: tuple[Configuration, ...]
    workloads: tuple[Workload, ...]
    rounds: int = 1
    """Processes for each: loads are only as many as these."""
    order_seed: int = 0
    page_cache: Literal["cold", "warm"] = "warm"
    measure_ceiling: bool = True
    quality_data: str | None = None
    """Asked once for each configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    job: Job
    number: int
    """Of the job, from 1."""
    of: int
    doing: str
    done: int
    todo: int


class WorkerFailed(BackendError):
    """A worker's own error, passed on with its code."""

    def __init__(self, message: str, *, hint: str | None, code: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.code, self.exit_code = code, exit_code  # type: ignore[misc]  # of the instance


def plan_jobs(plan: Plan) -> list[Job]:
    """Return the jobs in the order to run them: round by round, shuffled inside each, so that what
    drifts on the machine falls on all alike."""
    order, jobs = random.Random(plan.order_seed), []
    for number in range(plan.rounds):
        batch = [
            Job(
                run_id=uuid4().hex[:12],
                round=number,
                configuration=configuration,
                workload=workload,
                page_cache=plan.page_cache,
                measure_ceiling=plan.measure_ceiling,
                quality_data=plan.quality_data if first and number == 0 else None,
            )
            for configuration, (first, workload) in product(
                plan.configurations, _marked(plan.workloads)
            )
        ]
        order.shuffle(batch)
        jobs += batch
    return jobs


def _raise(_: Job, error: WorkerFailed) -> None:
    raise error


def run_plan(
    plan: Plan,
    told: Callable[[Progress], None] = lambda _: None,
    failed: Callable[[Job, WorkerFailed], None] = _raise,
) -> tuple[Run, ...]:
    """Run all jobs; return the runs in the order of the plan, not of the clock.

    Raises WorkerFailed with the first job that fails, unless `failed` takes it, and
    MissingDependency before the first one.
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            raise MissingDependency(
                f"a benchmark needs {name}, which is not installed",
                hint='pip install "edge-et[bench]"',
            )
    jobs = plan_jobs(plan)
    runs = []
    for number, job in enumerate(jobs, 1):
        start = Progress(job=job, number=number, of=len(jobs), doing="start", done=0, todo=1)
        try:
            runs.append(run_job(job, _teller(start, told)))
        except WorkerFailed as exc:
            failed(job, exc)
    labels = [configuration.label for configuration in plan.configurations]
    names = [workload.name for workload in plan.workloads]
    return tuple(
        sorted(
            runs,
            key=lambda run: (
                names.index(run.workload.name), labels.index(run.configuration.label), run.round
            ),
        )
    )  # fmt: skip


def run_job(job: Job, told: Callable[[str, int, int], None]) -> Run:
    """Run a job in a process of its own. Raises WorkerFailed."""
    run = None
    with subprocess.Popen(
        [sys.executable, "-m", _WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died: its exit code says more
                process.stdin.write(json.dumps(asdict(job)))
                process.stdin.close()
            run = _follow(_events(process), told)
        except BaseException:
            process.kill()
            raise
    code = process.returncode
    if run is None:
        raise WorkerFailed(
            f"the process of {job.configuration.label} on {job.workload.name} ended with "
            f"{code} before its run was whole",
            hint="was it killed for its memory? What it said stands above",
            code=BackendError.code,
            exit_code=BackendError.exit_code,
        )
    return run


def _events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def _follow(events: Iterator[dict[str, Any]], told: Callable[[str, int, int], None]) -> Run | None:
    run = None
    for event in events:
        if event["event"] == "progress":
            told(event["doing"], event["done"], event["of"])
        elif event["event"] == "error":
            raise WorkerFailed(
                event["message"],
                hint=event["hint"],
                code=event["code"],
                exit_code=event["exit_code"],
            )
        else:
            run = run_of(event["run"], "the worker's run")
    return run


def _teller(start: Progress, told: Callable[[Progress], None]) -> Callable[[str, int, int], None]:
    return lambda doing, done, todo: told(replace(start, doing=doing, done=done, todo=todo))


def _marked(workloads: Sequence[Workload]) -> list[tuple[bool, Workload]]:
    """Mark the first."""
    return [(index == 0, workload) for index, workload in enumerate(workloads)]
