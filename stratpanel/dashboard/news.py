"""What happened, for the activity feed and the toasts of every page: one reader of the supervisor's events per process.

A worker thread reads the stream; the loop hands each event on once, encoded once. Pages that join later get the last
ones with their snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from stratpanel.dashboard.feed import Feed
from stratpanel.dashboard.reading import Reading
from stratpanel.dashboard.source import Calls
from stratpanel.model.errors import StratpanelError

FIRST = 100
RETRY_S = 1.5
TOASTS = {
    "crash": "bad",
    "fatal": "bad",
    "memory": "bad",
    "missed_start": "bad",
    "lost": "bad",
    "disk": "bad",
    "calendar": "warn",
    "quiet": "warn",
    "watchdog": "warn",
    "hook": "warn",
    "registry": "warn",
}


def shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """What a page needs of an event."""
    kept = {key: event.get(key) for key in ("seq", "type", "id", "by", "message")}
    kept["at"] = datetime.fromisoformat(event["time"]).timestamp() if event.get("time") else None
    return {key: value for key, value in kept.items() if value is not None}


class News:
    """Reads events for as long as the office is open."""

    def __init__(
        self,
        calls: Calls,
        feed: Feed,
        loop: asyncio.AbstractEventLoop,
        calendar_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._calendar_changed = calendar_changed
        self._calls = calls
        self._feed = feed
        self._loop = loop
        self._reading = Reading()
        self._thread = threading.Thread(target=self._read, name="stratpanel-news", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the reader."""
        self._reading.close()

    def _read(self) -> None:
        after = ""
        while not self._reading.closed:
            try:
                if not after:
                    past = self._calls.call("GET", "/api/events", query={"limit": FIRST})["events"]
                    self._post(self._begin, [shown(event) for event in past])
                    after = str(past[-1]["seq"]) if past else "0"
                for item in self._reading.items(partial(self._calls.stream, "/api/events/stream", after)):
                    if item.event == "reset":
                        after = ""
                        break
                    after = item.id or after
                    self._post(self._happened, item.data)
            except (StratpanelError, OSError, ValueError, KeyError, TypeError):
                pass  # the supervisor is away: the page says so, and the stream is resumed where it was
            self._reading.wait(RETRY_S)

    def _post(self, work: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is leaving
            self._loop.call_soon_threadsafe(work, *args)

    def _begin(self, events: list[dict[str, Any]]) -> None:
        self._feed.events.clear()
        self._feed.events.extend(events)
        self._feed.broadcast({"k": "past", "events": events})

    def _happened(self, event: Mapping[str, Any]) -> None:
        item = shown(event)
        if event.get("type") == "calendar":
            self._calendar_changed()
        self._feed.events.append(item)
        tone = TOASTS.get(str(event.get("type")))
        self._feed.broadcast({"k": "ev", "events": [{**item, "toast": tone} if tone else item]})
