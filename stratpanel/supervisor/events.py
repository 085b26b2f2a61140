"""What happened, in order: a bounded ring of numbered events with subscribers that can never grow without bound.

Everything that changes a strategy's fate is appended here by the loop's thread; history, hooks and the API's streams
read it. It never blocks and never keeps a slow reader's backlog: such a reader is told to start afresh (`reset`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Final

log = logging.getLogger("stratpanel.events")

EventRecord = dict[str, Any]

RING: Final = 1000  # events kept in memory; older ones are in the database
QUEUE: Final = 512  # events a subscriber may lag behind before it must read the list again
SEQ_PER_SECOND: Final = 1000  # numbers reserved per second of start time, so that they grow over supervisor restarts


class Subscription:
    """One reader's bounded queue. Iterating yields events; `None` means: events were dropped, read the list again."""

    def __init__(self, log_: EventLog, limit: int) -> None:
        self._log = log_
        self._limit = limit
        self._pending: deque[EventRecord | None] = deque()
        self._ready = asyncio.Event()
        self._closed = False

    def _offer(self, event: EventRecord) -> None:
        if len(self._pending) >= self._limit:
            self._pending.clear()
            self._pending.append(None)
        self._pending.append(event)
        self._ready.set()

    async def get(self) -> EventRecord | None:
        """The next event, waiting for it; `None` stands for a gap."""
        while not self._pending:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._pending.popleft()

    def __aiter__(self) -> AsyncIterator[EventRecord | None]:
        return self

    async def __anext__(self) -> EventRecord | None:
        return await self.get()

    def close(self) -> None:
        """Leave the log; a waiting reader ends."""
        self._closed = True
        self._log._subscriptions.discard(self)
        self._ready.set()


class EventLog:
    """Numbered events, newest last. Owned by the loop's thread.

    An event is `{"seq", "time", "type", "id", "by", "message", "status", "exit_code", "strategy"}`: `time` RFC 3339 in
    UTC, `id` a strategy's id or null, `status` its state and `strategy` its status fields at that moment.
    """

    def __init__(
        self,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        first: int | None = None,
        keep: Callable[[EventRecord], EventRecord] | None = None,
    ) -> None:
        """`keep` stores an event durably and answers it with its "seq" and "time"; without it numbers are our own."""
        self._now = now
        self._keep = keep
        self._seq = first if first is not None else int(now().timestamp()) * SEQ_PER_SECOND
        self._ring: deque[EventRecord] = deque(maxlen=RING)
        self._subscriptions: set[Subscription] = set()
        self._sinks: list[Callable[[EventRecord], object]] = []

    @property
    def last_seq(self) -> int:
        """The number of the newest event (or the one before the first)."""
        return self._seq

    def forward_to(self, sink: Callable[[EventRecord], object]) -> None:
        """Hand every later event to `sink`, which must not block; its errors are logged and harm nobody."""
        self._sinks.append(sink)

    def append(
        self,
        type: str,
        id: str | None = None,
        by: str = "supervisor",
        message: str = "",
        strategy: dict[str, Any] | None = None,
        **more: object,
    ) -> EventRecord:
        """Record that something happened, tell subscribers and sinks, and return the event."""
        event: EventRecord = {
            "type": type,
            "id": id,
            "by": by,
            "message": message,
            "status": strategy["state"] if strategy else None,
            "exit_code": strategy["exit_code"] if strategy else None,
            **more,
        }
        if self._keep is not None:
            kept = self._keep(event)
            self._seq, when = int(kept["seq"]), kept["time"]
        else:
            self._seq, when = self._seq + 1, self._now().isoformat(timespec="milliseconds")
        event = {"seq": self._seq, "time": when, **event, "strategy": strategy}
        self._ring.append(event)
        for subscription in tuple(self._subscriptions):
            subscription._offer(event)
        for sink in self._sinks:
            try:
                sink(event)
            except Exception:  # a sink is another room's code; its failure must not undo what happened
                log.exception("cannot hand on event %s %s", type, id)
        return event

    def since(self, seq: int | None) -> list[EventRecord] | None:
        """Events after number `seq` (all that are kept, for None), or None when some of them are no longer kept."""
        if seq is None:
            return list(self._ring)
        if seq == self._seq:
            return []
        if not self._ring or seq < self._ring[0]["seq"] - 1 or seq > self._seq:
            return None
        newer = list(takewhile(lambda event: event["seq"] > seq, reversed(self._ring)))
        newer.reverse()
        return newer

    def subscribe(self, limit: int = QUEUE) -> Subscription:
        """A new reader of everything from now on."""
        subscription = Subscription(self, limit)
        self._subscriptions.add(subscription)
        return subscription
