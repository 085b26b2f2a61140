"""The log path on a real runner: CPU per million lines, delay of a line, what a reader costs; beside `cat` and files.

`cat` into a file is the plainest pump there is; a `Popen` straight into a file has none at all. Python strategies get
PYTHONUNBUFFERED=1, so "block-buffered" means one that writes 8 KiB at a time itself, as most other programs do.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.record import Row, median, quantile
from benchmarks.workspace import workspace
from stratpanel.supervisor.logs.follow import LogFollows
from stratpanel.supervisor.logs.reader import LogReader
from tests.logs.support import faults_of_numbered
from tests.support import wait_for
from tests.workbench import Workbench

LINES = 1_000_000
LINE_BYTES = 100
ROUNDS = 3
HERTZ = 100
SAMPLES = 1000

# Both wait for the file "go" in their working folder, print, and say in "took" how long they took.
FRAME = """
import os, time
from pathlib import Path
here = Path(os.environ.get("STRATEGY_STATE_DIR", "."))
here.mkdir(parents=True, exist_ok=True)
tail = b" " + b"x" * 89 + b"\\n"
lines = [b"%09d" % n + tail for n in range(LINES)]
(here / "ready").touch()
while True:
    while not (here / "go").exists():
        time.sleep(0.005)
    (here / "go").unlink()
    begun = time.perf_counter()
    PRINT
    (here / "took.new").write_text(repr(time.perf_counter() - begun))
    (here / "took.new").rename(here / "took")
"""
BLOCKS = """for at in range(0, len(lines), 82):
        block = b"".join(lines[at : at + 82])
        while block:
            block = block[os.write(1, block):]"""
EACH = """for line in lines:
        os.write(1, line)"""
PRINTS = {
    "8 KiB at a time": FRAME.replace("LINES", str(LINES)).replace("PRINT", BLOCKS),
    "one write per line": FRAME.replace("LINES", str(LINES)).replace("PRINT", EACH),
}
TICKS = f"""
import os, time
due = time.monotonic()
while True:
    due += 1 / {HERTZ}
    time.sleep(max(0.0, due - time.monotonic()))
    os.write(1, b"%020d\\n" % time.monotonic_ns())
"""


def measure() -> list[Row]:
    """Rows of this module."""
    rows: list[Row] = []
    with workspace() as bench:
        for kind, must, aim in (("8 KiB at a time", "0.15", "0.06"), ("one write per line", "1.2", "0.6")):
            rows += flood(bench, kind, must, aim)
        rows += delay(bench)
        rows += reading(bench.folder)
    return rows


def cpu(pid: int) -> float:
    """CPU seconds of a process of one thread, to the microsecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def flood(bench: Workbench, kind: str, must: str, aim: str) -> list[Row]:
    """A million lines at full speed."""
    name = kind.replace(" ", "-")
    script = PRINTS[kind]
    bench.register(name, script, start_seconds=0.05, log={"max_mb": 10, "keep": 99}, limits={"memory_mb": 4096})
    bench.api.post(f"/api/strategies/{name}/start", {"deploy": True})
    pid = wait_for(lambda: bench.runner_pid(name), 10, "a runner")
    state = wait_for(lambda: next(bench.folder.glob(f"strategies/state/{name}/ready"), None), 60, "the script")
    log = Path(bench.status(name)["log_path"])
    used, took = rounds(state.parent, lambda: cpu(pid), lambda: kept(log))
    faults = sum(len(faults_of_numbered(part, LINES)) for part in halves(log))
    bench.api.post(f"/api/strategies/{name}/stop")
    cat, by_cat = plain(bench.folder / f"cat-{name}", script, ["cat"])
    _, by_file = plain(bench.folder / f"file-{name}", script, None)
    return [
        Row(
            f"runner's CPU per million 100-byte lines, {kind}",
            "s",
            median(used),
            median(cat),
            must,
            aim,
            "beside `cat`",
        ),
        Row(f"strategy's time to print them, {kind}", "s", median(took), median(by_cat), "", "", "beside `cat`"),
        Row(f"strategy's time to print them, {kind}", "s", median(took), median(by_file), "", "", "beside a file"),
        Row(f"lines lost, doubled or torn of {ROUNDS} million, {kind}", "", faults, None, "0", "0"),
    ]


def rounds(state: Path, used: Callable[[], float], size: Callable[[], int]) -> tuple[list[float], list[float]]:
    """CPU and strategy's seconds of each round."""
    cpus, times = [], []
    for _ in range(ROUNDS):
        before, end = used(), size() + LINES * LINE_BYTES
        (state / "go").touch()
        took = wait_for(lambda: took_s(state), 120, "a million lines")
        wait_for(partial(_reached, size, end), 60, "all of them in the file")
        cpus.append(used() - before)
        times.append(took)
        (state / "took").unlink()
    return cpus, times


def took_s(state: Path) -> float:
    """What the strategy says it took; 0 while it does not."""
    return float((state / "took").read_text()) if (state / "took").exists() else 0.0


def _reached(size: Callable[[], int], end: int) -> bool:
    return size() >= end


