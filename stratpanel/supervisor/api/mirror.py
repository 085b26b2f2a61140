"""The mirror stream: a numbered snapshot of everything, then the changed fields at once, then figures once a second.

Feeds the clients' live mirrors. Deltas of one loop turn are one message, encoded once for all readers; a reader too
slow for its outbox gets a new snapshot instead of a backlog. Reads the core only; never decides anything.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from stratpanel.model.errors import NotFound
from stratpanel.supervisor.api import wire
from stratpanel.supervisor.api.ports import Core, Json, Tick
from stratpanel.supervisor.api.streams import Outbox, Stream, frame

SAMPLED: Final = ("cpu_percent", "memory_mb", "uptime_s")  # change every second: ticks carry them, or the client counts


class MirrorFeed:
    """What all mirrors have been told so far, and the readers to tell more."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._readers: set[Outbox] = set()
        self._dirty: set[str] = set()
        self._dirty_supervisor = False
        self._scheduled = False
        self._seq = 0
        self._rows = {status["id"]: self._row(status) for status in core.statuses()}
        self._supervisor = self._supervisor_row()
        self._tick: Tick | None = None
        self._snapshot: tuple[int, bytes] | None = None
        self._unsubscribe = [core.on_change(self._changed), core.on_tick(self._ticked)]

    def close(self) -> None:
        """Stop following the core."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    @property
    def readers(self) -> int:
        """Open mirror streams."""
        return len(self._readers)

    def join(self, outbox: Outbox) -> bytes:
        """Start telling `outbox` what changes; returns the snapshot it starts from."""
        snapshot = self.snapshot()
        self._readers.add(outbox)
        return snapshot

    def leave(self, outbox: Outbox) -> None:
        """Stop telling `outbox`."""
        self._readers.discard(outbox)

    def snapshot(self) -> bytes:
        """The snapshot frame of this moment and the last tick; encoded once per number, however many ask."""
        self._tell()
        if self._snapshot is None or self._snapshot[0] != self._seq:
            state = {"seq": self._seq, "supervisor": self._supervisor, "strategies": list(self._rows.values())}
            self._snapshot = (self._seq, frame("snapshot", wire.encode(state)))
        return self._snapshot[1] + (_tick_frame(self._tick) if self._tick is not None else b"")

    def _changed(self, changed: set[str], removed: set[str], supervisor: bool) -> None:
        self._dirty |= changed | removed
        self._dirty_supervisor |= supervisor
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> int:
        """Send what changed since the last number as one delta; returns the number that includes all up to now.

        With nobody to tell, rows stay marked until the next snapshot reads them: in a burst of starts that is much.
        """
        if self._readers:
            self._tell()
        elif self._dirty or self._dirty_supervisor:
            self._seq += 1  # whoever comes gets a snapshot of a later number, so nobody waits for this one in vain
        return self._seq

    def _tell(self) -> None:
        changed, removed = self._collect()
        supervisor: Json = {}
        if self._dirty_supervisor or changed or removed:
            now = self._supervisor_row()
            supervisor = difference(self._supervisor, now)
            self._supervisor = now
            self._dirty_supervisor = False
        if changed or removed or supervisor:
            self._seq += 1
            delta = {"seq": self._seq, "changed": changed, "removed": removed, "supervisor": supervisor}
            if self._readers:
                self._send(frame("delta", wire.encode(delta)))

    def _collect(self) -> tuple[dict[str, Json], list[str]]:
        """Changed fields by id and removed ids, of all that is marked dirty; the rows follow."""
        changed: dict[str, Json] = {}
        removed: list[str] = []
        dirty, self._dirty = self._dirty, set()
        for id in dirty:
            try:
                row = self._row(self._core.status(id))
            except NotFound:
                if self._rows.pop(id, None) is not None:
                    removed.append(id)
                continue
            fields = difference(self._rows.get(id, {}), row)
            if fields:
                changed[id] = fields
                self._rows[id] = row
        return changed, removed

    def _ticked(self, tick: Tick) -> None:
        self._tick = tick
        if self._readers:
            self._send(_tick_frame(tick))

    def _send(self, data: bytes) -> None:
        for outbox in self._readers:
            outbox.push(data)

    def _supervisor_row(self) -> Json:
        return {key: value for key, value in self._core.supervisor_status().items() if key not in SAMPLED}

    def _row(self, status: Json) -> Json:
        """A strategy as mirrors keep it: its status without what changes each second, and its configuration's ETag."""
        row: Json = {key: value for key, value in status.items() if key not in SAMPLED}
        row["etag"] = self._core.etag(status["id"])
        return row


def _tick_frame(tick: Tick) -> bytes:
    return frame("tick", wire.encode({"t": tick.t, "cpu": tick.cpu, "mem": tick.mem, "host": tick.host}))


def difference(before: Json, after: Json) -> dict[str, Any]:
    """Fields of `after` that differ from `before`; a field that left is null."""
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
    changed.update({key: None for key in before if key not in after and before[key] is not None})
    return changed


class MirrorStream(Stream):
    """GET /api/mirror/stream."""

    heartbeat_s = 5.0  # a mirror wants to know soon that nobody speaks any more

    async def get(self) -> None:
        """Snapshot, then deltas and ticks for as long as the reader stays."""
        feed = self.site.mirror
        first = feed.join(self.outbox)
        try:
            await self.stream(first)
        finally:
            feed.leave(self.outbox)

    def after_overflow(self) -> bytes:
        """A slow mirror starts from a new snapshot."""
        return self.site.mirror.snapshot()
