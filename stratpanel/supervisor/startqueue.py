"""Who may start next: as many at once as there are cores, the important ones first.

Every start passes here; stops never do. A start of lower importance waits until the more important ones are up, because
twenty interpreters importing at once would make the first of them as late as the last.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from stratpanel.supervisor.clock import Clock, Timer

SHOW_S: Final = 0.25
WARM_S: Final = 2.0  # a start holds back less important ones at most this long after it was launched


class StartQueue:
    """Waiting starts by (priority, order of asking); priority 0 goes first. Owned by the loop's thread."""

    def __init__(self, at_once: int, clock: Clock, moved: Callable[[], None]) -> None:
        """`moved` is called when places may have changed, at most once in `SHOW_S`."""
        self._at_once = at_once
        self._clock = clock
        self._moved = moved
        self._waiting: list[tuple[int, int, str, asyncio.Future[None]]] = []
        self._count = 0
        self._launching: dict[str, int] = {}
        self._warming: dict[str, tuple[int, Timer]] = {}
        self._pump_due = False
        self._show_due = False
        self._shown = False

    @property
    def waiting(self) -> list[str]:
        """Ids in the order in which they will go."""
        return [entry[2] for entry in sorted(self._waiting, key=lambda entry: entry[:2])]

    @asynccontextmanager
    async def turn(self, id: str, priority: int) -> AsyncIterator[None]:
        """Wait for one's turn and hold a place while launching; afterwards the start is warming up until `is_up`."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        entry = (priority, self._count, id, granted)
        heapq.heappush(self._waiting, entry)
        self._pump_soon()
        try:
            await granted
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
            self._launching.pop(id, None)
            self._pump_soon()
            raise
        try:
            yield
        finally:
            self._launching.pop(id, None)
            if (old := self._warming.pop(id, None)) is not None:
                old[1].cancel()
            self._warming[id] = (priority, self._clock.call_later(WARM_S, lambda: self.is_up(id)))
            self._pump_soon()

    def is_up(self, id: str) -> None:
        """This start holds nobody back any more: it is up, has failed, or took too long."""
        entry = self._warming.pop(id, None)
        if entry is not None:
            entry[1].cancel()
            self._pump_soon()

    def _pump_soon(self) -> None:
        # a turn of the loop later, so that starts asked for in one breath are ordered by importance, not by arrival
        if not self._pump_due:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        while self._waiting and len(self._launching) < self._at_once:
            priority, _, id, granted = self._waiting[0]
            if any(other < priority for other in self._launching.values()):
                break
            if any(other < priority for other, _ in self._warming.values()):
                break
            heapq.heappop(self._waiting)
            if not granted.done():
                self._launching[id] = priority
                granted.set_result(None)
        if not self._show_due and (self._waiting or self._shown):
            self._show_due = True
            self._clock.call_later(SHOW_S, self._show)

    def _show(self) -> None:
        # most queues are gone before anybody could read them; telling each place at each move would cost the square
        self._show_due = False
        self._shown = bool(self._waiting)
        self._moved()
