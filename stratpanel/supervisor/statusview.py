"""The status fields of CONTRACTS, made from a unit's plain record; the same dict serves API, events and mirror.

Called on the loop, often, and for every strategy: it computes nothing that the reconciler has not already decided.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from stratpanel import __version__
from stratpanel.model.states import State
from stratpanel.model.values import DEFAULT_MEMORY_PROBLEM
from stratpanel.supervisor.configuration.secrets import mask_texts
from stratpanel.supervisor.holds import hold_to_json, since
from stratpanel.supervisor.unit import Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core


def _time(value: datetime | float | None, zone: tzinfo) -> str | None:
    if value is None:
        return None
    moment = datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else value
    return moment.astimezone(zone).isoformat(timespec="milliseconds")


def status(unit: Unit, now: float, zone: tzinfo, log_path: str, mask: Any = None) -> dict[str, Any]:
    """One strategy's status at epoch second `now`; times carry the offset of `zone`."""
    run, last, config = unit.run, unit.last, unit.config
    alive = run is not None and run.leader_pid is not None and unit.is_live
    schedule = config.get("schedule") or {}
    hold = hold_to_json(unit.hold)
    if mask and hold["why"]:
        hold["why"] = mask(hold["why"])
    why = "; ".join([unit.why, *unit.silences.values()])
    mode = run.mode if run is not None else config.get("mode") or "paper"
    standing = unit.standing
    runs = run.version if run is not None else standing.promoted if mode == "live" else standing.deployed
    return {
        "id": unit.id,
        "name": config.get("name") or unit.id,
        "state": unit.state.value,
        "why": mask(why) if mask else why,
        "pid": run.leader_pid if run is not None and alive else None,
        "runner_pid": run.runner_pid if run is not None else None,
        "run_id": run.run_id if run is not None else last.run_id if last is not None else None,
        "version": run.version if run is not None else unit.version,
        "mode": mode,
        "hold": hold["kind"],
        "hold_detail": hold if hold["kind"] != "none" else None,
        "uptime_s": round(max(0.0, now - run.started), 3) if run is not None and alive else None,
        "started": _time(run.started, zone) if run is not None and alive else None,
        "cpu_percent": unit.cpu_percent if alive else None,
        "memory_mb": unit.memory_mb if alive else None,
        "exit_code": last.exit_code if last is not None else None,
        "signal": last.signal if last is not None else None,
        "restarts": unit.restarts,
        "next_start": _time(unit.next_start, zone),
        "next_stop": _time(unit.next_stop, zone),
        "log_path": log_path,
        "state_since": _time(unit.since, zone),
        "last_started": _time(unit.last_started, zone),
        "last_stopped": _time(last.ended, zone) if last is not None else None,
        "queue": unit.queue_place,
        "quiet": unit.quiet,
        "alert": bool(unit.decision.alert) if unit.decision is not None else unit.state is State.LOST,
        "dropped_bytes": run.dropped_bytes if run is not None else 0,
        "memory_limit_mb": (config.get("limits") or {}).get("memory_mb"),
        "scheduled": bool(schedule.get("enabled")),
        "calendar": schedule.get("calendar"),
        "timezone": schedule.get("timezone"),
        "user_id": config.get("user_id") or "",
        "tags": list(config.get("tags") or []),
        "priority": config.get("priority", 5),
        "working_copy_differs": standing.differs_from(runs),
        "working_copy_version": standing.version,
        "deployed_version": standing.deployed,
        "promoted_version": standing.promoted,
    }


def supervisor(core: Core) -> dict[str, Any]:
    """The supervisor's fields of CONTRACTS, and its warnings."""
    hold = core.holds.current
    state, why = "running", ""
    if core.degraded:
        state, why = "degraded", core.degraded
    elif hold.kind != "none":
        state, why = (
            "paused",
            f"{hold.kind} since {since(hold, core.zone)}"
            + (f" by {hold.by}" if hold.by else "")
            + (f": {hold.why}" if hold.why else ""),
        )
    elif core.fleet.problem:
        why = core.fleet.problem
    warnings = [
        *core.settings.warnings,
        *([DEFAULT_MEMORY_PROBLEM] if DEFAULT_MEMORY_PROBLEM else []),
        *core.chores.calendar_warnings,
        *(f"{unit.id}: {unit.schedule_problem}" for unit in core.units.values() if unit.schedule_problem),
        *(problem for problem in (core.history.problem, core.journal.problem) if problem),
    ]
    return {
        "pid": os.getpid(),
        "launcher_pid": core.processes.launcher_pid,
        "started": core.started.astimezone(core.zone).isoformat(timespec="milliseconds"),
        "version": __version__,
        "url": core.url,
        "state": state,
        "why": core.secrets.mask(why),
        "hold": hold.kind,
        "workspace": str(core.workspace),
        "timezone": core.settings.timezone,
        "queue": core.queue.waiting,
        "decision_lateness_s": core.reconciler.lateness_s,
        "max_strategies": core.advice.max_strategies,
        "warnings": mask_texts(warnings, core.secrets.mask),
    }
