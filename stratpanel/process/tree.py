"""Which processes belong to one run: exactly, while we are their subreaper; else by every trace they cannot all lose.

The runner that forked a strategy was a subreaper before the fork, so whatever the strategy does, its processes stay
below that runner: `OwnTree`. A replacement runner and the command line are nobody's ancestor: `FoundTree` joins
descendants, sessions, and the run's mark in the environment. A number that may have been recycled is never enough to
be a member.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable

from stratpanel.process import platform
from stratpanel.process.identity import Identity
from stratpanel.process.loop import Loop
from stratpanel.process.platform import Seen

MARK = b"STRATPANEL_RUN_ID="


def is_marked(pid: int, run_id: str) -> bool:
    """True when the process was started with this run's mark."""
    return b"\0" + MARK + os.fsencode(run_id) + b"\0" in b"\0" + platform.environ_of(pid) + b"\0"


def descendants(roots: Iterable[int]) -> dict[int, Seen]:
    """Everything below these processes, living and zombie, without the roots themselves."""
    found: dict[int, Seen] = {}
    waiting = list(roots)
    while waiting:
        for pid in platform.children_of(waiting.pop()):
            if pid in found:
                continue
            seen = platform.look_at(pid)
            if seen is not None:
                found[pid] = seen
                waiting.append(pid)
    return found


def find_members(
    leader: Identity | None,
    run_id: str,
    known: dict[int, int],
    unmarked: set[tuple[int, int]] | None = None,
) -> dict[int, Seen]:
    """All living processes of a run, by one pass over the system.

    `known` maps PIDs that were members before to their start ticks. `unmarked` remembers between passes who had no
    mark. Certain members are the leader and known ones whose start time matches, and whoever bears the mark. From
    them the tree grows by parentage and by session: a leader makes its own session first of all, so nobody else can
    be in it, and the number of a session is not given out again while one process is in it. Without a certain member
    in it a session that merely bears our leader's number is a stranger's.
    """
    since = leader.start_ticks if leader is not None else 0
    if leader is not None:
        known = {**known, leader.pid: leader.start_ticks}
    self_pid, own_session = os.getpid(), os.getsid(0)
    seen_by_pid = {seen.pid: seen for seen in platform.every_process() if seen.alive and seen.pid != self_pid}
    members: dict[int, Seen] = {}
    for seen in seen_by_pid.values():
        if known.get(seen.pid) == seen.start_ticks:
            members[seen.pid] = seen
        elif seen.start_ticks >= since and seen.ppid != 2:  # 2 is kthreadd: the kernel's own threads
            if unmarked is not None and (seen.pid, seen.start_ticks) in unmarked:
                continue
            if is_marked(seen.pid, run_id):
                members[seen.pid] = seen
            elif unmarked is not None:
                unmarked.add((seen.pid, seen.start_ticks))
    grown = bool(members)
    while grown:
        sessions = {seen.session for seen in members.values()} - {0, own_session}
        more = {
            seen.pid: seen
            for seen in seen_by_pid.values()
            if seen.pid not in members and (seen.ppid in members or seen.session in sessions)
        }
        members.update(more)
        grown = bool(more)
    return members


class Tree:
    """What both kinds have in common: signals that reach exactly the process that was seen."""

    # False as soon as a member may exist that is not below us
    exact: bool = False

    def members(self) -> dict[int, Seen]:
        """Living members now, as thoroughly as this kind can."""
        raise AssertionError("each kind of tree finds its members itself")

    def signal(self, seen: Seen, number: int) -> bool:
        """Signal exactly this process; False when it is gone."""
        fd = platform.open_process(seen.pid, seen.start_ticks)
        if fd is None:
            return False
        try:
            return platform.signal_process(fd, number)
        except PermissionError:  # it changed its user: said by whoever finds it still alive at the end
            return False
        finally:
            os.close(fd)

    def signal_group(self, leader: Seen, number: int) -> bool:
        """Signal the leader's whole process group in one step; False when the group cannot be reached for certain."""
        fd = platform.open_process(leader.pid, leader.start_ticks)
        if fd is None:
            return False
        try:
            return platform.signal_process(fd, number, group=True)
        except OSError:  # before Linux 6.9 a pidfd has no group (EINVAL): the caller signals one by one
            return False
        finally:
            os.close(fd)


