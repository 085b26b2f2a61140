"""Taking over a run whose runner is dead: from its records and from the processes that are really there.

Used by replacement runners, which the launcher forks, and by the command line when nothing of ours is alive. Whoever
calls holds `runner.lock`. A record is only a claim: the leader must match by start time, members by mark, session or
parentage.
"""

from __future__ import annotations

import os
from typing import Any

from stratpanel.process import platform, records
from stratpanel.process.capture import Capture
from stratpanel.process.identity import Identity, identity_in
from stratpanel.process.locks import Lock
from stratpanel.process.loop import Loop, Timer
from stratpanel.process.paths import Runtime
from stratpanel.process.previous import ended_on_record
from stratpanel.process.run import Run
from stratpanel.process.spawn import NEVER_BEGAN
from stratpanel.process.tree import FoundTree, ProcessTable, mark_of

# How long somebody else may take to tell the leader's status after its death; the launcher's word is there at once.
WORD_S = 1.0
ASK_EVERY_S = 0.005


class LeaderWatch:
    """Learns the end and the exit status of a leader that is not our child, from whoever knows it first."""

    def __init__(self, run: Run, leader: Identity) -> None:
        self._run = run
        self._leader = leader
        self._fd = leader.open()
        self._asked = 0.0
        self._timer: Timer | None = None
        self._status: tuple[int, str] | None = None

    def begin(self) -> None:
        """Watch it, or ask after it when it is gone already."""
        if self._fd is not None:
            run, fd = self._run, self._fd
            run.loop.watch(fd, lambda _events: self._exited())
        else:
            self._ask()

    def reaped(self, pid: int, start_ticks: int, wait_status: int) -> None:
        """The launcher was its parent in the end."""
        if (pid, start_ticks) == (self._leader.pid, self._leader.start_ticks):
            self._know(wait_status, "launcher")

    def _exited(self) -> None:
        if self._fd is not None:
            self._run.loop.unwatch(self._fd)
        self._ask()

    def _ask(self) -> None:
        """A zombie shows its status, a pidfd keeps it (Linux 6.15), the launcher tells it; else it is unknown."""
        self._timer = None
        seen = platform.look_at(self._leader.pid)
        if seen is not None and seen.start_ticks == self._leader.start_ticks and not seen.alive and _may_read(seen.pid):
            self._know(seen.wait_status, "zombie")
            return
        status = platform.exit_status(self._fd) if self._fd is not None else None
        if status is not None:
            self._know(status, "pidfd")
            return
        self._asked += ASK_EVERY_S
        if self._asked > WORD_S:
            self._know(None, "unknown")
            return
        self._timer = self._run.loop.call_later(ASK_EVERY_S, self._ask)

    def _know(self, status: int | None, route: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        run = self._run
        if run.status.get("leader_exit") is not None:
            return
        if self._fd is not None:
            run.loop.unwatch(self._fd)
            os.close(self._fd)
            self._fd = None
        if run.began is None and status is not None and os.WIFEXITED(status):
            run.began = os.WEXITSTATUS(status) != NEVER_BEGAN
        if run.began is False:
            run.error = f"{run.id} was not started: its runner was killed before the start was on record"
        run.leader_exited(status, route)
        run.look()


def _may_read(pid: int) -> bool:
    """The kernel shows a zombie's status to its own user only, and 0 to all others."""
    try:
        return os.geteuid() in (0, os.stat(f"/proc/{pid}").st_uid)
    except OSError:  # reaped this instant
        return False


def adopt(
    runtime: Runtime,
    loop: Loop,
    strategy_id: str,
    lock: Lock,
    pipe: int | None = None,
    table: ProcessTable | None = None,
) -> tuple[Run, LeaderWatch | None] | None:
    """Serve the recorded run from now on; None when there is nothing to serve. Raises RecordError, OSError."""
    status = records.read_json(runtime.folder(strategy_id).status)
    if status is None or ended_on_record(runtime, status) or status.get("copied"):
        return None
    leader = identity_in(status, "leader")
    if leader is None or leader.where() == "elsewhere":
        return None
    inode = status.get("pipe_inode")
    if pipe is not None and platform.pipe_inode(pipe) != inode:
        os.close(pipe)
        pipe = None
    here = leader.where() == "here"
    tree = FoundTree(loop, leader if here else None, str(status["run_id"]), lambda: run.look(), table)
    gone = not leader.alive()
    members = tree.members() if gone and here else tree.adopt_leader(leader) if here else {}
    if pipe is None and inode is not None:
        pipe = _find_pipe(list(members), int(inode), status.get("spare_fd"))
    capture = Capture(loop, pipe, status["spec"]["log"], dropped=int(status.get("dropped_bytes") or 0), required=False)
    run = Run(runtime, loop, status, lock, capture)
    run.began = True if status["phase"] != "forked" else None
    if run.began is None and not gone and mark_of(leader.pid) == run.run_id:
        run.began = True
        status["phase"] = "running"
    status["runner"] = Identity.of(os.getpid()).to_json()
    status["members"] = sorted(members)
    if status.get("leader_exit") is not None:
        run.route = status["leader_exit"].get("route", "unknown")
    elif not here:
        run.error = "the machine restarted while it ran"
        status["leader_exit"] = {"exit_code": None, "signal": None, "route": "unknown"}
    run.tree = tree
    watch = None
    if status.get("leader_exit") is None:
        watch = LeaderWatch(run, leader)
        watch.begin()
    return run, watch


def go_on(run: Run) -> None:
    """After adoption, once clients can be served: say who serves now, resume a stop, notice an end."""
    run.publish()
    run.resume_stopping()
    if run.tree is not None:
        run.watch_over(run.tree)
    leader = identity_in(run.status, "leader")
    if leader is not None and leader.where() == "rebooted":
        run.ended()
    else:
        run.look()


def _find_pipe(pids: list[int], inode: int, hint: Any) -> int | None:
    for pid in pids:
        fd = platform.find_pipe(pid, inode, hint if isinstance(hint, int) else None)
        if fd is not None:
            return fd
    return None
