"""Holds made durable quickly: one line and one fsync for many, before the registry's whole file is written again.

The actions wait for it before they answer; the registry follows within seconds, and then the journal is emptied. At our
start it is replayed, so that a stop said a moment before a power cut, on a full disk, or while a person's broken
registry cannot be written, still holds. It never overrules a newer hold.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any, Final

from stratpanel.market.plan import Hold
from stratpanel.supervisor.holds import hold_from_json, hold_to_json

log = logging.getLogger("stratpanel.journal")

RESERVE: Final = 65_536  # bytes set aside while the disk has room: about 300 stops on a full one
AGAIN_S: Final = 2.0  # between attempts where not even that helped


class HoldJournal:
    """`.stratpanel/holds.log`: lines of {"id", "at" (epoch seconds), "hold"}, then NULs. Owned by the loop's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None
        self._end: int | None = None  # where the next line goes; None: an earlier supervisor may have left lines
        self.problem: str | None = None

    def append(self, id: str, hold: Hold, at: float) -> None:
        """Note a hold; on disk once `synced` has returned."""
        line = json.dumps({"id": id, "at": at, "hold": hold_to_json(hold)}, separators=(",", ":"), ensure_ascii=False)
        self._pending.append(line.encode("utf-8", "surrogateescape") + b"\n")

    async def synced(self) -> None:
        """Return when every hold noted so far is on disk, or cannot be (then `problem` says why).

        Whoever comes while a write is under way shares the next one. What could not be written is tried again
        every `AGAIN_S`.
        """
        while self._writing is not None:
            await asyncio.shield(self._writing)
        self._try_again()
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def _write(self) -> None:
        lines: list[bytes] = []
        try:
            await asyncio.sleep(0)  # whoever asks in the same turn of the loop shares this write
            lines, self._pending = self._pending, []
            self._end = await asyncio.to_thread(self._append_synced, b"".join(lines), self._end)
            self.problem = None
        except OSError as error:
            self._pending = lines + self._pending
            self.problem = f"what people say about running cannot be kept: {error.strerror or error}; make room"
            log.error("%s", self.problem)
            asyncio.get_running_loop().call_later(AGAIN_S, self._try_again)
        finally:
            self._writing = None

    def _try_again(self) -> None:
        if self._pending and self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write(), name="hold journal")

    def _append_synced(self, data: bytes, end: int | None) -> int:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = _reserved(fd) if end is None else end
            written = 0
            while written < len(data):
                written += os.pwrite(fd, data[written:], end + written)
            os.fsync(fd)
            return end + written
        finally:
            os.close(fd)

    def reserve(self) -> None:
        """Set room aside, so that a stop can be kept on a full disk too. Blocking; a failure is no news yet."""
        try:
            self._end = self._append_synced(b"", None)
        except OSError as error:
            log.warning("cannot reserve room for holds in %s: %s", self._path, error)

    def forget(self) -> None:
        """The registry holds everything: empty the journal. Does nothing while something is still on its way."""
        if self._writing is not None or self._end == 0:
            return
        self._pending.clear()  # nobody could write these here, and the registry has them now
        self.problem = None
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            end = _reserved(fd) if self._end is None else self._end
            if end > RESERVE:
                os.ftruncate(fd, RESERVE)
            # overwritten, not cut off: the room it has must stay its own
            os.pwrite(fd, bytes(min(end, RESERVE)), 0)
            self._end = 0
        except OSError as error:
            log.warning("cannot empty %s: %s", self._path, error)
        finally:
            os.close(fd)

    def replay(self) -> dict[str, tuple[float, Hold]]:
        """The last hold of each strategy that an earlier supervisor noted, with its time; a torn line is skipped."""
        found: dict[str, tuple[float, Hold]] = {}
        try:
            lines = self._path.read_bytes().rstrip(b"\0").splitlines()
        except FileNotFoundError:
            return found
        for line in lines:
            try:
                entry: dict[str, Any] = json.loads(line.lstrip(b"\0"))
                found[str(entry["id"])] = float(entry["at"]), hold_from_json(entry["hold"])
            except (ValueError, KeyError, TypeError):  # cut by a power failure
                continue
        return found


def _reserved(fd: int) -> int:
    """Give the file its room and answer where its lines end; a torn last line is closed first."""
    size = os.fstat(fd).st_size
    end = len(os.pread(fd, max(size, 1), 0).rstrip(b"\0"))
    if end and os.pread(fd, 1, end - 1) != b"\n":
        os.pwrite(fd, b"\n", end)
        end += 1
    if size < RESERVE and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, RESERVE)
        except OSError as error:  # a full disk, or a file system without; lines are appended all the same
            log.warning("cannot reserve room for holds: %s", error)
    return end
