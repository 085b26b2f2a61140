"""Many strategies: start all, stop all, memory and CPU of ours while they sleep; beside bare `Popen`s.

FLEET=500 by default; the figures of the design are for 500 sleeping strategies.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.record import Row
from benchmarks.workspace import cpu_seconds, pss_mb, workspace
from tests.support import wait_for
from tests.workbench import Workbench

FLEET = int(os.environ.get("FLEET", "500"))
SLEEPS = "import time\ntime.sleep(3600)\n"
QUIET_S = 10.0


def measure() -> list[Row]:
    """Rows of this module."""
    rows = []
    for size in sorted({50, FLEET}):
        with workspace() as bench:
            rows += of_size(bench, size)
    return rows


def of_size(bench: Workbench, size: int) -> list[Row]:
    """Rows for one fleet."""
    ids = [f"s{n:04}" for n in range(size)]
    for strategy_id in ids:
        bench.register(strategy_id, SLEEPS, start_seconds=0.05)
    bench.cli("start", "--all", timeout=300)
    bench.cli("stop", "--all", timeout=300)
    bare_start, bare_stop = bare(size)
    begun = time.perf_counter()
    bench.cli("start", "--all", timeout=300)
    started = time.perf_counter() - begun
    wait_for(lambda: all(bench.leader_pid(i) for i in ids), 60, "all leaders")
    supervisor, launcher = bench.supervisor_pid(), bench.launcher_pid()
    assert supervisor is not None
    assert launcher is not None
    runners = [pid for i in ids if (pid := bench.runner_pid(i))]
    ours = [supervisor, launcher, *runners]
    before = sum(map(cpu_seconds, ours))
    time.sleep(QUIET_S)
    busy = (sum(map(cpu_seconds, ours)) - before) / QUIET_S * 100
    pss = {pid: pss_mb(pid) for pid in ours}
    begun = time.perf_counter()
    bench.cli("stop", "--all", timeout=300)
    stopped = time.perf_counter() - begun
    must = ("4", "1.6", "2", "0.2") if size == 500 else ("", "", "", "")
    cpu_budget = ("3", "1") if size == 50 else ("15", "5")
    return [
        Row(f"{size} sleeping: start all, from the command line", "s", started, bare_start, must[0], must[1]),
        Row(f"{size} sleeping: stop all, from the command line", "s", stopped, bare_stop, must[2], must[3]),
        Row(f"{size} sleeping: PSS of a runner", "MiB", sum(pss[p] for p in runners) / len(runners), None, "2", "1.2"),
        Row(f"{size} sleeping: PSS of the supervisor", "MiB", pss[supervisor], None, "80" if size == 50 else "", "55"),
        Row(f"{size} sleeping: CPU of all of ours, sampling at 1 Hz", "% of a core", busy, None, *cpu_budget),
    ]


def bare(size: int) -> tuple[float, float]:
    """Seconds to start and to stop as many bare processes."""
    begun = time.perf_counter()
    processes = [subprocess.Popen([sys.executable, "-c", SLEEPS]) for _ in range(size)]
    started = time.perf_counter() - begun
    begun = time.perf_counter()
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
    return started, time.perf_counter() - begun
