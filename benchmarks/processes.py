"""One strategy: start to first line, polite stop, crash to known; beside a bare `Popen` into a file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.record import Row, median, quantile
from benchmarks.workspace import workspace
from tests.workbench import Workbench

PRINTS = "import time\nprint('first', flush=True)\ntime.sleep(600)\n"
ROUNDS = 40


def measure() -> list[Row]:
    """Rows of this module."""
    with workspace() as bench:
        bench.register("one", PRINTS, start_seconds=0.05)
        bench.api.post("/api/strategies/one/start", {"deploy": True})
        bench.api.post("/api/strategies/one/stop")
        starts, stops = ours(bench)
        bare_starts, bare_stops = bare(bench.folder)
        known = crash_to_known(bench)
    return [
        Row("start call to first line in the log, p50", "ms", median(starts), median(bare_starts), "2×", "1.3×"),
        Row(
            "start call to first line in the log, p99",
            "ms",
            quantile(starts, 0.99),
            quantile(bare_starts, 0.99),
            "",
            "",
        ),
        Row("polite stop, p50", "ms", median(stops), median(bare_stops), "+20 ms", "+5 ms"),
        Row("crash to state known over the API's event stream, p50", "ms", median(known), None, "50", "5"),
        Row("crash to state known over the API's event stream, p99", "ms", quantile(known, 0.99), None, "50", "5"),
    ]


def wait_size(path: Path, above: int) -> None:
    """Spin (this is a measurement) until the file is larger."""
    while not path.exists() or path.stat().st_size <= above:
        time.sleep(0.0001)


def ours(bench: Workbench) -> tuple[list[float], list[float]]:
    """Milliseconds of each start and each stop, measured from outside over the API."""
    log = bench.folder / "log" / "strategies" / "one.log"
    starts, stops = [], []
    api = bench.api
    for _ in range(ROUNDS):
        size = log.stat().st_size
        begun = time.perf_counter()
        api.post("/api/strategies/one/start", query={"wait": "0"})
        wait_size(log, size)
        starts.append((time.perf_counter() - begun) * 1000)
        bench.wait_state("one", "running")
        begun = time.perf_counter()
        api.post("/api/strategies/one/stop")
        stops.append((time.perf_counter() - begun) * 1000)
    return starts, stops


def bare(folder: Path) -> tuple[list[float], list[float]]:
    """The floor: Popen into a file, terminate, wait."""
    script, log = folder / "bare.py", folder / "bare.log"
    script.write_text(PRINTS)
    starts, stops = [], []
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    for _ in range(ROUNDS):
        log.write_bytes(b"")
        begun = time.perf_counter()
        with log.open("ab") as file:
            process = subprocess.Popen([sys.executable, str(script)], stdout=file, stderr=file, env=environment)
        wait_size(log, 0)
        starts.append((time.perf_counter() - begun) * 1000)
        begun = time.perf_counter()
        process.terminate()
        process.wait()
        stops.append((time.perf_counter() - begun) * 1000)
    return starts, stops


def crash_to_known(bench: Workbench) -> list[float]:
    """Milliseconds from SIGKILL of the leader to the event on an open stream."""
    took = []
    for _ in range(15):
        bench.api.post("/api/strategies/one/start")
        bench.wait_state("one", "running")
        pid = bench.status("one")["pid"]
        with_stream = bench.api.stream("/api/events/stream")
        events = iter(with_stream)
        begun = time.perf_counter()
        os.kill(pid, 9)
        for event in events:
            if event.data.get("id") == "one" and event.data.get("status") not in ("running", None):
                took.append((time.perf_counter() - begun) * 1000)
                break
        with_stream.close()
        bench.wait_state("one", "exited", "backoff", "stopped", "fatal")
        bench.api.post("/api/strategies/one/stop")
    return took
