"""`stratpanel doctor`: what on this machine would hurt a strategy that runs all day, and the command that mends it.

Run by the command line, with nothing of ours alive; it starts nothing and changes nothing. Standard library, our own
parts that are the same, and rich only to print. Each check looks through `Machine`, so that tests can build one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TextIO

from stratpanel.doctor.finding import Finding, Level
from stratpanel.doctor.machine import Machine

__all__ = ["Finding", "Level", "Machine", "examine", "run"]


def examine(workspace: Path | None, machine: Machine | None = None) -> list[Finding]:
    """All findings, those of the machine first. A check that fails itself is a finding too."""
    from stratpanel.doctor import house, killers, limits, software

    machine = machine or Machine()
    found: list[Finding] = []
    checks = [*limits.CHECKS, *killers.CHECKS, *software.CHECKS]
    for check in checks:
        try:
            found += check(machine)
        except (OSError, ValueError, KeyError) as error:  # a kernel that answers in another form than we know
            found.append(Finding(check.__name__, Level.NOTE, f"could not be looked at: {error}"))
    if workspace is not None:
        found += house.examine(workspace, machine)
    return found


def run(workspace: Path | None, *, as_json: bool, out: TextIO = sys.stdout) -> int:
    """Print the findings and the scaling table; 1 when something is wrong, else 0 (warnings and notes are 0)."""
    from stratpanel.doctor import report

    machine = Machine()
    found = examine(workspace, machine)
    if as_json:
        json.dump(report.to_json(found, machine), out, indent=2)
        out.write("\n")
    else:
        report.show(found, machine, workspace, out)
    return 1 if any(finding.level is Level.ERROR for finding in found) else 0
