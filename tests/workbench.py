"""A whole workspace with real launcher, supervisor and runners, driven from outside as a user would.

Used by tests of the command line, chaos and notebooks. It reads only what CONTRACTS promises (files, API), plus the
lock files' identities to know whom to kill, and ends everything it started when it is closed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stratpanel.client.connection import Api
from stratpanel.model.errors import StratpanelError
from tests.support import pid_alive, pids_marked, wait_for


class Workbench:
    """One workspace; `cli()` runs the command, `api` talks to the supervisor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment.pop("STRATPANEL_WORKSPACE", None)

    @classmethod
    def make(cls, folder: Path) -> Workbench:
        """`stratpanel init` in a folder that does not exist yet."""
        bench = cls(folder)
        folder.mkdir(parents=True, exist_ok=True)
        bench.cli("init", str(folder), workspace=False)
        return bench

    @classmethod
    @contextmanager
    def up(cls, folder: Path, *, secrets: str = "") -> Iterator[Workbench]:
        """A fresh workspace, up and empty; taken down with everything in it. `secrets` is what secrets.toml says."""
        bench = cls.make(folder)
        try:
            if secrets:
                (folder / "secrets.toml").write_text(secrets)
                (folder / "secrets.toml").chmod(0o600)
            bench.cli("up")
            yield bench
        finally:
            bench.close()

    def cli(
        self, *arguments: str, check: bool = True, workspace: bool = True, input: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run `stratpanel …`; with `check` a failure shows what it printed."""
        command = [sys.executable, "-m", "stratpanel"]
        command += ["-w", str(self.folder)] if workspace else []
        done = subprocess.run(
            [*command, *arguments],
            env=self.environment,
            cwd=self.folder,
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{arguments} exited {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.own_log()[-4000:]}"
            )
        return done

    @property
    def api(self) -> Api:
        """A fresh client; it never starts a supervisor by itself here."""
        return Api(self.folder, by="test")

    def script(self, strategy_id: str, text: str) -> Path:
        """Write a working copy."""
        path = self.folder / "strategies" / "scripts" / f"{strategy_id}.py"
        path.write_text(text, encoding="utf-8")
        return path

    def register(self, strategy_id: str, text: str, **config: Any) -> None:
        """Write and register a strategy; `config` is merged as PATCH does."""
        self.script(strategy_id, text)
        api = self.api
        api.post("/api/strategies", {"id": strategy_id, "path": f"{strategy_id}.py"})
        if config:
            api.patch(f"/api/strategies/{strategy_id}", config)

    def status(self, strategy_id: str) -> dict[str, Any]:
        """Status fields of one strategy."""
        row: dict[str, Any] = self.api.get(f"/api/strategies/{strategy_id}")
        return row

    def wait_state(self, strategy_id: str, *states: str, timeout: float = 15) -> dict[str, Any]:
        """Wait until the strategy is in one of the states, over restarts of the supervisor."""

        def reached() -> dict[str, Any] | None:
            try:
                row = self.status(strategy_id)
            except StratpanelError:
                return None
            return row if row["state"] in states else None

        return wait_for(reached, timeout, f"{strategy_id} in {' or '.join(states)}", every=0.02)  # type: ignore[return-value]

    def log(self, strategy_id: str) -> str:
        """Everything the strategy printed, rotated files first."""
        folder = self.folder / "log" / "strategies"
        parts = [*sorted(folder.glob(f"{strategy_id}.log.[0-9]"), reverse=True), folder / f"{strategy_id}.log"]
        return b"".join(part.read_bytes() for part in parts if part.exists()).decode("utf-8", "replace")

    def own_log(self) -> str:
        """Our own log, for messages of failing tests."""
        path = self.folder / "log" / "supervisor.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- whom to kill ---------------------------------------------------------------------------------------------

    def run_status(self, strategy_id: str) -> dict[str, Any]:
        """The runner's status file; empty when there is none (yet)."""
        path = self.folder / ".stratpanel" / "runs" / strategy_id / "status.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def _lock_pid(self, name: str) -> int | None:
        try:
            pid = json.loads((self.folder / ".stratpanel" / name).read_text(encoding="utf-8"))["pid"]
        except (OSError, ValueError, KeyError):
            return None
        return int(pid) if pid_alive(int(pid)) else None

    def launcher_pid(self) -> int | None:
        """The living launcher's PID."""
        return self._lock_pid("launcher.lock")

    def supervisor_pid(self) -> int | None:
        """The living supervisor's PID."""
        return self._lock_pid("supervisor.lock")

    def runner_pid(self, strategy_id: str) -> int | None:
        """The living runner's PID."""
        pid = (self.run_status(strategy_id).get("runner") or {}).get("pid")
        return pid if pid and pid_alive(pid) else None

    def leader_pid(self, strategy_id: str) -> int | None:
        """The living strategy's PID."""
        pid = (self.run_status(strategy_id).get("leader") or {}).get("pid")
        return pid if pid and pid_alive(pid) else None

    def close(self) -> None:
        """End everything of this workspace: politely, then whatever still bears its path, by PID."""
        try:
            self.cli("down", check=False, timeout=30)
        except subprocess.TimeoutExpired:
            print("down took over 30 s; ending by PID")
        (self.folder / ".stratpanel" / "wanted").unlink(missing_ok=True)
        deadline = time.monotonic() + 10
        while (left := pids_marked(str(self.folder))) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)
