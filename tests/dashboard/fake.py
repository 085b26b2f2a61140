"""A workspace that exists only in memory: the shapes of the live mirror and the API, for tests of the pages alone.

`FakeWorkspace(n)` has n strategies in mixed states; it is both what the pages read and what their calls reach. Time
passes by itself once a second for whoever asks (`run`).
"""

from __future__ import annotations

import asyncio
import itertools
import math
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from stratpanel.dashboard.source import StreamItem
from stratpanel.model.errors import Conflict, InvalidValue, NotFound
from stratpanel.model.merge import merge_patch
from stratpanel.model.strategy import Strategy
from tests.dashboard.fake_reports import PARAMETERS, Reporting

WHYS = {
    "running": "in its window until 15:15 IST",
    "stopped": "outside its window; starts Mon 09:20 IST",
    "exited": "ended by itself with code 0",
    "backoff": "crashed with code 1; starts again in 40 s",
    "fatal": "gave up: 5 crashes in 600 s",
    "lost": "its lock is held but no process can be found",
}
NAMES = [
    "ema",
    "rsi",
    "breakout",
    "pairs",
    "carry",
    "gap",
    "vwap",
    "orb",
    "straddle",
    "hedge",
    "momentum",
    "reversion",
    "grid",
    "twap",
]


def stamp(epoch: float) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(epoch, UTC).isoformat()


def _about(kind: str) -> str:
    """What a row of the overrides is about, as the supervisor has it."""
    return kind if kind in ("hours", "valid") else "day"


