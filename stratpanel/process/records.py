"""Small JSON files that are always whole: written beside, then renamed into place.

Used for status, exit, lock and marker files by every process of ours, and by the supervisor for its own small records.
It must never leave a reader with half a record, and never turn an unreadable one into an empty one.
"""

from __future__ import annotations

import errno
import json
import os
from itertools import count
from pathlib import Path
from typing import Any

from stratpanel.process.errors import RecordError

__all__ = ["RecordError", "read_json", "remove_leftovers", "sync", "write_json", "write_marker"]

TEMPORARY = ".tmp"
FULL = (errno.ENOSPC, errno.EDQUOT)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_numbers = count()


def write_json(path: Path | str, obj: object, *, fsync: bool = False, mode: int = 0o600) -> None:
    """Replace `path` by `obj` in one step; with `fsync` the record survives a power cut. Raises OSError."""
    data = _encode(obj).encode("utf-8", "surrogateescape") + b"\n"
    target = os.fspath(path)
    folder, name = os.path.split(target)
    beside = f"{folder}/.{name}.{os.getpid()}.{next(_numbers)}{TEMPORARY}"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        _write_all(fd, data)
        if fsync:
            os.fsync(fd)
        os.replace(beside, target)
    except OSError:
        os.unlink(beside)
        raise
    finally:
        os.close(fd)
    if fsync:
        _sync_folder(folder)


def write_marker(path: Path | str, obj: object) -> None:
    """A file whose being there is the message, fsynced: with `obj` in it, or empty when the disk is full.

    Raises OSError when not even a name can be written.
    """
    try:
        write_json(path, obj, fsync=True)
    except OSError as error:
        if error.errno not in FULL:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_folder(folder: str) -> None:
    fd = os.open(folder or ".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync(path: Path | str) -> None:
    """Make a record that is in place survive a power cut too. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    _sync_folder(os.path.dirname(path))


def read_json(path: Path | str) -> dict[str, Any] | None:
    """The record in `path`; None if there is none. Raises RecordError if corrupt, OSError if unreadable."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with open(fd, "rb") as file:
        data = file.read()
    try:
        found = json.loads(data.decode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise RecordError(f"{path} is corrupt ({error}); move it away after looking what still runs") from error
    if not isinstance(found, dict):
        raise RecordError(f"{path} is corrupt (not a JSON object); move it away after looking what still runs")
    return found


def remove_leftovers(folder: Path | str) -> None:
    """Delete what writers that were killed left beside the records. Only for whoever alone writes in `folder`."""
    for name in os.listdir(folder):
        if name.endswith(TEMPORARY):
            try:
                os.unlink(os.path.join(folder, name))
            except FileNotFoundError:  # its writer has just renamed it into place
                continue
