"""Whether the run before this one has really ended: nobody may start a strategy that is still alive somewhere.

Asked by a runner that holds both locks of a strategy, before it forks. The locks alone do not prove it, since a
grandchild made with `subprocess` does not inherit them; the mark in its environment tells.
"""

from __future__ import annotations

from typing import Any

from stratpanel.process import platform, records
from stratpanel.process.errors import ProcessError, RecordError
from stratpanel.process.identity import identity_in
from stratpanel.process.paths import Runtime
from stratpanel.process.platform import Seen
from stratpanel.process.tree import ProcessTable, find_members


def ended_on_record(runtime: Runtime, status: dict[str, Any]) -> bool:
    """True when this run's end is written down. A record copied from another workspace proves nothing."""
    if status.get("copied"):
        return False
    if status.get("phase") == "ended":
        return True
    try:
        record = records.read_json(runtime.folder(str(status["id"])).exit)
    except RecordError:  # cut by a power failure: look for the processes instead
        return False
    return record is not None and record.get("run_id") == status.get("run_id")


def members_of(status: dict[str, Any]) -> dict[int, Seen]:
    """Living processes of a recorded run, wherever its leader is; nothing is signalled by this."""
    leader = identity_in(status, "leader")
    if leader is not None and leader.where() != "here":
        leader = None
    table = ProcessTable()
    table.renew(0.0)
    return find_members(leader, str(status.get("run_id")), {}, table)


def refuse_if_alive(runtime: Runtime, strategy_id: str, *, locked: bool) -> None:
    """Raise ProcessError while anything of an earlier run may live; `locked`: somebody holds its `run.lock`."""
    try:
        status = records.read_json(runtime.folder(strategy_id).status)
    except RecordError as error:
        raise ProcessError("RECORD_CORRUPT", f"cannot start {strategy_id}: {error.message}") from error
    members: dict[int, Seen] = {}
    if status is not None and (locked or not ended_on_record(runtime, status)):
        leader = identity_in(status, "leader")
        if leader is not None and leader.where() == "elsewhere" and not status.get("copied"):
            raise ProcessError(
                "FOREIGN_HOST",
                f"cannot start {strategy_id}: it was last started on {leader.host} and no end is on record; "
                "stop it there",
            )
        members = members_of(status)
    if locked:
        members.update(platform.holders_of(runtime.folder(strategy_id).run_lock))
    if members:
        pids = tuple(sorted(members))
        raise ProcessError(
            "STILL_ALIVE",
            f"cannot start {strategy_id}: processes of its last run are still alive: {', '.join(map(str, pids))}; "
            "stop them first",
            pids,
        )
    if locked:
        raise ProcessError(
            "LOST",
            f"cannot start {strategy_id}: a process holds its lock but none of its processes can be found; "
            f"look for it, then `stratpanel reset {strategy_id}`",
        )
