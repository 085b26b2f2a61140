"""Stop, kill and panic with no supervisor alive: read the status files, end the trees, leave word for later.

Called by `control` when the supervisor does not answer. It never starts anything. The hold it leaves in
`.stratpanel/holds/` tells the next supervisor that a person stopped this strategy.
"""

from __future__ import annotations

import json
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stratpanel.cli.session import who
from stratpanel.model.errors import Conflict, NotFound
from stratpanel.process import ending, records, wake
from stratpanel.process.paths import Runtime

DEFAULT_GRACE_S = 5.0


def known_ids(workspace: Path) -> list[str]:
    """Ids of the registry plus those that have a live run, registry or not."""
    return sorted({*_registered(workspace), *_running(workspace)})


def _runtime(workspace: Path) -> Runtime:
    return Runtime.of(workspace)


def _running(workspace: Path) -> dict[str, dict[str, Any]]:
    return {status["id"]: status for status in ending.live_runs(_runtime(workspace))}


def _registered(workspace: Path) -> list[str]:
    try:
        found = json.loads((workspace / "strategies" / "strategy_configs.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no registry or a broken one must not keep anybody from stopping things
        return []
    return list(found) if isinstance(found, dict) else []


def end(workspace: Path, strategy_id: str, *, kill: bool) -> dict[str, Any]:
    """End one strategy's tree; `changed` is false when nothing of it lived. Raises for an unknown id or survivors."""
    running = _running(workspace)
    if strategy_id not in running and strategy_id not in _registered(workspace):
        raise NotFound(f"there is no strategy {strategy_id!r} in this workspace", code="STRATEGY_NOT_FOUND")
    runtime = _runtime(workspace)
    _leave_word(runtime, strategy_id)
    if strategy_id not in running:
        return {"changed": False, "strategy": {"state": "stopped"}}
    grace = float(running[strategy_id].get("spec", {}).get("grace_s") or DEFAULT_GRACE_S)
    record = ending.end_run(runtime, strategy_id, grace_s=grace, by=who(), reason="kill" if kill else "stop", kill=kill)
    if record is None:
        raise Conflict("processes of it are still alive; run the command again", code="STILL_ALIVE")
    return {"changed": True, "strategy": {"state": "stopped", "why": "ended from the command line, no supervisor"}}


def panic(workspace: Path, why: str) -> dict[str, Any]:
    """Write the panic file first, then end all trees in parallel."""
    runtime = _runtime(workspace)
    note = {"by": who(), "at": datetime.now(UTC).isoformat(), "why": why}
    _mark(runtime.panic, note)
    before = sorted(_running(workspace))
    ending.end_all(runtime, by=who(), reason="panic")
    left = sorted(_running(workspace))
    return {"stopped": [i for i in before if i not in left], "left": left, "not_run": _script(workspace)}


def _script(workspace: Path) -> str | None:
    """`[panic] then`: only a supervisor runs it."""
    try:
        table = tomllib.loads((workspace / "stratpanel.toml").read_text(encoding="utf-8")).get("panic") or {}
        return str(table.get("then") or "") or None
    except (OSError, ValueError, AttributeError):  # the panic itself is done; the settings' fault is told elsewhere
        return None


def _leave_word(runtime: Runtime, strategy_id: str) -> None:
    hold = {"kind": "stopped", "by": who(), "at": datetime.now(UTC).isoformat(), "why": "stopped from the command line"}
    _mark(runtime.holds / f"{strategy_id}.json", hold)


def _mark(path: Path, record: dict[str, Any]) -> None:
    """Leave a file for the next supervisor; a disk that takes none keeps nobody from ending what runs."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        records.write_marker(path, record)
    except OSError as error:
        print(f"stratpanel: {path.name} cannot be kept for the next supervisor: {error.strerror}", file=sys.stderr)


def running_ids(workspace: Path) -> list[str]:
    """Ids with a live run, by their status files."""
    return sorted(_running(workspace))


def down(workspace: Path, *, keep: bool) -> None:
    """`down` without a supervisor: unwanted first, so that nothing comes back, then the launcher, then the trees."""
    runtime = _runtime(workspace)
    note = {"by": who(), "at": datetime.now(UTC).isoformat(), "why": "paused since down", "kind": "down"}
    _mark(runtime.paused, note)
    wake.remove_wanted(runtime)
    wake.end_launcher(runtime)
    if not keep:
        ending.end_all(runtime, by=who(), reason="down")
