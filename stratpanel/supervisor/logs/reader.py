"""Reads a strategy's log for the API, the command line and the pages: last lines, backwards, search, follow.

The files hold exactly what was printed; times come from the `.times` beside them, runs from the list the caller gives.
Memory is bounded whatever the files hold: blocks are read, a line is cut at 64 KiB in answers. It never writes.

A *line* ends with a newline byte, and nothing else; a carriage return before it is taken off, all others, ANSI and NUL
stay in the text, what is no UTF-8 becomes U+FFFD. A line that its writer cut between two files is two lines.
The unfinished last line is part of a `tail` (`partial`); following, it is held back until one second has passed since
the file grew, then delivered (a prompt, a progress bar); what is added to it later comes as a further line.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from stratpanel.supervisor.logs.blocks import (
    FOREVER,
    Cursor,
    LogFile,
    LogSet,
    Piece,
    backwards,
    end_of_line,
    forwards,
    unfinished,
)

HOLD_PARTIAL_S = 1.0
CUT_MARK = " … [line cut at 64 KiB]"
# What one read_after goes through before it returns.
ANSWER_BYTES = 1 << 20

# (run id, started, ended or None), times as aware datetimes.
Run = tuple[str, datetime, datetime | None]

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


class Line(NamedTuple):
    """One line. `time` is when it came, in UTC, to 10 ms; None if not on record. `cut`: longer than shown;
    `partial`: not ended yet, and its cursor is its end."""

    time: datetime | None
    text: str
    run_id: str | None
    cursor: str
    cut: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Lines in the order printed. `before`: give it to the next `tail` for older ones, None at the beginning.
    `after`: give it to `read_after` to go on from here."""

    lines: list[Line]
    before: str | None
    after: str | None


class Batch(NamedTuple):
    """What came after a cursor. `reset`: the place of the cursor is gone, and lines may be missing before these."""

    lines: list[Line]
    cursor: str | None
    reset: bool


def plain_text(text: str) -> str:
    """The text without ANSI sequences, as a terminal would leave it standing after its carriage returns."""
    text = _ANSI.sub("", text)
    return text.rsplit("\r", 1)[-1] if "\r" in text else text


