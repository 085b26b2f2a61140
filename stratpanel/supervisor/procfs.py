"""One pass over /proc: who is there, whose child, how much CPU and memory; and which of them belong to which strategy.

The sampler's worker thread calls this once a second; it reads `/proc/*/stat` raw because that costs a quarter of what
psutil's objects do. It never signals anybody and treats every process as something that may vanish between two reads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
KTHREADD: Final = 2  # parent of all kernel threads


class Proc(NamedTuple):
    """One process in one pass: CPU in clock ticks, memory in pages."""

    pid: int
    ppid: int
    session: int
    cpu_ticks: int
    threads: int
    start_ticks: int
    rss_pages: int


def read_proc(pid: str | int, root: str = "/proc") -> Proc | None:
    """One process's figures, or None when it is gone, a zombie, or a kernel thread."""
    try:
        fd = os.open(f"{root}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # gone between listing and reading
        return None
    try:
        data = os.read(fd, 1024)
    except OSError:  # gone between opening and reading (ESRCH)
        return None
    finally:
        os.close(fd)
    # the command's name may hold blanks and parentheses: fields count from the last ")"
    fields = data[data.rfind(b")") + 2 :].split(None, 22)
    if len(fields) < 22 or fields[0] in (b"Z", b"X"):
        return None
    ppid = int(fields[1])
    if ppid == KTHREADD:
        return None
    return Proc(
        pid=int(data[: data.find(b" ")]),
        ppid=ppid,
        session=int(fields[3]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
        rss_pages=int(fields[21]),
    )


def one_pass(root: str = "/proc") -> dict[int, Proc]:
    """Every living user process, by PID."""
    if sys.platform != "linux":
        return _pass_by_psutil()
    found: dict[int, Proc] = {}
    for name in os.listdir(root):
        if name.isdigit() and (proc := read_proc(name, root)) is not None:
            found[proc.pid] = proc
    return found


def _pass_by_psutil() -> dict[int, Proc]:
    """The same where there is no /proc: slower, and without sessions on Windows."""
    import psutil

    found: dict[int, Proc] = {}
    for process in psutil.process_iter():
        try:
            with process.oneshot():
                times = process.cpu_times()
                session = os.getsid(process.pid) if hasattr(os, "getsid") else process.pid
                found[process.pid] = Proc(
                    process.pid,
                    process.ppid(),
                    session,
                    int((times.user + times.system) * TICKS),
                    process.num_threads(),
                    int(process.create_time() * TICKS),
                    process.memory_info().rss // PAGE,
                )
        except (psutil.Error, OSError):  # gone meanwhile, or another user's
            continue
    return found


@dataclass(frozen=True, slots=True)
class Target:
    """One strategy's tree as the sampler sees it. `known` are members reported by its runner."""

    id: str
    run_id: str
    runner: int | None
    leader: int | None
    leader_start: int | None
    known: frozenset[int] = frozenset()
    limit_mb: float | None = None
    log_path: str | None = None
    live_path: str | None = None


def children_of(procs: Mapping[int, Proc]) -> dict[int, list[int]]:
    """PIDs by parent."""
    tree: dict[int, list[int]] = {}
    for proc in procs.values():
        tree.setdefault(proc.ppid, []).append(proc.pid)
    return tree


def sessions_of(procs: Mapping[int, Proc]) -> dict[int, list[int]]:
    """PIDs by session."""
    found: dict[int, list[int]] = {}
    for proc in procs.values():
        found.setdefault(proc.session, []).append(proc.pid)
    return found


def members(
    target: Target,
    procs: Mapping[int, Proc],
    children: Mapping[int, list[int]],
    sessions: Mapping[int, list[int]],
    seen: Mapping[int, int],
) -> set[int]:
    """The PIDs of a strategy's tree.

    Below its runner (which adopts orphans), below its leader, in the leader's session, and those `seen` before (pid →
    start ticks) that still are the same processes.
    """
    leader = procs.get(target.leader) if target.leader is not None else None
    if leader is not None and target.leader_start is not None and leader.start_ticks != target.leader_start:
        leader = None  # the number was given to a stranger
    roots: list[int] = [target.runner] if target.runner is not None else []
    found: set[int] = set()
    if leader is not None:
        found.add(leader.pid)
    if leader is not None:
        found.update(sessions.get(leader.pid, ()))
    found.update(pid for pid, start in seen.items() if pid in procs and procs[pid].start_ticks == start)
    found.update(pid for pid in target.known if pid in procs)
    queue = roots + list(found)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in found:
                found.add(child)
                queue.append(child)
    if target.runner is not None:
        found.discard(target.runner)
    return found


def pss_pages(pids: Iterable[int], procs: Mapping[int, Proc], root: str = "/proc") -> float:
    """Proportional memory of these processes, in pages: what they share counts once. RSS where it cannot be read."""
    total = 0.0
    for pid in pids:
        try:
            with open(f"{root}/{pid}/smaps_rollup", "rb") as file:
                line = next((line for line in file if line.startswith(b"Pss:")), b"Pss: 0 kB")
            total += int(line.split()[1]) * 1024 / PAGE
        except (OSError, ValueError):  # gone, or another user's: its RSS is the honest upper bound
            total += procs[pid].rss_pages if pid in procs else 0
    return total


def open_files(pids: Iterable[int], root: str = "/proc") -> int | None:
    """Open descriptors of these processes; None when none of them may be looked at."""
    total: int | None = None
    for pid in pids:
        try:
            total = (total or 0) + len(os.listdir(f"{root}/{pid}/fd"))
        except OSError:  # gone, or another user's
            continue
    return total
