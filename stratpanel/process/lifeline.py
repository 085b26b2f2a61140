"""A runner's line to the launcher: it carries exit statuses down, and its end tells each side of the other's death.

A runner whose launcher died looks for the next one; if there is none and we are wanted, it starts one. The line is
never needed to serve the run: without it the strategy runs, stops and is recorded all the same.
"""

from __future__ import annotations

import os
import signal
import socket

from stratpanel.process import platform, wake
from stratpanel.process.adoption import LeaderWatch
from stratpanel.process.channel import Channel, ChannelClosed
from stratpanel.process.errors import ProcessError
from stratpanel.process.identity import Identity
from stratpanel.process.loop import Loop, Timer, random_between
from stratpanel.process.paths import Runtime
from stratpanel.process.run import Run
from stratpanel.process.tree import OwnTree

# All runners notice the launcher's death in the same instant; spread out, one of them starts the next.
FIRST_TRY_S = (0.2, 1.0)
NEXT_TRY_S = (0.3, 1.0)
UNWANTED_TRY_S = (4.0, 6.0)
# One that does not serve after this long never will.
STARTER_S = 10.0


class Lifeline:
    """Keeps a line to whichever launcher there is."""

    def __init__(
        self, runtime: Runtime, loop: Loop, run: Run, channel: Channel | None, watch: LeaderWatch | None
    ) -> None:
        self._runtime = runtime
        self._loop = loop
        self._run = run
        self._watch = watch
        self._channel: Channel | None = None
        self._starter: int | None = None
        self._patience: Timer | None = None
        if channel is not None:
            self._use(channel)
        else:
            self._orphaned()

    def close(self) -> None:
        """Hang up: the launcher takes it for our end."""
        if self._channel is not None:
            self._loop.unwatch(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def _use(self, channel: Channel) -> None:
        self._channel = channel
        self._loop.watch(channel.fileno(), self._readable)

    def _readable(self, _events: int) -> None:
        if self._channel is None:
            return
        try:
            messages = self._channel.receive()
        except (ChannelClosed, OSError):
            self.close()
            self._orphaned()
            return
        for message in messages:
            if message.get("ev") == "reaped" and self._watch is not None:
                self._watch.reaped(int(message["pid"]), int(message["start_ticks"]), int(message["status"]))

    def _orphaned(self) -> None:
        self._loop.call_later(random_between(*FIRST_TRY_S), self._reconnect)

    def _reconnect(self) -> None:
        if self._run.finished or self._channel is not None:
            return
        if self._connect():
            return
        wanted = self._runtime.wanted.exists()
        if wanted and not wake.launcher_alive(self._runtime):
            self._start_launcher()
        self._loop.call_later(random_between(*(NEXT_TRY_S if wanted else UNWANTED_TRY_S)), self._reconnect)

    def _connect(self) -> bool:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            platform.connect_in_folder(sock, os.fspath(self._runtime.launcher_socket))
        except OSError:  # none listens
            sock.close()
            return False
        channel = Channel(sock)
        run = self._run
        pipe = run.capture.read_end
        hello = {
            "op": "hello",
            "role": "runner",
            "id": run.id,
            "run_id": run.run_id,
            "identity": Identity.of(os.getpid()).to_json(),
            "leader": run.status.get("leader"),
        }
        try:
            channel.send(hello, () if pipe is None else (pipe,))
        except ChannelClosed:
            channel.close()
            return False
        self._use(channel)
        return True

    def _start_launcher(self) -> None:
        """As its starter we must not become its ancestor: while we are a subreaper, its orphaned parent gives it to us.

        So we resign for that moment, and what slips away from us meanwhile is looked for at the end of the run. It is
        not waited for either: a launcher that hangs in its start must not keep us from the deadline.
        """
        if self._starter is not None or wake.being_started(self._runtime):
            return
        own = self._run.tree if isinstance(self._run.tree, OwnTree) else None
        if own is not None:
            own.exact = False
            platform.become_subreaper(False)
        try:
            pid = wake.spawn_launcher(self._runtime)
        except ProcessError:  # no memory, no interpreter: the next try is ours or another's
            self._started()
            return
        if own is not None:
            own.exempt = pid
        seen = platform.look_at(pid)
        self._starter = fd = platform.open_process(pid, seen.start_ticks) if seen is not None else None
        if fd is None:
            self._reap(pid)
            return
        self._loop.watch(fd, lambda _events: self._reap(pid))
        self._patience = self._loop.call_later(STARTER_S, lambda: self._give_up(fd, pid))

    def _give_up(self, fd: int, pid: int) -> None:
        platform.signal_process(fd, signal.SIGKILL)
        self._reap(pid)

    def _reap(self, pid: int) -> None:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # collected together with the strategy's orphans
            pass
        self._started()

    def _started(self) -> None:
        """Whatever came of it: be a subreaper again."""
        if self._starter is not None:
            self._loop.unwatch(self._starter)
            os.close(self._starter)
            self._starter = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if isinstance(self._run.tree, OwnTree):
            self._run.tree.exempt = 0
            platform.become_subreaper()
