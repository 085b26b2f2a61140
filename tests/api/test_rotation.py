"""`stratpanel token rotate` while a mirror, a log and the events are followed: all come back with the new token."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from stratpanel.client.following import follow
from stratpanel.client.mirror import Mirror
from stratpanel.model.errors import StratpanelError
from tests.api.real import TICKER, RealSupervisor
from tests.support import wait_for

BACK_S = 5.0  # "within a few seconds"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSupervisor]:
    """One supervisor for the module, with a strategy that prints twenty lines a second."""
    real = RealSupervisor(tmp_path_factory.mktemp("real"), {"tick": TICKER})
    real.act("tick", "start")
    yield real
    real.close()


def cli(real: RealSupervisor, *words: str) -> str:
    command = [sys.executable, "-m", "stratpanel", "-w", str(real.workspace), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def record(real: RealSupervisor) -> dict[str, Any]:
    return dict(json.loads(real.runtime.connection.read_text()))


class Raw:
    """A request by hand with one token, the answer's body left open."""

    def __init__(self, real: RealSupervisor, token: str, path: str, method: str = "GET") -> None:
        self.connection = http.client.HTTPConnection(urlsplit(record(real)["url"]).netloc, timeout=10)
        self.connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        self.answer = self.connection.getresponse()

    def close(self) -> None:
        self.connection.close()


class Follower:
    """Collects what a stream says, in a thread."""

    def __init__(self, real: RealSupervisor, path: str) -> None:
        self.seen: list[Any] = []
        self._closing = False
        self._thread = threading.Thread(target=self._read, args=(real, path), daemon=True)
        self._thread.start()

    def _read(self, real: RealSupervisor, path: str) -> None:
        api = type(real.api)(real.workspace, by="tests")
        for event in follow(api, path):
            self.seen.append(event)
            if self._closing:
                return

    def close(self, prod: Callable[[], object] | None = None) -> None:
        """End it at its next event; `prod` makes one."""
        self._closing = True
        if prod is not None:
            prod()
        self._thread.join(20)
        assert not self._thread.is_alive()


STREAMS = ("/api/mirror/stream", "/api/events/stream", "/api/strategies/tick/logs/stream")


@pytest.mark.parametrize("role", ["admin", "operator", "viewer"])
def test_streams_of_an_old_token_end_and_it_opens_nothing_more(real: RealSupervisor, role: str) -> None:
    old = real.api.get("/api/token")[role]
    streams = [Raw(real, old, path) for path in STREAMS]
    assert [stream.answer.status for stream in streams] == [200] * len(STREAMS)
    cli(real, "token", "rotate")
    began = time.monotonic()
    for stream in streams:
        stream.connection.sock.settimeout(BACK_S)
        while stream.answer.read1(65536):
            pass
        stream.close()
    assert time.monotonic() - began < BACK_S
    for method, path in (
        *(("GET", path) for path in STREAMS),
        ("GET", "/api/health"),
        ("GET", "/metrics"),
        ("GET", "/api/nothing"),
        ("GET", "/api/strategies"),
        ("POST", "/api/strategies/tick/stop"),
        ("POST", "/api/token"),
        ("POST", "/api/panic"),
    ):
        refused = Raw(real, old, path, method)
        body = json.loads(refused.answer.read())
        assert (refused.answer.status, body["status"]) == (401, "error"), (method, path, body)
        refused.close()
    assert real.status("tick")["state"] == "running"


def test_mirror_log_and_events_come_back_by_themselves(real: RealSupervisor) -> None:
    mirror = Mirror(real.api)
    log, events = Follower(real, STREAMS[2]), Follower(real, STREAMS[1])
    try:
        assert mirror.wait_ready()
        wait_for(lambda: log.seen, 10, "a line")
        for turn in range(3):
            before, generation, lines = record(real)["token"], mirror.generation, len(log.seen)
            cli(real, "token", "rotate")
            assert record(real)["token"] != before
            wait_for(lambda g=generation: mirror.generation > g and mirror.state == "live", BACK_S, "the mirror")
            wait_for(lambda n=lines: len(log.seen) > n + 20, BACK_S, "lines")
            real.act("tick", "pause", {"why": f"turn {turn}"})
            wait_for(lambda: mirror.strategies["tick"]["hold"] == "paused", BACK_S, "the pause in the mirror")
            wait_for(lambda t=turn: any(f"turn {t}" in e.data["message"] for e in events.seen), BACK_S, "the event")
            real.act("tick", "resume")
    finally:
        mirror.close()
        log.close()
        events.close(lambda: real.act("tick", "pause"))
        real.act("tick", "resume")
    numbers = [int(event.id) for event in events.seen]
    assert numbers == sorted(set(numbers)), "none twice"
    assert sum(event.data["type"] == "token" for event in events.seen) == 3
    counted = [int(event.data["log"].split()[1]) for event in log.seen]
    assert counted == list(range(counted[0], counted[0] + len(counted))), "no line missing and none twice"


def test_the_command_lines_followers_go_on(real: RealSupervisor, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    command = [sys.executable, "-m", "stratpanel", "-w", str(real.workspace), "logs", "tick", "-f", "-n", "1"]
    with shown.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as following:
        try:
            wait_for(lambda: shown.read_text().count("tick") > 3, 20, "the first lines")
            cli(real, "token", "rotate")
            lines = shown.read_text().count("tick")
            wait_for(lambda: shown.read_text().count("tick") > lines + 20, BACK_S, "lines after the rotation")
            assert following.poll() is None
        finally:
            following.terminate()
    assert "401" not in shown.read_text()
    assert "token" not in shown.read_text()


def test_many_threads_of_one_client_meet_the_rotation_together(real: RealSupervisor) -> None:
    problems: list[StratpanelError] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                real.api.get("/api/health")
            except StratpanelError as error:
                problems.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        other = type(real.api)(real.workspace, by="tests")
        for _ in range(10):
            other.post("/api/token")
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not problems
