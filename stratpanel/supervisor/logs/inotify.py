"""Tells which log files changed, without looking at them all the time: inotify through ctypes, on Linux.

Used by `follow.py` only. Says that something happened, never what: the reader looks for itself. Where inotify cannot
be had (other systems, no watches left) every call says so, and the caller looks at sizes instead.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

_MODIFY, _MOVED_TO, _CREATE, _DELETE_SELF, _MOVE_SELF, _OVERFLOW, _IGNORED = (
    2,
    0x80,
    0x100,
    0x400,
    0x800,
    0x4000,
    0x8000,
)
_EVENT = struct.Struct("iIII")


class LogWatch:
    """An inotify instance. `fd` is readable when something happened, -1 without inotify."""

    def __init__(self) -> None:
        self.fd = -1
        self._files: dict[int, str] = {}
        self._folders: dict[int, str] = {}
        self._watches: dict[str, int] = {}
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self.fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def watch(self, path: str) -> bool:
        """Watch a file, now and when it is made again under its name; False if its changes will not be told."""
        folder = os.path.dirname(path) or "."
        return self._add(folder, _CREATE | _MOVED_TO, self._folders) and self.renew(path)

    def renew(self, path: str) -> bool:
        """Watch what bears the name now; True as well while nothing does, since its making will be told."""
        known = self._watches.get(path)
        added = self._add(path, _MODIFY | _MOVE_SELF | _DELETE_SELF, self._files)
        if known is not None and self._watches.get(path) != known:
            self._remove(known)
        return added or not os.path.exists(path)

    def forget(self, path: str) -> None:
        """Stop watching a file. Its folder stays watched: others lie there, and little happens to it."""
        known = self._watches.pop(path, None)
        if known is not None:
            self._remove(known)

    def changed(self) -> Iterator[str | None]:
        """The paths to look at; None for all of them (the kernel dropped events)."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            if mask & _OVERFLOW:
                yield None
            elif watch in self._folders:
                path = os.path.join(self._folders[watch], os.fsdecode(name))
                if path in self._watches:
                    yield path
            elif watch in self._files:
                yield self._files[watch]
                if mask & _IGNORED:
                    self._files.pop(watch, None)

    def _add(self, path: str, mask: int, kind: dict[int, str]) -> bool:
        if self.fd < 0:
            return False
        watch = int(self._libc.inotify_add_watch(self.fd, os.fsencode(path), mask))
        if kind is self._files:
            # Kept even when the file is not there (yet): its folder tells of it.
            self._watches[path] = watch
        if watch < 0:
            return False
        kind[watch] = path
        return True

    def _remove(self, watch: int) -> None:
        if watch >= 0 and self._files.pop(watch, None) is not None:
            with suppress(OSError):
                self._libc.inotify_rm_watch(self.fd, watch)
