"""Names, rotation and repair of a strategy's log files and their `.times` sidecars.

The pump writes through these functions, the supervisor's reader and retention read and prune through them.
Nothing here may ever delete or rename in an order that a kill between two steps could turn into a lost line.

Layout: `ema.log` is current, `ema.log.1` the newest rotated one. Beside each lies `<file>.times`: little-endian
16-byte records `(offset, wall-clock ns)`, offsets ascending. Record 0 is the *birth*: it names the file in cursors
and is never a line's time (what lies before its offset has no known time). Every later record says when the
byte at its offset came, and holds until the next one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD = struct.Struct("<QQ")
MODE = 0o640
# Numbers are probed, not listed: a folder of 1,000 strategies holds 12,000 names (5 ms a listing). An interrupted
# rotation leaves one gap; a person who deletes some leaves more, hence the margin.
LONGEST_GAP = 8

# Tests set this to die, or to fail, at a named step ("renamed 2 times", "renamed 2", "deleted 5", …).
on_step: Callable[[str], None] | None = None


def _step(name: str) -> None:
    if on_step is not None:
        on_step(name)


def numbered(log_path: str, number: int) -> str:
    """Path of rotated file `number`; 0 is the current one."""
    return f"{log_path}.{number}" if number else log_path


def times_of(path: str) -> str:
    """Path of the sidecar of a log file."""
    return path + ".times"


def present(log_path: str) -> list[tuple[int, os.stat_result]]:
    """The regular files of a log, newest first, as (number, stat).

    Rotation moves names upwards only, so probing upwards misses none; one seen twice is listed once.
    """
    found: list[tuple[int, os.stat_result]] = []
    seen: set[tuple[int, int]] = set()
    number = gap = 0
    while gap <= LONGEST_GAP:
        try:
            info = os.stat(numbered(log_path, number))
        except OSError:  # missing, or a folder that cannot be read: either way there is nothing to show
            gap += number > 0
        else:
            gap = 0
            if stat.S_ISREG(info.st_mode) and (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                found.append((number, info))
        number += 1
    return found


def last_record(times_fd: int) -> tuple[int, int] | None:
    """The last whole record of a sidecar."""
    count = os.fstat(times_fd).st_size // RECORD.size
    return _record(times_fd, count - 1) if count else None


def _record(times_fd: int, index: int) -> tuple[int, int]:
    offset, ns = RECORD.unpack(os.pread(times_fd, RECORD.size, index * RECORD.size))
    return int(offset), int(ns)


class OpenLog:
    """The current log file, open for writing, and its sidecar (`times_fd` is -1 where that cannot be had)."""

    # no dataclass: the module of that name would cost each runner's ancestor a megabyte
    __slots__ = ("device", "fd", "inode", "records", "times_fd")

    def __init__(self, fd: int, times_fd: int, records: int, device: int, inode: int) -> None:
        self.fd = fd
        self.times_fd = times_fd
        self.records = records
        self.device = device
        self.inode = inode

    def close(self) -> None:
        os.close(self.fd)
        if self.times_fd >= 0:
            os.close(self.times_fd)


def open_current(log_path: str, now_ns: int) -> OpenLog:
    """Open (or make) the current file for a writer, finishing what a killed predecessor left.

    Only the holder of the runner's lock may call it. The file is not opened for appending: splice refuses that.
    Raises OSError when the log cannot be opened or is no regular file; a sidecar that cannot be had is done without.
    """
    finish_rotation(log_path)
    flags = os.O_RDWR | os.O_CLOEXEC
    made = False
    try:
        fd = os.open(log_path, flags | os.O_NONBLOCK)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(log_path) or ".", exist_ok=True)
        made = True
        times_fd = _open_times(log_path)
        try:
            # The sidecar first: a reader that sees the log finds its birth.
            records = write_birth(times_fd, 0, now_ns)
            fd = os.open(log_path, flags | os.O_CREAT, MODE)
        except OSError:
            if times_fd >= 0:
                os.close(times_fd)
            raise
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "the log is not a regular file", log_path)
    if not made:
        times_fd = _open_times(log_path)
        records = _repair_times(times_fd, info.st_size, now_ns)
    return OpenLog(fd, times_fd, records, info.st_dev, info.st_ino)


def _open_times(log_path: str) -> int:
    try:
        return os.open(times_of(log_path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    except OSError:  # no room, no permission, a folder of that name: lines are kept, their times are not
        return -1


def write_birth(times_fd: int, offset: int, now_ns: int, count: int = 1) -> int:
    """Give the file a new birth and keep `count` records in all (1: no others); returns how many it has.

    The birth is overwritten before the rest is cut off, so a reader never sees a sidecar without one.
    """
    if times_fd < 0:
        return 0
    try:
        os.pwrite(times_fd, RECORD.pack(offset, now_ns), 0)
        os.ftruncate(times_fd, count * RECORD.size)
    except OSError:  # a full disk: the file is named by its inode until the next birth
        with suppress(OSError):
            os.ftruncate(times_fd, 0)
        return 0
    return count


def _repair_times(times_fd: int, size: int, now_ns: int) -> int:
    """Cut a torn record; give a log without times, or one that was shortened, a new birth. Returns the count."""
    if times_fd < 0:
        return 0
    length = os.fstat(times_fd).st_size
    count = length // RECORD.size
    if count == 0:
        return write_birth(times_fd, size, now_ns)
    if length % RECORD.size:
        os.ftruncate(times_fd, count * RECORD.size)
    offset, ns = _record(times_fd, count - 1)
    if offset <= size and ns:
        return count
    return reborn(times_fd, count, size, now_ns)


def reborn(times_fd: int, count: int, size: int, now_ns: int) -> int:
    """A log was cut to `size` (by a person, or by a power failure): keep the times that still hold, under a new
    birth, so that no cursor into the old content is taken for one into the new. Returns the number of records."""
    if times_fd < 0:
        return 0
    low, high = 1, count
    while low < high:
        middle = (low + high) // 2
        offset, ns = _record(times_fd, middle)
        if offset < size and ns:
            low = middle + 1
        else:
            high = middle
    first = _record(times_fd, 0)[0] if count else size
    return write_birth(times_fd, min(first, size), now_ns, low)


def finish_rotation(log_path: str) -> None:
    """Join a sidecar that was renamed ahead of its log with that log; drop sidecars whose log is gone.

    Retention may delete files meanwhile: while the current file has no name it finds nobody to lock out.
    """
    number, gap = 1, 0
    while gap <= LONGEST_GAP:
        if os.path.exists(numbered(log_path, number)):
            gap = 0
        else:
            gap += 1
            orphan = times_of(numbered(log_path, number))
            if os.path.exists(orphan):
                below = numbered(log_path, number - 1)
                with suppress(FileNotFoundError):
                    if _was_ahead(below, orphan):
                        os.rename(below, numbered(log_path, number))
                    else:
                        os.unlink(orphan)
        number += 1


def _was_ahead(log: str, orphan: str) -> bool:
    """True if `orphan` is the sidecar of `log`, renamed to the next number when its writer was killed."""
    if os.path.exists(times_of(log)):
        return False
    try:
        size = os.stat(log).st_size
        fd = os.open(orphan, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        record = last_record(fd)
    finally:
        os.close(fd)
    return record is not None and record[0] <= size


@contextmanager
def rotating(fd: int, *, wait: bool = False) -> Iterator[bool]:
    """Hold the right to rename or delete files of the log whose current file is `fd`; yields False if another has it.

    The writer never waits for it: a rotation can be done later. Dies with its holder.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        yield False
        return
    except OSError:  # a file system without locks: an unlocked rotation is better than a log that grows for ever
        yield True
        return
    try:
        yield True
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def rotate(log_path: str, keep: int) -> None:
    """Rename current to `.1`, `.1` to `.2` … up to the first gap; with no gap the oldest goes.

    A gap is where a killed rotation stopped, so doing it again finishes it and deletes nothing more. A sidecar moves
    before its log; between the two the log has none and the sidecar no log, which `finish_rotation` mends.
    Raises OSError of the first step that fails; everything is then as after a kill at that step.
    """
    finish_rotation(log_path)
    numbers = {number for number, _ in present(log_path) if number}
    gap = next((number for number in range(1, keep + 1) if number not in numbers), None)
    for number in sorted(numbers, reverse=True):
        if number > keep or (gap is None and number == keep):
            delete(log_path, number)
    if keep == 0:
        delete(log_path, 0)
        return
    for number in range((gap or keep) - 1, -1, -1):
        source, target = numbered(log_path, number), numbered(log_path, number + 1)
        with suppress(FileNotFoundError):  # a log without times
            os.rename(times_of(source), times_of(target))
        _step(f"renamed {number} times")
        with suppress(FileNotFoundError):  # deleted by a person just now
            os.rename(source, target)
        _step(f"renamed {number}")


