"""The supervisor's lines to the launcher and to every runner, on its asyncio loop.

The starts and the recovery call it; it starts runs through the launcher, reattaches to living runners by their socket,
and comes back to a new launcher when the old one is gone. It decides nothing: what arrives is handed on as it came, and
the end of a line only says that a *process of ours* is gone, never that a strategy is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from stratpanel.model.errors import Conflict
from stratpanel.process import wake
from stratpanel.process.channel import Channel, ChannelClosed
from stratpanel.process.errors import ProcessError
from stratpanel.process.identity import Identity
from stratpanel.process.paths import Runtime

log = logging.getLogger("stratpanel.launch")

Message = dict[str, Any]

REPLY_S: Final = 5.0  # a runner answers within a loop turn; past this it is stopped, swapped out or gone
SPAWN_S: Final = 20.0  # the launcher forks in milliseconds; a machine out of memory may take this long to say so
RECONNECT_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)  # waits between attempts to reach a launcher; the last one repeats


class LineClosed(ConnectionError):
    """The process at the other end is gone."""


class RunnerLine(Protocol):
    """What the rest of the supervisor may do with a runner."""

    async def request(
        self, op: str, *, timeout_s: float = REPLY_S, fds: Sequence[int] = (), **fields: object
    ) -> Message: ...
    def close(self) -> None: ...


class Line:
    """One channel on the loop: messages that answer a request end its wait, all others go to `on_message`."""

    def __init__(
        self, channel: Channel, on_message: Callable[[Message], None], on_closed: Callable[[], None], name: str
    ) -> None:
        self._channel = channel
        self._on_message = on_message
        self._on_closed = on_closed
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._fd = channel.fileno()
        self._open = True
        self._writing = False
        self._loop.add_reader(self._fd, self._readable)

    def __repr__(self) -> str:
        return f"<Line {self._name}{'' if self._open else ' closed'}>"

    @property
    def is_open(self) -> bool:
        """False once either side has gone."""
        return self._open

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Queue a message; it leaves as soon as the socket takes it. Raises LineClosed."""
        if not self._open:
            raise LineClosed(f"{self._name} is gone")
        try:
            self._channel.send(message, fds)
            self._channel.flush()
        except (ChannelClosed, OSError) as error:
            self._end()
            raise LineClosed(f"{self._name} is gone: {error}") from error
        self._watch_writes()

    async def request(
        self, op: str, *, timeout_s: float = REPLY_S, fds: Sequence[int] = (), **fields: object
    ) -> Message:
        """Send a command and wait for its answer. Raises LineClosed or TimeoutError."""
        self._numbers += 1
        number = self._numbers
        answer: asyncio.Future[Message] = self._loop.create_future()
        self._waiting[number] = answer
        try:
            self.send({"op": op, "n": number, **fields}, fds)
            return await asyncio.wait_for(answer, timeout_s)
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """Leave without telling `on_closed`."""
        self._on_closed = _nobody
        self._end()

    def _watch_writes(self) -> None:
        if self._channel.wants_write and not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        try:
            self._channel.flush()
        except (ChannelClosed, OSError):  # reading finds the same end and reports it with what was still unread
            self._stop_writing()
            return
        if not self._channel.wants_write:
            self._stop_writing()

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        try:
            messages = self._channel.receive()
        except (ChannelClosed, OSError):
            self._end()
            return
        for message in messages:
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        number = message.get("re")
        if number is not None:
            answer = self._waiting.get(number)
            if answer is not None and not answer.done():
                answer.set_result(message)
            return
        try:
            self._on_message(message)
        except Exception:  # one strategy's odd message must not take the loop's reader, and so all others, with it
            log.exception("cannot take in %s from %s", message.get("ev"), self._name)

    def _end(self) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._fd)
        self._stop_writing()
        self._channel.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(LineClosed(f"{self._name} is gone"))
        self._waiting.clear()
        self._loop.call_soon(self._on_closed)


def _nobody() -> None:
    """The caller closed the line itself and needs no word of it."""


def connect(path: Path) -> socket.socket:
    """A non-blocking connection to a unix socket at any depth: by the folder's fd, as `sun_path` holds 107 bytes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.setblocking(False)
            sock.connect(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            sock.close()
            raise
        return sock
    finally:
        os.close(folder)


class SpawnFailed(Conflict):
    """The launcher could not make a runner; nothing was started."""

    default_code = "START_FAILED"


class Processes(Protocol):
    """The process layer as the supervisor's core uses it; tests give a fake."""

    @property
    def launcher_pid(self) -> int | None: ...
    async def open(self) -> None: ...
    def close(self) -> None: ...
    async def spawn(
        self, spec: Mapping[str, Any], on_message: Callable[[Message], None], on_closed: Callable[[], None]
    ) -> RunnerLine: ...
    def attach(
        self, id: str, on_message: Callable[[Message], None], on_closed: Callable[[], None]
    ) -> RunnerLine | None: ...
    async def down(self) -> None: ...
    def live_runs(self) -> list[Message]:
        """Status records of runs of which any process lives. Blocks: for worker threads."""
        ...

    def end_run(self, id: str, *, grace_s: float, by: str, reason: str, kill: bool) -> None:
        """End a strategy's tree without its runner. Blocks until it is empty: for worker threads."""
        ...


