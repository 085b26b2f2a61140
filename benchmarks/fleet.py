"""Many strategies: start all, stop all, memory and CPU of ours while they sleep; beside bare `Popen`s.

FLEET=500 by default; the figures of the design are for 500 sleeping strategies.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.record import Row
from benchmarks.workspace import cpu_seconds, mirrors, pss_mb, workspace
from tests.support import wait_for
from tests.workbench import Workbench

FLEET = int(os.environ.get("FLEET", "500"))
SLEEPS = "import time\ntime.sleep(3600)\n"
PRINTS = "import time\nwhile True:\n    print('a line of some length, a price of 1234.5 in it')\n    time.sleep(0.5)\n"
QUIET_S = 10.0
SETTLE_S = 15.0  # what a burst of starts leaves to be done: the registry, the history's first rows
CLIENTS = (0, 1, 20)


def measure() -> list[Row]:
    """Rows of this module."""
    rows = []
    with workspace() as bench:
        rows += of_size(bench, 50)
    with workspace() as bench:
        ids = registered(bench, 50, PRINTS)
        bench.cli("start", "--all", timeout=300)
        rows += standing(bench, ids, "50 printing 100 lines/s in all")
    if FLEET > 50:
        with workspace() as bench:
            rows += of_size(bench, FLEET)
    return rows


def registered(bench: Workbench, size: int, script: str) -> list[str]:
    """As many strategies, counted as started when they have lived for 50 ms."""
    bench.api.delete("/api/strategies/simple_ema")
    ids = [f"s{n:04}" for n in range(size)]
    for strategy_id in ids:
        bench.register(strategy_id, script, start_seconds=0.05)
    return ids


def of_size(bench: Workbench, size: int) -> list[Row]:
    """Rows for one fleet."""
    ids = registered(bench, size, SLEEPS)
    bench.cli("start", "--all", timeout=300)  # the first start deploys
    bench.cli("stop", "--all", timeout=300)
    bare_start, bare_stop = bare(size)
    supervisor = bench.supervisor_pid()
    assert supervisor is not None
    used, begun = cpu_seconds(supervisor), time.perf_counter()
    bench.cli("start", "--all", timeout=300)
    started, used = time.perf_counter() - begun, cpu_seconds(supervisor) - used
    wait_for(lambda: all(bench.leader_pid(i) for i in ids), 60, "all leaders")
    rows = standing(bench, ids, f"{size} sleeping")
    begun = time.perf_counter()
    bench.cli("stop", "--all", timeout=300)
    stopped = time.perf_counter() - begun
    must = ("4", "1.6", "2", "0.2") if size == 500 else ("", "", "", "")
    return [
        Row(f"{size} sleeping: start all, until each has lived 50 ms", "s", started, bare_start, must[0], must[1]),
        Row(f"{size} sleeping: supervisor's CPU for a start", "ms", used / size * 1000),
        Row(f"{size} sleeping: stop all, until each tree is empty", "s", stopped, bare_stop, must[2], must[3]),
        *rows,
    ]


def standing(bench: Workbench, ids: list[str], what: str) -> list[Row]:
    """What strategies cost that just run: with nobody looking, with one mirror, with twenty."""
    supervisor, launcher = bench.supervisor_pid(), bench.launcher_pid()
    assert supervisor is not None
    assert launcher is not None
    runners = [pid for i in ids if (pid := bench.runner_pid(i))]
    time.sleep(SETTLE_S)
    rows = []
    for clients in CLIENTS:
        with mirrors(bench.folder, clients):
            time.sleep(1.0)
            before = {pid: cpu_seconds(pid) for pid in (supervisor, launcher, *runners)}
            time.sleep(QUIET_S)
            used = {pid: (cpu_seconds(pid) - was) / QUIET_S * 100 for pid, was in before.items()}
            looking = f", {clients} mirror{'s' * (clients > 1)}" if clients else ""
            rows += _rows(f"{what}{looking}", len(ids), clients, used, supervisor)
    pss = [pss_mb(pid) for pid in runners]
    return [*rows, Row(f"{what}: PSS of a runner", "MiB", sum(pss) / len(pss), None, "2", "1.2")]


def _rows(what: str, size: int, clients: int, used: dict[int, float], supervisor: int) -> list[Row]:
    cpu = {50: ("3", "1"), 500: ("15", "5")}.get(size, ("", ""))
    if clients or "sleeping" not in what:  # the budget is for strategies that sleep
        cpu = ("", "")
    memory = ("80", "55") if size == 50 and not clients else ("", "")
    return [
        Row(f"{what}: CPU of all of ours, sampling at 1 Hz", "% of a core", sum(used.values()), None, *cpu),
        Row(f"{what}: CPU of the supervisor alone", "% of a core", used[supervisor]),
        Row(f"{what}: PSS of the supervisor", "MiB", pss_mb(supervisor), None, *memory),
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
