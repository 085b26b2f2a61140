"""What is kept of a run that is over: `exit.json`, put together from its status and what its last runner knows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stratpanel.process.run import Run

VERSION = 1  # of status and exit records


def exit_record(run: Run) -> dict[str, Any]:
    """The record of this end, now (epoch seconds); code and signal are None where nobody can know them."""
    status = run.status
    spec = status["spec"]
    leader_exit = status.get("leader_exit") or {"exit_code": None, "signal": None, "route": "unknown"}
    exact = run.tree is not None and run.tree.exact
    return {
        "v": VERSION,
        "id": run.id,
        "run_id": run.run_id,
        "started": status["started"],
        "ended": time.time(),
        "exit_code": leader_exit["exit_code"],
        "signal": leader_exit["signal"],
        "route": leader_exit.get("route", "unknown"),
        "stopped_by_us": status.get("stop") is not None,
        "stop": status.get("stop"),
        "reason": run.error if run.error is not None else _reason(status.get("stop"), leader_exit),
        "emptied": "subreaper" if exact else "scan",
        "leftover": [],
        "dropped_bytes": run.capture.dropped_bytes,
        "version": spec.get("version"),
        "mode": spec.get("mode"),
        "started_by": spec.get("started_by"),
        "instance": spec.get("instance"),
        "began": run.began,
        "error": run.error,
    }


def _reason(stop: dict[str, Any] | None, leader_exit: dict[str, Any]) -> str:
    code, name = leader_exit["exit_code"], leader_exit["signal"]
    how = f"killed by {name}" if name else f"exit code {code}" if code is not None else "exit code unknown"
    if stop is not None:
        by = f" by {stop['by']}" if stop.get("by") else ""
        return f"stopped{by} ({stop['reason']}), {how}"
    return how if name else f"ended by itself, {how}"
