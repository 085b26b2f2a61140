"""Which runner serves which run, and who follows when one dies. The launcher's table; it forks, and decides nothing
else.

A runner that leaves with 0 has concluded its run. Any other end leaves a run without a runner: a replacement is
forked, with the pipe's read end that the launcher kept. Runners that an earlier launcher forked report by themselves;
runs whose runner died while no launcher lived are found by their records.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from stratpanel.process import locks, platform, records, runner
from stratpanel.process.channel import Channel, ChannelClosed, Message
from stratpanel.process.errors import ProcessError
from stratpanel.process.identity import Identity, identity_in
from stratpanel.process.loop import Loop, Timer, wake_pair
from stratpanel.process.paths import Runtime
from stratpanel.process.previous import ended_on_record
from stratpanel.process.spawn import cannot_fork

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 5.0
# A runner that lived this long had begun well: its death is no sign that the next one dies too.
STEADY_S = 1.0
# How long the status of an orphan is kept for the runner that may ask for it.
REMEMBERED_S = 60.0
MOST_REMEMBERED = 4096
ORPHANS_PER_TURN = 20
# After a start, the processors belong to what was started for a moment.
SPARE_AGAIN_S = 0.02
# Bytes of a run's pipe, while all of ours take at most this share of the user's pages. A million lines cost 0.058 s of
# processor at 1 MiB, 0.075 at 256 KiB, 0.14 at 64 KiB.
PIPE_SIZES = ((1 << 20, 0.25), (256 << 10, 0.5), (64 << 10, 0.75), (16 << 10, 1e9))

Key = tuple[int, int]


class Tended:
    """One run as the launcher knows it."""

    __slots__ = ("attempts", "channel", "forked_at", "id", "leader", "pipe", "run_id", "runner_pid", "timer")

    def __init__(self, strategy_id: str, run_id: str, pipe: int) -> None:
        self.id = strategy_id
        self.run_id = run_id
        self.pipe = pipe
        self.runner_pid = 0
        self.channel: Channel | None = None
        self.leader: Key | None = None
        self.attempts = 0
        self.forked_at = 0.0
        self.timer: Timer | None = None

    def __repr__(self) -> str:
        return f"<Tended {self.run_id} by {self.runner_pid}>"


class Succession:
    """`announce` tells the supervisors of a runner's death."""

    def __init__(
        self, runtime: Runtime, loop: Loop, announce: Callable[[Message], None], say: Callable[[str], None]
    ) -> None:
        self._runtime = runtime
        self._loop = loop
        self._announce = announce
        self._say = say
        self._runs: dict[str, Tended] = {}
        self._by_pid: dict[int, Tended] = {}
        self._reaped: OrderedDict[Key, tuple[int, float]] = OrderedDict()
        self._spare: tuple[int, Channel] | None = None
        self._leaving = False
        self._pages = 0
        self._pages_allowed = platform.pipe_pages_allowed()

    def listing(self) -> list[dict[str, Any]]:
        """For a supervisor's hello."""
        return [
            {"id": run.id, "run_id": run.run_id, "runner_pid": run.runner_pid or None} for run in self._runs.values()
        ]

    @property
    def any_alive(self) -> bool:
        """True while a run is served, or about to be."""
        return bool(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    # -- new runs -----------------------------------------------------------------------------------------------------

    def spawn(self, spec: dict[str, Any], client: int) -> int:
        """Have a runner for a new run; returns its PID. `client` is closed here. Raises ProcessError."""
        try:
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            _close(client)
            raise _out_of_descriptors(spec["id"], error) from error
        self._enlarge(read_end)
        run = Tended(str(spec["id"]), str(spec["run_id"]), read_end)
        try:
            if not self._use_spare(run, spec, (read_end, write_end, client)):
                self._fork(
                    run,
                    lambda lifeline, wake: runner.serve_new(
                        self._runtime, spec, runner.Ends(lifeline, wake, read_end, write_end, client)
                    ),
                )
        except ProcessError:
            self._close_pipe(run)
            raise
        finally:
            _close(write_end, client)
        self._runs[run.run_id] = run
        return run.runner_pid

    def _enlarge(self, read_end: int) -> None:
        """A bigger pipe means fewer wakes in a flood. Only within half of what the user has: past the limit every
        further pipe of that user, also in other programs, would be 8 KiB."""
        for size, share in PIPE_SIZES:
            if not self._pages_allowed or self._pages + size // platform.PAGE <= self._pages_allowed * share:
                platform.resize_pipe(read_end, size)
                break
        self._pages += platform.pipe_pages(read_end)

    def _close_pipe(self, run: Tended) -> None:
        if run.pipe >= 0:
            self._pages -= platform.pipe_pages(run.pipe)
            os.close(run.pipe)
            run.pipe = -1

    def _fork(self, run: Tended, live: Callable[[int, tuple[int, int]], object]) -> None:
        """Fork a runner that lives `live(lifeline, wake)`. Raises ProcessError."""
        pid, channel = _fork_runner(run.id, live)
        self._assign(run, pid, channel)

    def _assign(self, run: Tended, pid: int, channel: Channel) -> None:
        run.runner_pid = pid
        run.forked_at = time.monotonic()
        self._by_pid[pid] = run
        self._use(run, channel)

    # -- the spare ----------------------------------------------------------------------------------------------------

    def keep_spare(self) -> None:
        """Have one runner forked before it is asked for: a start then waits for no fork of ours."""
        if self._spare is not None or self._leaving:
            return
        try:
            self._spare = _fork_runner(
                "a spare runner",
                lambda lifeline, wake: runner.serve_spare(self._runtime, runner.Ends(lifeline, wake)),
            )
        except ProcessError:  # no processes or descriptors now: a start will say so, or make its own
            self._loop.call_later(LONGEST_PAUSE_S, self.keep_spare)

    def let_spare_go(self) -> None:
        """The launcher leaves: a spare goes with it."""
        self._leaving = True
        if self._spare is not None:
            self._spare[1].close()
            self._spare = None

    def _use_spare(self, run: Tended, spec: dict[str, Any], fds: tuple[int, int, int]) -> bool:
        """Give the start to the spare; False when there is none that takes it."""
        if self._spare is None:
            return False
        (pid, channel), self._spare = self._spare, None
        self._loop.call_later(SPARE_AGAIN_S, self.keep_spare)
        try:
            channel.send({"spec": spec}, [fd for fd in fds if fd >= 0])
            if channel.wants_write:  # an order longer than the socket's buffer: not worth waiting for
                raise ChannelClosed("too long")
        except ChannelClosed:
            os.kill(pid, signal.SIGKILL)  # our own child, not yet reaped: it has not understood anything
            channel.close()
            return False
        self._assign(run, pid, channel)
        return True

    # -- lines --------------------------------------------------------------------------------------------------------

    def welcome(self, channel: Channel, message: Message) -> None:
        """A runner that we did not fork has found us."""
        run_id = str(message["run_id"])
        fds = channel.take_fds()
        for extra in fds[1:]:
            os.close(extra)
        known = self._runs.get(run_id)
        if known is not None:
            self._forget(known)
        run = Tended(str(message["id"]), run_id, fds[0] if fds else -1)
        if run.pipe >= 0:
            self._pages += platform.pipe_pages(run.pipe)
        identity = identity_in(message, "identity")
        run.runner_pid = identity.pid if identity is not None else 0
        run.leader = _key(identity_in(message, "leader"))
        self._runs[run_id] = run
        self._use(run, channel)
        self._tell_reaped(run)

    def _use(self, run: Tended, channel: Channel) -> None:
        run.channel = channel
        self._loop.watch(channel.fileno(), lambda _events: self._readable(run))

    def _readable(self, run: Tended) -> None:
        if run.channel is None:
            return
        try:
            run.channel.receive()  # runners have nothing to say after their hello
        except (ChannelClosed, OSError):
            self._hang_up(run)
            if run.runner_pid not in self._by_pid:  # not our child: the end of its line is all we hear of its end
                self._lost(run)

    def _hang_up(self, run: Tended) -> None:
        if run.channel is not None:
            self._loop.unwatch(run.channel.fileno())
            run.channel.close()
            run.channel = None

    def _forget(self, run: Tended) -> None:
        self._hang_up(run)
        self._close_pipe(run)
        if run.timer is not None:
            run.timer.cancel()
        if self._runs.get(run.run_id) is run:
            del self._runs[run.run_id]

    # -- deaths -------------------------------------------------------------------------------------------------------

    def reaped(self, pid: int, status: int) -> bool:
        """A child of ours has ended; False when it was no runner."""
        if self._spare is not None and pid == self._spare[0]:
            self._spare[1].close()
            self._spare = None
            self._loop.call_later(STEADY_S, self.keep_spare)
            return True
        run = self._by_pid.pop(pid, None)
        if run is None:
            return False
        self._hang_up(run)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == runner.DONE:
            self._forget(run)
        else:
            self._lost(run)
        return True

    def adopted_orphan_ended(self, pid: int, start_ticks: int, status: int) -> None:
        """A process that a dead runner left to us has ended: if it was a leader, its next runner wants to know."""
        now = time.monotonic()
        self._reaped[(pid, start_ticks)] = (status, now)
        while self._reaped:
            key, (_, at) = next(iter(self._reaped.items()))
            if now - at < REMEMBERED_S and len(self._reaped) <= MOST_REMEMBERED:
                break
            del self._reaped[key]
        for run in list(self._runs.values()):
            if run.leader == (pid, start_ticks):
                self._tell_reaped(run)

    def _tell_reaped(self, run: Tended) -> None:
        known = self._reaped.get(run.leader) if run.leader is not None else None
        if known is None or run.channel is None or run.leader is None:
            return
        pid, start_ticks = run.leader
        try:
            run.channel.send({"ev": "reaped", "pid": pid, "start_ticks": start_ticks, "status": known[0]})
        except ChannelClosed:  # its end is noticed where the channel is read
            pass

    # -- replacements -------------------------------------------------------------------------------------------------

    def look_for_orphans(self) -> None:
        """Runs on record that nobody serves: their runner died while no launcher was there to see it."""
        self._look_at(self._runtime.strategy_ids())

    def _look_at(self, ids: list[str]) -> None:
        """A few in each turn of the loop: starts do not wait for the replacements of a thousand others."""
        known = {run.id for run in self._runs.values()}
        for strategy_id in ids[:ORPHANS_PER_TURN]:
            if strategy_id not in known:
                self._look_at_one(strategy_id)
        rest = ids[ORPHANS_PER_TURN:]
        if rest:
            self._loop.call_later(0.0, lambda: self._look_at(rest))

    def _look_at_one(self, strategy_id: str) -> None:
        try:
            status = records.read_json(self._runtime.folder(strategy_id).status)
            if status is None or status.get("copied") or ended_on_record(self._runtime, status):
                return
            if locks.is_held(self._runtime.folder(strategy_id).runner_lock):
                return  # it reports to us by itself within a second
        except (ProcessError, OSError) as error:
            self._say(f"cannot tell whether {strategy_id} has ended: {error}")
            return
        run = Tended(strategy_id, str(status["run_id"]), -1)
        self._runs[run.run_id] = run
        self._replace(run, status)

    def _lost(self, run: Tended) -> None:
        """Its runner is gone. A run that is over, or never began, needs no other."""
        run.runner_pid = 0
        try:
            status = records.read_json(self._runtime.folder(run.id).status)
        except (records.RecordError, OSError) as error:
            self._say(f"cannot replace the runner of {run.id}: {error}")
            self._later(run)
            return
        if status is None or status.get("run_id") != run.run_id or ended_on_record(self._runtime, status):
            self._forget(run)
            return
        if time.monotonic() - run.forked_at > STEADY_S:
            run.attempts = 0
        if run.attempts:
            self._later(run)
        else:
            self._replace(run, status)

    def _later(self, run: Tended) -> None:
        pause = min(FIRST_PAUSE_S * 2 ** min(run.attempts, 16), LONGEST_PAUSE_S)
        run.attempts += 1
        run.timer = self._loop.call_later(pause, lambda: self._try_again(run))

    def _try_again(self, run: Tended) -> None:
        run.timer = None
        if self._runs.get(run.run_id) is not run:
            return
        try:
            status = records.read_json(self._runtime.folder(run.id).status)
        except (records.RecordError, OSError):
            self._later(run)
            return
        if status is None or status.get("run_id") != run.run_id or ended_on_record(self._runtime, status):
            self._forget(run)
        else:
            self._replace(run, status)

    def _replace(self, run: Tended, status: dict[str, Any]) -> None:
        run.leader = _key(identity_in(status, "leader"))
        run.attempts += 1
        pipe = run.pipe
        try:
            self._fork(
                run,
                lambda lifeline, wake: runner.serve_adopted(self._runtime, run.id, runner.Ends(lifeline, wake, pipe)),
            )
        except ProcessError as error:
            self._say(f"cannot replace the runner of {run.id}: {error.message}")
            self._later(run)
            return
        self._tell_reaped(run)
        self._announce({"ev": "runner_lost", "id": run.id, "run_id": run.run_id, "replaced_by": run.runner_pid})


def _fork_runner(what: str, live: Callable[[int, tuple[int, int]], object]) -> tuple[int, Channel]:
    """Fork a process that lives `live(lifeline, wake)`; its PID and our end of its lifeline. Raises ProcessError."""
    try:
        ours, theirs = socket.socketpair()
        wake = wake_pair()
    except OSError as error:
        raise _out_of_descriptors(what, error) from error
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, runner.BLOCKED)
    try:
        pid = os.fork()
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        ours.close()
        theirs.close()
        _close(*wake)
        raise cannot_fork(f"cannot start {what}", error) from error
    if pid == 0:
        live(theirs.detach(), wake)
        os._exit(runner.CRASHED)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()
    _close(*wake)
    return pid, Channel(ours)


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def _key(identity: Identity | None) -> Key | None:
    return (identity.pid, identity.start_ticks) if identity is not None and identity.where() == "here" else None


def _out_of_descriptors(strategy_id: object, error: OSError) -> ProcessError:
    why = (error.strerror or str(error)).lower()
    return ProcessError(
        "TOO_MANY_FILES", f"cannot start {strategy_id}: {why}; raise the hard limit of open files (`ulimit -Hn`)"
    )
