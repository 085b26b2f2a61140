"""Logs: a page of lines, and streams that follow a log.

All followers of one log share a feed: it is told of changes, reads and encodes what is new once for every reader that
stands at the same place. A slow reader is simply not read for, so it costs nothing and loses nothing until its place is
rotated away; then it is told `reset`. Files are read in worker threads.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from stratpanel.model.errors import NotFound, TooMany
from stratpanel.supervisor.api import wire
from stratpanel.supervisor.api.ports import Core, Json
from stratpanel.supervisor.api.strategies import StrategyRoute
from stratpanel.supervisor.api.streams import Outbox, Stream, frame, standing
from stratpanel.supervisor.logs.follow import EVENTS_EVERY_S, LogFollower, LogFollows
from stratpanel.supervisor.logs.reader import Line, LogReader, Page

log = logging.getLogger("stratpanel.api")

MAX_STREAMS: Final = 20
DEFAULT_LINES: Final = 200
MAX_LINES: Final = 10_000
LOOK_EVERY_S: Final = 0.05  # at longest, while a reader has not taken what it was given
BATCH_LINES: Final = 500
BATCH_BYTES: Final = 1 << 19  # a read stops at twice that
CURSOR_LENGTH: Final = 100
MOST_EVERY_MS: Final = 1000


def line_json(line: Line) -> Json:
    """A line as CONTRACTS has it in pages."""
    return {"time": line.time, "text": line.text, "run_id": line.run_id, "cursor": line.cursor}


def line_frame(line: Line) -> bytes:
    """A line as CONTRACTS has it in streams."""
    data = wire.encode({"log": line.text, "time": line.time, "run_id": line.run_id})
    return frame("line", data, line.cursor)


class LogFeeds:
    """The feeds of all logs that are being followed, and the count of their readers."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._feeds: dict[str, LogFeed] = {}
        self._follows: LogFollows | None = None
        self._every_s: dict[Outbox, float] = {}

    @property
    def readers(self) -> int:
        """Open log streams over all strategies."""
        return sum(len(feed.places) for feed in self._feeds.values())

    def join(self, id: str, outbox: Outbox, cursor: str | None, every_s: float = 0.0) -> None:
        """Follow the log of `id` from `cursor` into `outbox`, whose reader is content with news each `every_s`; raises
        TooMany."""
        if self.readers >= MAX_STREAMS:
            raise TooMany(
                f"{MAX_STREAMS} log streams are open, the most there may be; close one or read pages of …/logs instead",
                code="TOO_MANY_STREAMS",
            )
        feed = self._feeds.get(id)
        if feed is None:
            if self._follows is None:
                self._follows = LogFollows()
            feed = self._feeds[id] = LogFeed(self._core, id, self._follows)
        feed.places[outbox] = cursor
        self._every_s[outbox] = every_s
        self._pace()
        feed.wake()

    def leave(self, id: str, outbox: Outbox) -> None:
        """Stop following; the last reader of a log ends its feed."""
        feed = self._feeds.get(id)
        if feed is None:
            return
        feed.places.pop(outbox, None)
        self._every_s.pop(outbox, None)
        self._pace()
        if not feed.places:
            del self._feeds[id]
            feed.close()

    def _pace(self) -> None:
        """Look as often as the most eager reader wants."""
        if self._follows is not None and self._every_s:
            self._follows.every_s = max(EVENTS_EVERY_S, min(self._every_s.values()))

    def close(self) -> None:
        """End all feeds."""
        for feed in self._feeds.values():
            feed.close()
        self._feeds.clear()
        if self._follows is not None:
            self._follows.close()


