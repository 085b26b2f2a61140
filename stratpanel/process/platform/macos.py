"""macOS: no subreaper, no pidfd, no splice, no /proc. Our promises cannot be kept with what is left, so starts are
refused.

Same names as `linux.py`; only what is needed to import the package and to say so is here.
"""

from __future__ import annotations

import fcntl

from stratpanel.process.errors import ProcessError

NAME = "macos"


def require_supported() -> None:
    """Raise ProcessError: strategies cannot be supervised here yet."""
    raise ProcessError(
        "UNSUPPORTED",
        "cannot supervise on macOS yet: it has no subreaper and no pidfd, so a stop could leave processes behind; "
        "run it in a Linux container or virtual machine",
    )


def boot_id() -> str:
    """No identity of a boot is known here; records of this machine are never believed."""
    return "macos"


def pid_namespace() -> int:
    """There are none."""
    return 0


def try_lock(fd: int) -> bool:
    """Take the whole-file lock; False when another open file has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
