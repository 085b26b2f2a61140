"""One reader per strategy whose log somebody watches, however many pages do: recent lines in memory, new ones in
batches.

A worker thread reads the supervisor's stream; everything else happens on the loop. A view joins and gets the recent
lines and everything after them, none twice and none missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from stratpanel.dashboard.actions import strategy_path
from stratpanel.dashboard.feed import encode
from stratpanel.dashboard.reading import Reading
from stratpanel.dashboard.source import Calls
from stratpanel.model.errors import NotFound, StratpanelError

log = logging.getLogger("stratpanel.dashboard")

RECENT = 2000
FIRST = 1000
GATHER_MS = 50  # how long the supervisor may gather lines: each at once would cost it and us five times as much
QUICK_S = 0.05  # between batches while few look
CALM_S = 0.25  # while many do
MESSAGES_PER_S = 80.0  # to all views of a log together
MOST_IN_A_BATCH = 4000
RETRY_S = 1.0

Line = tuple[float | None, str, str | None]  # epoch seconds, text, run id


class View(Protocol):
    """Who watches a log."""

    def more(self, text: str) -> None:
        """Take one encoded batch."""

    def restarted(self, tail: Tail) -> None:
        """The log was cleared or replaced: begin again with the tail's recent lines."""


def line_of(item: Mapping[str, Any]) -> Line:
    """A line of the API as the page takes it."""
    time = item.get("time")
    return (
        None if time is None else datetime.fromisoformat(time).timestamp(),
        str(item.get("text", item.get("log", ""))),
        item.get("run_id"),
    )


@dataclass
class Tail:
    """The end of one strategy's log, kept current while views look at it."""

    calls: Calls
    id: str
    loop: asyncio.AbstractEventLoop
    recent: deque[tuple[str, Line]] = field(default_factory=lambda: deque(maxlen=RECENT))
    ready: bool = False
    problem: str = ""
    views: set[Any] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._arrived: list[tuple[str, Line]] = []
        self._guard = threading.Lock()
        self._called = False
        self._last_batch = 0.0
        self._pending: asyncio.TimerHandle | None = None
        self._batch: list[Line] = []
        self._reading = Reading()
        self._thread = threading.Thread(target=self._read, name=f"stratpanel-log-{self.id}", daemon=True)
        self._thread.start()

    @property
    def before(self) -> str | None:
        """The cursor of the first line in memory: older ones are asked for before it."""
        return self.recent[0][0] if self.recent else None

    def close(self) -> None:
        """End the reader; it notices within its read."""
        self._reading.close()
        if self._pending is not None:
            self._pending.cancel()

    def join(self, view: View) -> None:
        """Add a view; what waits for the old ones goes to them first, since the new one finds it in `recent`."""
        if self._pending is not None:
            self._pending.cancel()
            self._send()
        self.views.add(view)

    # -- worker thread

    def _read(self) -> None:
        cursor: str | None = None
        path = strategy_path(self.id)
        while not self._reading.closed:
            try:
                if cursor is None:
                    page = self.calls.call("GET", f"{path}/logs", query={"lines": FIRST})
                    lines = [(item["cursor"], line_of(item)) for item in page["lines"]]
                    self._post(self._begin, lines)
                    cursor = lines[-1][0] if lines else ""
                cursor = self._follow(f"{path}/logs/stream?every_ms={GATHER_MS}", cursor)
            except NotFound as error:
                self._post(self._trouble, error.message)
                return
            except (StratpanelError, OSError, ValueError) as error:
                # The supervisor is away or restarting; the page says so elsewhere, and we come back where we were.
                self._post(self._trouble, str(error))
            self._reading.wait(RETRY_S)

    def _follow(self, path: str, cursor: str) -> str | None:
        for item in self._reading.items(partial(self.calls.stream, path, cursor)):
            if item.event == "reset":
                return None
            cursor = item.id or cursor
            with self._guard:
                self._arrived.append((cursor, line_of(item.data)))
                called, self._called = self._called, True
            if not called:
                self._post(self._take)
        return cursor

    def _post(self, work: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is leaving
            self.loop.call_soon_threadsafe(work, *args)

    # -- loop

    def _begin(self, lines: Iterable[tuple[str, Line]]) -> None:
        self.recent.clear()
        self.recent.extend(lines)
        self.ready, self.problem = True, ""
        self._batch.clear()
        for view in list(self.views):
            view.restarted(self)

    def _trouble(self, problem: str) -> None:
        self.problem = problem
        if not self.ready:
            self.ready = True
            for view in list(self.views):
                view.restarted(self)

    def _take(self) -> None:
        with self._guard:
            arrived, self._arrived = self._arrived, []
            self._called = False
        self.recent.extend(arrived)
        self._batch += [line for _, line in arrived]
        if self._pending is not None or not self._batch:
            return
        pace = min(CALM_S, max(QUICK_S, len(self.views) / MESSAGES_PER_S))
        wait = max(0.01, self._last_batch + pace - self.loop.time())
        self._pending = self.loop.call_later(wait, self._send)

    def _send(self) -> None:
        self._pending = None
        self._last_batch = self.loop.time()
        batch, self._batch = self._batch, []
        skipped = max(0, len(batch) - MOST_IN_A_BATCH)
        message: dict[str, Any] = {"k": "more", "id": self.id, "lines": batch[skipped:]}
        if skipped:
            message["skipped"] = skipped
        text = encode(message)
        for view in list(self.views):
            view.more(text)


class LogFeed:
    """The tails of one workspace that are being watched."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self._tails: dict[str, Tail] = {}

    def watch(self, id_: str, view: View) -> Tail:
        """Join a strategy's log; lines after the tail's `recent` come through `view.more`."""
        tail = self._tails.get(id_)
        if tail is None:
            tail = self._tails[id_] = Tail(self.calls, id_, asyncio.get_running_loop())
        tail.join(view)
        return tail

    def leave(self, id_: str, view: View) -> None:
        """Stop watching; the last view to leave ends the reader."""
        tail = self._tails.get(id_)
        if tail is None:
            return
        tail.views.discard(view)
        if not tail.views:
            del self._tails[id_]
            tail.close()

    def close(self) -> None:
        """End every reader."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()
