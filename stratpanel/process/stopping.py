"""The order in which a tree is ended: ask everybody once, wait the grace, then kill until nobody is left.

A run has one of these from the moment it is told to stop. It never counts the leader's end as the end, never asks
twice, and never gives up: a member that cannot be killed (in uninterruptible sleep, another user's) is tried again
for ever.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TypeGuard

from stratpanel.process.loop import Loop, Timer
from stratpanel.process.platform import Seen
from stratpanel.process.tree import Tree

FIRST_LOOK_S = 0.002
LONGEST_LOOK_S = 1.0
# Each pass freezes all that it sees, and what is frozen cannot fork: the passes end when no new one appears.
FREEZING_PASSES = 50


class Stopping:
    """Ends one tree. `begin` asks; after `grace_s`, or at once with `kill`, members are killed in rounds."""

    def __init__(self, loop: Loop, tree: Tree, leader_pid: int, grace_s: float, on_round: Callable[[], None]) -> None:
        self._loop = loop
        self.tree = tree
        self._leader_pid = leader_pid
        self._grace_s = grace_s
        self._on_round = on_round
        self._timer: Timer | None = None
        self._wait_s = FIRST_LOOK_S
        self.killing = False

    def begin(self) -> None:
        """SIGTERM to the leader's group, and once to every other member; SIGCONT, or a stopped one could not obey."""
        members = self.tree.members()
        leader = members.get(self._leader_pid)
        grouped = _leads_group(leader) and self.tree.signal_group(leader, signal.SIGTERM)
        for seen in members.values():
            if not (grouped and seen.pgrp == self._leader_pid):
                self.tree.signal(seen, signal.SIGTERM)
        for seen in members.values():
            self.tree.signal(seen, signal.SIGCONT)
        self._timer = self._loop.call_later(self._grace_s, self._round)

    def kill(self) -> None:
        """Do not wait any longer."""
        if not self.killing:
            self.cancel()
            self._round()

    def cancel(self) -> None:
        """The tree is empty."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _round(self) -> None:
        """Freeze, kill, and come back soon for what is still there."""
        self.killing = True
        members = self.tree.members()
        leader = members.get(self._leader_pid)
        if _leads_group(leader):
            # one step for the whole group, in which not even a fork in progress escapes
            self.tree.signal_group(leader, signal.SIGKILL)
        frozen = set()
        for _ in range(FREEZING_PASSES):
            new = [seen for seen in members.values() if (seen.pid, seen.start_ticks) not in frozen]
            if not new:
                break
            for seen in new:
                self.tree.signal(seen, signal.SIGSTOP)
                frozen.add((seen.pid, seen.start_ticks))
            self.tree.chase(self._wait_s)
            members = self.tree.members(fresh=True)
        for seen in members.values():
            self.tree.signal(seen, signal.SIGKILL)
        self._timer = self._loop.call_later(self._wait_s, self._round)
        self._wait_s = min(self._wait_s * 2, LONGEST_LOOK_S)
        self._on_round()


def _leads_group(leader: Seen | None) -> TypeGuard[Seen]:
    """False in the first microseconds of its life, when its group is still the runner's own."""
    return leader is not None and leader.pgrp == leader.pid
