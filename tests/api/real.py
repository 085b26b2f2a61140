"""A real supervisor of its own workspace, with real processes, for tests that must not believe a fake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stratpanel.client.connection import Api, NoSupervisor, strategy_path
from stratpanel.process import wake
from stratpanel.process.paths import Runtime
from tests.support import wait_for

# one write per line: print() of an unbuffered Python writes a line in pieces, and a stream may begin between them
TICKER = """import itertools, sys, time
for number in itertools.count():
    sys.stdout.write(f"tick {number}\\n")
    time.sleep(0.05)
"""


class RealSupervisor:
    """Up when made; `close` takes it down with all its strategies."""

    def __init__(self, workspace: Path, scripts: dict[str, str]) -> None:
        self.workspace = workspace
        self.runtime = Runtime(workspace)
        (workspace / "stratpanel.toml").write_text('timezone = "Asia/Kolkata"\n')
        folder = workspace / "strategies" / "scripts"
        folder.mkdir(parents=True)
        self.api = Api(workspace, by="tests")
        for id, code in scripts.items():
            (folder / f"{id}.py").write_text(code)
        self.api.ensure(timeout=60)
        for id in scripts:
            self.add(id)

    def add(self, id: str, **config: Any) -> None:
        """Register a script that lies there; a run counts as started at once."""
        self.api.post("/api/strategies", {"id": id, "path": f"{id}.py"})
        self.api.patch(strategy_path(id), {"start_seconds": 0, "grace_s": 1, **config})

    def act(self, id: str, action: str, body: Any = None) -> dict[str, Any]:
        """An action's answer."""
        return dict(self.api.post(strategy_path(id, action), body))

    def status(self, id: str) -> dict[str, Any]:
        """Status fields and config."""
        return dict(self.api.get(strategy_path(id)))

    def reach(self, id: str, predicate: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the status satisfies `predicate`; returns it."""
        return wait_for(lambda: found if predicate(found := self.status(id)) else {}, 20)

    def close(self) -> None:
        """Down, and wait until nobody is left."""
        try:
            self.api.post("/api/down", {"keep": False})
        except NoSupervisor:
            wake.remove_wanted(self.runtime)
            wake.end_launcher(self.runtime)
        wait_for(lambda: not wake.launcher_alive(self.runtime), 20, "the end of the launcher")
        wait_for(lambda: not wake.supervisor_alive(self.runtime), 20, "the end of the supervisor")
