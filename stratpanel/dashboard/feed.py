"""One ticker per process: turns the mirror's changes into numbered, encoded-once messages for every open page.

Pages join with `attach` and get a snapshot when their browser is ready, then the same strings as everybody else. A
change
goes out within 30 ms, samples once a second. It lives in an imported module: inside a page's script it would die with
the
first session.
"""

from __future__ import annotations

import asyncio
import json
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from stratpanel.dashboard.source import Row, Source

BEAT_S = 1.0
GATHER_S = 0.03  # changes that come together travel together
SPARK_POINTS = 60
HIDDEN = frozenset({"uptime_s", "cpu_percent", "memory_mb", "log_path", "runner_pid", "etag", "started"})


class Page(Protocol):
    """Who listens: one open page."""

    def post_text(self, text: str) -> None:
        """Take one encoded message."""


def encode(message: Mapping[str, Any]) -> str:
    """Compact JSON; made once per message, however many pages there are."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False, default=str)


def _since(row: Row, now: float) -> float | None:
    if row.get("pid") is None:
        return None
    started = row.get("started")
    if started:
        return float(started) if isinstance(started, int | float) else datetime.fromisoformat(started).timestamp()
    uptime = row.get("uptime_s")
    return None if uptime is None else round(now - float(uptime), 1)


class Feed:
    """The state of one workspace as its pages see it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.events: deque[dict[str, Any]] = deque(maxlen=300)
        self.markets: list[dict[str, Any]] = []
        self._zones: dict[str, str] = {}
        self._pages: weakref.WeakSet[Any] = weakref.WeakSet()
        self._number: dict[str, int] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self._usage: dict[str, tuple[float | None, float | None]] = {}
        self._sparks: dict[str, deque[float]] = {}
        self._supervisor: dict[str, Any] = {}
        self._seq = 0
        self._dirty: set[str] = set()
        self._dirty_supervisor = False
        self._gathering: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._beats: list[Callable[[], Callable[[float], None] | None]] = []
        self._unsubscribe = source.subscribe(self._changed)
        self._refresh(source.rows)
        self._supervisor = dict(source.supervisor)

    def close(self) -> None:
        """Leave the mirror and stop the ticker."""
        self._unsubscribe()
        for handle in (self._gathering, self._ticking):
            if handle is not None:
                handle.cancel()
        self._gathering = self._ticking = None

    @property
    def pages(self) -> int:
        """How many pages listen."""
        return len(self._pages)

    def attach(self, page: Page) -> None:
        """Send this page everything from now on; it asks for its snapshot itself when its browser is ready."""
        self._pages.add(page)
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def detach(self, page: Page) -> None:
        """Forget the page."""
        self._pages.discard(page)

    def on_beat(self, reference: Callable[[], Callable[[float], None] | None]) -> Callable[[], None]:
        """Call what `reference()` gives with the time once a second, until it gives None or the answer is called."""
        self._beats.append(reference)
        return lambda: self._beats.remove(reference) if reference in self._beats else None

    def snapshot(self, **extra: Any) -> str:
        """Everything a page needs to start from; what follows is numbered from here."""
        self._flush()
        message = {
            "k": "all",
            "q": self._seq,
            **self._pulse(),
            "rows": [self._full(id_) for id_ in self._rows],
            "hist": {id_: list(points) for id_, points in self._sparks.items() if points},
            "sup": self._supervisor,
            "host": dict(self.source.host),
            "markets": self.markets,
            "events": list(self.events),
            **extra,
        }
        return encode(message)

    def broadcast(self, message: Mapping[str, Any], *, numbered: bool = False) -> None:
        """Send one message to all pages."""
        if not self._pages:
            if numbered:
                self._seq += 1
            return
        if numbered:
            self._seq += 1
            message = {**message, "q": self._seq}
        text = encode(message)
        for page in list(self._pages):
            page.post_text(text)

    def take_markets(self, markets: list[dict[str, Any]]) -> None:
        """The sessions of the calendars in use; a strategy without a zone of its own is shown in its calendar's."""
        self.markets = markets
        self._zones = {market["name"]: market["timezone"] for market in markets if market.get("timezone")}
        self.broadcast({"k": "cal", "markets": markets})
        self._changed(self.source.rows, False)

    def zone(self, id_: str) -> str:
        """The time zone a strategy's times are shown in."""
        return str(self._rows.get(id_, {}).get("timezone") or self.source.supervisor.get("timezone") or "")

    def _pulse(self) -> dict[str, Any]:
        return {"now": round(time.time(), 3), "link": self.source.link, "age": round(self.source.age_s, 1)}

    def _shape(self, id_: str, row: Row) -> dict[str, Any]:
        shaped = {key: value for key, value in row.items() if key not in HIDDEN and value not in (None, "", [], False)}
        shaped["id"] = id_
        zone = (
            row.get("timezone") or self._zones.get(str(row.get("calendar"))) or self.source.supervisor.get("timezone")
        )
        if zone:
            shaped["timezone"] = zone
        since, old = _since(row, time.time()), self._rows.get(id_, {})
        if since is not None:
            # An uptime read twice dates the start a little differently each time; the same run keeps its first date.
            same = old.get("run_id") == shaped.get("run_id") and old.get("pid") == shaped.get("pid") and "up" in old
            shaped["up"] = old["up"] if same and not row.get("started") else since
        return shaped

    def _refresh(self, rows: Mapping[str, Row]) -> None:
        for id_, row in rows.items():
            self._number.setdefault(id_, len(self._number))
            self._rows[id_] = self._shape(id_, row)

    def _full(self, id_: str) -> dict[str, Any]:
        cpu, memory = self._usage.get(id_, (None, None))
        return {"i": self._number[id_], **self._rows[id_], "cpu_percent": cpu, "memory_mb": memory}

    def _changed(self, ids: Iterable[str], supervisor: bool) -> None:
        self._dirty.update(ids)
        self._dirty_supervisor |= supervisor
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._flush)

    def _flush(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if not self._dirty and not self._dirty_supervisor:
            return
        dirty, self._dirty = self._dirty, set()
        source_rows, changed, gone = self.source.rows, {}, []
        for id_ in dirty:
            row = source_rows.get(id_)
            if row is None:
                if self._rows.pop(id_, None) is not None:
                    gone.append(id_)
                    self._usage.pop(id_, None)
                    self._sparks.pop(id_, None)
                continue
            new = id_ not in self._rows
            old = self._rows.get(id_, {})
            self._number.setdefault(id_, len(self._number))
            self._rows[id_] = self._shape(id_, row)
            fields = self._full(id_) if new else self._difference(old, self._rows[id_])
            if row.get("pid") is None and id_ in self._usage:
                del self._usage[id_]
                self._sparks.pop(id_, None)
                fields = {**fields, "cpu_percent": None, "memory_mb": None}
            if fields:
                changed[id_] = fields
        message: dict[str, Any] = {"k": "chg", **self._pulse()}
        if self._dirty_supervisor:
            self._dirty_supervisor = False
            self._supervisor = dict(self.source.supervisor)
            message["sup"] = self._supervisor
        if changed or gone or "sup" in message:
            self.broadcast({**message, "rows": changed, "gone": gone}, numbered=True)

    @staticmethod
    def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        fields = {key: value for key, value in new.items() if old.get(key) != value}
        fields.update({key: None for key in old if key not in new})
        return fields

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._pages and not self._sparks:
            self._ticking = None
            return
        self._ticking = loop.call_later(BEAT_S, self._beat)
        self._flush()
        changed: list[float | int | None] = []
        usage = self.source.usage
        for id_, (cpu, memory) in usage.items():
            if id_ not in self._rows:
                continue
            sample = (None if cpu is None else round(cpu, 1), None if memory is None else round(memory, 1))
            if sample[0] is not None:
                self._sparks.setdefault(id_, deque(maxlen=SPARK_POINTS)).append(sample[0])
            if self._usage.get(id_) != sample:
                self._usage[id_] = sample
                changed += [self._number[id_], *sample]
        for id_ in [id_ for id_ in self._usage if id_ not in usage]:
            del self._usage[id_]
            self._sparks.pop(id_, None)
            changed += [self._number[id_], None, None]
        if self._pages:
            now = time.time()
            for reference in list(self._beats):
                callback = reference()
                if callback is None:
                    self._beats.remove(reference)
                else:
                    callback(now)
            self.broadcast({"k": "tick", **self._pulse(), "u": changed, "host": dict(self.source.host)}, numbered=True)
