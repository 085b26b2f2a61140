"""Keeps one supervisor running: started by the launcher alone, restarted with growing pauses, for ever.

The launcher's loop owns one of these. It never starts a supervisor beside another, whoever started that one, and it
does not start one again that refused its registry until something is different.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from stratpanel.process import locks, records
from stratpanel.process.identity import identity_in
from stratpanel.process.loop import Loop, Timer
from stratpanel.process.paths import SETTINGS, Runtime

MODULE = "stratpanel.supervisor"
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
# One that lived this long had started well, as had one that greeted us: its end is a new story.
STEADY_S = 10.0
LOOK_S = 1.0
REFUSED_REGISTRY = 78  # EX_CONFIG


class SupervisorKeeper:
    """`has_runs` says whether runners are alive, for which even a broken registry gets a (degraded) supervisor."""

    def __init__(self, runtime: Runtime, loop: Loop, has_runs: Callable[[], bool], say: Callable[[str], None]) -> None:
        self._runtime = runtime
        self._loop = loop
        self._has_runs = has_runs
        self._say = say
        self.pid: int | None = None
        self._started = 0.0
        self._pause = FIRST_PAUSE_S
        self._timer: Timer | None = None
        self._other: int | None = None
        self._refused: list[tuple[int, int, int] | None] | None = None
        self._read: list[tuple[int, int, int] | None] = []
        self._leaving = False
        self._greeted = False

    def begin(self) -> None:
        """Start one, or watch the one that a dead launcher has left."""
        if self._leaving or self.pid is not None or self._other is not None:
            return
        self._cancel()
        if locks.is_held(self._runtime.supervisor_lock):
            self._watch_other()
        elif not self._runtime.wanted.exists():
            self._say("not wanted any more: no supervisor is started")
        else:
            self._spawn()

    def nudge(self) -> None:
        """A person said `up`: try at once, whatever was wrong before."""
        self._pause = FIRST_PAUSE_S
        self._refused = None
        self.begin()

    def greeted(self) -> None:
        """A supervisor has connected: this one came up, so nothing is wrong with what it needs."""
        self._greeted = True

    def leave(self) -> None:
        """Start none any more; a living one goes on until it ends itself."""
        self._leaving = True
        self._cancel()

    def reaped(self, status: int) -> None:
        """Our supervisor has ended."""
        self.pid = None
        code = os.waitstatus_to_exitcode(status)
        lived = time.monotonic() - self._started
        if self._leaving or not self._runtime.wanted.exists():
            return
        if code == REFUSED_REGISTRY and not self._has_runs():
            self._say(
                "the supervisor refused the registry; it is started again when that changes, or by `stratpanel up`"
            )
            self._refused = self._read
            self._later(LOOK_S)
            return
        if self._greeted or lived >= STEADY_S:
            self._pause = FIRST_PAUSE_S
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        self._say(f"the supervisor {how} after {lived:.1f} s; starting it again in {self._pause:.1f} s")
        self._later(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_S)

    def _later(self, delay_s: float) -> None:
        self._cancel()
        self._timer = self._loop.call_later(delay_s, self._again)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _again(self) -> None:
        self._timer = None
        if self._refused is not None and self._refused == self._configuration() and not self._has_runs():
            self._later(LOOK_S)
            return
        self._refused = None
        self.begin()

    def _configuration(self) -> list[tuple[int, int, int] | None]:
        """What a refusal may have been about, by identity and time of change."""
        workspace = self._runtime.workspace
        found: list[tuple[int, int, int] | None] = []
        for path in (workspace / "strategies" / "strategy_configs.json", workspace / SETTINGS):
            try:
                info = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((info.st_ino, info.st_mtime_ns, info.st_size))
        return found

    def _watch_other(self) -> None:
        """Somebody else's supervisor lives: wait for its end, which a pidfd tells."""
        identity = identity_in(locks.holder(self._runtime.supervisor_lock))
        fd = identity.open() if identity is not None else None
        if fd is None:  # it is just writing its record, or just gone
            self._later(LOOK_S / 2)
            return
        self._other = fd

        def gone(_events: int) -> None:
            self._loop.unwatch(fd)
            os.close(fd)
            self._other = None
            self._later(FIRST_PAUSE_S)

        self._loop.watch(fd, gone)

    def _spawn(self) -> None:
        # as it is before the supervisor reads it: an edit made while that one is ending must count as a change
        self._read = self._configuration()
        try:
            self.pid = os.posix_spawn(
                (argv := self._command())[0],
                argv,
                os.environ,
                setsigmask=[],
                setsigdef=[
                    number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)
                ],
            )
        except OSError as error:  # no processes or memory left, or the interpreter was removed
            self._say(f"cannot start the supervisor: {(error.strerror or str(error)).lower()}; trying again")
            self._later(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE_S)
            return
        self._started = time.monotonic()
        self._greeted = False

    def _command(self) -> list[str]:
        """What is wanted may name another supervisor's command; else it is ours."""
        try:
            wanted = records.read_json(self._runtime.wanted) or {}
        except records.RecordError:
            wanted = {}
        command = wanted.get("supervisor")
        if isinstance(command, list) and command:
            return [str(part) for part in command]
        runtime = self._runtime
        argv = [sys.executable, "-P", "-m", MODULE, os.fspath(runtime.workspace)]
        usual = Runtime.of(runtime.workspace).root == runtime.root
        return argv if usual else [*argv, os.fspath(runtime.root)]
