"""Many strategies: start all, stop all, memory and CPU of ours while they sleep; beside bare `Popen`s.

FLEET=500 by default. The design's seconds for 500 (4 and 2, where bare took 0.8 and 0.03) come from programs that cost
nothing to begin, so they are held against a fleet of `sleep`. A fleet of Pythons has to boot 500 interpreters first:
it is held against the same multiples of what the bare ones take, 4 / 0.8 and 2 / 0.03. Starts are timed from rest, as
in the morning: what deploys and stops before them leave to be written (registry, outcomes, history) has been written.
The fleet of `sleep` goes first and three times: ext4 looks at each inode that was freed within a minute before it gives
out another, and every fleet frees thousands.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

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
    if FLEET > 50:
        with workspace() as bench:
            ids = registered(bench, FLEET, SLEEPS, interpreter=os.fspath(sleeper(bench.folder)))
            rows += start_and_stop(bench, ids, f"{FLEET} times `sleep`", ["/bin/sleep", "3600"], rounds=3)[0]
    with workspace() as bench:
        rows += of_size(bench, 50)
    with workspace() as bench:
        ids = registered(bench, 50, PRINTS)
        bench.cli("start", "--all", timeout=300)
        rows += standing(bench, ids, "50 printing 100 lines/s in all")
    if FLEET > 50:
        with workspace() as bench:
            rows += of_size(bench, FLEET)
            few = [f"s{n:04}" for n in range(FLEET * 2 // 5)]
            bench.cli("start", *few, timeout=300)
            rows += standing(bench, few, f"{FLEET} registered, {len(few)} of them sleeping", clients=(0, 1))
    return rows


def registered(bench: Workbench, size: int, script: str, **config: object) -> list[str]:
    """As many strategies, counted as started when they have lived for 50 ms."""
    bench.api.delete("/api/strategies/simple_ema")
    ids = [f"s{n:04}" for n in range(size)]
    for strategy_id in ids:
        bench.register(strategy_id, script, start_seconds=0.05, **config)
    return ids


def sleeper(folder: Path) -> Path:
    """An interpreter that costs next to nothing to begin and ignores its script."""
    path = folder / "sleeper"
    path.write_text("#!/bin/sh\nexec sleep 3600\n")
    path.chmod(0o755)
    return path


def of_size(bench: Workbench, size: int) -> list[Row]:
    """Rows for one fleet of Pythons."""
    ids = registered(bench, size, SLEEPS)
    rows, standing_rows = start_and_stop(bench, ids, f"{size} sleeping", [sys.executable, "-c", SLEEPS], stand=True)
    return rows + standing_rows


def start_and_stop(
    bench: Workbench, ids: list[str], what: str, command: list[str], *, stand: bool = False, rounds: int = 1
) -> tuple[list[Row], list[Row]]:
    """Rows for starting and stopping all of them, beside bare ones of `command`: medians of so many rounds; with
    `stand` also while they run."""
    size = len(ids)
    bench.cli("start", "--all", timeout=300)  # the first start deploys
    bench.cli("stop", "--all", timeout=300)
    timed = [_round(bench, ids, what, command, stand=stand) for _ in range(rounds)]
    times = list(zip(*(one for one, _ in timed), strict=True))
    bare_start, bare_stop, started, used, stopped = map(statistics.median, times)
    must = ("", "", "", "")
    if size == 500:
        must = ("5×", "2×", "67×", "7×") if stand else ("4", "1.6", "2", "0.2")
    spans = [f"{min(times[n]):.2f} to {max(times[n]):.2f}" if rounds > 1 else "" for n in (2, 4)]
    return [
        Row(f"{what}: start all, until each has lived 50 ms", "s", started, bare_start, must[0], must[1], spans[0]),
        Row(f"{what}: supervisor's CPU for a start", "ms", used / size * 1000),
        Row(f"{what}: stop all, until each tree is empty", "s", stopped, bare_stop, must[2], must[3], spans[1]),
    ], timed[-1][1]


def _round(
    bench: Workbench, ids: list[str], what: str, command: list[str], *, stand: bool
) -> tuple[tuple[float, float, float, float, float], list[Row]]:
    """Seconds: bare start, bare stop, start, the supervisor's CPU for it, stop; and the rows of `standing`."""
    time.sleep(SETTLE_S)
    bare_start, bare_stop = bare(len(ids), command)
    supervisor = bench.supervisor_pid()
    assert supervisor is not None
    used, begun = cpu_seconds(supervisor), time.perf_counter()
    bench.cli("start", "--all", timeout=300)
    started, used = time.perf_counter() - begun, cpu_seconds(supervisor) - used
    wait_for(lambda: all(bench.leader_pid(i) for i in ids), 60, "all leaders")
    rows = standing(bench, ids, what) if stand else []
    begun = time.perf_counter()
    bench.cli("stop", "--all", timeout=300)
    return (bare_start, bare_stop, started, used, time.perf_counter() - begun), rows


def standing(bench: Workbench, ids: list[str], what: str, clients: tuple[int, ...] = CLIENTS) -> list[Row]:
    """What strategies cost that just run: with nobody looking, with one mirror, with twenty."""
    supervisor, launcher = bench.supervisor_pid(), bench.launcher_pid()
    assert supervisor is not None
    assert launcher is not None
    runners = [pid for i in ids if (pid := bench.runner_pid(i))]
    time.sleep(SETTLE_S)
    rows = []
    for count in clients:
        with mirrors(bench.folder, count):
            time.sleep(1.0)
            before = {pid: cpu_seconds(pid) for pid in (supervisor, launcher, *runners)}
            time.sleep(QUIET_S)
            used = {pid: (cpu_seconds(pid) - was) / QUIET_S * 100 for pid, was in before.items()}
            looking = f", {count} mirror{'s' * (count > 1)}" if count else ""
            rows += _rows(f"{what}{looking}", len(ids), count, used, supervisor)
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


def bare(size: int, command: list[str]) -> tuple[float, float]:
    """Seconds to start and to stop as many bare processes."""
    begun = time.perf_counter()
    processes = [subprocess.Popen(command) for _ in range(size)]
    started = time.perf_counter() - begun
    begun = time.perf_counter()
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
    return started, time.perf_counter() - begun
