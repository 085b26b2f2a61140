"""Figures of every strategy's tree and of the host, once a second, taken in a worker thread and posted to the loop.

The supervisor hands it the trees to look at (`targets`) and gets one `Tick` a second; an hour of them is kept in
compact arrays. The thread touches neither Param objects nor units, and a pass that fails is logged and followed by
the next.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Final

import psutil

from stratpanel.supervisor import procfs
from stratpanel.supervisor.live.heartbeats import Beat, Heartbeats
from stratpanel.supervisor.procfs import PAGE, TICKS, Target

log = logging.getLogger("stratpanel.sampling")

PERIOD_S: Final = 1.0
SLOW_EVERY: Final = 10  # threads and open files every so many ticks: listing /proc/PID/fd costs more than all the rest
PSS_ABOVE: Final = 0.8  # of the limit: below, the cheap RSS sum decides
HOUR: Final = 3600


@dataclass(slots=True)
class Tick:
    """One second's figures: CPU in percent of one core, memory in MiB; entries only for living trees."""

    t: float
    cpu: dict[str, float] = field(default_factory=dict)
    mem: dict[str, float] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)
    open_files: dict[str, int] = field(default_factory=dict)
    members: dict[str, int] = field(default_factory=dict)
    last_output: dict[str, float] = field(default_factory=dict)
    beats: dict[str, Beat] = field(default_factory=dict)
    host: dict[str, float] = field(default_factory=dict)


