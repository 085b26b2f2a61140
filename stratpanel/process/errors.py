"""What the process layer refuses, with a code for programs and a sentence for people.

Raised by everything in this room; the supervisor and the command line turn it into their own errors. It imports
nothing, because the launcher and every runner carry it.
"""

from __future__ import annotations


class ProcessError(Exception):
    """`code` is stable (`LOCKED`, `STILL_ALIVE`, …); `message` names the thing, the cause and the next step."""

    def __init__(self, code: str, message: str, pids: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.pids = pids


class RecordError(ProcessError):
    """A file of ours does not hold what we wrote: cut, corrupt, or edited by somebody."""

    def __init__(self, message: str) -> None:
        super().__init__("RECORD_CORRUPT", message)
