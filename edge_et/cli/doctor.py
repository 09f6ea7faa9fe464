"""`edge-et doctor`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from edge_et.cli import options as o
from edge_et.cli.failures import failures
from edge_et.cli.output import print_json

if TYPE_CHECKING:
    from edge_et.config import RuntimeConfig

_SIGNS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def doctor(
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="Measure instead whether the handoff pays for a pair, and remember it."
        ),
    ] = False,
    pair: o.PAIR = "starter",
    extractor: o.EXTRACTOR = None,
    reasoner: o.REASONER = None,
    device: o.DEVICE = "auto",
    threads: o.THREADS = None,
    gpu_layers: o.GPU_LAYERS = "auto",
    as_json: o.JSON = False,
    debug: o.DEBUG = False,
) -> None:
    """Say what works here, and for each problem the command that mends it.

    The pair is planned for within the memory that is free now, and loaded, to see where it lands.
    Exits with 0 when the pair can answer, else with 1.
    """
    with failures(as_json=as_json, debug=debug):
        if tune:
            # it asks the same of the same picture again and again
            runtime = replace(o.runtime_config(device, threads), cache_bytes=0)
            _tune(pair, extractor, reasoner, runtime, as_json=as_json)
            return
        from itertools import chain

        from edge_et.diagnosis import diagnose
        from edge_et.pair_diagnosis import diagnose_pair

        findings = []
        runtime = o.runtime_config(device, threads, gpu_layers=gpu_layers)
        for finding in chain(diagnose(), diagnose_pair(pair, extractor, reasoner, runtime)):
            findings.append(finding)
            if not as_json:
                typer.echo(f"{_SIGNS[finding.status]}  {finding.name}: {finding.detail}")
                if finding.fix:
                    typer.echo(f"{'':<9}mend it: {finding.fix}")
        usable = all(finding.status != "problem" for finding in findings)
        if as_json:
            print_json({"usable": usable, "findings": [asdict(f) for f in findings]})
        raise typer.Exit(0 if usable else 1)


def _tune(
    pair: str,
    extractor: str | None,
    reasoner: str | None,
    runtime: RuntimeConfig,
    *,
    as_json: bool,
) -> None:
    import edge_et
    from edge_et.device_profile import DeviceProfile
    from edge_et.tune import tune

    profile = DeviceProfile()
    with edge_et.load(pair, extractor=extractor, reasoner=reasoner, runtime=runtime) as chain:
        found = tune(chain, profile)
        name = chain.pair
    if as_json:
        print_json({"pair": name} | asdict(found) | {"kept_in": str(profile.path)})
        return
    typer.echo(
        f"{name}: {found.on_s:.2f} s with the handoff, {found.off_s:.2f} s without "
        f"(medians of {found.repeats}): {'on' if found.handoff else 'off'} from now on"
    )
    typer.echo(f"kept in {profile.path}")