class Series:
    """An hour of one strategy's figures in rings of single precision: 30 kB. NaN marks a second without a tree."""

    __slots__ = ("_at", "_cpu", "_files", "_last", "_mem", "_threads")

    def __init__(self) -> None:
        self._cpu = array("f", [nan]) * HOUR
        self._mem = array("f", [nan]) * HOUR
        self._threads = array("f", [nan]) * (HOUR // SLOW_EVERY)
        self._files = array("f", [nan]) * (HOUR // SLOW_EVERY)
        self._last = 0
        self._at = False

    def add(self, second: int, cpu: float, mem: float, threads: int | None, files: int | None) -> None:
        """Store the figures of one epoch second; seconds skipped since the last one become gaps."""
        if self._at and second > self._last:
            for gap in range(max(self._last + 1, second - HOUR), second):
                self._cpu[gap % HOUR] = self._mem[gap % HOUR] = nan
                if gap % SLOW_EVERY == 0:
                    slow = gap % HOUR // SLOW_EVERY
                    self._threads[slow] = self._files[slow] = nan
        self._last, self._at = second, True
        self._cpu[second % HOUR], self._mem[second % HOUR] = cpu, mem
        slow = second % HOUR // SLOW_EVERY
        if threads is not None:
            self._threads[slow] = threads
        elif second % SLOW_EVERY == 0:
            self._threads[slow] = nan
        if files is not None:
            self._files[slow] = files
        elif second % SLOW_EVERY == 0:
            self._files[slow] = nan

    def read(self, since: float, until: float, step: int) -> dict[str, list[float | None] | list[int]]:
        """Means per `step` seconds over (since, until]; equal lengths, None for gaps. Covers the last hour at most."""
        first = max(int(since), int(until) - HOUR + 1, self._last - HOUR + 1)
        first -= first % step
        t: list[int] = []
        columns: tuple[list[float | None], ...] = ([], [], [], [])
        for start in range(first, int(until) + 1, step):
            seconds = [s for s in range(start, start + step) if s <= self._last and s > self._last - HOUR]
            t.append(start)
            columns[0].append(_mean([self._cpu[s % HOUR] for s in seconds]))
            columns[1].append(_mean([self._mem[s % HOUR] for s in seconds]))
            slow = sorted({s % HOUR // SLOW_EVERY for s in seconds})
            columns[2].append(_mean([self._threads[i] for i in slow]))
            columns[3].append(_mean([self._files[i] for i in slow]))
        return {
            "t": t,
            "cpu_percent": columns[0],
            "memory_mb": columns[1],
            "threads": columns[2],
            "open_files": columns[3],
        }


def _mean(values: list[float]) -> float | None:
    known = [v for v in values if not isnan(v)]
    return round(sum(known) / len(known), 3) if known else None


class Sampler:
    """The worker thread. The loop replaces `targets` whole; `post` is called from the worker with each Tick."""

    def __init__(self, post: Callable[[Tick], None], root: str = "/proc") -> None:
        self.targets: tuple[Target, ...] = ()
        self._post = post
        self._root = root
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: dict[str, tuple[str, dict[int, int]]] = {}  # id → (run id, pid → start ticks)
        self._ticks: dict[int, tuple[int, int]] = {}  # pid → (start ticks, CPU ticks) at the previous pass
        self._previous: float | None = None
        self._count = 0
        self._heartbeats = Heartbeats()

    def start(self) -> None:
        """Begin; the first tick comes at once."""
        psutil.cpu_percent()  # the first call only sets psutil's mark
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + PERIOD_S, time.monotonic())
            try:
                self._post(self.sample())
            except RuntimeError:
                return  # the loop is closed: we are ending
            except Exception:  # a kernel's odd line must not end the figures, and with them memory limits, for good
                log.exception("cannot sample this second; the next one is tried")

    def sample(self) -> Tick:
        """One pass. The first pass of a process says nothing about its CPU and counts as 0."""
        procs = procfs.one_pass(self._root)
        now = time.monotonic()
        elapsed = now - self._previous if self._previous is not None else None
        self._previous = now
        slow = self._count % SLOW_EVERY == 0
        self._count += 1
        tick = Tick(time.time())
        children, sessions = procfs.children_of(procs), procfs.sessions_of(procs)
        targets = self.targets
        seen_now: dict[str, tuple[str, dict[int, int]]] = {}
        used_now: dict[int, tuple[int, int]] = {}
        for target in targets:
            run_id, seen = self._seen.get(target.id, ("", {}))
            pids = procfs.members(target, procs, children, sessions, seen if run_id == target.run_id else {})
            seen_now[target.id] = (target.run_id, {pid: procs[pid].start_ticks for pid in pids})
            self._sample_target(target, pids, procs, elapsed, slow, tick)
            used_now.update((pid, (procs[pid].start_ticks, procs[pid].cpu_ticks)) for pid in pids)
        self._seen, self._ticks = seen_now, used_now
        self._heartbeats.keep({target.id for target in targets if target.live_path is not None})
        memory = psutil.virtual_memory()
        tick.host = {
            "cpu_percent": psutil.cpu_percent(),
            "memory_mb": round((memory.total - memory.available) / 2**20, 1),
            "memory_total_mb": round(memory.total / 2**20, 1),
        }
        return tick

    def _sample_target(
        self,
        target: Target,
        pids: set[int],
        procs: Mapping[int, procfs.Proc],
        elapsed: float | None,
        slow: bool,
        tick: Tick,
    ) -> None:
        if target.log_path is not None:
            try:
                tick.last_output[target.id] = os.stat(target.log_path).st_mtime
            except OSError:  # nothing printed yet
                pass
        if target.live_path is not None:
            beat = self._heartbeats.of(target.id, target.live_path)
            if beat is not None:
                tick.beats[target.id] = beat
        if not pids:
            return
        ticks, pages, threads = 0, 0, 0
        for pid in pids:
            proc = procs[pid]
            start, before = self._ticks.get(pid, (None, 0))
            ticks += proc.cpu_ticks - before if start == proc.start_ticks else 0
            pages += proc.rss_pages
            threads += proc.threads
        tick.cpu[target.id] = round(100.0 * ticks / TICKS / elapsed, 2) if elapsed else 0.0
        memory = pages * PAGE / 2**20
        if target.limit_mb and memory >= PSS_ABOVE * target.limit_mb:
            memory = procfs.pss_pages(pids, procs, self._root) * PAGE / 2**20
        tick.mem[target.id] = round(memory, 2)
        tick.members[target.id] = len(pids)
        if slow:
            tick.threads[target.id] = threads
            files = procfs.open_files(pids, self._root)
            if files is not None:
                tick.open_files[target.id] = files