class LogReader:
    """Reads one log. Keeps the file it last followed open, so that nothing is lost when it is rotated or deleted;
    `close` it, or use it as a context manager. For one thread at a time."""

    def __init__(
        self, log_path: str | Path, runs: Sequence[Run] = (), mask: Callable[[str], str] | None = None
    ) -> None:
        self.log_path = os.fspath(log_path)
        self._mask = mask  # hides secrets in the text of lines
        self.files = LogSet(self.log_path)
        self._following: LogFile | None = None
        self.set_runs(runs)

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._following is not None:
            self._following.close()
            self._following = None

    def set_runs(self, runs: Sequence[Run]) -> None:
        """The runs that lines are attributed to, by their times."""
        ordered = sorted(runs, key=lambda run: run[1])
        self._run_ids = [run[0] for run in ordered]
        self._run_starts = [_ns(run[1]) for run in ordered]
        self._known_ns: int | None = -1
        self._known_time: datetime | None = None
        self._known_run: str | None = None

    # -- backwards ------------------------------------------------------------------------------------------------

    def tail(
        self,
        n: int = 200,
        before: str | None = None,
        search: str | None = None,
        run: str | None = None,
        since: datetime | None = None,
    ) -> Page:
        """The last `n` lines, or the last before the line of a cursor: only those that contain `search` (case
        ignored; in the first 64 KiB of a line), of one run, printed at or after `since` (a line whose time is not
        known belongs to none). Raises ValueError for a malformed cursor; one whose file is gone gives no lines."""
        wanted = _Wanted(search, *self._span(run, since))
        file, end = self._start_backwards(before)
        after = str(Cursor(file.birth, end, exact=True)) if file is not None and before is None else None
        if file is not None and n <= 0:
            file.close()
            return Page([], after, after)
        lines: list[Line] = []
        newest = True
        while file is not None:
            try:
                for piece in backwards(file, end, wanted):
                    if piece.stop == end and piece.cut and after is not None and newest:
                        after = str(Cursor(file.birth, end))  # not the rest of a line that was cut
                    if piece.partial and not newest:  # its writer cut it there: it is as long as it gets
                        piece = piece._replace(partial=False)
                    ns = file.times.at(piece.start)
                    if wanted.is_past(ns):
                        return Page(lines[::-1], None, after)
                    if not wanted.is_then(ns) or not wanted.is_in(piece.text):
                        continue
                    lines.append(self._line(file, piece, ns))
                    if len(lines) >= n:
                        return Page(lines[::-1], self._before(file, piece.start), after)
                older = self.files.older(file)
            finally:
                file.close()
            file, end, newest = older, older.size() if older is not None else 0, False
        return Page(lines[::-1], None, after)

    def _start_backwards(self, before: str | None) -> tuple[LogFile | None, int]:
        if before is None:
            file = self.files.newest()
            return file, file.size() if file is not None else 0
        cursor = Cursor.parse(before)
        file = self.files.find(cursor.birth)
        return file, end_of_line(file, cursor.offset) if file is not None else 0

    def _before(self, file: LogFile, start: int) -> str | None:
        if start == 0:
            older = self.files.older(file)
            if older is None:
                return None
            older.close()
        return str(Cursor(file.birth, start))

    def _span(self, run: str | None, since: datetime | None) -> tuple[int | None, int | None]:
        """The wall-clock ns between which lines are wanted."""
        earliest = latest = None
        if run is not None:
            if run not in self._run_ids:
                return FOREVER, None
            index = self._run_ids.index(run)
            earliest = self._run_starts[index]
            latest = self._run_starts[index + 1] if index + 1 < len(self._run_starts) else None
        if since is not None:
            earliest = max(earliest or 0, _ns(since))
        return earliest, latest

    def _line(self, file: LogFile, piece: Piece, ns: int | None) -> Line:
        # A piece that is not ended is named by its end: what is added to it later comes "after" that.
        name = f"{file.birth}-{piece.stop}~" if piece.partial else f"{file.birth}-{piece.start}"
        text = piece.text + CUT_MARK if piece.cut else piece.text
        if ns != self._known_ns:  # the lines of one chunk have one time
            self._known_ns = ns
            self._known_time, self._known_run = self._when(ns)
        if self._mask is not None:
            text = self._mask(text)
        return Line(self._known_time, text, self._known_run, name, piece.cut, piece.partial)

    def _when(self, ns: int | None) -> tuple[datetime | None, str | None]:
        if ns is None:
            return None, None
        index = bisect_right(self._run_starts, ns) - 1
        return datetime.fromtimestamp(ns // 1000 / 1e6, UTC), self._run_ids[index] if index >= 0 else None

    # -- forwards -------------------------------------------------------------------------------------------------

    def end(self) -> str | None:
        """A cursor for what comes from now on; None while there is no log."""
        file = self.files.newest()
        if file is None:
            return None
        try:
            return str(Cursor(file.birth, file.size(), exact=True))
        finally:
            file.close()

    def read_after(self, cursor: str | None, limit: int = 1000) -> Batch:
        """Up to `limit` lines (1 MiB) after a cursor; None means from the beginning. There may be more as long as the
        cursor moves. Costs two stat calls when nothing is new. Raises ValueError for a malformed cursor."""
        place = Cursor.parse(cursor) if cursor is not None else None
        file, reset = self._open_following(place)
        if file is None:  # no log; or the one of the cursor was deleted, and nothing came after it
            return Batch([], cursor, False)
        position, skipping = 0, False
        if place is not None and not reset:
            position, skipping = place.offset, not place.exact
        lines: list[Line] = []
        budget = ANSWER_BYTES
        refreshed = False
        while budget > 0 and len(lines) < limit:
            size = file.size()
            if position < size and not refreshed:
                file.times.refresh()
                refreshed = True
            pieces, position, skipping, taken = forwards(file, position, size, skipping, limit - len(lines))
            lines.extend(self._line(file, piece, file.times.at(piece.start)) for piece in pieces)
            budget -= taken
            if taken:
                continue
            if self.files.is_current(file):
                if position < size and not skipping and file.quiet_s() >= HOLD_PARTIAL_S:
                    rest = unfinished(file, position, size)
                    lines.append(self._line(file, rest, file.times.at(position)))
                    position = rest.stop
                break
            if file.size() > size:  # written between our look at the size and the rotation
                continue
            if position < size and not skipping:
                rest = unfinished(file, position, size)._replace(partial=False)
                lines.append(self._line(file, rest, file.times.at(position)))
            position = size
            newer, there = self.files.newer(file)
            if newer is None:  # the next one is about to be made
                break
            reset = reset or not there
            self._follow(newer)
            file, position, skipping, refreshed = newer, 0, False, False
        return Batch(lines, str(Cursor(file.birth, position, exact=not skipping)), reset)

    def _open_following(self, place: Cursor | None) -> tuple[LogFile | None, bool]:
        """The file of a cursor, kept open; another one and True if the cursor's place is gone."""
        file = self._following
        if place is None:
            self._follow(self.files.oldest())
            return self._following, False
        if file is None or not file.is_named(place.birth):
            self._follow(self.files.find(place.birth))
            file = self._following
        if file is None:
            self._follow(self.files.born_after(place.birth))
            return self._following, True
        size = file.size()
        if size == place.offset or (size > place.offset and file.is_same()):
            return file, False
        self._follow(self.files.newest())  # truncated under us: what is in it now is all new
        return self._following, True

    def _follow(self, file: LogFile | None) -> None:
        self.close()
        self._following = file


class _Wanted:
    """What a page is filtered by: text, and wall-clock ns from `earliest` to before `latest`."""

    def __init__(self, search: str | None, earliest: int | None, latest: int | None) -> None:
        self._text = search.lower() if search else ""
        self._bytes = self._text.encode(errors="replace") if self._text.isascii() else b""
        self._earliest = earliest
        self._latest = latest

    def is_past(self, ns: int | None) -> bool:
        """All lines before one of this time are too old."""
        return self._earliest is not None and ns is not None and ns < self._earliest

    def is_then(self, ns: int | None) -> bool:
        if self._earliest is None and self._latest is None:
            return True
        return ns is not None and (self._latest is None or ns < self._latest) and not self.is_past(ns)

    def is_in(self, text: str) -> bool:
        return not self._text or self._text in _ANSI.sub("", text).lower()

    def skips(self, file: LogFile, low: int, data: bytes) -> bool:
        """True if no line wholly inside this block, which begins at `low`, can be wanted."""
        if self._bytes and b"\x1b" not in data and data.isascii() and self._bytes not in data.lower():
            return True
        if self._latest is not None:
            ns = file.times.at(low)
            return ns is not None and ns >= self._latest
        return False


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6) * 1000
