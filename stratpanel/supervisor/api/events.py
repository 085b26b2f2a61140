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

    @property
    def newest(self) -> int:
        """The number of the newest event."""
        return self._core.events.last_seq

    def join(self, outbox: Outbox) -> None:
        """Wake `outbox` when something happens."""
        self._readers.add(outbox)

    def leave(self, outbox: Outbox) -> None:
        """Stop waking `outbox`."""
        self._readers.discard(outbox)

    async def after(self, seq: int) -> tuple[bytes, int]:
        """One page of frames of what came after number `seq`, and the number it ends at; a reset where that is gone."""
        found = self._core.events.since(seq)
        if found is None:
            found = await self._from_history(seq)
            if found is None:
                return frame("reset", b"{}", self.newest), self.newest
        page, size = [], 0
        for event in found[:PAGE_EVENTS]:
            page.append(self._frame(event))
            size += len(page[-1])
            seq = event["seq"]
            if size > PAGE_BYTES:
                break
        return b"".join(page), seq

    async def _from_history(self, seq: int) -> list[Json] | None:
        """The page after `seq` as the history has it; numbers that were given out and lost in a crash have no event."""
        kept = await self._core.events_after(seq, PAGE_EVENTS)
        if kept is None:
            return None
        # the database keeps no status fields
        found = [{**event, "strategy": None} for event in kept]
        return found or [event for event in self._core.events.since(None) or () if event["seq"] > seq]

    def _frame(self, event: Json) -> bytes:
        """One event as a frame; its id is the sequence number."""
        seq = event["seq"]
        known = self._frames.get(seq)
        if known is None:
            known = frame("event", wire.encode(event), seq)
            if seq > self.newest - FRAMES_KEPT:
                self._frames[seq] = known
                while len(self._frames) > FRAMES_KEPT:
                    del self._frames[next(iter(self._frames))]
        return known

    async def _wake_readers(self) -> None:
        async for _ in self._subscription:
            for outbox in self._readers:
                outbox.wake()


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
        if text:
            try:
                self._seq = wire.whole_number("since", text.strip(), 0, 0, HIGHEST_SEQ)
            except InvalidValue:
                if "Last-Event-ID" not in self.request.headers:
                    raise
                self._seq = -1  # another server's or a damaged id: its place is gone
        self.site.events.join(self.outbox)
        try:
            await self.stream(standing(self._seq) if self._seq >= 0 else b"")
        finally:
            self.site.events.leave(self.outbox)

    async def next_part(self) -> bytes:
        """The page after the number this reader stands at, waiting until there is one."""
        data, self._seq = await self.site.events.after(self._seq)
        if not data:
            await self.outbox.take(self.heartbeat_s)
            data, self._seq = await self.site.events.after(self._seq)
        return data
