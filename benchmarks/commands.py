"""`stratpanel status` as a whole command, beside an interpreter that does nothing."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.record import Row, median
from benchmarks.workspace import workspace

ROUNDS = 15


def measure() -> list[Row]:
    """Rows of this module."""
    with workspace() as bench:
        for n in range(50):
            bench.register(f"s{n:02}", "import time\ntime.sleep(600)\n")
        command = [sys.executable, "-m", "stratpanel", "-w", str(bench.folder), "status"]
        table = timed(command)
        as_json = timed([*command, "--json"])
        nothing = timed([sys.executable, "-c", "pass"])
    return [
        Row("`stratpanel status`, 50 strategies, p50", "ms", table, nothing, "400", "200"),
        Row("`stratpanel status --json`, 50 strategies, p50", "ms", as_json, nothing, "400", "200"),
    ]


def timed(command: list[str]) -> float:
    """Median milliseconds of the whole command."""
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took.append((time.perf_counter() - begun) * 1000)
    return median(took)
