"""Where everything of a workspace's runtime lies.

Every process of ours asks here for paths; nobody joins them by hand. It creates folders only when told to, and it never
reads what is in the records.
"""

from __future__ import annotations

import os
from pathlib import Path

from stratpanel.process.errors import ProcessError

SETTINGS = "stratpanel.toml"


class RunFolder:
    """The files of one strategy's runs, as plain text: a runner that built them with pathlib would be 0.2 MB bigger."""

    __slots__ = ("exit", "path", "run_lock", "runner_lock", "socket", "status")

    def __init__(self, path: str) -> None:
        self.path = path
        self.status = path + "/status.json"
        self.exit = path + "/exit.json"
        # held by the strategy itself: "part of it may live"
        self.run_lock = path + "/run.lock"
        # held by nobody but its runner: "exactly one serves it"
        self.runner_lock = path + "/runner.lock"
        self.socket = path + "/runner.sock"


class Runtime:
    """The paths below `.stratpanel`, or below `runtime_dir` where the workspace lies on a network file system."""

    def __init__(self, workspace: Path, runtime_dir: Path | None = None) -> None:
        self.workspace = Path(os.path.abspath(workspace))
        self.root = Path(os.path.abspath(runtime_dir)) if runtime_dir else self.workspace / ".stratpanel"
        self.here = self.root / "here"
        self.wanted = self.root / "wanted"
        self.paused = self.root / "paused"
        self.panic = self.root / "panic"
        self.launcher_lock = self.root / "launcher.lock"
        self.supervisor_lock = self.root / "supervisor.lock"
        self.launcher_socket = self.root / "launcher.sock"
        self.connection = self.root / "connection.json"
        self.runs = self.root / "runs"
        self._runs_text = os.fspath(self.runs)
        self.panic_text = os.fspath(self.panic)
        self.holds = self.root / "holds"
        self.profile = self.root / "profile"
        self.pycache = self.root / "pycache"
        self.starting = self.root / "launcher.starting"
        self.log_folder = self.workspace / "log"
        self.supervisor_log = self.log_folder / "supervisor.log"

    def __repr__(self) -> str:
        return f"<Runtime of {self.workspace} in {self.root}>"

    @classmethod
    def of(cls, workspace: Path) -> Runtime:
        """The runtime of a workspace, with the `runtime_dir` of its `stratpanel.toml`, if one is set there."""
        return cls(workspace, _configured_folder(Path(workspace)))

    def folder(self, strategy_id: str) -> RunFolder:
        """The files of one strategy's runs."""
        return RunFolder(f"{self._runs_text}/{strategy_id}")

    def run_dir(self, strategy_id: str) -> Path:
        """The folder of one strategy's locks and records."""
        return self.runs / strategy_id

    def status(self, strategy_id: str) -> Path:
        """The status record of a strategy's latest run."""
        return self.runs / strategy_id / "status.json"

    def exit(self, strategy_id: str) -> Path:
        """The exit record of a strategy's latest ended run."""
        return self.runs / strategy_id / "exit.json"

    def run_lock(self, strategy_id: str) -> Path:
        """Held by the strategy itself: "part of it may live"."""
        return self.runs / strategy_id / "run.lock"

    def runner_lock(self, strategy_id: str) -> Path:
        """Held by nobody but its runner: "exactly one serves it"."""
        return self.runs / strategy_id / "runner.lock"

    def runner_socket(self, strategy_id: str) -> Path:
        """Where the runner of a strategy listens."""
        return self.runs / strategy_id / "runner.sock"

    def strategy_ids(self) -> list[str]:
        """Ids that have ever run here, by their folders."""
        try:
            return sorted(entry.name for entry in os.scandir(self.runs) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def make(self) -> None:
        """Make the folders, private to the user. Raises ProcessError when that is not possible."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.runs.mkdir(mode=0o700, exist_ok=True)
            self.log_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or str(error)
            raise ProcessError(
                "RUNTIME_UNWRITABLE",
                f"cannot write {error.filename}: {why.lower()}; make the workspace writable, "
                f"or set runtime_dir in {SETTINGS}",
            ) from error


def _configured_folder(workspace: Path) -> Path | None:
    """`runtime_dir` of the settings file; one that cannot be read is reported by whoever owns settings."""
    try:
        text = (workspace / SETTINGS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if "runtime_dir" not in text:
        return None
    import tomllib

    try:
        value = tomllib.loads(text).get("runtime_dir")
    except tomllib.TOMLDecodeError:
        return None
    return workspace / Path(value).expanduser() if isinstance(value, str) and value else None
