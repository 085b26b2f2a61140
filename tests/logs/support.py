"""What the log tests share: a pipe with a pump, plain re-reads to compare with, and numbered lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from stratpanel.process import logfiles
from stratpanel.process.logpump import LogPump
from stratpanel.supervisor.logs.reader import Line, LogReader

LINE_BYTES = 100


class Pipe:
    """A pipe, its writing end in `write`, and a pump at the other."""

    def __init__(self, log: Path, max_bytes: int = 10 << 20, keep: int = 5, *, required: bool = True) -> None:
        self.log = log
        self.read_fd, self.write_fd = os.pipe()
        self.settings = {"max_bytes": max_bytes, "keep": keep, "required": required}
        self.pump = LogPump(self.read_fd, log, max_bytes, keep, required=required)

    def say(self, data: bytes) -> int:
        """Write and pump at once; returns the bytes taken."""
        view = memoryview(data)
        taken = 0
        while view:
            written = os.write(self.write_fd, view[:60_000])
            view = view[written:]
            taken += self.pump.drain()
        return taken

    def succeed(self) -> None:
        """Forget the pump as a SIGKILL would, and make the one of a replacement runner."""
        log = self.pump._log
        if log is not None:
            log.close()
        self.pump = LogPump(self.read_fd, self.log, **self.settings)

    def close(self) -> None:
        self.pump.close()
        os.close(self.read_fd)
        os.close(self.write_fd)


@contextmanager
def piped(log: Path, max_bytes: int = 10 << 20, keep: int = 5, *, required: bool = True) -> Iterator[Pipe]:
    pipe = Pipe(log, max_bytes, keep, required=required)
    try:
        yield pipe
    finally:
        pipe.close()


def files(log: Path) -> list[Path]:
    """The files of a log, oldest first."""
    return [Path(logfiles.numbered(str(log), number)) for number, _ in reversed(logfiles.present(str(log)))]


def content(log: Path) -> bytes:
    """All that is kept, oldest first."""
    return b"".join(path.read_bytes() for path in files(log))


def numbered_lines(first: int, count: int) -> bytes:
    return b"".join(b"%09d %s\n" % (number, b"x" * (LINE_BYTES - 11)) for number in range(first, first + count))


def faults_of_numbered(data: bytes, count: int) -> list[str]:
    """What is lost, doubled or torn, given that lines 0 … count-1 were printed."""
    if data == numbered_lines(0, count):
        return []
    found = []
    lines = data.split(b"\n")
    if lines.pop() != b"":
        found.append("the last line is torn")
    expected = 0
    for index, line in enumerate(lines):
        if len(line) != LINE_BYTES - 1 or not line[:9].isdigit():
            found.append(f"line {index} is torn: {line[:40]!r}")
            continue
        number = int(line[:9])
        if number != expected:
            found.append(f"line {index} is {number}, expected {expected}")
        expected = number + 1
    if expected != count:
        found.append(f"ends before {expected} of {count}")
    return found[:20]


def follow_all(reader: LogReader, cursor: str | None, limit: int = 1000) -> tuple[list[Line], str | None, bool]:
    """Everything after a cursor that is there now."""
    lines: list[Line] = []
    was_reset = False
    while True:
        batch = reader.read_after(cursor, limit)
        lines += batch.lines
        was_reset = was_reset or batch.reset
        if batch.cursor == cursor:
            return lines, cursor, was_reset
        cursor = batch.cursor


def page_all(reader: LogReader, n: int, **wanted: object) -> list[Line]:
    """Everything, by paging backwards."""
    lines: list[Line] = []
    before = None
    while True:
        page = reader.tail(n, before, **wanted)  # type: ignore[arg-type]
        lines = page.lines + lines
        if page.before is None:
            return lines
        assert page.before != before, f"a page before {before} leads to itself"
        before = page.before


class Clock:
    """Stands in for the module `time` in the pump; like a real clock it never says the same nanosecond twice, by which
    files are told apart."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self._said = 0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        wall = int(self.now * 1000) * 1_000_000
        self._said = wall + 1 + self._said % 1_000_000 if wall == self._said - self._said % 1_000_000 else wall
        return self._said


def times(log: Path) -> list[tuple[str, datetime | None]]:
    return [(line.text, line.time) for line in LogReader(log).tail(100).lines]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
