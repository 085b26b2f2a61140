"""Working copies and deployed versions as the supervisor's actions use them: which code a start runs, and reading it.

Everything here touches the disk and is called in a worker thread. A scheduled start or an automatic restart never
runs a working copy; a person's start deploys a changed one in paper mode only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stratpanel.model.errors import Conflict
from stratpanel.supervisor.unit import Order
from stratpanel.supervisor.versions.versionfiles import Version
from stratpanel.supervisor.versions.versions import Side, Versions


class Shelf:
    """One workspace's scripts and their versions."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.scripts = workspace / "strategies" / "scripts"
        self.versions = Versions(workspace)

    def working_copy(self, file_path: str) -> Path:
        """The script or folder of a strategy; the seed writes it with or without `strategies/scripts/`."""
        path = Path(file_path)
        if path.is_absolute():
            return path
        if path.parts[:2] == ("strategies", "scripts"):
            return self.workspace / path
        return self.scripts / path

    def choose(
        self, id: str, source: Path, mode: str, order: Order, python: str | None = None
    ) -> tuple[Version, bool, list[str]]:
        """The version this start runs, whether it was deployed just now, and what a person should know about it."""
        versions = self.versions
        if order.version is not None:
            return versions.verify(versions.get(id, order.version)), False, []
        if mode == "live":
            if order.deploy:
                raise Conflict(
                    f"cannot deploy {id} with a live start: deploy it, look at it, then `stratpanel promote {id}`",
                    code="PROMOTE_FIRST",
                )
            version = versions.to_run(id, "live")
            notes = []
            if order.cause == "person" and source.exists() and versions.differs(id, source, version):
                notes = [f"runs version {version.n}, which was promoted; the working copy differs"]
            return version, False, notes
        current = versions.current(id)
        by_person = order.cause == "person" and order.deploy is not False
        if current is None or (by_person and (order.deploy or self._edited(id, source, current))):
            done = versions.deploy(id, source, by=order.by, python=python)
            return versions.verify(done.version), done.created, list(done.warnings) if done.created else []
        return versions.verify(current), False, []

    def _edited(self, id: str, source: Path, current: Version) -> bool:
        """True when the working copy was changed since it was last deployed.

        After a rollback it differs from the current version without having been edited: a start must not undo that.
        """
        if not self.versions.differs(id, source, current):
            return False
        newest = self.versions.list(id)[:1]
        if not newest or newest[0].n == current.n:
            return True
        return bool(self.versions.diff(id, newest[0].n, "working", source))

    def diff(self, id: str, from_: Side, to: Side, source: Path) -> dict[str, Any]:
        """The unified diff of two versions; None stands for the current one, "working" for the working copy."""
        return {"from": from_, "to": to, "diff": self.versions.diff(id, from_, to, source)}
