"""Events: the list after a number, and the live stream that resumes from one.

A stream is read for, not pushed to: it knows the number it stands at and is given the page after it when it has taken
the last one, from memory or, where memory does not reach back so far, from the history. So a slow reader costs nothing
and misses nothing; `event: reset` only when its place is gone from the history too: the reader fetches the list again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from stratpanel.model.errors import InvalidValue
from stratpanel.supervisor.api import wire
from stratpanel.supervisor.api.ports import Core, Json
from stratpanel.supervisor.api.route import Route, Site
from stratpanel.supervisor.api.streams import Outbox, Stream, frame, standing

log = logging.getLogger("stratpanel.api")

HIGHEST_SEQ: Final = 2**63 - 1
DEFAULT_EVENTS: Final = 200
MAX_EVENTS: Final = 10_000
PAGE_EVENTS: Final = 200
PAGE_BYTES: Final = 256 * 1024
FRAMES_KEPT: Final = 64  # encoded for whoever is in step; those behind pay for themselves


class EventFeed:
    """Wakes the open event streams and hands them pages of frames, the newest encoded once for all."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._readers: set[Outbox] = set()
        self._frames: dict[int, bytes] = {}
        self._subscription = core.events.subscribe()
        self._pump = asyncio.create_task(self._wake_readers(), name="api events")

    async def close(self) -> None:
        """Leave the event log."""
        self._subscription.close()
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)

    @property
    def readers(self) -> int:
        """Open event streams."""
        return len(self._readers)

    def join(self, outbox: Outbox, after: int | None) -> bytes:
        """Start telling `outbox` of new events; returns the frames it missed after number `after`."""
        missed = self._core.events.since(after) if after is not None else []
        if missed is None:
            self._readers[outbox] = 0
            return frame("reset", b"{}")
        self._readers[outbox] = missed[-1]["seq"] if missed else after or 0
        return b"".join(map(event_frame, missed))

    def leave(self, outbox: Outbox) -> None:
        """Stop telling `outbox`."""
        self._readers.pop(outbox, None)

    async def _hand_on(self) -> None:
        async for event in self._subscription:
            if event is None:
                for outbox in self._readers:
                    outbox.push(frame("reset", b"{}"))
                continue
            if not self._readers:
                continue
            data = event_frame(event)
            for outbox, seen in self._readers.items():
                if event["seq"] > seen:  # what it got when it joined is not sent twice
                    outbox.push(data)


class EventList(Route):
    """GET /api/events?since=&limit="""

    async def get(self) -> None:
        """The newest `limit` events after number `since`, oldest first; older ones come from the history."""
        text = self.query("since")
        since = wire.whole_number("since", text, 0, 0, HIGHEST_SEQ) if text else None
        limit = wire.whole_number("limit", self.query("limit"), DEFAULT_EVENTS, 1, MAX_EVENTS)
        kept = self.core.events.since(since)
        if kept is None or (since is None and len(kept) < limit):
            kept = await self.core.past_events(since, limit)
        # the database keeps no status fields
        self.answer({"events": [{"strategy": None, **event} for event in list(kept)[-limit:]]})


class EventStream(Stream):
    """GET /api/events/stream"""

    def initialize(self, site: Site) -> None:
        """See Route."""
        super().initialize(site)
        self._seq = site.events.newest

    async def get(self) -> None:
        """New events as they happen; Last-Event-ID (or `since`) first brings those that were missed."""
        text = self.request.headers.get("Last-Event-ID") or self.query("since")
        after: int | None = None
        if text:
            try:
                after = wire.whole_number("since", text.strip(), 0, 0, HIGHEST_SEQ)
            except InvalidValue:
                if "Last-Event-ID" not in self.request.headers:
                    raise
                after = -1  # another server's or a damaged id: its place is gone
        try:
            await self.stream(self.site.events.join(self.outbox, after))
        finally:
            self.site.events.leave(self.outbox)