class LauncherLink:
    """The real process layer: a line to the launcher that outlives launchers, and lines to runners."""

    def __init__(
        self,
        runtime: Runtime,
        on_event: Callable[[Message], None] = lambda _message: None,
        on_connected: Callable[[bool], None] = lambda _up: None,
    ) -> None:
        self._runtime = runtime
        self._on_event = on_event
        self._on_connected = on_connected
        self._line: Line | None = None
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._launcher: Identity | None = None
        self._leaving = False

    @property
    def launcher_pid(self) -> int | None:
        """The launcher's PID while we are connected to it."""
        return self._launcher.pid if self._launcher is not None and self._up.is_set() else None

    async def open(self) -> None:
        """Begin to keep a line to the launcher; returns when there is one, or after `SPAWN_S` without."""
        self._keeper = asyncio.create_task(self._keep(), name="launcher line")
        try:
            await asyncio.wait_for(self._up.wait(), SPAWN_S)
        except TimeoutError:
            log.warning("no launcher answers yet; starts wait for it")

    def close(self) -> None:
        """Let go of the launcher; runners' lines are closed by their owners."""
        self._leaving = True
        if self._keeper is not None:
            self._keeper.cancel()
        if self._line is not None:
            self._line.close()
        self._up.clear()

    async def _keep(self) -> None:
        attempt = 0
        while not self._leaving:
            try:
                line = Line(
                    Channel(connect(self._runtime.launcher_socket)), self._heard, self._lost.set, "the launcher"
                )
            except OSError:  # none listens: dead, or not yet up
                await self._wake()
                await asyncio.sleep(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)])
                attempt += 1
                continue
            self._lost.clear()
            self._line = line
            try:
                line.send({"op": "hello", "role": "supervisor", "identity": Identity.of(os.getpid()).to_json()})
            except LineClosed:
                await asyncio.sleep(RECONNECT_S[0])
                continue
            attempt = 0
            await self._lost.wait()
            self._up.clear()
            self._line = None
            log.warning("the launcher is gone; looking for a new one")
            self._on_connected(False)

    async def _wake(self) -> None:
        """Start a launcher when nobody holds its lock and we are still wanted."""
        if not await asyncio.to_thread(self._launcher_missing):
            return
        try:
            await asyncio.to_thread(wake.start_launcher, self._runtime)
        except (ProcessError, OSError) as error:
            log.error("cannot start a launcher: %s; trying again", error)

    def _launcher_missing(self) -> bool:
        return self._runtime.wanted.exists() and not wake.launcher_alive(self._runtime)

    def _heard(self, message: Message) -> None:
        if message.get("ev") == "hello":
            self._launcher = Identity.from_json(message["launcher"])
            self._up.set()
            self._on_connected(True)
        self._on_event(message)

    async def spawn(
        self, spec: Mapping[str, Any], on_message: Callable[[Message], None], on_closed: Callable[[], None]
    ) -> Line:
        """Have a runner made for `spec`. Its line is ours from before the fork, so no word of it can be missed.

        When this raises SpawnFailed no runner exists. When the launcher dies or is silent after it was asked, the line
        is returned all the same: it ends by itself exactly when no runner holds its other side.
        """
        if not self._up.is_set():
            try:
                await asyncio.wait_for(self._up.wait(), SPAWN_S)
            except TimeoutError:
                raise SpawnFailed("cannot start it: no launcher answers; see log/supervisor.log") from None
        launcher = self._line
        if launcher is None:
            raise SpawnFailed("cannot start it: the launcher has just gone; try again")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        line = Line(Channel(ours), on_message, on_closed, f"the runner of {spec['id']}")
        try:
            with theirs:
                answer = await launcher.request("spawn", timeout_s=SPAWN_S, fds=[theirs.fileno()], spec=dict(spec))
        except LineClosed:
            return line
        except TimeoutError:
            log.error("the launcher has not answered for %g s about %s", SPAWN_S, spec["id"])
            return line
        if not answer.get("ok"):
            line.close()
            raise SpawnFailed(str(answer.get("message", "the launcher refused")), code=answer.get("code"))
        return line

    def attach(self, id: str, on_message: Callable[[Message], None], on_closed: Callable[[], None]) -> Line | None:
        """A line to the living runner of `id`, or None when nobody listens on its socket."""
        try:
            sock = connect(self._runtime.run_dir(id) / "runner.sock")
        except OSError:  # no runner, or its successor is not up yet
            return None
        return Line(Channel(sock), on_message, on_closed, f"the runner of {id}")

    async def down(self) -> None:
        """Tell the launcher to leave; it takes no runner with it and starts no supervisor any more."""
        self._leaving = True
        if self._line is not None and self._line.is_open:
            self._line.send({"op": "down"})

    def live_runs(self) -> list[Message]:
        """Status records of runs of which any process lives. Blocks: for worker threads."""
        from stratpanel.process import ending  # needed only where a runner is missing

        return list(ending.live_runs(self._runtime))

    def end_run(self, id: str, *, grace_s: float, by: str, reason: str, kill: bool) -> None:
        """End a strategy's tree without its runner. Blocks until it is empty: for worker threads."""
        from stratpanel.process import ending

        ending.end_run(self._runtime, id, grace_s=grace_s, by=by, reason=reason, kill=kill)
