"""The launcher: one thread, standard library only. It forks runners on request and keeps one supervisor running.

`python -m stratpanel.process.launcher [--detach] WORKSPACE [RUNTIME_DIR]`, normally by `wake.start_launcher`.
Because it has a single thread, what it forks may run Python safely. It must stay small (every runner is a copy of it)
and must never do anything slow: all starts wait for it.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stratpanel.process import claiming, locks, platform, wake
from stratpanel.process.brain import SupervisorKeeper
from stratpanel.process.channel import Channel, ChannelClosed, Message
from stratpanel.process.errors import ProcessError
from stratpanel.process.identity import Identity
from stratpanel.process.loop import READ, WRITE, Loop
from stratpanel.process.paths import Runtime
from stratpanel.process.rehearsal import rehearse
from stratpanel.process.runner import say
from stratpanel.process.spawn import note_signals
from stratpanel.process.strays import Strays, find_strays, refuse_beside
from stratpanel.process.succession import Succession

SWEEP_S = 30.0
# Descriptors of ours for each run: its lifeline and its pipe; past nine tenths of the limit starts are refused.
DESCRIPTORS_PER_RUN = 2
DESCRIPTORS_OF_OURS = 64


class Launcher:
    """Owns the loop, the socket, the children."""

    def __init__(self, runtime: Runtime, lock: locks.Lock, strays: Strays) -> None:
        self._runtime = runtime
        self._lock = lock
        self._strays = strays
        self._loop = Loop(many=True)
        self._identity = Identity.of(os.getpid())
        self._supervisors: dict[int, Channel] = {}
        self._runs = Succession(runtime, self._loop, self._announce, say)
        self._brain = SupervisorKeeper(runtime, self._loop, lambda: self._runs.any_alive, say)
        self._most_descriptors = _raise_descriptor_limit()
        self._listener: socket.socket | None = None
        self._nudged = False
        self._ending = False

    def serve(self) -> None:
        """Until `down` or SIGTERM. Runners go on after us."""
        platform.become_subreaper()
        self._loop.on_signal({signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGINT}, self._signalled)
        signal.signal(signal.SIGHUP, self._on_nudge)
        signal.signal(signal.SIGTERM, self._on_end)
        signal.signal(signal.SIGINT, self._on_end)
        note_signals()
        rehearse(self._runtime)
        # what exists now is shared with every runner: the collector must not touch, and so copy, its pages
        gc.collect()
        gc.freeze()
        self._runs.look_for_orphans()
        self._brain.begin()
        self._runs.keep_spare()
        self._loop.call_later(wake.HEARTBEAT_S, self._heartbeat)
        self._loop.call_later(2.0, self._sweep)
        self._loop.run()
        self._runs.let_spare_go()
        self._runtime.launcher_socket.unlink(missing_ok=True)
        self._lock.write({})
        self._lock.release()

    # -- signals and timers -------------------------------------------------------------------------------------------

    def _on_nudge(self, _number: int, _frame: object) -> None:
        self._nudged = True

    def _on_end(self, _number: int, _frame: object) -> None:
        self._ending = True

    def _signalled(self) -> None:
        self._reap()
        if self._nudged:
            self._nudged = False
            self._brain.nudge()
        if self._ending:
            say("launcher: told to end; runners go on without it")
            wake.hold_off(self._runtime)
            self._brain.leave()
            self._loop.stop()

    def _reap(self) -> None:
        """Looked at before it is reaped: an orphan's number with its start time is what a runner will ask for."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            seen = platform.look_at(ended.si_pid)
            pid, status = os.waitpid(ended.si_pid, os.WNOHANG)
            if pid == self._brain.pid:
                self._brain.reaped(status)
            elif not self._runs.reaped(pid, status) and seen is not None:
                self._runs.adopted_orphan_ended(pid, seen.start_ticks, status)

    def _heartbeat(self) -> None:
        if not self._lock.still_named():
            # somebody deleted the runtime folder: what we hold protects nothing, and another launcher may serve already
            say("launcher: its lock was deleted; leaving, the runners go on")
            self._brain.leave()
            self._loop.stop()
            return
        self._lock.touch()
        _follow_log(self._runtime.supervisor_log)
        self._loop.call_later(wake.HEARTBEAT_S, self._heartbeat)

    def _sweep(self) -> None:
        self._runs.look_for_orphans()
        self._loop.call_later(SWEEP_S, self._sweep)

    # -- clients ------------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Open the socket; connections wait in it until `serve`."""
        path = self._runtime.launcher_socket
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        platform.bind_in_folder(listener, os.fspath(path))
        listener.listen(1024)  # all runners come at once when a new launcher appears
        self._listener = listener
        self._loop.watch(listener.fileno(), self._accept)

    def _accept(self, _events: int) -> None:
        while self._listener is not None:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # nobody more, or no descriptors left
                return
            self._add(Channel(sock))

    def _add(self, channel: Channel) -> None:
        fd = channel.fileno()
        self._supervisors[fd] = channel
        self._loop.watch(fd, lambda events: self._ready(fd, events))

    def _drop(self, fd: int) -> None:
        channel = self._supervisors.pop(fd, None)
        if channel is not None:
            self._loop.unwatch(fd)
            channel.close()

    def _ready(self, fd: int, events: int) -> None:
        channel = self._supervisors.get(fd)
        if channel is None:
            return
        try:
            if events & WRITE:
                channel.flush()
            messages = channel.receive() if events & ~WRITE else []
        except (ChannelClosed, OSError):
            self._drop(fd)
            return
        for message in messages:
            if self._supervisors.get(fd) is not channel:
                return
            self._obey(fd, channel, message)
        self._watch_writes(fd)

    def _watch_writes(self, fd: int) -> None:
        channel = self._supervisors.get(fd)
        if channel is not None:
            events = READ | WRITE if channel.wants_write else READ
            self._loop.watch(fd, lambda events: self._ready(fd, events), events)

    def _send(self, fd: int, message: Message) -> None:
        channel = self._supervisors.get(fd)
        if channel is None:
            return
        try:
            channel.send(message)
        except ChannelClosed:
            self._drop(fd)
            return
        if channel.wants_write:
            self._watch_writes(fd)

    def _announce(self, message: Message) -> None:
        for fd in list(self._supervisors):
            self._send(fd, message)

    # -- commands -----------------------------------------------------------------------------------------------------

    def _obey(self, fd: int, channel: Channel, message: Message) -> None:
        op = message.get("op")
        if op == "hello" and message.get("role") == "runner":
            del self._supervisors[fd]
            self._loop.unwatch(fd)
            self._runs.welcome(channel, message)
        elif op == "hello":
            self._brain.greeted()
            hello = {"ev": "hello", "launcher": self._identity.to_json(), "runs": self._runs.listing()}
            self._send(fd, hello)
        elif op == "spawn":
            self._send(fd, {"re": message.get("n"), **self._spawn(channel, message)})
        elif op == "down":
            say("launcher: down")
            self._brain.leave()
            self._loop.stop()
        else:
            self._send(
                fd, {"re": message.get("n"), "ok": False, "code": "UNKNOWN_COMMAND", "message": f"no {op!r} here"}
            )

    def _spawn(self, channel: Channel, message: Message) -> dict[str, Any]:
        fds = channel.take_fds(int(message.get("fds") or 0))
        client = fds.pop(0) if fds else -1
        for extra in fds:
            os.close(extra)
        spec = message.get("spec")
        try:
            if not isinstance(spec, dict):
                raise ProcessError("BAD_MESSAGE", "a spawn needs a spec")
            self._check(spec)
        except ProcessError as error:
            if client >= 0:
                os.close(client)
            return _refusal(error)
        try:
            return {"ok": True, "runner_pid": self._runs.spawn(spec, client)}
        except ProcessError as error:
            return _refusal(error)

    def _check(self, spec: dict[str, Any]) -> None:
        if self._runtime.panic.exists() and not spec.get("despite_panic"):
            raise ProcessError("PANIC", f"cannot start {spec.get('id')}: panic is on; `stratpanel resume` lifts it")
        refuse_beside(self._strays, str(spec.get("id")))
        used = DESCRIPTORS_OF_OURS + DESCRIPTORS_PER_RUN * (len(self._runs) + 1)
        if used > self._most_descriptors * 0.9:
            raise ProcessError(
                "TOO_MANY_FILES",
                f"cannot start {spec.get('id')}: {len(self._runs)} runs need nearly all {self._most_descriptors} "
                "descriptors a process may have here; raise the hard limit (`ulimit -Hn`)",
            )


