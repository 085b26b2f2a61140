"""The files of one log as a reader sees them: opened by identity, with their times, while the writer rotates.

Used by `reader.py` only. Reads blocks, never a file whole; opens for reading only and never changes anything.
"""

from __future__ import annotations

import os
import re
import sys
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from stratpanel.process import logfiles
from stratpanel.process.logfiles import RECORD

BLOCK = 64 << 10
FORWARD = 256 << 10
# A line is cut here in answers.
CUT = 64 << 10
WINDOW = 256
FOREVER = 1 << 64
CURSOR = re.compile(r"(i?[0-9]{1,20})-([0-9]{1,18})(~?)")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a log: `<birth>-<offset>` is the line that begins (or runs) there, and "after" it the next line;
    with `~` it is the very byte, and "after" it everything from that byte on."""

    birth: str
    offset: int
    exact: bool = False

    def __str__(self) -> str:
        return f"{self.birth}-{self.offset}{'~' if self.exact else ''}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises ValueError for what is no cursor."""
        match = CURSOR.fullmatch(text)
        if match is None:
            raise ValueError(f'"{text[:60]}" is not a log cursor')
        return cls(match[1], int(match[2]), bool(match[3]))


class Times:
    """When the bytes of a file came, from its sidecar; a window of it in memory at a time."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._first = 1  # index of the window's first record; record 0 is the birth
        self._offsets: array[int] = array("Q")
        self._ns: array[int] = array("Q")
        self._until = 0  # the window answers for offsets below this

    def birth(self) -> int | None:
        """The birth now; it changes when a person truncates the log."""
        data = os.pread(self.fd, RECORD.size, 0) if self.fd >= 0 else b""
        return int(RECORD.unpack(data)[1]) or None if len(data) == RECORD.size else None

    def at(self, offset: int) -> int | None:
        """Wall-clock ns when the byte at `offset` came; None if that is not on record."""
        if not self._offsets or not self._offsets[0] <= offset < self._until:
            self._load(offset)
        index = bisect_right(self._offsets, offset) - 1
        while index >= 0 and not self._ns[index]:  # zeroes, after a power failure
            index -= 1
        return self._ns[index] if index >= 0 else None

    def refresh(self) -> None:
        """The file grew: take in the records that came since. The last known one may have been replaced."""
        if self._until == FOREVER and self._offsets:
            last = len(self._offsets) - 1
            offsets, ns = self._read(self._first + last, 4 * WINDOW)
            self._offsets[last:], self._ns[last:] = offsets, ns
            if len(self._offsets) >= 4 * WINDOW:
                self._until = 0

    def _load(self, offset: int) -> None:
        low, high = 1, max(os.fstat(self.fd).st_size // RECORD.size, 1) if self.fd >= 0 else 1
        while high - low > WINDOW:
            middle = (low + high) // 2
            data = os.pread(self.fd, RECORD.size, middle * RECORD.size)
            if len(data) == RECORD.size and RECORD.unpack(data)[0] <= offset:
                low = middle
            else:
                high = middle
        self._first = low
        self._offsets, self._ns = self._read(low, WINDOW + 1)
        # The record after the window bounds it; with none, it holds until the sidecar grows.
        self._until = self._offsets[-1] if len(self._offsets) > WINDOW else FOREVER

    def _read(self, first: int, count: int) -> tuple[array[int], array[int]]:
        data = os.pread(self.fd, count * RECORD.size, first * RECORD.size) if self.fd >= 0 else b""
        words = array("Q", data[: len(data) // RECORD.size * RECORD.size])
        if sys.byteorder == "big":
            words.byteswap()
        return words[0::2], words[1::2]


@dataclass(slots=True)
class LogFile:
    """One file, open: its inode tells it from all others for as long as it is, whatever it is called."""

    fd: int
    inode: int
    device: int
    times: Times
    birth: str

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def quiet_s(self) -> float:
        """Seconds since the file grew."""
        return abs(time.time() - os.fstat(self.fd).st_mtime)

    def is_same(self) -> bool:
        """False once a person truncated it: its writer then gave it a new birth."""
        birth = self.times.birth()
        return birth is None or str(birth) == self.birth or self.birth.startswith("i")

    def is_named(self, birth: str) -> bool:
        return birth in (self.birth, f"i{self.inode}")

    def close(self) -> None:
        os.close(self.fd)
        if self.times.fd >= 0:
            os.close(self.times.fd)


class Piece(NamedTuple):
    """A line as it lies in a file: its bytes are [start, stop), without the newline. `text` is decoded, at most the
    first 64 KiB (then `cut`, and its rest is never shown); `partial` if no newline ends it yet."""

    start: int
    stop: int
    text: str
    cut: bool
    partial: bool


def _piece(start: int, stop: int, raw: bytes, partial: bool) -> Piece:
    cut = len(raw) > CUT
    if cut:
        raw = raw[:CUT]
        # Not half a character at the cut.
        for back in range(1, 4):
            if raw[-back] >= 0xC0:
                raw = raw[:-back]
                break
            if raw[-back] < 0x80:
                break
    elif not partial and raw.endswith(b"\r"):
        raw = raw[:-1]
    return Piece(start, stop, raw.decode("utf-8", "replace"), cut, partial and not cut)


def forwards(file: LogFile, position: int, size: int, skipping: bool, limit: int) -> tuple[list[Piece], int, bool, int]:
    """Up to `limit` ended lines of the next block from `position`; with `skipping`, only after the next newline.

    Returns the pieces, where to go on, whether that is inside a line whose rest is to be skipped, and the bytes gone
    through: 0 when nothing but an unfinished line is left.
    """
    data = os.pread(file.fd, min(FORWARD, size - position), position) if size > position else b""
    pieces: list[Piece] = []
    at = 0
    if skipping:
        newline = data.find(b"\n")
        if newline < 0:
            return [], position + len(data), True, len(data)
        at = newline + 1
    while len(pieces) < limit and (newline := data.find(b"\n", at)) >= 0:
        pieces.append(_piece(position + at, position + newline, data[at : min(newline, at + CUT + 1)], False))
        at = newline + 1
    if not at and not pieces and len(data) > CUT:
        # Longer than an answer shows, and its end is not in sight: it is delivered now and its rest skipped.
        return [_piece(position, position + len(data), data, False)], position + len(data), True, len(data)
    return pieces, position + at, False, at


def unfinished(file: LogFile, position: int, size: int) -> Piece:
    """What lies from `position` to the end without a newline; at most 64 KiB, else `forwards` had taken it."""
    data = os.pread(file.fd, size - position, position)
    return _piece(position, position + len(data), data, True)


class Filter(Protocol):
    def skips(self, file: LogFile, low: int, data: bytes) -> bool:
        """True if no line wholly inside the block `data`, at offset `low`, is wanted."""
        ...


def backwards(file: LogFile, end: int, wanted: Filter) -> Iterator[Piece]:
    """The lines that end at or before `end`, last first; those in blocks that are not wanted may be left out."""
    if end <= 0:
        return
    partial = os.pread(file.fd, 1, end - 1) != b"\n"
    stop = top = end if partial else end - 1
    while True:
        low = max(top - BLOCK, 0)
        data = os.pread(file.fd, top - low, low)
        skip = wanted.skips(file, low, data)
        at = len(data)
        while (newline := data.rfind(b"\n", 0, at)) >= 0:
            start = low + newline + 1
            raw = (
                data[newline + 1 : stop - low] if stop <= top else os.pread(file.fd, min(stop - start, CUT + 1), start)
            )
            yield _piece(start, stop, raw, partial)
            at = data.find(b"\n") if skip else newline
            stop, partial = low + at, False
        if low == 0:
            yield _piece(0, stop, os.pread(file.fd, min(stop, CUT + 1), 0), partial)
            return
        top = low


def end_of_line(file: LogFile, offset: int) -> int:
    """Where the line that the byte before `offset` belongs to ends, its newline included."""
    size = file.size()
    offset = min(offset, size)
    if offset == 0 or os.pread(file.fd, 1, offset - 1) == b"\n":
        return offset
    while data := os.pread(file.fd, BLOCK, offset):
        newline = data.find(b"\n")
        if newline >= 0:
            return offset + newline + 1
        offset += len(data)
    return offset


Entry = tuple[int, int, int]  # number, device, inode


class LogSet:
    """The files of one log path, newest first, whatever the writer does meanwhile."""

    def __init__(self, log_path: str) -> None:
        self.log_path = log_path

    def entries(self) -> list[Entry]:
        return [(number, info.st_dev, info.st_ino) for number, info in logfiles.present(self.log_path)]

    def newest(self) -> LogFile | None:
        return self._open_first(lambda entries: entries[0])

    def oldest(self) -> LogFile | None:
        return self._open_first(lambda entries: entries[-1])

    def older(self, than: LogFile) -> LogFile | None:
        """The next older file; None if `than` is the oldest, or is gone itself."""

        def next_older(entries: list[Entry]) -> Entry | None:
            index = _index(entries, than)
            return entries[index + 1] if index is not None and index + 1 < len(entries) else None

        return self._open_first(next_older)

    def newer(self, than: LogFile) -> tuple[LogFile | None, bool]:
        """The next newer file, if any, and whether `than` is still there: if not, files between may be gone too."""
        there = True

        def next_newer(entries: list[Entry]) -> Entry | None:
            nonlocal there
            index = _index(entries, than)
            there = index is not None
            return entries[index - 1] if index else None

        file = self._open_first(next_newer)
        return (file, True) if there else (self.born_after(than.birth), False)

    def born_after(self, birth: str) -> LogFile | None:
        """The oldest file that began after a birth; for a cursor whose own file is gone."""
        found: LogFile | None = None
        file = self.newest()
        while file is not None and (
            birth.startswith("i") or file.birth.startswith("i") or int(file.birth) > int(birth)
        ):
            if found is not None:
                found.close()
            found, file = file, self.older(file)
        if file is not None:
            file.close()
        return found

    def find(self, birth: str) -> LogFile | None:
        """The file of this birth, under whatever number it is now."""
        file = self.newest()
        while file is not None:
            if file.is_named(birth):
                return file
            older = self.older(file)
            file.close()
            file = older
        return None

    def is_current(self, file: LogFile) -> bool:
        """True while the writer may still add to this file."""
        try:
            info = os.stat(self.log_path)
        except OSError:  # between two renames of a rotation, or deleted
            return False
        return info.st_ino == file.inode and info.st_dev == file.device

    def _open_first(self, choose: Callable[[list[Entry]], Entry | None]) -> LogFile | None:
        """Open the chosen file; look again when the writer renamed it meanwhile."""
        while True:
            entries = self.entries()
            chosen = choose(entries) if entries else None
            if chosen is None:
                return None
            file = _open(self.log_path, chosen)
            if file is not None:
                return file


def _index(entries: list[Entry], file: LogFile) -> int | None:
    for index, (_, device, inode) in enumerate(entries):
        if inode == file.inode and device == file.device:
            return index
    return None


def _open(log_path: str, entry: Entry) -> LogFile | None:
    """The file of this entry with its sidecar; None if it bears another number by now.

    Sidecars are renamed before their logs, so one opened while the log has the same name before and after is its own;
    if it is missing it is already at the next number, where no log is yet (`logfiles.rotate`).
    """
    number, device, inode = entry
    path = logfiles.numbered(log_path, number)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # renamed or deleted just now; or unreadable, and then `entries` must not offer it for ever
        if os.path.exists(path):
            raise
        return None
    if not _is(os.fstat(fd), device, inode):
        os.close(fd)
        return None
    times_fd = _open_times(path)
    if times_fd < 0:
        above = logfiles.numbered(log_path, number + 1)
        if not os.path.exists(above):
            times_fd = _open_times(above)
    try:
        unmoved = _is(os.stat(path), device, inode)
    except FileNotFoundError:
        unmoved = False
    times = Times(times_fd)
    birth = times.birth()
    file = LogFile(fd, inode, device, times, f"i{inode}" if birth is None else str(birth))
    if unmoved:
        return file
    file.close()
    return None


def _open_times(path: str) -> int:
    try:
        return os.open(logfiles.times_of(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # none: the lines have no known time
        return -1


def _is(info: os.stat_result, device: int, inode: int) -> bool:
    return info.st_ino == inode and info.st_dev == device
