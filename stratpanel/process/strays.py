"""Processes of strategies that no record knows: somebody deleted the runtime folder while they ran.

A launcher that finds its folder new looks once for processes with a mark of ours that belong to this workspace. They
are never signalled, since nothing here proves what they are; but no second copy of their strategy starts beside them.
"""

from __future__ import annotations

import os
from pathlib import Path

from stratpanel.process import platform
from stratpanel.process.errors import ProcessError
from stratpanel.process.tree import MARK, mark_of

Strays = dict[str, dict[int, int]]


def find_strays(workspace: Path) -> Strays:
    """By strategy id: PIDs and start ticks."""
    found: Strays = {}
    inside = b"=" + os.fsencode(workspace) + b"/"
    for seen in platform.every_process():
        environ = platform.environ_of(seen.pid)
        if not seen.alive or MARK not in environ:
            continue
        strategy_id = mark_of(seen.pid).partition("~")[0]
        if strategy_id and (inside in environ or platform.working_folder(seen.pid) == os.fspath(workspace)):
            found.setdefault(strategy_id, {})[seen.pid] = seen.start_ticks
    return found


def refuse_beside(strays: Strays, strategy_id: str) -> None:
    """Raise ProcessError(STILL_ALIVE) while a stray of this strategy lives."""
    pids = []
    for pid, start_ticks in strays.get(strategy_id, {}).items():
        seen = platform.look_at(pid)
        if seen is not None and seen.alive and seen.start_ticks == start_ticks:
            pids.append(pid)
    if not pids:
        strays.pop(strategy_id, None)
        return
    raise ProcessError(
        "STILL_ALIVE",
        f"cannot start {strategy_id}: processes of it are alive that no record knows (was .stratpanel deleted?): "
        f"{', '.join(map(str, pids))}; end them first",
        tuple(pids),
    )
