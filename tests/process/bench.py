"""What tests of the process room share: a workspace with a launcher, and clients that speak its protocol.

Every process has the bench's mark in its environment, so that the fixture finds and ends what a test leaves behind.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stratpanel.process import locks, platform, records, wake
from stratpanel.process.channel import Channel, ChannelClosed
from stratpanel.process.identity import identity_in
from stratpanel.process.paths import Runtime
from tests.support import pid_alive, wait_for

MARK = "SP_TEST_BENCH"
Message = dict[str, Any]


def marked_pids(mark: str) -> list[int]:
    """Living processes with this mark in their environment, but ourselves."""
    needle = f"{MARK}={mark}".encode()
    return [
        seen.pid
        for seen in platform.every_process()
        if seen.alive and seen.pid != os.getpid() and needle in platform.environ_of(seen.pid)
    ]


class Line:
    """A blocking client on a channel, for tests only."""

    def __init__(self, sock: socket.socket) -> None:
        self.channel = Channel(sock)
        self.heard: list[Message] = []
        self.closed = False
        self._n = 0

    def pump(self, wait_s: float = 0.0) -> None:
        """Take in what is there."""
        if self.closed:
            return
        if select.select([self.channel.fileno()], [], [], wait_s)[0]:
            try:
                self.heard += self.channel.receive()
            except ChannelClosed:
                self.closed = True

    def wait(self, matches: Callable[[Message], bool], timeout: float = 10.0, what: str = "a message") -> Message:
        """The first message heard, now or later, that matches."""
        deadline = time.monotonic() + timeout
        while True:
            for message in self.heard:
                if matches(message):
                    return message
            assert not self.closed, f"closed before {what}; heard {self.heard[-3:]}"
            assert time.monotonic() < deadline, f"{what} did not come; heard {self.heard[-3:]}"
            self.pump(0.05)

    def ev(self, name: str, timeout: float = 10.0) -> Message:
        """The first event of this name."""
        return self.wait(lambda message: message.get("ev") == name, timeout, f"event {name}")

    def phase(self, name: str, timeout: float = 10.0) -> Message:
        """The first status with this phase."""
        found = self.wait(lambda m: m.get("ev") == "status" and m["status"]["phase"] == name, timeout, f"phase {name}")
        return dict(found["status"])

    def ask(self, op: str, timeout: float = 10.0, fds: tuple[int, ...] = (), **fields: Any) -> Message:
        """Send a command and return its answer."""
        self._n += 1
        n = self._n
        self.channel.send({"op": op, "n": n, **fields}, fds)
        while self.channel.wants_write:
            select.select([], [self.channel.fileno()], [], 1.0)
            self.channel.flush()
        return self.wait(lambda message: message.get("re") == n, timeout, f"the answer to {op}")

    def exit(self, timeout: float = 10.0) -> Message:
        """The exit record, heard from the runner."""
        return dict(self.ev("exit", timeout)["record"])

    def close(self) -> None:
        self.channel.close()
        self.closed = True


class Bench:
    """One workspace."""

    def __init__(self, runtime: Runtime, mark: str) -> None:
        self.runtime = runtime
        self.mark = mark
        self.lines: list[Line] = []
        self._launcher: Line | None = None

    # -- ours ----------------------------------------------------------------------------------------------------

    def launch(self, supervisor: list[str] | None = None) -> Line:
        """Bring the launcher up, with a supervisor that only sleeps unless another is given, and connect."""
        self.want(supervisor)
        wake.start_launcher(self.runtime)
        return self.connect_launcher()

    def want(self, supervisor: list[str] | None = None) -> None:
        self.runtime.make()
        record = {
            "python": sys.executable,
            "since": 0,
            "by": "test",
            "supervisor": supervisor or ["/bin/sleep", "3600"],
        }
        records.write_json(self.runtime.wanted, record)

    def connect_launcher(self) -> Line:
        line = self._connect(self.runtime.launcher_socket)
        line.channel.send({"op": "hello", "role": "supervisor"})
        line.ev("hello")
        self._launcher = line
        return line

    def _connect(self, path: Path) -> Line:
        def try_it() -> socket.socket | None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                platform.connect_in_folder(sock, os.fspath(path))
            except OSError:
                sock.close()
                return None
            return sock

        line = Line(wait_for(try_it, 10, f"somebody listening on {path}"))
        self.lines.append(line)
        return line

    def launcher_pid(self) -> int:
        """The PID of the living launcher."""

        def found() -> int | None:
            identity = identity_in(locks.holder(self.runtime.launcher_lock))
            return identity.pid if identity is not None and identity.alive() else None

        return int(wait_for(found, 10, "a launcher"))

    def close(self) -> None:
        for line in self.lines:
            line.close()

    # -- runs ----------------------------------------------------------------------------------------------------

    def spec(self, code: str, id: str = "ema", **more: Any) -> dict[str, Any]:
        """An order to run this Python code."""
        run_id = f"{id}~{datetime.now(UTC):%Y%m%dT%H%M%S}~{os.urandom(4).hex()}"
        return {
            "id": id,
            "run_id": run_id,
            "argv": [sys.executable, "-S", "-u", "-c", textwrap.dedent(code)],
            "cwd": str(self.runtime.workspace),
            "env": {"PATH": os.environ["PATH"], MARK: self.mark, "STRATPANEL_RUN_ID": run_id},
            "log": {
                "path": str(self.runtime.log_folder / "strategies" / f"{id}.log"),
                "max_bytes": 10 << 20,
                "keep": 5,
            },
            "grace_s": 5.0,
            "start_seconds": 1.0,
            "nofile": 1024,
            "nice": None,
            "oom_score_adj": 500,
            "stop_at": None,
            "stop_at_reason": "window",
            "started_by": "test",
            "mode": "paper",
            "version": 1,
            "config": {},
            "instance": {"restarts": 0},
            **more,
        }

    def start(self, code: str, id: str = "ema", **more: Any) -> Line:
        """Start it and wait until its program has begun."""
        line, answer = self.spawn(self.spec(code, id, **more))
        assert answer["ok"], answer
        line.phase("running")
        return line

    def spawn(self, spec: dict[str, Any]) -> tuple[Line, Message]:
        """Ask the launcher; the line is the runner's first client."""
        launcher = self._launcher or self.connect_launcher()
        ours, theirs = socket.socketpair()
        line = Line(ours)
        self.lines.append(line)
        with theirs:
            answer = launcher.ask("spawn", fds=(theirs.fileno(),), spec=spec)
        return line, answer

    def runner(self, id: str = "ema") -> Line:
        """Another client of the living runner."""
        return self._connect(self.runtime.runner_socket(id))

    def status(self, id: str = "ema") -> dict[str, Any]:
        found = records.read_json(self.runtime.status(id))
        assert found is not None
        return found

    def exit(self, id: str = "ema", timeout: float = 10.0) -> dict[str, Any]:
        """The exit record of the latest run, once it is on disk."""

        def found() -> dict[str, Any] | None:
            record = records.read_json(self.runtime.exit(id))
            return record if record is not None and record["run_id"] == self.status(id)["run_id"] else None

        return dict(wait_for(found, timeout, f"the exit record of {id}"))

    def log(self, id: str = "ema") -> str:
        path = self.runtime.log_folder / "strategies" / f"{id}.log"
        return path.read_text() if path.exists() else ""

    def runner_pid(self, id: str = "ema") -> int:
        return int(self.status(id)["runner"]["pid"])

    def members(self, run_id: str) -> list[int]:
        """Living processes with the run's mark."""
        needle = b"STRATPANEL_RUN_ID=" + run_id.encode()
        return [s.pid for s in platform.every_process() if s.alive and needle in platform.environ_of(s.pid)]


def kill(pid: int) -> None:
    """SIGKILL and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not pid_alive(pid), 10, f"the death of {pid}")


def said(log: str) -> list[Any]:
    """The JSON lines a strategy printed."""
    return [json.loads(line) for line in log.splitlines() if line.startswith(("{", "["))]
