"""Runs one hook's command and lets none of its processes outlive the limit.

Started by `hooks.py` as a script (`python -I -S shim.py SECONDS FD COMMAND…`), standard library only, so that it
costs little. It adopts orphans (child subreaper), so that even a daemon the command starts is found. Writes one JSON
line to FD: how the command ended. It goes on when the supervisor dies: alerts are then most wanted.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
KILL_S = 2.0  # longest we repeat SIGKILL; only a process stuck in the kernel survives one


def descendants() -> list[int]:
    """All living processes below us, zombies left out."""
    children: dict[int, list[int]] = {}
    zombies: set[int] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:  # ended meanwhile
            continue
        children.setdefault(int(parent), []).append(int(entry))
        if state in ("Z", "X"):
            zombies.add(int(entry))
    found: list[int] = []
    pending = [os.getpid()]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return [pid for pid in found if pid not in zombies]


def reap() -> tuple[dict[int, int], bool]:
    """Exit statuses of all children that have ended, and whether no child is left."""
    statuses: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return statuses, True
        if pid == 0:
            return statuses, False
        statuses[pid] = status


def is_empty(childless: bool, subreaper: bool) -> bool:
    """True when nothing below us lives. A subreaper without a child has no descendant, which no look at the process
    table can tell: what forks and ends while it is read leaves a child that was not in it yet."""
    return childless if subreaper else not descendants()


def kill_all(leader: int, subreaper: bool) -> list[int]:
    """SIGKILL, repeated until nothing is left; returns what survived."""
    deadline = time.monotonic() + KILL_S
    while True:
        try:
            os.killpg(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # the group is empty; nobody else can have our session's number
            pass
        left = descendants()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # ended meanwhile; or setuid, which only its owner may kill
                pass
        childless = reap()[1]
        if is_empty(childless, subreaper):
            return []
        if time.monotonic() > deadline:
            return left
        signal.sigtimedwait([signal.SIGCHLD], 0.02)


def run(seconds: float, command: list[str]) -> dict[str, object]:
    """Run `command` in a session of its own; what of its tree is alive after `seconds` is killed."""
    subreaper = sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    deadline = time.monotonic() + seconds
    # blocked, so that a child's end between looking and waiting is not missed
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        leader = os.posix_spawnp(command[0], command, os.environ, setsid=True, setsigmask=[])
    except OSError as error:
        return {"error": f"cannot start {command[0]}: {os.strerror(error.errno or 0).lower()}"}
    status: int | None = None
    while True:
        statuses, childless = reap()
        status = statuses.get(leader, status)
        if status is not None and is_empty(childless, subreaper):
            return {"code": os.waitstatus_to_exitcode(status)}
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        signal.sigtimedwait([signal.SIGCHLD], remaining)
    left = kill_all(leader, subreaper)
    return {"code": None if status is None else os.waitstatus_to_exitcode(status), "killed": True, "left": left}


if __name__ == "__main__":
    result_fd = int(sys.argv[2])
    os.set_inheritable(result_fd, False)
    answer = json.dumps(run(float(sys.argv[1]), sys.argv[3:])).encode() + b"\n"
    try:
        os.write(result_fd, answer)
    except BrokenPipeError:  # the supervisor is gone
        pass
