"""The live mirror: a copy of the supervisor's state in this process, kept in step by one stream and one applier.

A reader thread parses the stream; what it reads is applied by the owner alone: the event loop that made the mirror
(a notebook kernel, `panel serve`, asyncio), or the reader thread itself in a plain script. Watchers run there and
nowhere else. It survives restarts of the supervisor and says how old its knowledge is; it never invents any.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from stratpanel.client.connection import Api
from stratpanel.client.reading import Link, Message, Reader

if TYPE_CHECKING:
    from stratpanel.client.models import Models
    from stratpanel.model.strategy import Strategy

log = logging.getLogger("stratpanel.client")

Row = dict[str, Any]
Changed = Callable[[set[str], bool], None]
State = Literal["live", "stale", "down"]

SILENT_S = 11.0  # the stream says something every 5 s at least
FIRST_SNAPSHOT_S = 10.0


class Mirror:
    """Rows of all strategies, the supervisor, the latest figures. Make it with `Mirror(api)`; `close` it at the end.

    `rows[id]` are the status fields of CONTRACTS (times as RFC 3339 text) without those that change every second, plus
    `etag`, `name`, `tags`, `memory_limit_mb`, `scheduled`, `calendar`, `timezone`, `user_id`, `priority`, `started`;
    `usage[id]` is (percent of one core, MiB) of what runs; `host` the machine's figures.
    """

    def __init__(self, api: Api, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.api = api
        self.rows: dict[str, Row] = {}
        self.supervisor: Row = {}
        self.usage: dict[str, tuple[float | None, float | None]] = {}
        self.host: Row = {}
        self.tick_time: float | None = None
        self.seq = 0
        self.generation = 0
        """Snapshots applied so far."""
        self._loop = loop if loop is not None else _running_loop()
        self._owner = threading.get_ident() if self._loop is not None and self._loop is _running_loop() else None
        self._subscribers: list[Callable[[], Changed | None]] = []
        self._inbox: deque[Message] = deque()
        self._scheduled = False
        self._applying = False
        self._models: Models | None = None
        self._lock = threading.Lock()
        self._applied = threading.Condition()
        self._link = Link.CONNECTING
        self._reader = Reader(api, self)
        self._finalizer = weakref.finalize(self, self._reader.close)
        self._reader.start()

    def __repr__(self) -> str:
        return f"Mirror({str(self.api.workspace)!r}, {self.state}, {len(self.rows)} strategies)"

    # -- what is known ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """`live`: in step; `stale`: cut off or silent for a moment, coming back; `down`: no supervisor answers."""
        self.catch_up()
        if self._link is Link.LIVE:
            return "live" if self._reader.age_s < SILENT_S else "stale"
        return "stale" if self._link is Link.LOST else "down"

    @property
    def age_s(self) -> float:
        """Seconds since the supervisor last said anything; infinite before the first word."""
        return self._reader.age_s

    @property
    def problem(self) -> str:
        """Why it is not live, in words; empty while it is."""
        return "" if self._link is Link.LIVE else self._reader.problem

    @property
    def strategies(self) -> Mapping[str, Row]:
        """The rows, read-only."""
        self.catch_up()
        return MappingProxyType(self.rows)

    def row(self, id: str) -> Row | None:
        """One strategy's row as it is known now."""
        self.catch_up()
        return self.rows.get(id)

    def model(self, id: str) -> Strategy:
        """The strategy as a Param object whose reported values follow the supervisor. Raises KeyError."""
        self.catch_up()
        if self._models is None:
            from stratpanel.client.models import Models

            self._models = Models()
        with self._applied:
            return self._models.of(id, self.rows[id])

    def uptime_s(self, id: str) -> float | None:
        """Seconds since the strategy's leader started; None unless one is alive."""
        row = self.rows.get(id)
        started = row.get("started") if row and row.get("pid") is not None else None
        if started is None:
            return None
        began = started if isinstance(started, int | float) else datetime.fromisoformat(started).timestamp()
        return max(0.0, time.time() - began)

    # -- following --------------------------------------------------------------------------------------------------

    def subscribe(self, changed: Changed) -> Callable[[], None]:
        """Call `changed(ids, supervisor)` after each batch, on the owner; held weakly if it is a bound method.

        A tick is announced as `changed(set(), False)`, a change of the link as `changed(set(), True)`.
        """
        reference: Callable[[], Changed | None]
        reference = weakref.WeakMethod(changed) if hasattr(changed, "__self__") else lambda: changed
        self._subscribers.append(reference)

        def unsubscribe() -> None:
            if reference in self._subscribers:
                self._subscribers.remove(reference)

        return unsubscribe

    def wait_ready(self, timeout: float = FIRST_SNAPSHOT_S) -> bool:
        """Block until the first snapshot is applied; True when it is."""
        return self._wait(lambda: self.generation > 0, timeout)

    def wait_seq(self, seq: int, timeout: float = 3.0) -> bool:
        """Block until everything up to number `seq` is applied (see X-Stratpanel-Seq); True when it is."""
        generation = self.generation
        return self._wait(lambda: self.seq >= seq or self.generation != generation, timeout)

    def _wait(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait for the applier; on the owner's own thread apply what comes in meanwhile, since nobody else would."""
        if self._reader.is_current_thread or (self._applying and self._owns()):
            return done()  # asked by a watcher: the applier itself cannot wait for what it is to apply next
        deadline = time.monotonic() + timeout
        with self._applied:
            while not done():
                left = deadline - time.monotonic()
                if left <= 0 or self._reader.closed:
                    return done()
                if self._owns():
                    self._applied.release()
                    try:
                        self._reader.arrived.wait(min(left, 0.2))
                        self._reader.arrived.clear()
                        self.catch_up()
                    finally:
                        self._applied.acquire()
                else:
                    self._applied.wait(min(left, 0.5))
            return True

    def close(self) -> None:
        """End the reader; the last state stays readable."""
        self._finalizer()

    @property
    def closed(self) -> bool:
        """True when it does not follow any more."""
        return self._reader.closed

    # -- the one applier --------------------------------------------------------------------------------------------

    def deliver(self, message: Message) -> None:
        """Called by the reader thread with each message: hand it to the owner."""
        self._inbox.append(message)
        if self._loop is None:
            self._apply_waiting()
            return
        with self._lock:
            if self._scheduled:
                return
            self._scheduled = True
        try:
            self._loop.call_soon_threadsafe(_apply_on_loop, weakref.ref(self))
        except RuntimeError:  # the loop was closed: nobody is left to apply anything
            self._reader.close()

    def catch_up(self) -> None:
        """On the owner's thread: apply at once what has arrived, so that code in a running cell sees it too."""
        if self._inbox and self._owns():
            self._apply_waiting()

    def _owns(self) -> bool:
        return self._owner == threading.get_ident()

    def _apply_waiting(self) -> None:
        if self._applying:  # a watcher reads the mirror: it sees the state of its own batch
            return
        self._applying = True
        try:
            ids: set[str] = set()
            supervisor = ticked = False
            with self._applied:
                while self._inbox:
                    message = self._inbox.popleft()
                    if message.kind == "tick":
                        self._apply_tick(message.data)
                        ticked = True
                    elif message.kind == "link":
                        self._link = message.data
                        supervisor = True
                    else:
                        supervisor |= self._apply(message.kind, message.data, ids)
                if self._models is not None:
                    self._models.follow(ids, self.rows)
                self._applied.notify_all()
            if ids or supervisor or ticked:
                self._tell(ids, supervisor)
        finally:
            self._applying = False

    def _apply(self, kind: str, data: Row, ids: set[str]) -> bool:
        """Apply a snapshot or a delta, adding the ids it touches to `ids`; True when the supervisor's row changed."""
        if kind == "snapshot":
            rows = {row["id"]: row for row in data["strategies"]}
            ids |= {id for id, row in rows.items() if self.rows.get(id) != row} | (self.rows.keys() - rows.keys())
            self.rows.clear()
            self.rows.update(rows)
            self.usage = {id: figures for id, figures in self.usage.items() if id in rows}
            changed = bool(self.supervisor != data["supervisor"])
            self.supervisor = data["supervisor"]
            self.seq = data["seq"]
            self.generation += 1
            return changed
        if data["seq"] != self.seq + 1:
            self._reader.resync()
            return False
        self.seq = data["seq"]
        for id, fields in data["changed"].items():
            self.rows[id] = {
                **self.rows.get(id, {}),
                **fields,
            }  # a new object: who holds the old row sees no half change
        for id in data["removed"]:
            self.rows.pop(id, None)
            self.usage.pop(id, None)
        ids |= data["changed"].keys() | set(data["removed"])
        if data["supervisor"]:
            self.supervisor = {**self.supervisor, **data["supervisor"]}
        return bool(data["supervisor"])

    def _apply_tick(self, data: Row) -> None:
        cpu, memory = data["cpu"], data["mem"]
        self.usage = {id: (cpu.get(id), memory.get(id)) for id in cpu.keys() | memory.keys()}
        self.host = data["host"]
        self.tick_time = data["t"]

    def _tell(self, ids: set[str], supervisor: bool) -> None:
        for reference in tuple(self._subscribers):
            changed = reference()
            if changed is None:
                self._subscribers.remove(reference)
                continue
            try:
                changed(ids, supervisor)
            except Exception:  # one view's fault must not keep the state from all others
                log.exception("a subscriber of %r failed", self)


def _apply_on_loop(reference: weakref.ref[Mirror]) -> None:
    mirror = reference()
    if mirror is None:
        return
    with mirror._lock:
        mirror._scheduled = False
    mirror._owner = threading.get_ident()
    mirror._apply_waiting()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_mirrors: weakref.WeakValueDictionary[tuple[str, int], Mirror] = weakref.WeakValueDictionary()


def shared_mirror(api: Api) -> Mirror:
    """The mirror of this workspace for the calling loop (or for plain threads), made at the first call.

    Re-running a cell, or ten pages of one server, share one reader.
    """
    loop = _running_loop()
    key = (str(api.workspace), id(loop) if loop is not None else 0)
    mirror = _mirrors.get(key)
    if mirror is None or mirror.closed:
        mirror = _mirrors[key] = Mirror(api, loop)
    return mirror


def open_mirrors() -> Iterator[Mirror]:
    """All mirrors of this process that are still followed."""
    return (mirror for mirror in list(_mirrors.values()) if not mirror.closed)
