"""What tests of several rooms share: waiting for an event with a deadline, and small real processes.

Tests never sleep to synchronise; they wait for the thing itself with `wait_for`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def wait_for(predicate: Callable[[], T], timeout: float = 10.0, what: str = "the condition", every: float = 0.005) -> T:
    """Return the first truthy value of `predicate()`; fail with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout:g} s (last value: {value!r})")
        time.sleep(every)


def pid_alive(pid: int) -> bool:
    """True while a process of this number exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def pids_marked(run_or_workspace: str) -> list[int]:
    """PIDs of living processes whose environment or command line contains the text."""
    found = []
    needle = run_or_workspace.encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            data = Path(f"/proc/{entry}/environ").read_bytes() + b"\0" + Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if needle in data and pid_alive(int(entry)):
            found.append(int(entry))
    return found
