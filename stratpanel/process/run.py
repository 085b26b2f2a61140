"""One run under supervision: its record, its clients, its deadline, its end.

The runner that starts a strategy, its replacements, and the command line when nothing else lives all serve a run
through this class; only who found the tree, and how, differs. Whoever makes one holds the run's `runner.lock`. It
never decides that a strategy should run or stop: it obeys commands, the deadline, and the end of the tree.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Any

from stratpanel.process import locks, platform, records
from stratpanel.process.capture import Capture
from stratpanel.process.channel import Message
from stratpanel.process.clients import Clients
from stratpanel.process.errors import ProcessError
from stratpanel.process.exitrecord import exit_record
from stratpanel.process.identity import identity_in
from stratpanel.process.locks import Lock
from stratpanel.process.loop import Loop, Timer
from stratpanel.process.paths import Runtime
from stratpanel.process.spawn import Forked
from stratpanel.process.statusfile import RETRY_S, StatusFile
from stratpanel.process.stopping import Stopping
from stratpanel.process.tree import FoundTree, OwnTree, describe

# The wall clock is looked at this often while there is a deadline: a monotonic wait would not count a suspend.
DEADLINE_LOOK_S = 1.0
QUIET_LOOK_S = 5.0
FAREWELL_S = 1.0


class Run:
    """Serve it by running its loop until `finished`."""

    def __init__(self, runtime: Runtime, loop: Loop, status: dict[str, Any], lock: Lock, capture: Capture) -> None:
        self.runtime = runtime
        self.folder = runtime.folder(str(status["id"]))
        self.loop = loop
        self.status = status
        self.capture = capture
        self.clients = Clients(loop, self.command, self._greeting)
        self.tree: OwnTree | FoundTree | None = None
        self.began: bool | None = False
        self.error: str | None = None
        self.route = "unknown"
        self.finished = False
        self.refusal: Message | None = None
        self.on_finished: Callable[[], None] = lambda: None
        self.run_lock: Lock | None = None
        self._lock = lock
        self._file = StatusFile(loop, lock, self.folder.status, self._current)
        self._stopping: Stopping | None = None
        self._deadline: Timer | None = None
        self._record: dict[str, Any] | None = None
        self._gate: Forked | None = None

    def __repr__(self) -> str:
        return f"<Run {self.run_id} {self.status['phase']}>"

    @property
    def id(self) -> str:
        """The strategy's id."""
        return str(self.status["id"])

    @property
    def run_id(self) -> str:
        """This run's id, also the mark in its processes' environment."""
        return str(self.status["run_id"])

    @property
    def leader_pid(self) -> int:
        """The first process of the run; it may be gone."""
        return int(self.status["leader"]["pid"]) if self.status.get("leader") else 0

    # -- record -------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the status record. Raises OSError."""
        self._file.save()

    def _current(self) -> dict[str, Any]:
        self.status["dropped_bytes"] = self.capture.dropped_bytes
        return self.status

    def publish(self) -> bool:
        """Record the present state and tell everybody; a full disk delays the record, never the run."""
        saved = self._file.write()
        self._tell()
        return saved

    def _tell(self) -> None:
        self.clients.tell(self.news())

    def news(self) -> Message:
        """The status for who has heard the spec, which is most of it, or has given it."""
        return {"ev": "status", "status": {key: value for key, value in self.status.items() if key != "spec"}}

    def _greeting(self) -> Message | None:
        if self._record is not None and self.refusal is None:
            return {"ev": "exit", "record": self._record}  # over, and kept in memory until the disk takes it
        return {"ev": "status", "status": self.status} if self.status.get("leader") else None

    # -- life ---------------------------------------------------------------------------------------------------------

    def watch_over(self, tree: OwnTree | FoundTree) -> None:
        """From now on the tree is served: deadline, quiet looks, and a stop that was under way goes on."""
        self.tree = tree
        self.loop.call_later(QUIET_LOOK_S, self._quiet_look)
        self._look_at_clock()

    def set_phase(self, phase: str) -> None:
        """Move on, in everybody's ears and soon on record; a stop that is under way stays the phase."""
        if self.status["phase"] != "stopping":
            self.status["phase"] = phase
        self._file.write_soon()
        self._tell()

    def leader_exited(self, wait_status: int | None, route: str) -> None:
        """The leader is gone, its status known or not. The run goes on until the tree is empty."""
        if self.status.get("leader_exit") is not None:
            return
        code, name = describe(wait_status) if wait_status is not None else (None, None)
        self.route = route
        self.status["leader_exit"] = {"exit_code": code, "signal": name, "route": route}
        self._refresh_members()
        self.publish()

    def _refresh_members(self) -> bool:
        """Put the living members into the status, as far as they are known without a long search; True: changed."""
        before = self.status.get("members")
        if isinstance(self.tree, FoundTree):
            self.status["members"] = sorted(self.tree.refresh())
        elif self.tree is not None:
            self.status["members"] = sorted(self.tree.members())
        return bool(self.status["members"] != before)

    def look(self) -> None:
        """Is anything of it left? Called whenever a process of the run may have ended."""
        if self._record is not None or self.tree is None:
            return
        if isinstance(self.tree, OwnTree):
            if self.tree.reap():
                self._childless()
            return
        if self.status.get("leader_exit") is None:
            return  # whoever watches the leader is about to know its status
        if not self.tree.knows_any() and not self.tree.members() and not self._lock_holders(self.tree):
            self.ended()
        elif self._refresh_members():
            self.publish()

    def _lock_holders(self, tree: FoundTree) -> bool:
        """Somebody who lost mark, session and parents, but not the lock it inherited. True: it is not the end."""
        path = self.folder.run_lock
        if self.run_lock is not None or not locks.is_held(path):
            return False
        tree.watch(platform.holders_of(path))
        if not tree.knows_any():  # another user's: we cannot see who, only that
            self.loop.call_later(QUIET_LOOK_S, self.look)
        return True

    def _look_soon(self) -> None:
        self.loop.call_later(0.0, self.look)

    def _childless(self) -> None:
        """No child of ours is left: the end, unless something may have slipped away while we were no subreaper."""
        tree = self.tree
        if tree is not None and not tree.exact:
            leader = identity_in(self.status, "leader")
            found = FoundTree(self.loop, leader, self.run_id, self.look)
            if found.members():
                self.tree = found
                if self._stopping is not None:
                    self._stopping.tree = found
                return
        self.ended()

    def guard(self, forked: Forked) -> None:
        """Hear from the child's gate whether its program has begun."""
        self._gate = forked
        self.loop.watch(forked.said, self._gate_ready)

    def _gate_ready(self, _events: int = 0) -> None:
        gate = self._gate
        if gate is None:
            return
        outcome = gate.outcome()
        if outcome is None:
            return
        self._gate = None
        self.loop.unwatch(gate.said)
        gate.close()
        if isinstance(outcome, ProcessError):
            self.error = outcome.message
            self.refusal = {"ev": "refused", "code": outcome.code, "message": outcome.message, "pids": []}
            return
        self.began = True
        if self._record is None:
            self.set_phase("running")

    def ended(self) -> None:
        """The tree is empty: keep the last output, write the record, tell everybody."""
        if self._record is not None:
            return
        self._gate_ready()
        if self._stopping is not None:
            self._stopping.cancel()
        self.capture.finish()
        self._record = exit_record(self)
        self.status.update(phase="ended", members=[])
        self._conclude()

    def _quiet_look(self) -> None:
        if self.finished:
            return
        self.capture.look()
        self.look()
        if self._record is None and (
            self._refresh_members() or self.status.get("dropped_bytes") != self.capture.dropped_bytes
        ):
            self.publish()
        self.loop.call_later(QUIET_LOOK_S, self._quiet_look)

    # -- stopping -----------------------------------------------------------------------------------------------------

    def stop(self, reason: str, by: str, grace_s: float | None = None, *, kill: bool = False) -> None:
        """Stop the tree. Once is enough; a kill during the grace ends the waiting."""
        if self._record is not None or self.tree is None:
            return
        if self._stopping is None:
            grace = float(self.status["spec"].get("grace_s") or 0.0) if grace_s is None else grace_s
            self.status["stop"] = {"reason": reason, "by": by, "at": time.time(), "grace_s": 0.0 if kill else grace}
            self.status["phase"] = "stopping"
            self._refresh_members()
            self.publish()
            self._begin_stopping(grace, kill)
        elif kill:
            if not self._stopping.killing:
                self.status["stop"] = {**self.status["stop"], "reason": reason, "by": by, "grace_s": 0.0}
                self.publish()
            self._stopping.kill()

    def resume_stopping(self) -> None:
        """Go on with the stop that a dead runner had begun; asking a second time hurts nobody."""
        stop = self.status.get("stop")
        if stop is None or self._stopping is not None:
            return
        left = float(stop["at"]) + float(stop["grace_s"]) - time.time()
        grace = min(max(left, 0.0), float(stop["grace_s"]))
        self._begin_stopping(grace, kill=float(stop["grace_s"]) == 0.0)

    def _begin_stopping(self, grace: float, kill: bool) -> None:
        assert self.tree is not None
        self._stopping = Stopping(self.loop, self.tree, self.leader_pid, grace, self._look_soon)
        if kill:
            self._stopping.kill()
        else:
            self._tell_reason()
            self._stopping.begin()

    def _tell_reason(self) -> None:
        """Leave word for the strategy, before its SIGTERM, why it is stopped (STRATPANEL_STOP_REASON)."""
        path, stop = self.status["spec"].get("stop_reason_file"), self.status["stop"]
        if not path or not stop:
            return
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(str(stop["reason"]))
        except OSError:
            return  # full disk: the strategy is told "unknown"; its stop does not wait for a courtesy

    # -- deadline -----------------------------------------------------------------------------------------------------

    def _look_at_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        at = self.status.get("stop_at")
        if at is None or self._stopping is not None or self.finished:
            return
        left = float(at) - time.time()
        if left <= 0:
            self.stop(str(self.status.get("stop_at_reason") or "deadline"), "deadline")
            return
        self._deadline = self.loop.call_later(min(left, DEADLINE_LOOK_S), self._look_at_clock)

    # -- commands -----------------------------------------------------------------------------------------------------

    def command(self, message: Message) -> Message:
        """Obey one command of a client; the answer says whether, not that it is done."""
        try:
            return self._obey(message)
        except (KeyError, TypeError, ValueError) as error:
            return {"ok": False, "code": "BAD_MESSAGE", "message": f"cannot read {message.get('op')!r}: {error!r}"}
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return {"ok": False, "code": "FAILED", "message": f"cannot {message.get('op')} {self.id}: {why}"}

    def _obey(self, message: Message) -> Message:
        op = message.get("op")
        if op in ("stop", "kill"):
            if self.tree is None:
                return {"ok": False, "code": "NOT_RUNNING", "message": f"{self.id} is not running yet"}
            already = self._stopping is not None
            grace = message.get("grace_s")
            self.stop(
                str(message.get("reason") or op),
                str(message.get("by") or ""),
                None if grace is None else max(float(grace), 0.0),
                kill=op == "kill",
            )
            return {"ok": True, "already": already}
        if op == "deadline":
            return self._set_deadline(message)
        if op == "status":
            return {"ok": True, "status": self.status}
        if op == "clear_log":
            self.capture.clear()
            return {"ok": True}
        if op in ("ping", "hello"):
            return {"ok": True, "run_id": self.run_id}
        return {"ok": False, "code": "UNKNOWN_COMMAND", "message": f"a runner does not know {op!r}"}

    def _set_deadline(self, message: Message) -> Message:
        at = message["at"]
        at = None if at is None else float(at)
        reason = str(message.get("reason") or "window")
        if (at, reason) != (self.status.get("stop_at"), self.status.get("stop_at_reason")):
            self.status.update(stop_at=at, stop_at_reason=reason)
            saved = self.publish()
            self._look_at_clock()
            if not saved:
                # it is obeyed, but a replacement would not know it
                raise OSError(errno.ENOSPC, "the deadline cannot be stored")
        return {"ok": True}

    # -- end ----------------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """Renamed first, told next, forced to the disk last: whoever hears of the end finds it on record."""
        kept = self._keep_record()
        self.clients.tell(self.refusal or {"ev": "exit", "record": self._record})
        if kept:
            self._farewell()
        else:
            self.loop.call_later(RETRY_S, self._conclude_again)

    def _conclude_again(self) -> None:
        if self._keep_record():
            self._farewell()
        else:
            self.loop.call_later(RETRY_S, self._conclude_again)

    def _keep_record(self) -> bool:
        """Write the exit record and let the locks go, so that the next run may start. False: the disk is full."""
        try:
            # in a folder that was deleted, and perhaps made anew, there is no place of ours to keep it
            if self._lock.still_named():
                records.write_json(self.folder.exit, self._record)
                self.save()
        except OSError:  # kept in memory and tried again; the locks stay ours until it is written
            return False
        self._file.cancel()
        self.clients.stop_listening()
        self._lock.release()
        if self.run_lock is not None:
            self.run_lock.release()
        return True

    def rehearse_end(self) -> None:
        """The end of a run that was none, for the launcher's rehearsal: everything but the wait for the disk."""
        self.capture.finish()
        self._record = exit_record(self)
        self._keep_record()
        self.clients.tell({"ev": "exit", "record": self._record})
        self.clients.close()
        self.finished = True

    def _farewell(self) -> None:
        try:
            records.sync(self.folder.exit)
        except OSError:  # the next run of this id has replaced or removed it
            pass
        if self.clients.has_unsent:
            self.loop.call_later(FAREWELL_S, self._leave)
        else:
            self._leave()

    def _leave(self) -> None:
        self.clients.close()
        self.finished = True
        self.on_finished()
