"""Ends runs from outside, with or without any process of ours alive: for the command line's stop, kill, panic and down.

A living runner is asked; a hung one is killed; where there is none, this process takes `runner.lock` and ends the tree
itself, exactly as a replacement runner would. It never signals what a record merely claims: the processes must match.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any

from stratpanel.process import adoption, claiming, locks, platform, previous, records
from stratpanel.process.channel import Channel, ChannelClosed, Message
from stratpanel.process.errors import ProcessError, RecordError
from stratpanel.process.identity import Identity, identity_in, send_signal
from stratpanel.process.loop import Loop, Timer
from stratpanel.process.paths import Runtime
from stratpanel.process.tree import ProcessTable

Status = dict[str, Any]
ExitRecord = dict[str, Any]

# A runner answers within a turn of its loop; one that is silent for so long is stopped or hung.
ANSWER_S = 2.0
RETRY_S = 0.05
# Beyond the grace: time for killing, adopting and writing before we say that it did not work.
MARGIN_S = 15.0


def live_runs(runtime: Runtime) -> list[Status]:
    """Status records of the runs of which anything is alive on this machine; none in a copied workspace."""
    if claiming.is_copied(runtime):
        return []
    found = []
    for strategy_id in runtime.strategy_ids():
        status = unended(runtime, strategy_id)
        if status is not None and _is_alive(runtime, strategy_id, status):
            found.append(status)
    return found


def unended(runtime: Runtime, strategy_id: str) -> Status | None:
    """The status of a run without an end on record, whose processes would be on this machine and of this boot."""
    try:
        status = records.read_json(runtime.folder(strategy_id).status)
        if status is None or status.get("copied") or previous.ended_on_record(runtime, status):
            return None
    except RecordError:  # it names nobody; a start of that strategy is refused with the file's name
        return None
    leader = identity_in(status, "leader")
    return status if leader is not None and leader.where() == "here" else None


def _is_alive(runtime: Runtime, strategy_id: str, status: Status) -> bool:
    if locks.is_held(runtime.folder(strategy_id).runner_lock) or locks.is_held(runtime.folder(strategy_id).run_lock):
        return True
    return bool(previous.members_of(status))


def end_run(
    runtime: Runtime, strategy_id: str, *, grace_s: float | None = None, by: str, reason: str, kill: bool = False
) -> ExitRecord | None:
    """End one run and return its exit record; None when none was alive, or when part of it still is."""
    return _end(runtime, [strategy_id], grace_s, by, reason, kill).get(strategy_id)


def end_all(
    runtime: Runtime, *, grace_s: float | None = None, by: str, reason: str, kill: bool = False
) -> dict[str, ExitRecord | None]:
    """End all runs at once, each with its own grace unless one is given; by id, None for those that still live."""
    if claiming.is_copied(runtime):
        return {}
    ids = [strategy_id for strategy_id in runtime.strategy_ids() if unended(runtime, strategy_id) is not None]
    return _end(runtime, ids, grace_s, by, reason, kill)


def _end(
    runtime: Runtime, ids: list[str], grace_s: float | None, by: str, reason: str, kill: bool
) -> dict[str, ExitRecord | None]:
    if claiming.is_copied(runtime):
        raise ProcessError(
            "COPIED", f"{runtime.workspace} is a copy of another workspace; its records name that one's processes"
        )
    loop, table = Loop(many=True), ProcessTable()
    endings = []
    for strategy_id in ids:
        status = unended(runtime, strategy_id)
        if status is not None:
            grace = float(status["spec"].get("grace_s") or 0.0) if grace_s is None else grace_s
            endings.append(Ending(runtime, loop, table, strategy_id, grace, by, reason, kill))
    try:
        while any(not ending.over for ending in endings):
            loop.run_once(1.0)
    finally:
        for ending in endings:
            ending.close()
        loop.close()
    return {ending.id: ending.record for ending in endings}


class Ending:
    """One run's end, on a loop that many may share."""

    def __init__(
        self,
        runtime: Runtime,
        loop: Loop,
        table: ProcessTable,
        strategy_id: str,
        grace_s: float,
        by: str,
        reason: str,
        kill: bool,
    ) -> None:
        self._table = table
        self.id = strategy_id
        self._folder = runtime.folder(strategy_id)
        self.over = False
        self.record: ExitRecord | None = None
        self._runtime = runtime
        self._loop = loop
        self._grace_s = grace_s
        self._by = by
        self._reason = reason
        self._kill = kill
        self._channel: Channel | None = None
        self._patience: Timer | None = None
        self._give_up_at = time.monotonic() + (0.0 if kill else grace_s) + MARGIN_S
        self._blocked_since: float | None = None
        loop.call_later(0.0, self._approach)

    def close(self) -> None:
        """Hang up."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._channel is not None:
            self._loop.unwatch(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def _approach(self) -> None:
        """Find out who serves the run now, and go through them; again whenever that changes."""
        self.close()
        if self.over:
            return
        if unended(self._runtime, self.id) is None:
            self._is_over(self._on_disk())
        elif time.monotonic() > self._give_up_at:
            self._is_over(None)
        elif not self._ask_runner() and not self._take_over():
            self._loop.call_later(RETRY_S, self._approach)

    def _on_disk(self) -> ExitRecord | None:
        try:
            return records.read_json(self._folder.exit)
        except RecordError:
            return None

    def _is_over(self, record: ExitRecord | None) -> None:
        self.close()
        self.record = record
        self.over = True

    # -- a living runner ----------------------------------------------------------------------------------------------

    def _ask_runner(self) -> bool:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            platform.connect_in_folder(sock, self._folder.socket)
        except OSError:  # none listens, or its backlog is full because it hangs
            sock.close()
            return False
        channel = Channel(sock)
        order = {"op": "kill" if self._kill else "stop", "n": 1, "reason": self._reason, "by": self._by}
        try:
            channel.send(order if self._kill else {**order, "grace_s": self._grace_s})
        except ChannelClosed:
            channel.close()
            return False
        self._channel = channel
        self._loop.watch(channel.fileno(), self._heard)
        self._patience = self._loop.call_later(ANSWER_S, self._silent)
        return True

    def _heard(self, _events: int) -> None:
        if self._channel is None:
            return
        try:
            messages = self._channel.receive()
        except (ChannelClosed, OSError):  # the runner died over it: whoever comes next is asked again
            self.close()
            self._loop.call_later(RETRY_S, self._approach)
            return
        for message in messages:
            self._take_in(message)

    def _take_in(self, message: Message) -> None:
        if message.get("re") == 1 and self._patience is not None:
            self._patience.cancel()
            self._patience = self._loop.call_later(max(self._give_up_at - time.monotonic(), 0.0), self._approach)
        elif message.get("ev") == "exit":
            self._is_over(message["record"])

    def _silent(self) -> None:
        """A hung runner is no shield: without it, its strategy can be ended."""
        self.close()
        self._remove_holder()
        self._loop.call_later(RETRY_S, self._approach)

    def _remove_holder(self) -> None:
        identity = identity_in(locks.holder(self._folder.runner_lock))
        if identity is not None and identity.pid != os.getpid() and locks.is_held(self._folder.runner_lock):
            send_signal(identity, signal.SIGKILL)

    # -- no runner ----------------------------------------------------------------------------------------------------

    def _take_over(self) -> bool:
        lock = locks.acquire(self._folder.runner_lock, Identity.of(os.getpid()).to_json(), patience_s=0.0)
        if lock is None:
            now = time.monotonic()
            self._blocked_since = self._blocked_since or now
            if now - self._blocked_since > ANSWER_S:
                self._blocked_since = None
                self._remove_holder()
            return False
        try:
            adopted = adoption.adopt(self._runtime, self._loop, self.id, lock, table=self._table)
        except (ProcessError, OSError):
            lock.release()
            raise
        if adopted is None:
            lock.release()
            self._is_over(self._on_disk())
            return True
        run = adopted[0]

        def finished() -> None:
            self._is_over(self._on_disk())

        run.on_finished = finished
        self._loop.call_later(max(self._give_up_at - time.monotonic(), 0.0), lambda: self._is_over(self.record))
        adoption.go_on(run)
        if self.over:
            return True
        run.stop(self._reason, self._by, self._grace_s, kill=self._kill)
        return True
