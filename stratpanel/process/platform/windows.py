"""Windows: no fork, no unix sockets in Python, no groups that end together. Our promises cannot be kept with what is
left.

Same names as `linux.py`; only what is needed to import the package and to refuse a start clearly is here.
"""

from __future__ import annotations

import sys

from stratpanel.process.errors import ProcessError

NAME = "windows"


def require_supported() -> None:
    """Raise ProcessError: strategies cannot be supervised here yet."""
    raise ProcessError(
        "UNSUPPORTED",
        "cannot supervise on Windows yet: it has no fork and no subreaper, so a stop could leave processes behind; "
        "run it in WSL 2 or in a Linux container",
    )


def boot_id() -> str:
    """No identity of a boot is known here; records of this machine are never believed."""
    return "windows"


def pid_namespace() -> int:
    """There are none."""
    return 0


def try_lock(fd: int) -> bool:
    """Take the file's first byte; False when another open file has it."""
    if sys.platform != "win32":
        raise ProcessError("UNSUPPORTED", "these are the locks of Windows")
    import msvcrt

    try:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    return True
