"""Advisory whole-file locks that die with their holder, each with a record of who holds it.

Launcher, supervisor, runners and the command line take them. A lock is never waited for: whoever finds it taken
leaves or says so. Looking at a lock means taking it for a moment, so taking one is tried for a few milliseconds.
"""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

from stratpanel.process import platform
from stratpanel.process.errors import ProcessError

# Lookers hold a lock for microseconds; a dying holder's last descriptor closes within a few milliseconds.
PATIENCE_S = 0.03
RETRY_S = 0.002
_UNSUPPORTED = frozenset((errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))


class Lock:
    """A held lock. `fd` is not inherited through exec unless somebody duplicates it on purpose."""

    def __init__(self, path: Path | str, fd: int) -> None:
        self.path = path
        self.fd = fd

    def __repr__(self) -> str:
        return f"<Lock {self.path}{'' if self.fd >= 0 else ' released'}>"

    def write(self, record: dict[str, Any]) -> None:
        """Say who holds it: one write of one short line, blanks over what was longer.

        Cutting the file off first would show readers an empty one, and give its block back only to take another.
        """
        before = os.fstat(self.fd).st_size
        os.pwrite(self.fd, json.dumps(record).encode().ljust(before - 1) + b"\n", 0)

    def touch(self) -> None:
        """The heartbeat: the file's modification time is now."""
        os.utime(self.fd)

    def still_named(self) -> bool:
        """False when the file was deleted or replaced: then this lock protects nothing any more."""
        try:
            named, held = os.stat(self.path), os.fstat(self.fd)
        except OSError:  # deleted, with its folder perhaps
            return False
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

    def release(self) -> None:
        """Let go. A duplicate that another process inherited keeps the lock."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def acquire(path: Path | str, record: dict[str, Any] | None = None, patience_s: float = PATIENCE_S) -> Lock | None:
    """The lock, or None when another holds it. Raises ProcessError where the file system has no locks."""
    give_up = time.monotonic() + patience_s
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        lock = Lock(path, fd)
        try:
            taken = platform.try_lock(fd)
        except OSError as error:
            lock.release()
            raise _no_locks(path, error) from error
        if taken and lock.still_named():
            if record is not None:
                lock.write(record)
            return lock
        lock.release()
        if time.monotonic() > give_up:
            return None
        time.sleep(RETRY_S)


def is_held(path: Path | str) -> bool:
    """True while some process holds the lock."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not platform.try_lock(fd)
    except OSError as error:
        raise _no_locks(path, error) from error
    finally:
        os.close(fd)


def holder(path: Path | str) -> dict[str, Any] | None:
    """What the holder, or the last one, wrote; None when nothing readable is there."""
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read())
    except (OSError, ValueError):  # missing, empty, or being written this instant
        return None
    return found if isinstance(found, dict) else None


def _no_locks(path: Path | str, error: OSError) -> ProcessError:
    if error.errno in _UNSUPPORTED:
        return ProcessError(
            "NO_LOCKS",
            f"the file system of {os.path.dirname(path)} has no locks ({(error.strerror or '').lower()}); "
            "set runtime_dir in stratpanel.toml to a folder on a local disk",
        )
    return ProcessError("LOCK_FAILED", f"cannot lock {path}: {(error.strerror or str(error)).lower()}")
