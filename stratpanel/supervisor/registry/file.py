"""The registry file on disk: what stands there now, and how it is replaced so that nobody's text is ever lost.

Called by `registry.py` only. A write is atomic and durable (unique temporary file, fsync, exchange, fsync of the
folder) and never overwrites text it has not seen: what it displaced is compared with what was expected.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from stratpanel.supervisor.registry.text import LONGEST, RegistryError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}


@dataclass(frozen=True)
class Content:
    """The bytes of the file at one moment, with what the file system said about them."""

    data: bytes
    inode: int
    mtime_ns: int
    digest: str

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def same_bytes(self, other: Content | None) -> bool:
        """True if `other` holds the same bytes, whatever the file."""
        return other is not None and self.digest == other.digest


class Displaced(Exception):
    """Somebody wrote between our look and our write; their bytes are safe at `path` again."""


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return inode, size and change time (ns) of the file, None if there is none: a cheap "has it changed"."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def look(path: Path, name: str) -> Content | None:
    """Return what stands at `path`, None if nothing does; RegistryError if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RegistryError(f"cannot read {name}: {_words(error)}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise RegistryError(f"{name}: is not a file; move it away")
        if found.st_size > LONGEST:
            raise RegistryError(f"{name}: has {found.st_size:,} bytes, the most is {LONGEST:,}; is it the right file?")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise RegistryError(f"cannot read {name}: {_words(error)}") from None
    finally:
        os.close(descriptor)
    return Content(data, found.st_ino, found.st_mtime_ns, hashlib.sha256(data).hexdigest())


def replace(path: Path, data: bytes, expected: Content | None, name: str) -> Content:
    """Put `data` at `path` for good, if `expected` still stands there; else raise Displaced with nothing lost.

    RegistryError if the folder cannot be written; the old file is then as it was.
    """
    path = Path(os.path.realpath(path))  # a link keeps pointing where it did
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        _write_durably(temporary, data, path)
        # of our own file, before it has the name: a person may save over it while the folder is being synced
        made = os.stat(temporary)
        try:
            _swap_in(temporary, path, expected, name)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise RegistryError(f"cannot write {name}: {_words(error)}; nothing is lost, it is tried again") from None
    return Content(data, made.st_ino, made.st_mtime_ns, hashlib.sha256(data).hexdigest())


def _write_durably(temporary: Path, data: bytes, model: Path) -> None:
    """Write and fsync the new file, with mode and owner of the one it replaces."""
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        try:
            old = os.stat(model)
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except FileNotFoundError:  # the first write
            pass
        except PermissionError:  # another user's file in a shared folder: ours from now on
            pass
        os.fsync(descriptor)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _swap_in(temporary: Path, path: Path, expected: Content | None, name: str) -> None:
    """Make `temporary` the file at `path`; put back what stood there and raise Displaced if it was not `expected`."""
    if expected is None:
        try:
            os.link(temporary, path)  # unlike rename it refuses to replace what somebody made meanwhile
        except FileExistsError:
            raise Displaced from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            os.rename(temporary, path)
        return
    ours = look(temporary, name)
    if not _exchange(temporary, path):
        if not expected.same_bytes(look(path, name)):
            raise Displaced
        os.rename(temporary, path)
        return
    taken = look(temporary, name)
    if expected.same_bytes(taken):
        return
    if ours is not None and taken is not None:
        _put_back(temporary, path, taken, ours, name)
    raise Displaced


def _put_back(temporary: Path, path: Path, taken: Content, ours: Content, name: str) -> None:
    """Swap the text we displaced back; if somebody saved yet again meanwhile, theirs is newer and ends up at `path`."""
    standing = ours
    while _exchange(temporary, path):
        out = look(temporary, name)
        if out is None or out.same_bytes(standing):
            return
        standing, taken = taken, out
    os.rename(temporary, path)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (Linux renameat2); False where the system or the file system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    if number == errno.ENOENT:
        raise Displaced
    raise OSError(number, os.strerror(number))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _words(error: OSError) -> str:
    remedy = {
        errno.ENOSPC: "; free some space",
        errno.EDQUOT: "; free some space",
        errno.EROFS: "; the file system is mounted read-only",
        errno.EACCES: "; give this user the right to the folder and the file",
        errno.EPERM: "; give this user the right to the folder and the file",
    }.get(error.errno or 0, "")
    return f"{(error.strerror or str(error)).lower()}{remedy}"
