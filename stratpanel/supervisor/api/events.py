"""Events: the list after a number, and the live stream that resumes from one.

One subscription to the core's event log feeds all readers with frames encoded once. A resume point that is gone is
answered with `event: reset`: the reader fetches the list again.
"""

from __future__ import annotations

import asyncio
import logging

from stratpanel.model.errors import InvalidValue
from stratpanel.supervisor.api import wire
from stratpanel.supervisor.api.ports import Core, Json
from stratpanel.supervisor.api.route import Route
from stratpanel.supervisor.api.streams import Outbox, Stream, frame

log = logging.getLogger("stratpanel.api")

HIGHEST_SEQ = 2**63 - 1
DEFAULT_EVENTS = 200
MAX_EVENTS = 10_000


def event_frame(event: Json) -> bytes:
    """One event as a frame; its id is the sequence number."""
    return frame("event", wire.encode(event), event["seq"])


class EventFeed:
    """Hands each event, encoded once, to all open event streams."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._readers: dict[Outbox, int] = {}
        self._subscription = core.events.subscribe()
        self._pump = asyncio.create_task(self._hand_on(), name="api events")

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
