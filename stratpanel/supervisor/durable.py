"""Writing small files so that a power cut leaves the old content or the new one, never half of either.

Used for what must outlive us: deployed versions, pointers to them, working copies saved from the page. Status files of
live runs are cheaper and live in `process/records.py`. Nothing here ever writes through a symbolic link.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable (POSIX: fsync of the directory); file systems that refuse are left alone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except PermissionError:  # Windows cannot open a folder; its renames are journalled
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some FUSE file systems answer EINVAL for folders; the rename itself is still atomic
        pass
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`, fsynced, through a temporary file of its own name beside it."""
    temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # the rename may have happened already
            os.unlink(temporary)
        raise
    sync_folder(path.parent)
