"""A run's status record on disk: written at once or a little later, and again until the disk takes it.

`Run` owns one. It writes only where the lock that it holds still has its name, so never into a folder that was deleted
and made anew by somebody else.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from stratpanel.process import records
from stratpanel.process.locks import Lock
from stratpanel.process.loop import Loop, Timer

RETRY_S = 1.0
# What a replacement would find out by itself is written when nothing else is: many starts at once share the disk.
SAVE_LATER_S = 2.0


class StatusFile:
    """`current` gives the record as it is at the moment of writing."""

    def __init__(self, loop: Loop, lock: Lock, path: str, current: Callable[[], dict[str, Any]]) -> None:
        self._loop = loop
        self._lock = lock
        self._path = path
        self._current = current
        self._due: Timer | None = None

    def save(self) -> None:
        """Write it. Raises OSError, also when the folder is not the one whose lock we hold."""
        if not self._lock.still_named():
            raise OSError(errno.ESTALE, "the runtime folder was replaced")
        records.write_json(self._path, self._current())

    def write(self) -> bool:
        """Write it now; False when the disk refuses: then it is kept in memory, and tried again until it is written."""
        self.cancel()
        try:
            self.save()
        except OSError:
            self._again_after(RETRY_S)
            return False
        return True

    def write_soon(self) -> None:
        """Write it within two seconds, with whatever else is to be written by then."""
        self._again_after(SAVE_LATER_S)

    def cancel(self) -> None:
        """Nothing is waited for any more."""
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _again_after(self, delay_s: float) -> None:
        if self._due is None:
            self._due = self._loop.call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._due = None
        self.write()