def delete(log_path: str, number: int) -> None:
    """Remove one file and then its sidecar; what is gone already is no error."""
    for path in (numbered(log_path, number), times_of(numbered(log_path, number))):
        with suppress(FileNotFoundError):
            os.unlink(path)
        _step(f"deleted {number}")


def prune(
    log_path: str | Path, keep: int, max_total_mb: float | None = None, max_age_days: float | None = None
) -> list[str]:
    """Delete rotated files beyond `keep` in number, `max_total_mb` MiB together with the current one, or
    `max_age_days` days since their last line; oldest first. Returns the deleted paths.

    For the supervisor, whether the strategy runs or not: the current file is never touched, and the writer is kept
    from rotating meanwhile. Does nothing when the writer is rotating just now; call it again.
    """
    path = os.fspath(log_path)
    with _locked(path) as held:
        if not held:
            return []
        total = 0
        doomed = []
        oldest = None if max_age_days is None else time.time() - max_age_days * 86400
        for rank, (number, info) in enumerate([entry for entry in present(path) if entry[0]]):
            total += info.st_size
            current = _size(path)
            if (
                rank >= keep
                or (max_total_mb is not None and total + current > max_total_mb * 1048576)
                or (oldest is not None and info.st_mtime < oldest)
            ):
                doomed.append(number)
        for number in sorted(doomed, reverse=True):
            delete(path, number)
        return [numbered(path, number) for number in doomed]


def clear(log_path: str | Path) -> None:
    """Delete a log whole, when no writer has it open; a writer clears its own with `LogPump.clear`."""
    path = os.fspath(log_path)
    with _locked(path, wait=True):
        for number, _ in reversed(present(path)):
            delete(path, number)


@contextmanager
def _locked(path: str, *, wait: bool = False) -> Iterator[bool]:
    """`rotating` for those who do not write: by name, made sure that the name still means the locked file."""
    while True:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # between two renames of a rotation, or no current file: nobody to lock out
            yield True
            return
        try:
            with rotating(fd, wait=wait) as held:
                if held and not _same_file(path, fd):
                    continue
                yield held
                return
        finally:
            os.close(fd)


def _same_file(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
