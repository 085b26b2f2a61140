"""Versions of what we stand on: Python, kernel, SQLite, our dependencies; what each lack costs."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sqlite3
import sys
from collections.abc import Callable

from stratpanel import __version__
from stratpanel.doctor.finding import Finding, Level
from stratpanel.doctor.machine import Machine

PYTHON_LEAST, PYTHON_BELOW = (3, 11), (3, 14)
KERNEL_PIDFD = (5, 4)  # pidfd_open 5.3, P_PIDFD 5.4
KERNEL_EXIT_INFO = (6, 15)  # PIDFD_GET_INFO tells the exit status of a process that is not our child


def versions(machine: Machine) -> list[Finding]:
    """Python and SQLite."""
    python = platform.python_version()
    found = [
        Finding("versions", Level.GOOD, f"stratpanel {__version__}, Python {python}, SQLite {sqlite3.sqlite_version}")
    ]
    if not PYTHON_LEAST <= sys.version_info[:2] < PYTHON_BELOW:
        found.append(
            Finding("Python", Level.WARNING, f"Python {python} is not one we test", "use Python 3.11, 3.12 or 3.13")
        )
    return found


def kernel(machine: Machine) -> list[Finding]:
    """What the kernel can do for exact stops and exit codes."""
    if not machine.is_linux:
        says = f"{platform.system()}: no subreaper, no splice; what survives which death is weaker here"
        return [Finding("kernel", Level.WARNING, says, "run live strategies on Linux")]
    release = platform.release()
    match = re.match(r"(\d+)\.(\d+)", release)
    known = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
    if known < KERNEL_PIDFD:
        says = f"Linux {release} has no pidfds: signals go by number after a check of the start time"
        return [Finding("kernel", Level.WARNING, says, "use Linux 5.4 or newer")]
    if known < KERNEL_EXIT_INFO:
        says = f"Linux {release}: an exit code is unknown when launcher and runner both died before it (6.15 tells it)"
        return [Finding("kernel", Level.NOTE, says)]
    return [Finding("kernel", Level.GOOD, f"Linux {release}, with pidfd exit information")]


def packages(machine: Machine) -> list[Finding]:
    """Every package we depend on is there, by its metadata: nothing is imported."""
    try:
        wanted = importlib.metadata.requires("stratpanel") or []
    except importlib.metadata.PackageNotFoundError:
        return [Finding("packages", Level.NOTE, "stratpanel runs from a folder without being installed")]
    missing = []
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name is None or "extra ==" in requirement:
            continue
        try:
            importlib.metadata.version(name.group())
        except importlib.metadata.PackageNotFoundError:
            missing.append(name.group())
    if missing:
        mend = f"{sys.executable} -m pip install {' '.join(missing)}"
        return [Finding("packages", Level.ERROR, f"not installed: {', '.join(missing)}", mend)]
    return [Finding("packages", Level.GOOD, "all there")]


CHECKS: tuple[Callable[[Machine], list[Finding]], ...] = (versions, kernel, packages)
