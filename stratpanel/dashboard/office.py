"""The offices of this process: one per workspace, opened when the first page asks, shared by all its pages.

It connects to the supervisor (which may start one), keeps the live mirror, and hands pages a `Screen`. Pages of the web
server and cells of a notebook come here; tests put a fake office in.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from stratpanel.dashboard.screen import Office
from stratpanel.dashboard.templates import templates

_OPEN: dict[Path, Office] = {}


def office(workspace: Path) -> Office:
    """The office of a workspace, opened on the running loop if it is not open yet. Raises StratpanelError."""
    found = _OPEN.get(workspace)
    if found is None:
        from stratpanel.dashboard.live import MirrorSource, SupervisorCalls

        calls = SupervisorCalls(workspace)
        source = MirrorSource(calls, asyncio.get_event_loop())
        found = _OPEN[workspace] = Office(source, calls, partial(templates, workspace))
    return found


def close_all() -> None:
    """Close every office; the process is leaving, or a test is done."""
    for found in _OPEN.values():
        found.close()
    _OPEN.clear()
