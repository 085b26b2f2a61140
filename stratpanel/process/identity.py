"""Who a process is: host, boot, PID namespace, PID and kernel start time. A bare PID is never believed.

Written into every lock and record, and compared before anything is signalled. Nothing here ever signals a process whose
start time it has not seen to match.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Literal, NamedTuple

from stratpanel.process import platform

Where = Literal["here", "rebooted", "elsewhere"]


@cache
def this_host() -> str:
    """This machine's name."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "unknown")


@cache
def boot_id() -> str:
    """Identifies this boot of this machine."""
    return platform.boot_id()


@cache
def pid_namespace() -> int:
    """Identifies the PID namespace we live in; 0 on systems that have none."""
    return platform.pid_namespace()


class Identity(NamedTuple):
    """One process, for ever: no other process ever has the same."""

    host: str
    boot_id: str
    pid_ns: int
    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The process that bears this number now. Raises ProcessLookupError when there is none."""
        seen = platform.look_at(pid)
        if seen is None:
            raise ProcessLookupError(f"no process has the number {pid}")
        return cls(this_host(), boot_id(), pid_namespace(), pid, seen.start_ticks)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Identity:
        """Raises KeyError, TypeError or ValueError for what is not one."""
        return cls(
            str(record["host"]),
            str(record["boot_id"]),
            int(record["pid_ns"]),
            int(record["pid"]),
            int(record["start_ticks"]),
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in records."""
        return self._asdict()

    def where(self) -> Where:
        """Whether its PID can mean something to us.

        `rebooted`: this machine before its last boot, so it is dead. `elsewhere`: another host or PID namespace,
        where its number tells us nothing; alive or dead, we cannot see it.
        """
        if self.boot_id == boot_id():
            return "here" if self.pid_ns == pid_namespace() else "elsewhere"
        return "rebooted" if self.host == this_host() else "elsewhere"

    def alive(self) -> bool:
        """True while exactly this process lives here; a zombie does not."""
        if self.where() != "here":
            return False
        seen = platform.look_at(self.pid)
        return seen is not None and seen.alive and seen.start_ticks == self.start_ticks

    def open(self) -> int | None:
        """A pidfd of exactly this process, zombie or alive; None when it is gone or not of this machine."""
        return platform.open_process(self.pid, self.start_ticks) if self.where() == "here" else None


def identity_in(record: dict[str, Any] | None, key: str | None = None) -> Identity | None:
    """The identity in a record, or below a key of it; None where there is none that can be read."""
    found = record.get(key) if record is not None and key is not None else record
    if not isinstance(found, dict):
        return None
    try:
        return Identity.from_json(found)
    except (KeyError, TypeError, ValueError):  # somebody else's or an older record: it identifies nobody
        return None


def send_signal(identity: Identity, number: int) -> bool:
    """Signal exactly this process; False when it is gone, recycled, or not of this machine."""
    fd = identity.open()
    if fd is None:
        return False
    try:
        return platform.signal_process(fd, number)
    finally:
        os.close(fd)
