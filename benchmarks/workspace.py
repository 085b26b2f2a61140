"""A throw-away workspace with a real supervisor for measurements, and figures read from /proc."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.workbench import Workbench

TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def workspace() -> Iterator[Workbench]:
    """Up and empty; taken down with everything in it afterwards."""
    with tempfile.TemporaryDirectory(prefix="sp-bench-") as folder:
        bench = Workbench.make(Path(folder) / "w")
        try:
            bench.cli("up")
            yield bench
        finally:
            bench.close()


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pss_mb(pid: int) -> float:
    """Proportional set size in MiB: shared pages count once over all that share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no Pss of {pid}")