class OwnTree(Tree):
    """Our own descendants. We are their subreaper since before the first of them, so no child means no member."""

    def __init__(self, leader_pid: int, on_leader_exit: Callable[[int], None]) -> None:
        self.exact = True
        self._leader_pid = leader_pid
        self._on_leader_exit = on_leader_exit

    def reap(self) -> bool:
        """Collect what has ended; True when nothing is left at all.

        The leader's status is reported *before* it is reaped: if we are killed between the two, the zombie goes to the
        launcher, who learns the same.
        """
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return True
            if ended is None:
                return False
            if ended.si_pid == self._leader_pid:
                self._leader_pid = 0
                self._on_leader_exit(_wait_status(ended))
            os.waitpid(ended.si_pid, os.WNOHANG)

    def members(self) -> dict[int, Seen]:
        return {pid: seen for pid, seen in descendants([os.getpid()]).items() if seen.alive}


class FoundTree(Tree):
    """A tree that others forked. Known members are watched through pidfds, so their end is an event, not a poll."""

    def __init__(self, loop: Loop, leader: Identity | None, run_id: str, on_change: Callable[[], None]) -> None:
        self._loop = loop
        self._leader = leader
        self._run_id = run_id
        self._on_change = on_change
        self._known: dict[int, tuple[int, int]] = {}
        self._unmarked: set[tuple[int, int]] = set()

    def watch(self, members: dict[int, Seen]) -> None:
        """Remember these and hear of their ends."""
        for seen in members.values():
            known = self._known.get(seen.pid)
            if known is not None and known[0] == seen.start_ticks:
                continue
            if known is not None:
                self._forget(seen.pid)
            fd = platform.open_process(seen.pid, seen.start_ticks)
            if fd is not None:
                self._known[seen.pid] = (seen.start_ticks, fd)
                self._loop.watch(fd, lambda _events, pid=seen.pid: self._ended(pid))  # type: ignore[misc]

    def adopt_leader(self, leader: Identity) -> dict[int, Seen]:
        """Begin with a leader that lives, and what is below it: no pass over the whole system for each replacement."""
        seen = platform.look_at(leader.pid)
        if seen is not None and seen.start_ticks == leader.start_ticks:
            self.watch({leader.pid: seen})
        return self.refresh()

    def knows_any(self) -> bool:
        """True while a known member lives."""
        return bool(self._known)

    def refresh(self) -> dict[int, Seen]:
        """Known members and what they have forked since; cheap, for the quiet times."""
        found = {pid: seen for pid in self._known if (seen := platform.look_at(pid)) is not None}
        found.update(descendants(self._known))
        self.watch({pid: seen for pid, seen in found.items() if seen.alive})
        return found

    def members(self) -> dict[int, Seen]:
        known = {pid: ticks for pid, (ticks, _) in self._known.items()}
        found = find_members(self._leader, self._run_id, known, self._unmarked)
        self.watch(found)
        return found

    def close(self) -> None:
        """Stop watching."""
        for pid in list(self._known):
            self._forget(pid)

    def _ended(self, pid: int) -> None:
        self._forget(pid)
        self._on_change()

    def _forget(self, pid: int) -> None:
        _, fd = self._known.pop(pid)
        self._loop.unwatch(fd)
        os.close(fd)


def _wait_status(ended: os.waitid_result) -> int:
    """What waitpid would have said."""
    if ended.si_code == os.CLD_EXITED:
        return ended.si_status << 8
    return ended.si_status | (0x80 if ended.si_code == os.CLD_DUMPED else 0)


def describe(wait_status: int) -> tuple[int | None, str | None]:
    """Exit code or signal name of a wait status; exactly one of them is None."""
    if os.WIFSIGNALED(wait_status):
        return None, signal_name(os.WTERMSIG(wait_status))
    return os.WEXITSTATUS(wait_status), None


def signal_name(number: int) -> str:
    """`SIGKILL`; real-time signals have no names of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