class FakeWorkspace:
    """Source and Calls in one."""

    def __init__(self, count: int = 50, seed: int = 7) -> None:
        self.random = random.Random(seed)
        self.rows: dict[str, dict[str, Any]] = {}
        self.usage: dict[str, tuple[float | None, float | None]] = {}
        self.supervisor: dict[str, Any] = {
            "pid": 4242,
            "state": "running",
            "why": "",
            "workspace": "/home/quant/desk",
            "version": "0.1.0",
        }
        self.host = {"cpu_percent": 23.0, "memory_mb": 6200.0, "memory_total_mb": 16000.0}
        self.link = "live"
        self.heard = time.monotonic()
        self.logs: dict[str, list[dict[str, Any]]] = {}
        self.configs: dict[str, dict[str, Any]] = {}
        self.sources: dict[str, str] = {}
        self.reporting: dict[str, Reporting] = {}
        self.parameters: dict[str, dict[str, Any]] = {}
        self.live_reads: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.calls_made: list[tuple[str, str, Any]] = []
        self.delay_s = 0.0
        self.overrides: list[dict[str, Any]] = []
        self.samples = True
        self.endless = False
        self._subscribers: list[Callable[[set[str], bool], None]] = []
        self._streams: dict[str, list[queue.Queue[StreamItem | None]]] = {}
        self._cursor = itertools.count(1)
        states = ["running"] * 6 + ["stopped", "stopped", "exited", "backoff", "fatal"]
        for n in range(count):
            name = NAMES[n % len(NAMES)] + ("" if n < len(NAMES) else f"-{n // len(NAMES)}")
            self.add(name, states[n % len(states)] if count > 1 else "running", n)

    def add(self, id_: str, state: str = "stopped", n: int = 0) -> None:
        """One more strategy."""
        now = time.time()
        alive = state == "running"
        self.rows[id_] = {
            "id": id_,
            "name": id_,
            "state": state,
            "why": WHYS.get(state, ""),
            "pid": 20000 + n if alive else None,
            "run_id": f"{id_}~20261122T091500~{n:08x}",
            "version": 1 + n % 4,
            "mode": "live" if n % 7 == 3 else "paper",
            "hold": "none",
            "uptime_s": 3600.0 + 61 * n if alive else None,
            "started": stamp(now - 3600 - 61 * n) if alive else None,
            "exit_code": {"exited": 0, "backoff": 1, "fatal": 1}.get(state),
            "signal": None,
            "restarts": {"backoff": 2, "fatal": 5}.get(state, 0),
            "next_start": stamp(now + 40_000 + 60 * n),
            "next_stop": stamp(now + (9000 + 60 * n if alive else 60_000 + 60 * n)),
            "memory_limit_mb": 1024,
            "tags": ["index"] if n % 3 else ["index", "slow"],
            "calendar": ["NSE", "NFO", "MCX"][n % 3],
            "timezone": "Asia/Kolkata",
            "scheduled": True,
            "user_id": "asha" if n % 2 else "ravi",
            "quiet": n == 4,
        }
        self.logs.setdefault(id_, [])
        for k in range(300):
            self.print(
                id_,
                f"{'INFO' if k % 9 else 'WARNING'} bar {k} close={100 + math.sin(k / 9):.2f}",
                at=now - 300 + k,
                quiet=True,
            )
        if alive:
            self.usage[id_] = (2.0, 80.0 + 7 * (n % 30))

    # -- Source

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.heard if self.link != "live" else 0.2

    def subscribe(self, changed: Callable[[set[str], bool], None]) -> Callable[[], None]:
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed)

    def change(self, id_: str, **fields: Any) -> None:
        """Change a row as the supervisor would; call on the loop."""
        self.rows[id_] = {**self.rows[id_], **fields}
        for changed in list(self._subscribers):
            changed({id_}, False)

    def set_link(self, link: str) -> None:
        """The supervisor goes or comes back."""
        self.link, self.heard = link, time.monotonic()
        for changed in list(self._subscribers):
            changed(set(), True)

    def remove(self, id_: str) -> None:
        del self.rows[id_]
        for changed in list(self._subscribers):
            changed({id_}, False)

    def second(self) -> None:
        """What changes in a second: samples and log lines."""
        for id_, row in self.rows.items():
            if row["state"] == "running":
                cpu, memory = self.usage.get(id_, (2.0, 90.0))
                self.usage[id_] = (
                    max(0.0, (cpu or 0) + self.random.uniform(-3, 3.2)) % 130,
                    max(20.0, (memory or 0) + self.random.uniform(-1, 1.1)),
                )
            else:
                self.usage.pop(id_, None)
        self.host["cpu_percent"] = 20 + self.random.random() * 8

    async def run(self) -> None:
        """Let time pass."""
        while True:
            await asyncio.sleep(1)
            self.second()

    # -- Calls

    def print(self, id_: str, text: str, at: float | None = None, quiet: bool = False) -> None:
        """The strategy prints a line."""
        cursor = f"1-{next(self._cursor)}"
        line = {"time": stamp(at or time.time()), "text": text, "run_id": self.rows[id_]["run_id"], "cursor": cursor}
        self.logs[id_].append(line)
        if not quiet:
            for stream in list(self._streams.get(id_, ())):
                stream.put(StreamItem("line", cursor, {"log": text, "time": line["time"], "run_id": line["run_id"]}))

    def flood(self, id_: str, count: int) -> None:
        """The strategy prints much at once."""
        for n in range(count):
            self.print(id_, f"flood {n}")

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        self.calls_made.append((method, path, body))
        if self.delay_s:
            threading.Event().wait(self.delay_s)
        parts = path.split("/")
        if path == "/api/panic":
            alive = [id_ for id_, row in self.rows.items() if row["state"] == "running"]
            for id_ in alive:
                self._later(self.change, id_, state="stopped", why="panic", pid=None)
            self.supervisor |= {"state": "paused", "why": "panic by tester", "panic": True}
            return {"stopped": alive, "left": []}
        if path in ("/api/pause", "/api/resume"):
            if (body or {}).get("dry_run"):
                return {"would_start": [{"id": "ema", "why": "in its window"}]}
            self.supervisor |= {
                "state": "paused" if path.endswith("pause") else "running",
                "why": "paused by tester",
                "panic": False,
            }
            self._later(self.set_link, self.link)
            return {}
        if path == "/api/schedule/explain":
            return self._explain(body["schedule"])
        if path == "/api/calendars":
            return {
                "calendars": [
                    {"name": name, "timezone": "Asia/Kolkata", "warning": None} for name in ("NSE", "NFO", "MCX")
                ]
            }
        if path == "/api/calendar-overrides":
            return {"overrides": self.overrides}
        if path.startswith("/api/calendars/") and method != "GET":
            about = _about(body["kind"]) if method == "PUT" else (query or {}).get("about", "day")
            taken = [row for row in self.overrides if row["date"] == parts[5] and _about(row["kind"]) == about]
            self.overrides = [row for row in self.overrides if row not in taken]
            if method == "PUT":
                if not body["why"].strip():
                    raise InvalidValue("why is missing", fields={"why": "is missing; write a reason"})
                sessions = [f"{one['open']}-{one['close']}" for one in body.get("windows", ())]
                row = {"kind": body["kind"], "calendars": [parts[3]], "date": parts[5], "sessions": sessions}
                row["partial"] = bool(body.get("partial"))
                row["days"] = ["mon", "tue"] if body.get("days") else []
                self.overrides.append({**row, "reason": body["why"], "line": 7})
            self._later(self.happen, "calendar", None, f"{parts[3]} {parts[5]} changed")
            return {}
        if path.startswith("/api/calendars/"):
            closed = {row["date"] for row in self.overrides if row["kind"] == "closed"}
            today = int(time.time()) // 86400 * 86400
            return [
                {
                    "date": stamp(day)[:10],
                    "open": stamp(day + 13500),
                    "close": stamp(day + 36000),
                    "kind": "regular",
                    "why": "",
                }
                for day in range(today, today + 40 * 86400, 86400)
                if stamp(day)[:10] not in closed
            ]
        if path == "/api/events":
            return {"events": self.events}
        if path == "/api/week":
            return {
                "rows": [
                    {"id": id_, "start": row["next_start"], "stop": stamp(time.time() + 50_000), "why": "09:20"}
                    for id_, row in self.rows.items()
                ]
            }
        if path == "/api/strategies" and method == "POST":
            if isinstance(body, dict):
                self._later(self.appear, body["id"])
            return {"id": "new", "config": {"user_id": "tester"}}
        if len(parts) >= 4 and parts[2] == "strategies":
            id_ = unquote(parts[3])
            if id_ not in self.rows:
                raise NotFound(f"there is no strategy {id_!r}", code="STRATEGY_NOT_FOUND")
            return self._strategy(method, id_, parts[4:], dict(query or {}), body)
        return {}

    def _strategy(self, method: str, id_: str, rest: list[str], query: dict[str, Any], body: Any) -> Any:
        verb = rest[0] if rest else ""
        if verb == "start":
            if "refuse" in id_:
                raise Conflict(
                    f"cannot start {id_}: strategies/scripts/{id_}.py has a syntax error on line 12:"
                    " '(' was never closed"
                )
            self._later(
                self.change,
                id_,
                state="running",
                why="started by hand",
                pid=31000,
                started=stamp(time.time()),
                exit_code=None,
            )
            return {"changed": True, "strategy": {**self.rows[id_], "state": "running"}}
        if verb in ("stop", "kill"):
            self._later(
                self.change,
                id_,
                state="stopped",
                why="stopped by hand",
                pid=None,
                started=None,
                exit_code=None,
                signal="SIGTERM",
            )
            return {"changed": True, "strategy": {**self.rows[id_], "state": "stopped"}}
        if verb == "logs" and self.endless:
            line = {**self.logs[id_][0], "text": "x" * 1500, "cursor": "0-1"}
            return {"lines": [line] * int(query.get("lines", 200)), "before": "0-1"}
        if verb == "logs":
            lines = self.logs[id_]
            end = len(lines)
            if query.get("before"):
                end = next((n for n, line in enumerate(lines) if line["cursor"] == query["before"]), 0)
            first = max(0, end - int(query.get("lines", 200)))
            return {"lines": lines[first:end], "before": lines[first]["cursor"] if first else None}
        if verb == "usage" and not self.samples:
            return {"step_s": 5, "t": [], "cpu_percent": [], "memory_mb": []}
        if verb == "usage":
            now = time.time()
            t = [now - 600 + 5 * n for n in range(120)]
            return {
                "step_s": 5,
                "t": t,
                "cpu_percent": [4 + 3 * math.sin(n / 7) for n in range(120)],
                "memory_mb": [80 + n / 9 for n in range(120)],
            }
        if verb == "" and method == "GET":
            return {**self.rows[id_], "config": self.config(id_)}
        if verb == "" and method == "PATCH":
            self.configs[id_] = merge_patch(self.config(id_), body)
            return {**self.rows[id_], "config": self.configs[id_]}
        if verb == "" and method == "DELETE":
            self._later(self.remove, id_)
            return {"removed": id_}
        if verb == "source":
            if method == "PUT":
                self.sources[id_] = body
                return {}
            return self.sources.setdefault(id_, "print('hello')\n")
        if verb == "versions":
            return {
                "versions": [
                    {
                        "n": 2,
                        "sha": "b2" * 20,
                        "created": stamp(time.time()),
                        "by": "asha",
                        "current": True,
                        "live": False,
                    },
                    {
                        "n": 1,
                        "sha": "a1" * 20,
                        "created": stamp(time.time() - 90000),
                        "by": "ravi",
                        "current": False,
                        "live": True,
                    },
                ]
            }
        if verb == "live":
            self.live_reads.append("&".join(sorted(query)))
            return self.reporting.setdefault(id_, Reporting()).answer(query)
        if verb == "parameters":
            return self.parameters.get(id_) or {"class": None, "parameters": [], "problem": None}
        if verb == "diff":
            return {"diff": "--- v1\n+++ working\n@@ -1 +1 @@\n-print('<i>old</i>')\n+print('<b>new</b>')\n"}
        if verb == "runs":
            now = time.time()
            return {
                "runs": [
                    {
                        "run_id": self.rows[id_]["run_id"],
                        "id": id_,
                        "version": 2,
                        "mode": "paper",
                        "started": stamp(now - 7200 * n - 3600),
                        "ended": stamp(now - 7200 * n) if n else None,
                        "duration_s": 3600.0,
                        "exit_code": n % 2,
                        "signal": None,
                        "reason": "crashed <b>hard</b>" if n % 2 else "stopped by hand",
                        "stopped_by_us": n % 2 == 0,
                        "started_by": "schedule",
                    }
                    for n in range(12)
                ]
            }
        return {"changed": True, "strategy": self.rows[id_]}

    def config(self, id_: str) -> dict[str, Any]:
        """The configuration, as the model makes it."""
        if id_ not in self.configs:
            schedule = {
                "enabled": True,
                "windows": [{"start": "09:20", "stop": "15:15", "days": ["mon-fri"]}],
                "calendar": "NSE",
            }
            self.configs[id_] = Strategy.from_config(id_, {"file_path": f"{id_}.py", "schedule": schedule}).config()
        return self.configs[id_]

    def _explain(self, schedule: dict[str, Any]) -> dict[str, Any]:
        now = time.time()
        rule = schedule["windows"][0]["start"] if schedule["windows"] else ""
        boundaries = (
            [{"at": stamp(now + 3600 * n), "action": "stop" if n % 2 else "start", "rule": rule} for n in range(10)]
            if rule
            else []
        )
        return {"run": False, "why": "before its window", "until": None, "boundaries": boundaries, "warnings": []}

    def happen(self, type_: str, id_: str | None, message: str) -> None:
        """An event, as the supervisor records it."""
        seq = len(self.events) + 1
        event = {
            "seq": seq,
            "time": stamp(time.time()),
            "type": type_,
            "id": id_,
            "by": "supervisor",
            "message": message,
        }
        self.events.append(event)
        for stream in list(self._streams.get("events", ())):
            stream.put(StreamItem("event", str(seq), event))

    def report(self, id_: str, what: str, *args: Any, **fields: Any) -> None:
        """Let a strategy report: see Reporting."""
        getattr(self.reporting.setdefault(id_, Reporting()), what)(*args, **fields)

    def declare(self, id_: str, **answer: Any) -> None:
        """Give a strategy's script a Param class."""
        self.parameters[id_] = {**PARAMETERS, **answer}

    def configure(self, id_: str, **values: Any) -> None:
        """Change the configuration."""
        self.configs[id_] = {**self.config(id_), **values}

    def appear(self, id_: str) -> None:
        """A strategy that somebody else made."""
        self.add(id_, "stopped", len(self.rows))
        for changed in list(self._subscribers):
            changed({id_}, False)

    def _later(self, work: Callable[..., None], *args: Any, **fields: Any) -> None:
        self.loop.call_soon_threadsafe(lambda: work(*args, **fields))

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def on_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Changes made by calls (in worker threads) happen here."""
        self._loop = loop

    def stream(self, path: str, last_id: str = "") -> FakeStream:
        id_ = "events" if path.startswith("/api/events") else unquote(path.split("/")[3])
        line: queue.Queue[StreamItem | None] = queue.Queue()
        self._streams.setdefault(id_, []).append(line)
        return FakeStream(line, lambda: self._streams[id_].remove(line))


class FakeStream:
    """An open stream of log lines."""

    def __init__(self, items: queue.Queue[StreamItem | None], left: Callable[[], None]) -> None:
        self._items = items
        self._left = left

    def __iter__(self) -> Iterator[StreamItem]:
        while (item := self._items.get()) is not None:
            yield item
        self._left()

    def close(self) -> None:
        self._items.put(None)