def _refusal(error: ProcessError) -> dict[str, Any]:
    return {"ok": False, "code": error.code, "message": error.message, "pids": list(error.pids)}


def _raise_descriptor_limit() -> int:
    """Soft to hard; strategies get their own limit back. Returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _follow_log(path: Path) -> None:
    """The supervisor rotates the log that our output goes to: write to whatever bears its name now."""
    try:
        named, used = os.stat(path), os.fstat(2)
        if (named.st_dev, named.st_ino) == (used.st_dev, used.st_ino) or not stat.S_ISREG(used.st_mode):
            return
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:  # between two renames, or the folder is gone: look again at the next heartbeat
        return
    for number in (1, 2):
        os.dup2(fd, number)
    os.close(fd)


def run(runtime: Runtime, ready: Callable[[int], None]) -> int:
    """Take the workspace and serve it; `ready` hears the exit code, or 0 as soon as clients can connect.

    0 also when another launcher has it: then it is served, which is all that was asked for.
    """
    try:
        platform.require_supported()
        runtime.make()
        wake.refuse_foreign(runtime)
        if not runtime.wanted.exists():
            raise ProcessError("NOT_WANTED", f"nobody wants {runtime.workspace} to run; use `stratpanel up`")
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the lock names us, so clients may nudge us before we serve
        lock = locks.acquire(runtime.launcher_lock, Identity.of(os.getpid()).to_json())
        if lock is None:
            return 0
        runtime.starting.unlink(missing_ok=True)  # if we die at once, the next starter need not wait
        claim = claiming.claim(runtime)
        if claim == "copied":
            say("launcher: this workspace is a copy; its records are disowned, and nothing starts by itself")
        launcher = Launcher(runtime, lock, find_strays(runtime.workspace) if claim == "new" else {})
        launcher.listen()
    except ProcessError as error:
        say(f"launcher: {error.message}")
        return wake.REFUSED
    except OSError as error:
        say(f"launcher: cannot serve {runtime.workspace}: {error}")
        return wake.REFUSED
    platform.name_process("sp-launcher")
    ready(0)
    launcher.serve()
    return 0


def _detach() -> Callable[[int], None]:
    """Go on as an orphan in a session of our own; whoever started us waits until we can say how it went."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(write_end)
        said = os.read(read_end, 1)
        os._exit(said[0] if said else wake.REFUSED)
    os.close(read_end)
    os.setsid()

    def ready(code: int) -> None:
        os.write(write_end, bytes([code]))
        os.close(write_end)

    return ready


def main(arguments: list[str]) -> int:
    """The command line; see the module."""
    detach = "--detach" in arguments
    folders = [Path(argument) for argument in arguments if argument != "--detach"]
    if not 1 <= len(folders) <= 2:
        say("usage: python -m stratpanel.process.launcher [--detach] WORKSPACE [RUNTIME_DIR]")
        return 2
    platform.close_descriptors_except(set())
    # a strategy that a caller of ours once was must not show through in what we start
    for name in wake.PRIVATE:
        os.environ.pop(name, None)
    runtime = Runtime(folders[0], folders[1]) if len(folders) == 2 else Runtime.of(folders[0])
    ready: Callable[[int], None] = _detach() if detach else lambda _code: None
    os.chdir("/")
    code = run(runtime, once := _Once(ready))
    once(code)
    return code


class _Once:
    """Says it the first time only."""

    def __init__(self, ready: Callable[[int], None]) -> None:
        self._ready: Callable[[int], None] | None = ready

    def __call__(self, code: int) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
