"""Moves what a strategy prints from its pipe into its log file, byte for byte, with times beside it.

The runner that holds the strategy's `runner.lock` owns one LogPump and calls it whenever the pipe is readable.
It must never block, never raise for a disk that is full, broken or gone, never lose a byte that it could have
kept, and be killable between any two instructions: consuming and keeping are one system call, `splice`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from stratpanel.process import logfiles
from stratpanel.process.logfiles import OpenLog

STAMP_EVERY_NS = 10_000_000
# How often the name is looked up to see whether somebody deleted, moved or replaced the file.
LOOK_EVERY_S = 0.005
# A full disk, a failed rotation: when to try again.
RETRY_S = 0.25
# A line that never ends is cut when its file is this many times `max_bytes`.
CAP = 4
CHUNK = 1 << 20
# A wake-up costs 30-60 us of CPU, as much as copying 100 KB. Lines that come less than BUSY_GAP_S apart are gathered
# for PAUSE_S; a flood of FLOOD_RATE bytes a second for up to FLOOD_PAUSE_S; never longer than it takes to fill a third
# of the pipe, since a full one blocks the strategy.
BUSY_GAP_S = 0.001
PAUSE_S = 0.0005
FLOOD_RATE = 5e6
FLOOD_PAUSE_S = 0.004
# A shorter sleep costs more than it saves.
SHORTEST_PAUSE_S = 0.0001
# Pages of a pipe hold whole writes as far as they fit: with 2,049 bytes each it is full when it is half full.
FILL = 0.35
FULL = 0.5

HAS_SPLICE = hasattr(os, "splice")
_NONBLOCK = getattr(os, "SPLICE_F_NONBLOCK", 2)
_GET_PIPE_SIZE = getattr(fcntl, "F_GETPIPE_SZ", 1032)
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_REFUSED = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP))
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class LogPump:
    """One strategy's pipe and log. `read_fd` stays the caller's; it is made non-blocking.

    `max_bytes` is where rotation falls due (between lines; 4 times as much cuts a line), `keep` how many rotated files
    stay. `dropped_bytes` is what a predecessor in the same run had dropped. With `required` a log that cannot be opened
    raises OSError (a start is refused); without, for a strategy that runs already, it is retried like a full disk.
    """

    def __init__(
        self,
        read_fd: int,
        log_path: str | Path,
        max_bytes: int = 10 << 20,
        keep: int = 5,
        *,
        dropped_bytes: int = 0,
        required: bool = True,
    ) -> None:
        self.read_fd = read_fd
        self.log_path = os.fspath(log_path)
        self.max_bytes = max(max_bytes, 1)
        self.keep = keep
        self.dropped_bytes = dropped_bytes
        self.eof = False
        self._unsaid = 0
        self._trouble = ""
        self._retry_at = 0.0
        self._rotate_at = 0.0
        self._copying = not HAS_SPLICE
        self._log: OpenLog | None = None
        self._size = 0
        self._stamped = 0
        self._stamped_offset = -1
        self._looked = 0.0
        self._called = 0.0
        self._pause = 0.0
        self._rate = 0.0
        os.set_blocking(read_fd, False)
        try:
            self._capacity = fcntl.fcntl(read_fd, _GET_PIPE_SIZE)
        except OSError:
            self._capacity = 65536
        try:
            self._open()
        except OSError as error:
            if required:
                raise
            self._in_trouble(error, time.monotonic())

    def __repr__(self) -> str:
        state = self._trouble or ("copying" if self._copying else "splicing")
        return f"<LogPump {self.log_path} at {self._size}, {state}, dropped {self.dropped_bytes}>"

    # -- what the runner calls ------------------------------------------------------------------------------------

    def pump(self) -> int:
        """Move what is in the pipe, without waiting; returns the bytes taken from it, kept or dropped.

        0 with `eof` False: nothing was there. `eof` becomes True when no process has the pipe's other end.
        """
        moved = self._move()
        return max(moved, 0)

    def drain(self) -> int:
        """Move until the pipe is empty; for the end of a run, when nobody prints any more. Returns the bytes taken."""
        total = 0
        while (moved := self._move()) > 0:
            total += moved
        return total

    def suggest_pause(self) -> float:
        """Seconds to leave the pipe alone before the next poll: 0 at ordinary rates, up to 0.5 ms when every line would
        wake us, up to 4 ms in a flood."""
        return self._pause

    def rotate_if_due(self) -> bool:
        """Rotate now if the file is over its limit and ends with a line; for the runner's once-a-second look."""
        now = time.monotonic()
        self._look(now)
        if self._log is None:
            return False
        self._measure(self._log)
        return self._size >= self.max_bytes and self._ends_line(self._log) and self._rotate(now)

    def begin_run(self) -> None:
        """A new run begins: if the one before left its last line unfinished, end that, so that the two don't mix."""
        if self._log is not None and not self._ends_line(self._log):
            self.mark("the line above was left unfinished by the run before")

    def mark(self, text: str) -> bool:
        """Write a line of ours, on a line of its own; False when there is no room (nothing is then written)."""
        self._look(time.monotonic())
        log = self._log
        if log is None:
            return False
        self._measure(log)
        newline = "" if self._ends_line(log) else "\n"
        line = f"{newline}[stratpanel] {' '.join(text.split())}\n".encode(errors="replace")
        self._stamp(log, time.time_ns())
        try:
            written = os.pwrite(log.fd, line, self._size)
        except OSError:
            return False
        if written < len(line):
            with suppress(OSError):
                os.ftruncate(log.fd, self._size)
            return False
        self._size += written
        self._stamped = 0
        return True

    def clear(self) -> None:
        """Delete the log with its rotated files and begin a new one; raises OSError where that is not possible."""
        log = self._log
        if log is None:
            logfiles.clear(self.log_path)
            return
        with logfiles.rotating(log.fd, wait=True):
            for number, _ in reversed(logfiles.present(self.log_path)):
                logfiles.delete(self.log_path, number)
        self._reopen(time.monotonic())

    def close(self) -> None:
        """Say what was dropped, if that was not yet said, and close the files. The pipe stays open."""
        if self._unsaid:
            self._try_again(time.monotonic())
        if self._log is not None:
            self._log.close()
            self._log = None

    # -- moving ---------------------------------------------------------------------------------------------------

    def _move(self) -> int:
        """Bytes moved; 0 at the pipe's end, -1 when it is empty."""
        now = time.monotonic()
        if self._trouble and (now < self._retry_at or not self._try_again(now)):
            return self._discard()
        if now - self._looked >= LOOK_EVERY_S:
            self._look(now)
        log = self._log
        if log is None:
            return self._discard()
        self._measure(log)
        room = CHUNK
        if self._size >= self.max_bytes or self._size + self._capacity > CAP * self.max_bytes:
            room = self._room(now)
            log = self._log
            if log is None:
                return self._discard()
            if not room:
                self._pause = 0.0
                return -1
        # By the wall clock, in either direction: the monotonic one stands still while a machine sleeps.
        wall = time.time_ns()
        if not 0 <= wall - self._stamped < STAMP_EVERY_NS:
            self._stamp(log, wall)
        try:
            if self._copying:
                moved = self._copy(log, room)
            else:
                moved = os.splice(self.read_fd, log.fd, room, offset_dst=self._size, flags=_NONBLOCK)
        except BlockingIOError:
            self._pause = 0.0
            return -1
        except OSError as error:
            return self._refused(error, now)
        self._size += moved
        self.eof = moved == 0
        self._pause = self._pause_after(moved, now - self._called)
        self._called = now
        return moved

    def _pause_after(self, moved: int, gap: float) -> float:
        self._capacity = max(self._capacity, moved)  # it was enlarged meanwhile
        if moved > self._capacity * FULL:
            # The strategy was probably held up, so it is faster than this.
            self._rate = max(self._rate, 2 * moved / (gap + 1e-6))
        else:
            # The mean over about a millisecond; one chunk alone says nothing.
            self._rate += (moved - self._rate * gap) / (gap + 0.001)
        longest = FLOOD_PAUSE_S if self._rate > FLOOD_RATE else PAUSE_S if gap < BUSY_GAP_S else 0.0
        pause = min(longest, self._capacity * FILL / max(self._rate, 1.0), 2 * self._pause + PAUSE_S)
        return pause if pause >= SHORTEST_PAUSE_S and moved else 0.0

    def _copy(self, log: OpenLog, room: int) -> int:
        """Read and write, where splice is refused. A kill between the two loses the chunk: the price of that place."""
        data = os.read(self.read_fd, min(room, 65536))
        view = memoryview(data)
        while view:
            try:
                written = os.pwrite(log.fd, view, self._size + len(data) - len(view))
            except OSError as error:
                self._in_trouble(error, time.monotonic())
                self._count(len(view))
                self._size -= len(view)
                break
            view = view[written:]
        return len(data)

    def _refused(self, error: OSError, now: float) -> int:
        """What to do when splice moved nothing; it has consumed nothing then."""
        if error.errno in _REFUSED and not self._copying:
            self._copying = True
            return self._move()
        if error.errno == errno.EFBIG and self._size and self._rotate(now):
            return self._move()
        self._in_trouble(error, now)
        return self._discard()

    def _discard(self) -> int:
        """Take what is in the pipe and count it: with no place to keep it, the strategy must not block."""
        try:
            data = os.read(self.read_fd, CHUNK)
        except BlockingIOError:
            self._pause = 0.0
            return -1
        self.eof = not data
        self._count(len(data))
        return len(data)

    def _count(self, dropped: int) -> None:
        self.dropped_bytes += dropped
        self._unsaid += dropped

    # -- trouble --------------------------------------------------------------------------------------------------

    def _in_trouble(self, error: OSError, now: float) -> None:
        self._trouble = "no space left on the disk" if error.errno in _FULL else (error.strerror or str(error)).lower()
        self._retry_at = now + RETRY_S

    def _try_again(self, now: float) -> bool:
        """True when the log can be written again; what was dropped meanwhile is then said in it."""
        self._retry_at = now + RETRY_S
        if self._log is None:
            try:
                self._open()
            except OSError as error:
                self._in_trouble(error, now)
                return False
        if self._unsaid:
            if not self.mark(f"dropped {self._unsaid} bytes of output here: {self._trouble}"):
                return False
            self._unsaid = 0
        self._trouble = ""
        return True

    # -- the file -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._log = log = logfiles.open_current(self.log_path, time.time_ns())
        self._size = os.lseek(log.fd, 0, os.SEEK_END)
        self._stamped = 0
        self._stamped_offset = -1
        self._looked = time.monotonic()

    def _reopen(self, now: float) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
        try:
            self._open()
        except OSError as error:
            self._in_trouble(error, now)

    def _look(self, now: float) -> None:
        """Notice that a person deleted, moved or replaced the log: go on in whatever bears the name now."""
        self._looked = now
        log = self._log
        if log is None:
            return
        try:
            info = os.stat(self.log_path)
        except (FileNotFoundError, NotADirectoryError):  # gone, with its folder perhaps
            self._reopen(now)
            return
        except OSError:  # a folder that may not be searched just now: what is open can still be written
            return
        if info.st_ino != log.inode or info.st_dev != log.device:
            self._reopen(now)

    def _measure(self, log: OpenLog) -> None:
        """Where the file ends now: a person may have added to it, or cut it."""
        size = os.lseek(log.fd, 0, os.SEEK_END)
        if size < self._size:
            log.records = logfiles.reborn(log.times_fd, log.records, size, time.time_ns())
            self._stamped = 0
            self._stamped_offset = -1
        self._size = size

    def _stamp(self, log: OpenLog, wall: int) -> None:
        """Record that the byte at the end of the file comes now. Before it comes: a kill between the two leaves a
        record that the next one at the same offset overwrites, never a line with the time of the line before it."""
        self._stamped = wall
        if log.times_fd < 0:
            return
        if not log.records:
            log.records = logfiles.write_birth(log.times_fd, self._size, wall)
        if self._stamped_offset == self._size:
            log.records -= 1
        try:
            os.pwrite(log.times_fd, logfiles.RECORD.pack(self._size, wall), log.records * logfiles.RECORD.size)
        except OSError:  # no room: these lines get the time before them
            return
        log.records += 1
        self._stamped_offset = self._size

    # -- rotation -------------------------------------------------------------------------------------------------

    def _room(self, now: float) -> int:
        """How many bytes may go into the file now; rotates first when that is due and possible."""
        log = self._log
        if log is None:
            return 0
        cap = CAP * self.max_bytes
        if self._size >= self.max_bytes and (self._ends_line(log) or self._size >= cap):
            if now < self._rotate_at or not self._rotate(now):
                return CHUNK  # a folder that cannot be written: better a long file than a lost line
            if self._capacity <= cap:
                return CHUNK
        return self._whole_lines_waiting(cap - self._size)

    def _ends_line(self, log: OpenLog) -> bool:
        try:
            return self._size == 0 or os.pread(log.fd, 1, self._size - 1) == b"\n"
        except OSError:  # a broken disk: it will be noticed by whoever writes
            return False

    def _whole_lines_waiting(self, limit: int) -> int:
        """How many of at most `limit` bytes may be moved now: what waits in the pipe up to its last newline, or all of
        it where no line ends. Looked at without consuming it, and never more than was seen: by the time it is moved
        more may have come, and `limit` may be in the middle of a line."""
        if _libc is None or self._copying:
            return limit
        try:
            peek_read, peek_write = os.pipe()
        except OSError:  # no descriptors left: the line goes on, up to the cap
            return limit
        try:
            seen = _libc.tee(self.read_fd, peek_write, ctypes.c_size_t(limit), ctypes.c_uint(_NONBLOCK))
            if seen < 0 and ctypes.get_errno() == errno.EAGAIN:
                return 0
            if seen <= 0:  # the end, which moving will find; or no such pipe, which moving will say
                return limit
            data = os.read(peek_read, limit)
            return data.rfind(b"\n") + 1 or len(data)
        finally:
            os.close(peek_read)
            os.close(peek_write)

    def _rotate(self, now: float) -> bool:
        """True when a new file is open; without one, after the old was renamed, the log is in trouble."""
        log = self._log
        if log is None:
            return False
        try:
            with logfiles.rotating(log.fd) as held:
                if not held:  # retention is at work, for a millisecond
                    self._rotate_at = now + LOOK_EVERY_S
                    return False
                logfiles.rotate(self.log_path, self.keep)
        except OSError:  # a folder that cannot be written: go on in the same file, try again later
            self._rotate_at = now + RETRY_S
            return False
        self._reopen(now)
        return self._log is not None
