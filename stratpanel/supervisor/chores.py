"""What is looked after between events: edits of files and scripts, calendars that end, old logs, the trace of our life.

The reconciler's heartbeat calls `beat` every two seconds on the loop; slow work goes to a thread. Nothing here decides
whether a strategy runs.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import date
from typing import TYPE_CHECKING, Final

from stratpanel.process import logfiles
from stratpanel.supervisor import afterpanic
from stratpanel.supervisor.live import reports

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

log = logging.getLogger("stratpanel.chores")

TIDY_EVERY_S: Final = 3600.0


class Chores:
    """Remembers when each chore was done last."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._warned: tuple[date, frozenset[str]] | None = None  # the day, and the calendars in use on it
        self._tidied = float("-inf")
        self.calendar_warnings: list[str] = []

    def beat(self) -> None:
        """Everything that is due."""
        core = self._core
        core.books.note_alive()
        core.fleet.poll()
        core.books.take_up_holds()
        core.copies.beat()
        if core.calendars.changed():
            core.calendars_changed()
            core.happened("calendar", None, "calendar", core.calendars.problem or "calendars were read again")
            self._warned = None
        if afterpanic.is_due(core):
            core.do(afterpanic.run_script(core))
        self._warn_of_calendars()
        if core.clock.monotonic() - self._tidied > TIDY_EVERY_S:
            self._tidied = core.clock.monotonic()
            core.do(self._tidy())

    def _warn_of_calendars(self) -> None:
        """Once a day, and when a calendar comes into use: those that end soon or cannot answer."""
        core = self._core
        plans = [unit.plan for unit in core.units.values()]
        used = frozenset(plan.calendar for plan in plans if plan.enabled and plan.calendar)
        now = core.clock.now()
        today = now.astimezone(core.zone).date()
        if self._warned == (today, used):
            return
        told = self._warned[1] if self._warned is not None and self._warned[0] == today else frozenset()
        self._warned = today, used
        found = core.calendars.warnings(now, set(used)) if used else []
        fresh = {name.upper() for name in used - told}
        for warning in found:
            if not told or warning.calendar.upper() in fresh:
                core.happened("calendar", None, "calendar", warning.message)
        messages = [warning.message for warning in found]
        if messages != self.calendar_warnings:
            self.calendar_warnings = messages
            core.supervisor_changed()

    async def _tidy(self) -> None:
        """Delete rotated logs that are older than their strategy, or the workspace, wants to keep them."""
        core = self._core
        for unit in tuple(core.units.values()):
            try:
                await asyncio.to_thread(reports.prune, core.workspace, unit.id)
            except OSError as error:
                log.warning("cannot delete old reports of %s: %s", unit.id, error)
            policy = unit.config.get("log") or {}
            days = policy.get("keep_days") or core.settings.retention.log_days
            if not days:
                continue
            keep = int(policy["keep"]) if policy.get("keep") is not None else 5
            path = core.log_path(unit.id)
            try:
                await asyncio.to_thread(logfiles.prune, path, keep, max_age_days=float(days))
            except OSError as error:
                log.warning("cannot delete old logs of %s: %s", unit.id, error)
