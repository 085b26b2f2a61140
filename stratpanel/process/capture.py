"""A run's pipe and log on the runner's loop: what the strategy prints reaches the file as long as anybody serves the
run.

The runner, its replacements and the command line's endings own one each. It never makes the strategy wait for us longer
than a pump takes, and a log that cannot be opened or written is never a reason to end a run that lives.
"""

from __future__ import annotations

import os
import time
from typing import Any

from stratpanel.process import platform
from stratpanel.process.errors import ProcessError
from stratpanel.process.logpump import LogPump
from stratpanel.process.loop import Loop

# More than any pipe holds. A stranger who somehow writes into a dead run's pipe must not keep its end from coming.
MOST_AT_THE_END = 8 << 20


class Capture:
    """Pumps the pipe into the log. Without a pipe (nobody has it any more) it only knows what was dropped."""

    def __init__(
        self, loop: Loop, read_end: int | None, log: dict[str, Any], *, dropped: int = 0, required: bool
    ) -> None:
        self._loop = loop
        self._pump: LogPump | None = None
        self._dropped = dropped
        self.read_end = read_end
        self._write_end = -1
        if read_end is None:
            return
        self._pump = LogPump(
            read_end, log["path"], int(log["max_bytes"]), int(log["keep"]), dropped_bytes=dropped, required=required
        )
        if required:  # a new run, not the successor of one that lives
            self._pump.begin_run()
        # with a write end of our own the pipe never reports a hangup: its end is not the end of the run
        self._write_end = platform.reopen_pipe(read_end, os.O_WRONLY | os.O_NONBLOCK)
        loop.watch(read_end, self._readable)

    @property
    def dropped_bytes(self) -> int:
        """What could not be kept in this run."""
        return self._pump.dropped_bytes if self._pump is not None else self._dropped

    def _readable(self, _events: int) -> None:
        if self._pump is None:
            return
        self._pump.pump()
        pause = self._pump.suggest_pause()
        if pause > 0:
            time.sleep(pause)  # 4 ms at most, in a flood: waking for every line would cost more than the lines

    def look(self) -> None:
        """Now and then: rotate what is over its size and ends with a line."""
        if self._pump is not None:
            self._pump.rotate_if_due()

    def mark(self, text: str) -> None:
        """A line of ours in the log, if there is room."""
        if self._pump is not None:
            self._pump.mark(text)

    def clear(self) -> None:
        """Empty the log and delete its rotated files. Raises OSError."""
        if self._pump is not None:
            self._pump.clear()

    def finish(self) -> None:
        """The tree is empty: keep what is still in the pipe, then close everything."""
        if self._pump is None or self.read_end is None:
            return
        self._loop.unwatch(self.read_end)
        kept = 0
        while kept < MOST_AT_THE_END and (moved := self._pump.pump()):
            kept += moved
        self._pump.close()
        self._dropped = self._pump.dropped_bytes
        self._pump = None
        os.close(self._write_end)
        os.close(self.read_end)
        self.read_end = None


def open_first(loop: Loop, read_end: int, log: dict[str, Any], strategy_id: str) -> Capture:
    """The capture of a new run. Raises ProcessError(LOG_UNWRITABLE): a start without a log is refused."""
    try:
        return Capture(loop, read_end, log, required=True)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ProcessError(
            "LOG_UNWRITABLE",
            f"cannot start {strategy_id}: its log {log['path']} cannot be written: {why}; make the folder writable",
        ) from error
