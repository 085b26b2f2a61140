"""Holds made durable quickly: one line and one fsync for many, before the registry's whole file is written again.

The actions wait for it before they answer; the registry follows within seconds, and then the journal is emptied. At our
start it is replayed, so that a stop said a moment before a power cut still holds. It never overrules a newer hold.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

from stratpanel.market.plan import Hold
from stratpanel.supervisor.holds import hold_from_json, hold_to_json

log = logging.getLogger("stratpanel.journal")


class HoldJournal:
    """`.stratpanel/holds.log`: lines of {"id", "at" (epoch seconds), "hold"}. Owned by the loop's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None
        self._used = True  # an earlier supervisor may have left lines
        self.problem: str | None = None

    def append(self, id: str, hold: Hold, at: float) -> None:
        """Note a hold; on disk once `synced` has returned."""
        line = json.dumps({"id": id, "at": at, "hold": hold_to_json(hold)}, separators=(",", ":"), ensure_ascii=False)
        self._pending.append(line.encode("utf-8", "surrogateescape") + b"\n")

    async def synced(self) -> None:
        """Return when every hold noted so far is on disk, or cannot be (then `problem` says why).

        Whoever comes while a write is under way shares the next one.
        """
        while self._writing is not None:
            await asyncio.shield(self._writing)
        if self._pending:
            self._writing = asyncio.get_running_loop().create_task(self._write(), name="hold journal")
            await asyncio.shield(self._writing)

    async def _write(self) -> None:
        try:
            await asyncio.sleep(0)  # whoever asks in the same turn of the loop shares this write
            lines, self._pending = self._pending, []
            await asyncio.to_thread(self._append_synced, b"".join(lines))
            self._used, self.problem = True, None
        except OSError as error:  # a full disk: the registry's own write is the second chance
            self.problem = f"holds cannot be kept: {error.strerror or error}"
            log.error("%s", self.problem)
        finally:
            self._writing = None

    def _append_synced(self, data: bytes) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)

    def forget(self) -> None:
        """The registry holds everything: empty the journal. Does nothing while something is still on its way."""
        if not self._used or self._pending or self._writing is not None:
            return
        try:
            os.truncate(self._path, 0)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("cannot empty %s: %s", self._path, error)
            return
        self._used = False

    def replay(self) -> dict[str, tuple[float, Hold]]:
        """The last hold of each strategy that an earlier supervisor noted, with its time; a torn line is skipped."""
        found: dict[str, tuple[float, Hold]] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return found
        for line in lines:
            try:
                entry: dict[str, Any] = json.loads(line)
                found[str(entry["id"])] = float(entry["at"]), hold_from_json(entry["hold"])
            except (ValueError, KeyError, TypeError):  # cut by a power failure
                continue
        return found
