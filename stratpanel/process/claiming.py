"""Whether a runtime folder is the one we wrote, or a copy of it whose records speak of somebody else's processes.

A launcher claims the folder before it serves; the command line asks before it signals anybody. In a copy nothing is
adopted and nobody is signalled, and nothing starts by itself until a person has looked: the original may be trading.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Literal

from stratpanel.process.errors import RecordError
from stratpanel.process.identity import boot_id, identity_in
from stratpanel.process.paths import Runtime
from stratpanel.process.records import read_json, write_json

Claim = Literal["ours", "new", "copied"]


def _signature(runtime: Runtime) -> dict[str, Any]:
    info = os.stat(runtime.root)
    return {"dev": info.st_dev, "inode": info.st_ino, "boot_id": boot_id()}


def _written(runtime: Runtime) -> dict[str, Any] | None:
    try:
        return read_json(runtime.here)
    except RecordError:  # cut by a power failure: no reason to disown what runs
        return None


def is_copied(runtime: Runtime) -> bool:
    """True when this folder was copied from the one its records describe.

    A device's number may change with a reboot (LVM, NFS, overlays), an inode's does not: after a reboot the inode
    decides.
    """
    written = _written(runtime)
    if written is None or sys.platform == "win32":
        return False
    now = _signature(runtime)
    moved = written.get("dev") != now["dev"] and written.get("boot_id") == now["boot_id"]
    return bool(written.get("inode") != now["inode"] or moved)


def claim(runtime: Runtime) -> Claim:
    """Make this folder ours, and say what it was. Only for the holder of `launcher.lock`. Raises OSError."""
    was: Claim = "copied" if is_copied(runtime) else "ours" if runtime.here.exists() else "new"
    if was == "copied":
        _disown(runtime)
    signature = _signature(runtime)
    if _written(runtime) != signature:
        write_json(runtime.here, signature, fsync=True)
    return was


def disown_foreign(runtime: Runtime) -> None:
    """After a person took the workspace over from a dead host: its runs are nobody's here. Raises OSError."""
    for strategy_id in runtime.strategy_ids():
        try:
            status = read_json(runtime.folder(strategy_id).status)
        except RecordError:  # says nothing about anybody
            continue
        leader = identity_in(status, "leader")
        if status is not None and leader is not None and leader.where() == "elsewhere":
            write_json(runtime.folder(strategy_id).status, {**status, "copied": True})


def _disown(runtime: Runtime) -> None:
    """Mark every record as somebody else's. Killed in the middle, it is done again: `here` is written last."""
    for strategy_id in runtime.strategy_ids():
        try:
            status = read_json(runtime.folder(strategy_id).status)
        except RecordError:  # says nothing about anybody
            continue
        if status is not None:
            write_json(runtime.folder(strategy_id).status, {**status, "copied": True})
        runtime.runner_socket(strategy_id).unlink(missing_ok=True)
    runtime.connection.unlink(missing_ok=True)
    why = "this workspace is a copy; nothing starts by itself here until you say `stratpanel resume`"
    write_json(runtime.paused, {"by": "stratpanel", "at": time.time(), "why": why, "kind": "copied"}, fsync=True)
