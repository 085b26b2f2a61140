"""A real workspace with launcher, supervisor and runners, and plain HTTP calls to it; everything ended afterwards."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from stratpanel.process import wake
from stratpanel.process.paths import Runtime
from stratpanel.supervisor.workspace import init
from tests.support import pid_alive, pids_marked, wait_for

TICKER = "import time\nn = 0\nwhile True:\n    print('tick', n, flush=True)\n    n += 1\n    time.sleep(0.1)\n"


class House:
    """One workspace, up when `up()` returns."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        init(workspace, timezone="UTC")
        (workspace / "secrets.toml").chmod(0o600)
        self.runtime = Runtime.of(workspace)
        self.runtime.make()

    def up(self) -> House:
        wake.make_wanted(self.runtime, "test")
        wake.start_launcher(self.runtime)
        self.answers()
        return self

    def answers(self, timeout: float = 20.0) -> dict[str, Any]:
        """Wait until a supervisor that holds the lock answers; its health."""

        def healthy() -> Any:
            try:
                status, body = self.call("GET", "/api/supervisor")
            except (OSError, ValueError, KeyError, http.client.HTTPException):
                return None
            return body if status == 200 and pid_alive(body["pid"]) else None

        return wait_for(healthy, timeout, "an answer of the supervisor", every=0.05)

    def connection(self) -> dict[str, Any]:
        return json.loads(self.runtime.connection.read_text())

    def call(self, method: str, path: str, body: Any = None, timeout: float = 60.0) -> tuple[int, Any]:
        where = self.connection()
        client = http.client.HTTPConnection(where["url"].removeprefix("http://"), timeout=timeout)
        headers = {"Authorization": f"Bearer {where['token']}", "X-Stratpanel-By": "tester"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body), "application/json"
        try:
            client.request(method, path, data, headers)
            response = client.getresponse()
            text = response.read().decode()
        finally:
            client.close()
        return response.status, json.loads(text) if text[:1] in ("{", "[") else text

    def ok(self, method: str, path: str, body: Any = None, timeout: float = 60.0) -> Any:
        status, answer = self.call(method, path, body, timeout)
        assert status < 300, (method, path, status, answer)
        return answer

    def add(self, id: str, source: str = TICKER, **config: Any) -> None:
        (self.workspace / "strategies/scripts" / f"{id}.py").write_text(source)
        self.ok("POST", "/api/strategies", {"id": id, "path": f"{id}.py"})
        if config:
            self.ok("PATCH", f"/api/strategies/{id}", config)

    def status(self, id: str) -> dict[str, Any]:
        return self.ok("GET", f"/api/strategies/{id}")

    def reach(self, id: str, *states: str, timeout: float = 20.0) -> dict[str, Any]:
        def there() -> Any:
            try:
                status = self.status(id)
            except (OSError, http.client.HTTPException):  # the supervisor is being replaced
                return None
            return status if status["state"] in states else None

        return wait_for(there, timeout, f"{id} {' or '.join(states)}", every=0.02)

    def lines(self, id: str) -> list[str]:
        path = self.workspace / "log/strategies" / f"{id}.log"
        return path.read_text().splitlines() if path.exists() else []

    def events(self) -> list[dict[str, Any]]:
        answer = self.ok("GET", "/api/events?limit=500")
        return answer["events"] if isinstance(answer, dict) else answer

    def stored_events(self, type: str) -> int:
        """How many events of this type are in the database file."""
        with closing(sqlite3.connect(self.workspace / "log/stratpanel.db")) as database:
            return int(database.execute("select count(*) from events where type = ?", (type,)).fetchone()[0])

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not pid_alive(pid), 5, f"the end of {pid}")

    def away(self) -> None:
        """Launcher and supervisor are killed and do not come back until `up`; runners and strategies go on."""
        here = self.ok("GET", "/api/supervisor")
        wake.remove_wanted(self.runtime)
        self.kill(here["launcher_pid"])
        self.kill(here["pid"])

    def close(self) -> None:
        wake.remove_wanted(self.runtime)

        def all_gone() -> bool:
            for pid in pids_marked(str(self.workspace)):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return not pids_marked(str(self.workspace))

        wait_for(all_gone, 15, "the end of everything this test started", every=0.05)
        log = self.runtime.supervisor_log
        text = log.read_text(errors="replace") if log.exists() else ""
        assert "Traceback" not in text, text[-6000:]
