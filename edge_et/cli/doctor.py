"""`edge-et doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from edge_et.cli import options as o
from edge_et.cli.failures import failures
from edge_et.cli.output import print_json

_SIGNS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def doctor(as_json: o.JSON = False, debug: o.DEBUG = False) -> None:
    """Say what works here, and for each problem the command that mends it.

    Exits with 0 when the default pair can answer, else with 1.
    """
    with failures(as_json=as_json, debug=debug):
        from edge_et.diagnosis import diagnose

        findings = []
        for finding in diagnose():
            findings.append(finding)
            if not as_json:
                typer.echo(f"{_SIGNS[finding.status]}  {finding.name}: {finding.detail}")
                if finding.fix:
                    typer.echo(f"{'':<9}mend it: {finding.fix}")
        usable = all(finding.status != "problem" for finding in findings)
        if as_json:
            print_json({"usable": usable, "findings": [asdict(f) for f in findings]})
        raise typer.Exit(0 if usable else 1)
