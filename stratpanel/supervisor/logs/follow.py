"""Followers of logs for the API's streams: lines as they are printed, on the supervisor's event loop.

One LogFollows per loop; every SSE stream has a LogFollower. A follower is a cursor, not a queue: a slow one reads later
from the files, so memory does not grow and nobody waits for it. Followers of one log share what was read. It must
never keep the loop busy: one read is at most 1 MiB, one log is looked at 50 times a second in a flood.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from stratpanel.supervisor.logs.inotify import LogWatch
from stratpanel.supervisor.logs.reader import Batch, LogReader, Run

# Changes that come faster are gathered, the longer the more there are: up to 50 looks a second in a flood, while each
# of 100 lines a second comes at once.
LOG_EVERY_S = 0.004
FLOOD_EVERY_S = 0.020
EVENTS_EVERY_S = 0.004
# Where changes are not told. All others are looked at every LOOK_EVERY_S, for what is held back (an unfinished line)
# and for file systems that tell nothing.
POLL_EVERY_S = 0.050
LOOK_EVERY_S = 0.5
SHARED = 8

Runs = Callable[[], Sequence[Run]]


class LogFollower:
    """One reader's place in one log; made by `LogFollows.follow`, closed by its owner."""

    def __init__(self, source: _Source, cursor: str | None) -> None:
        self._source = source
        self._seen = -1
        self.cursor = cursor

    async def changed(self, timeout_s: float | None = None) -> bool:
        """Wait until the log may have changed since this was last asked (True at once the first time); False after
        `timeout_s` seconds. For an owner that reads by itself, in a thread."""
        if self._seen == self._source.version:
            await self._source.change(timeout_s)
        changed = self._seen != self._source.version
        self._seen = self._source.version
        return changed

    async def read(self, timeout_s: float | None = None, limit: int = 1000) -> Batch | None:
        """The next lines (at least one, or a reset), as soon as there are any; None after `timeout_s` seconds."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        while True:
            batch = self._source.read(self.cursor, limit)
            moved = batch.cursor != self.cursor
            self.cursor = batch.cursor
            if batch.lines or batch.reset:
                return batch
            if moved:  # inside a line longer than one read
                await asyncio.sleep(0)
                continue
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                return None
            await self._source.change(left)

    def poke(self) -> None:
        """Make those who wait for this log look, as if it had changed."""
        self._source.wake()

    def close(self) -> None:
        """Stop following; the last follower of a log closes its files."""
        self._source.release()


class LogFollows:
    """All followers of one event loop. To be made, used and closed on it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watch = LogWatch()
        self._sources: dict[str, _Source] = {}
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None
        self.every_s = EVENTS_EVERY_S
        """Seconds between two looks at what the kernel told. 50 ms instead of 4 costs a fifth at 100 lines a second."""
        self._listen()

    def follow(self, log_path: str, cursor: str | None = None, runs: Runs | None = None) -> LogFollower:
        """Follow a log from a cursor (None: its beginning). `runs` gives the runs that lines are attributed to; it is
        asked again before each read, so let it return the same list while nothing changed. Raises ValueError for a
        malformed cursor at the first read."""
        path = os.path.abspath(log_path)
        source = self._sources.get(path)
        if source is None:
            source = self._sources[path] = _Source(path, self._loop, self._forget)
            source.told = self._watch.watch(path)
        source.followers += 1
        source.runs = runs or source.runs
        if self._timer is None:
            self._timer = self._loop.call_later(POLL_EVERY_S, self._tick)
        return LogFollower(source, cursor)

    def close(self) -> None:
        """Stop; followers that wait are woken and see nothing new."""
        if self._watch.fd >= 0:
            self._loop.remove_reader(self._watch.fd)
        self._watch.close()
        if self._timer is not None:
            self._timer.cancel()
        for source in list(self._sources.values()):
            source.close()
        self._sources.clear()

    def _forget(self, path: str) -> None:
        self._sources.pop(path, None)
        self._watch.forget(path)

    def _listen(self) -> None:
        if self._watch.fd >= 0:
            self._loop.add_reader(self._watch.fd, self._told)

    def _told(self) -> None:
        self._loop.remove_reader(self._watch.fd)
        self._loop.call_later(self.every_s, self._listen)
        for path in set(self._watch.changed()):
            for source in list(self._sources.values()) if path is None else [self._sources.get(path)]:
                if source is not None:
                    self._look_at(source)

    def _look_at(self, source: _Source) -> None:
        before, now = source.seen, source.identity()
        if before is None or now is None or before[:2] != now[:2]:
            source.told = self._watch.renew(source.path)
        # One write is told twice at times; a second look at nothing would delay the next line's.
        if now != before or now is None:
            source.wake()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(POLL_EVERY_S, self._tick) if self._sources else None
        self._ticks += 1
        all_of_them = self._ticks % round(LOOK_EVERY_S / POLL_EVERY_S) == 0
        for source in list(self._sources.values()):
            if all_of_them or not source.told:
                source.look()


class _Source:
    """One followed log: its reader, those who wait for it, and what was read last."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop, forget: Callable[[str], None]) -> None:
        self.path = path
        self.followers = 0
        self.version = 0
        self.told = False
        self.runs: Runs | None = None
        self._known_runs: Sequence[Run] | None = None
        self._loop = loop
        self._forget = forget
        self._reader = LogReader(path)
        self._shared: dict[tuple[str | None, int], Batch] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._woken = 0.0
        self._told = 0.0
        self._every = LOG_EVERY_S
        self._later: asyncio.TimerHandle | None = None
        self.seen: tuple[int, int, int] | None = None

    def read(self, cursor: str | None, limit: int) -> Batch:
        shared = self._shared.get((cursor, limit))
        if shared is not None:
            return shared
        if self.runs is not None and (runs := self.runs()) is not self._known_runs:
            self._known_runs = runs
            self._reader.set_runs(runs)
        batch = self._reader.read_after(cursor, limit)
        if batch.lines and not batch.reset:
            if len(self._shared) >= SHARED:
                del self._shared[next(iter(self._shared))]
            self._shared[cursor, limit] = batch
        return batch

    async def change(self, timeout_s: float | None) -> None:
        """Wait until the log may have changed."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout_s)
        finally:
            self._waiting.discard(waiter)

    def identity(self) -> tuple[int, int, int] | None:
        """Inode, device and size now, kept in `seen`; None while there is no such file."""
        try:
            info = os.stat(self.path)
        except OSError:  # not made yet, or between two renames of a rotation
            self.seen = None
        else:
            self.seen = (info.st_ino, info.st_dev, info.st_size)
        return self.seen

    def look(self) -> None:
        """Wake those who wait: the file changed, or may hold an unfinished line back."""
        if self.seen != self.identity() or self._waiting:
            self.wake()

    def wake(self) -> None:
        now = self._loop.time()
        often = now - self._told < 1.5 * LOG_EVERY_S
        self._told = now
        self._every = min(2 * self._every, FLOOD_EVERY_S) if often else LOG_EVERY_S
        if self._later is not None:
            return
        wait = self._woken + self._every - now
        if wait > 0:
            self._later = self._loop.call_later(wait, self._wake)
        else:
            self._wake()

    def _wake(self) -> None:
        self._later = None
        self._woken = self._loop.time()
        self.version += 1
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def release(self) -> None:
        self.followers -= 1
        if self.followers == 0:
            self.close()
            self._forget(self.path)

    def close(self) -> None:
        if self._later is not None:
            self._later.cancel()
        self._reader.close()
        self._wake()