class LogFeed:
    """One log and where each of its readers stands."""

    def __init__(self, core: Core, id: str, follows: LogFollows) -> None:
        self.places: dict[Outbox, str | None] = {}
        self._core = core
        self._id = id
        self._woken = True
        self._follows = follows
        self._follower: LogFollower | None = None
        self._run_id: str | None = None
        self._task = asyncio.create_task(self._follow(), name=f"log feed {id}")

    def wake(self) -> None:
        """A reader joined: look at once even if the file did not change."""
        self._woken = True
        if self._follower is not None:
            self._follower.poke()

    def close(self) -> None:
        """Stop looking."""
        self._task.cancel()

    async def _follow(self) -> None:
        try:
            self._follower = self._follows.follow(self._core.status(self._id)["log_path"])
            with self._core.log_reader(self._id) as reader:
                await self._look_and_read(reader, self._follower)
        except NotFound:  # removed while being followed: its streams end
            self._end()
        except OSError:
            log.exception("cannot follow the log of %s", self._id)
            self._end()
        finally:
            if self._follower is not None:
                self._follower.close()

    async def _look_and_read(self, reader: LogReader, follower: LogFollower) -> None:
        pause = 0.0
        while True:
            status = self._core.status(self._id)
            if status["run_id"] != self._run_id:
                self._run_id = status["run_id"]
                reader.set_runs(self._core.log_runs(self._id))
            if self._woken:
                self._woken = False
                self._woken = await self._hand_on(reader) or self._woken
            if self._woken:
                pause = min(LOOK_EVERY_S, 2 * pause + 0.001)
                await asyncio.sleep(pause)
            else:
                pause = 0.0
                # Said twice a second too while nothing changes: an unfinished line is then due.
                self._woken = await follower.changed()

    def _end(self) -> None:
        for outbox in list(self.places):
            outbox.push(frame("end", b"{}"))
            outbox.close()

    async def _hand_on(self, reader: LogReader) -> bool:
        """Give every reader that is ready what follows its place; True when somebody has more to come."""
        more = False
        for cursor in set(self.places.values()):
            at = [outbox for outbox, place in self.places.items() if place == cursor]
            ready = [outbox for outbox in at if outbox.empty]
            if len(ready) < len(at):
                more = True
            if not ready:
                continue
            data, next_cursor, full = await asyncio.to_thread(_read, reader, cursor)
            for outbox in ready:
                if outbox in self.places:
                    self.places[outbox] = next_cursor
                    if data:
                        outbox.push(data)
            more = more or full
        return more


def _read(reader: LogReader, cursor: str | None) -> tuple[bytes, str | None, bool]:
    """What follows a cursor, encoded; where to go on; whether there is more to be read at once."""
    lines, next_cursor, reset = reader.read_after(cursor, BATCH_LINES)
    start = frame("reset", b"{}") if reset else b""
    data = start + b"".join(map(line_frame, lines))
    full = len(lines) == BATCH_LINES or len(data) > BATCH_BYTES or (not lines and next_cursor != cursor)
    return data, next_cursor, full


class LogPageRoute(StrategyRoute):
    """GET /api/strategies/{id}/logs?lines=&before=&search=&run=&since= · DELETE empties it"""

    async def get(self, id: str) -> None:
        """The newest lines, or those before a cursor."""
        lines = wire.whole_number("lines", self.query("lines"), DEFAULT_LINES, 0, MAX_LINES)
        since = wire.instant("since", self.query("since"))
        before, search, run = self.query("before") or None, self.query("search") or None, self.query("run") or None
        reader = self.core.log_reader(id)

        def page() -> Page:
            with reader:
                return reader.tail(lines, before=before, search=search, run=run, since=since)

        try:
            found = await asyncio.to_thread(page)
        except ValueError as error:  # the reader's word for a cursor that is none
            raise wire.invalid("before", str(error)) from None
        self.answer({"lines": [line_json(line) for line in found.lines], "before": found.before, "after": found.after})

    async def delete(self, id: str) -> None:
        """Empty the log."""
        await self.core.clear_log(id, by=self.by)
        await self.done({"cleared": id})


class LogStream(StrategyRoute, Stream):
    """GET /api/strategies/{id}/logs/stream?lines=&every_ms="""

    async def get(self, id: str) -> None:
        """New lines as they are printed; Last-Event-ID resumes; `lines` first gives so many of the last ones.

        `every_ms` is how long lines may be gathered: 50 costs a fifth of the processor time of each at once.
        """
        backlog = wire.whole_number("lines", self.query("lines"), 0, 0, MAX_LINES)
        every_s = wire.whole_number("every_ms", self.query("every_ms"), 0, 0, MOST_EVERY_MS) / 1000
        resume = self.request.headers.get("Last-Event-ID", "").strip()[:CURSOR_LENGTH]
        cursor, first = await asyncio.to_thread(_start, self.core.log_reader(id), resume, backlog)
        self.site.logs.join(id, self.outbox, cursor, every_s)
        try:
            await self.stream(standing(cursor) + first)
        finally:
            self.site.logs.leave(id, self.outbox)


def _start(reader: LogReader, resume: str, backlog: int) -> tuple[str | None, bytes]:
    """Where a new stream starts, and what it is sent first."""
    with reader:
        if resume:
            try:
                reader.read_after(resume, 1)
            except ValueError:  # not a cursor of ours: its place is gone
                return reader.end(), frame("reset", b"{}")
            return resume, b""
        if backlog:
            page = reader.tail(backlog)
            return page.after, b"".join(map(line_frame, page.lines))
        return reader.end(), b""
