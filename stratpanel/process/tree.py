"""Which processes belong to one run: exactly, while we are their subreaper; else by every trace they cannot all lose.

The runner that forked a strategy was a subreaper before the fork, so whatever the strategy does, its processes stay
below that runner: `OwnTree`. A replacement runner and the command line are nobody's ancestor: `FoundTree` joins
descendants, sessions, and the run's mark in the environment. A number that may have been recycled is never enough to
be a member.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable

from stratpanel.process import platform
from stratpanel.process.identity import Identity
from stratpanel.process.loop import Loop
from stratpanel.process.platform import Seen

MARK = b"STRATPANEL_RUN_ID="
CHASED = 4
PASSES = 5
CATCH_UPS = 1000
KTHREADD = 2  # parent of the kernel's own threads


def mark_of(pid: int) -> str:
    """The run a process was started in, by its environment; empty when it has no mark or hides it."""
    data = b"\0" + platform.environ_of(pid)
    start = data.find(b"\0" + MARK)
    if start < 0:
        return ""
    start += 1 + len(MARK)
    end = data.find(b"\0", start)
    return os.fsdecode(data[start : end if end >= 0 else len(data)])


class ProcessTable:
    """One pass over all processes, shared by all trees that one process looks for, with the marks read on demand."""

    def __init__(self) -> None:
        self.taken_at = 0.0
        self.seen: dict[int, Seen] = {}
        self._marks: dict[tuple[int, int], str] = {}

    def renew(self, since: float) -> None:
        """Look again unless the last look was after `since` (monotonic seconds)."""
        if self.seen and self.taken_at > since:
            return
        self.taken_at = time.monotonic()
        own = os.getpid()
        self.seen = {seen.pid: seen for seen in _snapshot() if seen.alive and seen.pid != own}
        living = {(seen.pid, seen.start_ticks) for seen in self.seen.values()}
        self._marks = {key: mark for key, mark in self._marks.items() if key in living}

    def mark(self, seen: Seen) -> str:
        """The run it was started in. Exec can only lose a mark, so what was read once is never too little."""
        key = (seen.pid, seen.start_ticks)
        if key not in self._marks:
            self._marks[key] = mark_of(seen.pid)
        return self._marks[key]

    def forget(self) -> None:
        """Give the memory back."""
        self.seen.clear()
        self._marks.clear()


def descendants(roots: Iterable[int], exempt: int = 0) -> dict[int, Seen]:
    """Everything below these processes, living and zombie, without the roots, and without `exempt` and what it made."""
    found: dict[int, Seen] = {}
    waiting = list(roots)
    while waiting:
        for pid in platform.children_of(waiting.pop()):
            if pid in found or pid == exempt:
                continue
            seen = platform.look_at(pid)
            if seen is not None:
                found[pid] = seen
                waiting.append(pid)
    return found


def _snapshot() -> list[Seen]:
    """Everybody who lives at the end of this call.

    A pass takes milliseconds. Who was forked meanwhile is looked at afterwards, until nobody was: else a process that
    hands itself on to a child again and again could be missed although it never stopped.
    """
    for _ in range(PASSES):
        newest = platform.newest_pid()
        found = list(platform.every_process())
        for _ in range(CATCH_UPS):
            now = platform.newest_pid()
            if now == newest:
                return found
            if not newest < now < newest + CATCH_UPS:
                break  # the numbers have wrapped around, or too many came: another pass
            found += [seen for pid in range(newest + 1, now + 1) if (seen := platform.look_at_process(pid))]
            newest = now
    return found


def find_members(leader: Identity | None, run_id: str, known: dict[int, int], table: ProcessTable) -> dict[int, Seen]:
    """All living processes of a run, by the table of all processes.

    `known` maps PIDs that were members before to their start ticks. Certain members are the leader and known ones
    whose start time matches, and whoever bears the mark. From them the tree grows by parentage and by session: a leader
    makes its own session first of all, so nobody else can be in it, and the number of a session is not given out again
    while one process is in it. Without a certain member in it, a session of our leader's number is a stranger's.
    """
    since = leader.start_ticks if leader is not None else 0
    if leader is not None:
        known = {**known, leader.pid: leader.start_ticks}
    members: dict[int, Seen] = {}
    for seen in table.seen.values():
        if known.get(seen.pid) == seen.start_ticks or (
            seen.start_ticks >= since and seen.ppid != KTHREADD and table.mark(seen) == run_id
        ):
            members[seen.pid] = seen
    own_session = os.getsid(0)
    grown = bool(members)
    while grown:
        sessions = {seen.session for seen in members.values()} - {0, own_session}
        more = {
            seen.pid: seen
            for seen in table.seen.values()
            if seen.pid not in members and (seen.ppid in members or seen.session in sessions)
        }
        members.update(more)
        grown = bool(more)
    return members


class Tree:
    """What both kinds have in common: signals that reach exactly the process that was seen."""

    # False as soon as a member may exist that is not below us
    exact: bool = False

    def members(self, *, fresh: bool = False) -> dict[int, Seen]:
        """Living members, as thoroughly as this kind can; `fresh`: as of now, not of this turn of the loop."""
        raise AssertionError("each kind of tree finds its members itself")

    def chase(self, for_s: float) -> None:
        """Freeze a member that a pass would come too late for; at most so many seconds."""

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
        # a child of ours that is none of the strategy's: the first process of a new launcher
        self.exempt = 0
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

    def members(self, *, fresh: bool = False) -> dict[int, Seen]:
        return {pid: seen for pid, seen in descendants([os.getpid()], self.exempt).items() if seen.alive}


class FoundTree(Tree):
    """A tree that others forked. Known members are watched through pidfds, so their end is an event, not a poll."""

    def __init__(
        self,
        loop: Loop,
        leader: Identity | None,
        run_id: str,
        on_change: Callable[[], None],
        table: ProcessTable | None = None,
    ) -> None:
        self._loop = loop
        self._table = table or ProcessTable()
        self._leader = leader
        self._run_id = run_id
        self._on_change = on_change
        self._known: dict[int, tuple[int, int]] = {}

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

    def chase(self, for_s: float) -> None:
        """Freeze what outruns a pass over all processes: each lives a millisecond and leaves a
        successor. The newest numbers are looked at alone, which takes a twentieth of that.
        """
        until = time.monotonic() + for_s
        looked: set[tuple[int, int]] = set()
        while time.monotonic() < until:
            newest = platform.newest_pid()
            for pid in range(newest, max(newest - CHASED, 1), -1):
                seen = platform.look_at(pid)
                if seen is None or not seen.alive or (pid, seen.start_ticks) in looked or pid == os.getpid():
                    continue
                looked.add((pid, seen.start_ticks))
                if mark_of(pid) == self._run_id and self.signal(seen, signal.SIGSTOP):
                    return

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
        self._table.forget()
        self.watch({pid: seen for pid, seen in found.items() if seen.alive})
        return found

    def members(self, *, fresh: bool = False) -> dict[int, Seen]:
        known = {pid: ticks for pid, (ticks, _) in self._known.items()}
        # every end that was reported came before this turn of the loop began, so one look serves all trees in it
        self._table.renew(time.monotonic() if fresh else self._loop.turned_at)
        found = find_members(self._leader, self._run_id, known, self._table)
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
