"""One market's days: sessions, holidays, special sessions, and the user's own word about them, editable.

Beside the schedule's editor. What a day is comes from the supervisor; a change goes to it and counts for every strategy
of the workspace at once, so all open pages read the days again when it says that a calendar changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

import param

from stratpanel.dashboard.assets import script, styles
from stratpanel.dashboard.screen import Screen
from stratpanel.dashboard.wire import Drawn
from stratpanel.model.errors import StratpanelError

SHOWN_DAYS = 93  # three months
FURTHEST_MONTHS = 36
OF_A_DAY = ("closed", "open")


class MarketDays(Drawn):
    """Three months of a market, and the list of the user's own days."""

    market = param.String()
    zone = param.String()
    first = param.String(doc="the first of the first month shown")
    through = param.String(doc="the last day the calendar knows, empty: it never ends")
    sessions = param.List(default=[])
    overrides = param.List(default=[], doc="rows of calendar_overrides.toml that are about this market")
    problem = param.String()

    _esm = script("calendar")
    _stylesheets = styles("calendar")

    def __init__(self, screen: Screen, changed: Callable[[], None], **params: Any) -> None:
        super().__init__(bus=screen.bus, **params)
        self._screen = screen
        self._changed = changed
        self._known: dict[str, Mapping[str, Any]] = {}
        self._reads = 0
        self._months = 0
        self._wanted = ""

    def know(self, calendars: list[Mapping[str, Any]]) -> None:
        """What calendars there are: `name`, `timezone`, `valid_through` of each."""
        self._known = {str(item["name"]): item for item in calendars}

    async def show(self, market: str) -> None:
        """Show this market's days; empty: nothing."""
        if market != self._wanted:
            self._months = 0
        self._wanted = market
        await self._read()

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        if data.get("do") == "again":
            self._screen.delivery.spawn(self._again())
        elif data.get("do") == "turn" and isinstance(data.get("months"), int):
            self._months = max(-1, min(FURTHEST_MONTHS, self._months + data["months"]))
            self._screen.delivery.spawn(self._read())

    async def _again(self) -> None:
        await self._read()
        self._screen.delivery.run(self._changed)

    async def _read(self) -> None:
        self._reads += 1
        mine, market = self._reads, self._wanted  # not what is shown: that follows later
        about = self._known.get(market, {})
        through = str(about.get("valid_through") or "")
        first = _month(date.today(), self._months)  # noqa: DTZ011  # which months, not which instant
        last = min(str(first + timedelta(days=SHOWN_DAYS)), through or "9999")
        sessions: list[Any] = []
        overrides: list[Any] = []
        problem = ""
        if market:
            try:
                if str(first) <= last:
                    days = {"from": str(first), "to": last}
                    path = f"/api/calendars/{quote(market, safe='')}"
                    sessions = await self._screen.actions.ask("GET", path, query=days)
                overrides = (await self._screen.actions.get("/api/calendar-overrides"))["overrides"]
            except StratpanelError as error:
                problem = error.message
        if mine != self._reads:
            return
        shown = {
            "market": market,
            "zone": str(about.get("timezone") or ""),
            "first": str(first),
            "through": through,
            "sessions": sessions,
            "overrides": [row for row in overrides if self._concerns(row, market)],
            "problem": problem,
        }
        self._screen.delivery.run(lambda: self.param.update(**shown))

    def _concerns(self, row: Mapping[str, Any], market: str) -> bool:
        """True for rows that name this market, or a group, whose members only the supervisor knows."""
        names = {str(name).upper() for name in row["calendars"]}
        return market.upper() in names or bool(names - {known.upper() for known in self._known})


def _month(day: date, later: int) -> date:
    """The first of the month that is `later` months after that of `day`."""
    count = day.year * 12 + day.month - 1 + later
    return date(count // 12, count % 12 + 1, 1)