def plain(folder: Path, script: str, pump: list[str] | None) -> tuple[list[float], list[float]]:
    """The same strategy into a file, through a pump program or straight."""
    folder.mkdir()
    (folder / "strategy.py").write_text(script)
    log = folder / "plain.log"
    environment = {**os.environ, "STRATEGY_STATE_DIR": str(folder)}
    with log.open("wb") as file:
        if pump is None:
            strategy = subprocess.Popen([sys.executable, "strategy.py"], cwd=folder, stdout=file, env=environment)
            pumping = None
        else:
            read_fd, write_fd = os.pipe()
            pumping = subprocess.Popen(pump, stdin=read_fd, stdout=file)
            os.close(read_fd)
            strategy = subprocess.Popen([sys.executable, "strategy.py"], cwd=folder, stdout=write_fd, env=environment)
            os.close(write_fd)
    try:
        wait_for(lambda: (folder / "ready").exists(), 60, "the script")
        return rounds(folder, lambda: cpu(pumping.pid) if pumping else 0.0, lambda: log.stat().st_size)
    finally:
        strategy.kill()
        strategy.wait()
        if pumping:
            pumping.wait()


def kept(log: Path) -> int:
    """Bytes in the log and its rotated files."""
    return sum(path.stat().st_size for path in log.parent.glob(f"{log.name}*") if not path.name.endswith(".times"))


def halves(log: Path) -> list[bytes]:
    """What was kept, oldest first, a round each."""
    numbered = sorted(int(path.name.rpartition(".")[2]) for path in log.parent.glob(f"{log.name}.*[0-9]"))
    data = b"".join(Path(f"{log}.{number}").read_bytes() for number in reversed(numbered)) + log.read_bytes()
    size = LINES * LINE_BYTES
    return [data[at : at + size] for at in range(0, max(len(data), ROUNDS * size), size)]


def delay(bench: Workbench) -> list[Row]:
    """A line printed at 100 Hz until it can be read in the file, and until a follower on an event loop has it."""
    bench.register("ticks", TICKS, start_seconds=0.05)
    bench.api.post("/api/strategies/ticks/start", {"deploy": True})
    log = Path(bench.status("ticks")["log_path"])
    wait_for(lambda: log.exists() and log.stat().st_size, 10, "the first line")
    pid = bench.runner_pid("ticks")
    assert pid is not None
    before, begun = cpu(pid), time.monotonic()
    in_file = delays_of(log)
    busy = (cpu(pid) - before) / (time.monotonic() - begun) * 100
    followed = asyncio.run(delays_followed(log))
    bench.api.post("/api/strategies/ticks/stop")
    bare_log = bench.folder / "bare-ticks.log"
    with bare_log.open("ab") as file:
        bare = subprocess.Popen([sys.executable, "-c", TICKS], stdout=file)
    wait_for(lambda: bare_log.stat().st_size, 10, "the first line")
    in_bare = delays_of(bare_log)
    bare.kill()
    bare.wait()
    return [
        Row(
            "line printed to readable in the file, 100 Hz, p50",
            "ms",
            median(in_file),
            median(in_bare),
            "",
            "",
            "beside a file",
        ),
        Row(
            "line printed to readable in the file, 100 Hz, p99",
            "ms",
            quantile(in_file, 0.99),
            quantile(in_bare, 0.99),
            "2",
            "0.5",
            "beside a file",
        ),
        Row("line printed to a follower on the loop, 100 Hz, p50", "ms", median(followed), None, "", ""),
        Row("line printed to a follower on the loop, 100 Hz, p99", "ms", quantile(followed, 0.99), None, "20", ""),
        Row("runner's CPU at 100 lines a second", "% of a core", busy, None, "", ""),
    ]


def delays_of(log: Path) -> list[float]:
    """Milliseconds from each stamp to its line being there; spins on the size, which needs a core of its own."""
    found = []
    with log.open("rb") as file:
        fd = file.fileno()
        size = os.lseek(fd, 0, os.SEEK_END)
        while len(found) < SAMPLES:
            now_size = os.lseek(fd, 0, os.SEEK_END)
            if now_size > size:
                now = time.monotonic_ns()
                stamp = os.pread(fd, 21, now_size // 21 * 21 - 21)
                found.append((now - int(stamp)) / 1e6)
                size = now_size
    return found


async def delays_followed(log: Path) -> list[float]:
    """The same for a follower as the API has it."""
    found: list[float] = []
    follows = LogFollows()
    with LogReader(log) as reader:
        follower = follows.follow(str(log), reader.end())
    while len(found) < SAMPLES:
        batch = await follower.read(10)
        now = time.monotonic_ns()
        assert batch is not None
        found += [(now - int(line.text)) / 1e6 for line in batch.lines]
    follows.close()
    return found


def reading(folder: Path) -> list[Row]:
    """A log of 60 MB in six files."""
    log = folder / "read.log"
    line = b" " + b"x" * 89 + b"\n"
    for number in range(5, -1, -1):
        first = (5 - number) * 100_000
        path = Path(f"{log}.{number}" if number else log)
        path.write_bytes(b"".join(b"%09d" % n + line for n in range(first, first + 100_000)))
    with LogReader(log) as reader:
        page = reader.tail(200)
        tail = timed(lambda: reader.tail(200), 50)
        absent = timed(lambda: reader.tail(200, search="nowhere to be found"), 3)
        oldest = timed(lambda: reader.tail(200, search="000000042"), 3)
        cursor = page.after
        idle = timed(lambda: reader.read_after(cursor), 5000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        place: str | None = None
        count = 0
        while (batch := reader.read_after(place)).lines:
            place = batch.cursor
            count += len(batch.lines)
        spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    return [
        Row("last 200 lines of a 60 MB log", "ms", tail * 1e3),
        Row("search through 60 MB for what is not there", "ms", absent * 1e3),
        Row("search through 60 MB for one old line", "ms", oldest * 1e3),
        Row("follow: look when nothing is new", "µs", idle * 1e6),
        Row("follow: CPU per million lines", "s", spent / count * 1e6),
    ]


def timed(call: Callable[[], object], times: int) -> float:
    """Mean seconds of a call."""
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begun) / times
