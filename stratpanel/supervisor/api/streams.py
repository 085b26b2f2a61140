"""Server-sent events: one bounded outbox per reader, one encoded frame shared by all readers.

The base of the mirror's, the events' and the logs' streams. Memory per reader is bounded whatever it does: an outbox
that overflows is emptied and its reader told to start afresh; one that takes nothing for STALL_S is disconnected.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from tornado.iostream import StreamClosedError

from stratpanel.supervisor.api.route import Route, Site

HEARTBEAT_S: Final = 15.0  # CONTRACTS: a comment when nothing else was sent
STALL_S: Final = 30.0  # a reader that takes not one byte for so long is gone or stopped
OUTBOX_BYTES: Final = 1024 * 1024
OUTBOX_FRAMES: Final = 1000
RETRY_MS: Final = 1000
HEARTBEAT: Final = b": still here\n\n"


def frame(event: str, data: bytes, id: str | int | None = None) -> bytes:
    """One server-sent event; `data` is JSON, which has no raw line ends."""
    head = b"" if id is None else b"id: %s\n" % str(id).encode("ascii", "replace")
    return b"%sevent: %s\ndata: %s\n\n" % (head, event.encode("ascii"), data)


def standing(id: str | int | None) -> bytes:
    """Where a stream begins, for a reader that is cut off before its first event: an id without an event."""
    return b"" if id is None else b"id: %s\n\n" % str(id).encode("ascii", "replace")


class Outbox:
    """Frames waiting for one reader. Filled and emptied on the loop; `overflowed` means frames were thrown away."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._woken = False
        self.overflowed = False
        self.closed = False

    @property
    def empty(self) -> bool:
        """True when the reader has been given everything."""
        return not self._frames

    def push(self, data: bytes) -> None:
        """Add a frame, or throw all of them away when the reader is too far behind."""
        if self.closed or self.overflowed:
            return
        if (self._bytes + len(data) > OUTBOX_BYTES and self._frames) or len(self._frames) >= OUTBOX_FRAMES:
            self._frames.clear()
            self._bytes = 0
            self.overflowed = True
        else:
            self._frames.append(data)
            self._bytes += len(data)
        self._filled.set()

    def wake(self) -> None:
        """End a `take` that waits, though there is nothing to be taken."""
        self._woken = True
        self._filled.set()

    def close(self) -> None:
        """End the stream after what is waiting."""
        self.closed = True
        self._filled.set()

    async def take(self, within_s: float) -> bytes:
        """All that waits, as one piece; b"" after `within_s`, when woken, at an overflow or at the end."""
        if not (self._frames or self._woken or self.overflowed or self.closed):
            self._filled.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._filled.wait()
            except TimeoutError:
                return b""
        data = b"".join(self._frames)
        self._frames.clear()
        self._bytes = 0
        self._woken = False
        return data


class Stream(Route):
    """A route whose answer never ends; a subclass fills an outbox and says what an overflowed reader gets instead."""

    heartbeat_s = HEARTBEAT_S

    def initialize(self, site: Site) -> None:
        """See Route."""
        super().initialize(site)
        self.outbox = Outbox()

    async def prepare(self) -> None:
        """Be among the open streams from the moment the token was looked at: rotating it ends them all."""
        await super().prepare()
        self.site.streams.add(self.outbox)

    def on_finish(self) -> None:
        """See Route."""
        super().on_finish()
        self.site.streams.discard(self.outbox)

    def after_overflow(self) -> bytes:
        """What a reader gets instead of the frames it was too slow for."""
        return frame("reset", b"{}")

    async def stream(self, first: bytes = b"") -> None:
        """Send `first`, then the outbox's frames until either side closes."""
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        try:
            alive = await self._sent(b"retry: %d\n\n" % RETRY_MS + first)
            while alive and not (self.outbox.closed and self.outbox.empty):
                alive = await self._sent(await self.next_part() or HEARTBEAT)
        finally:
            self.outbox.close()

    async def next_part(self) -> bytes:
        """What is sent next, waiting for it up to a heartbeat; b"" when there is nothing."""
        data = await self.outbox.take(self.heartbeat_s)
        if self.outbox.overflowed:
            self.outbox.overflowed = False
            data = self.after_overflow()
        return data

    async def _sent(self, data: bytes) -> bool:
        """Write and wait until the reader's side has taken it; False when it is gone or has stalled."""
        self.write(data)
        try:
            async with asyncio.timeout(STALL_S):
                await self.flush()
        except StreamClosedError:
            return False
        except TimeoutError:
            self.request.connection.close()  # type: ignore[union-attr]
            return False
        return True

    def on_connection_close(self) -> None:
        """The reader went away: stop filling its outbox at once."""
        super().on_connection_close()
        self.outbox.close()
