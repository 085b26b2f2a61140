"""The sessions of the calendars in use, for the header's clocks: read every ten minutes and when another calendar
appears, or one changed.

One task per process. What a calendar says comes from the supervisor; here nothing is computed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any

from stratpanel.dashboard.actions import WORKERS
from stratpanel.dashboard.feed import Feed
from stratpanel.dashboard.source import Calls
from stratpanel.model.errors import StratpanelError

EVERY_S = 600
LOOK_S = 5
AHEAD_DAYS = 12
MOST = 6


class Markets:
    """Keeps `feed.markets` current while the office is open."""

    def __init__(self, calls: Calls, feed: Feed, loop: asyncio.AbstractEventLoop) -> None:
        self._calls = calls
        self._feed = feed
        self._read: tuple[str, ...] | None = None
        self._woken = asyncio.Event()
        self._task = loop.create_task(self._keep())

    def close(self) -> None:
        """End the task."""
        self._task.cancel()

    def look(self) -> None:
        """A calendar changed: read them again now."""
        self._read = None
        self._woken.set()

    def _used(self) -> tuple[str, ...]:
        counts = Counter(str(row["calendar"]) for row in self._feed.source.rows.values() if row.get("calendar"))
        return tuple(name for name, _ in counts.most_common(MOST))

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        due = 0.0
        while True:
            used = self._used()
            if used != self._read or loop.time() > due:
                try:
                    markets = await loop.run_in_executor(WORKERS, self._ask, used)
                except StratpanelError:
                    pass  # the supervisor is away; what was read stays, and it is asked again soon
                else:
                    self._read, due = used, loop.time() + EVERY_S
                    self._feed.take_markets(markets)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), LOOK_S)
            self._woken.clear()

    def _ask(self, names: tuple[str, ...]) -> list[dict[str, Any]]:
        known = (
            {item["name"]: item for item in self._calls.call("GET", "/api/calendars").get("calendars", ())}
            if names
            else {}
        )
        first = date.today() - timedelta(days=1)  # noqa: DTZ011  # a day of margin covers every zone
        markets = []
        for name in names:
            last = min(str(first + timedelta(days=AHEAD_DAYS)), str(known.get(name, {}).get("valid_through") or "9999"))
            query = {"from": str(first), "to": last}
            try:
                sessions = self._calls.call("GET", f"/api/calendars/{name}", query=query)
                problem = ""
            except StratpanelError as error:
                sessions, problem = [], error.message
            about = known.get(name, {})
            markets.append(
                {
                    "name": name,
                    "timezone": about.get("timezone") or "",
                    "warning": problem,
                    "sessions": [
                        {
                            "open": _epoch(item["open"]),
                            "close": _epoch(item["close"]),
                            "kind": item.get("kind"),
                            "why": item.get("why"),
                        }
                        for item in sessions
                    ],
                }
            )
        return markets


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
