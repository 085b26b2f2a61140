"""A supervisor core in memory for tests of the API and the client: real model, real events, real logs, no processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from stratpanel.model import schema
from stratpanel.model.errors import Conflict, InvalidValue, NotFound, PreconditionFailed
from stratpanel.model.ids import check_id, find_id
from stratpanel.model.strategy import Strategy
from stratpanel.model.values import Schedule
from stratpanel.supervisor.events import EventLog
from stratpanel.supervisor.logs.reader import LogReader

Json = dict[str, Any]


@dataclass
class Result:
    """An action's result."""

    changed: bool
    strategy: Json
    warnings: list[str] = field(default_factory=list)


@dataclass
class FakeTick:
    """One sample."""

    t: float
    cpu: dict[str, float]
    mem: dict[str, float]
    host: dict[str, float]


class FakeCore:
    """Implements ports.Core; `calls` records what the API asked for."""

    def __init__(self, workspace: Path, ids: list[str] | None = None) -> None:
        self.workspace = workspace
        self.events = EventLog()
        self.strategies: dict[str, Strategy] = {}
        self.rows: dict[str, Json] = {}
        self.etags: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.gate: asyncio.Event | None = None
        self.state = "running"
        self.tokens: list[str] = []
        self.kept_events: list[Json] = []  # of supervisors before this one
        self._watchers: list[Callable[[set[str], set[str], bool], None]] = []
        self._tickers: list[Callable[[Any], None]] = []
        (workspace / "log" / "strategies").mkdir(parents=True, exist_ok=True)
        for id in ids or []:
            self._register(id)

    def mask(self, text: str) -> str:
        for secret in ("hunter2", *self.tokens):
            text = text.replace(secret, "***")
        return text

    def tokens_are(self, tokens: Collection[str], *, by: str = "") -> None:
        self.tokens = list(tokens)
        if by:
            self.events.append("token", None, by, "replaced")

    def _register(self, id: str) -> None:
        self.strategies[id] = Strategy.from_config(id, {"file_path": f"{id}.py"})
        log_path = self.workspace / "log" / "strategies" / f"{id}.log"
        self.rows[id] = {
            "id": id, "name": id, "state": "stopped", "why": "never started", "pid": None, "runner_pid": None,
            "run_id": None, "version": None, "mode": "paper", "hold": "none", "hold_detail": None, "uptime_s": None,
            "cpu_percent": None, "memory_mb": None, "exit_code": None, "signal": None, "restarts": 0,
            "next_start": None, "next_stop": None, "log_path": str(log_path), "started": None,
        }  # fmt: skip
        self._configured(id)

    def _configured(self, id: str) -> None:
        config = self.strategies[id].config()
        self.etags[id] = self.strategies[id].etag()
        self.rows[id].update(
            name=config["name"], tags=config["tags"], user_id=config["user_id"], priority=config["priority"],
            scheduled=config["schedule"]["enabled"], calendar=config["schedule"]["calendar"],
            timezone=config["schedule"]["timezone"], memory_limit_mb=config["limits"]["memory_mb"],
        )  # fmt: skip

    # -- reading

    def _known(self, id: str) -> str:
        if id not in self.rows:
            raise NotFound(f"there is no strategy {id!r}", code="STRATEGY_NOT_FOUND")
        return id

    def status(self, id: str) -> Json:
        return dict(self.rows[self._known(id)])

    def statuses(self) -> list[Json]:
        return [dict(row) for row in self.rows.values()]

    def supervisor_status(self) -> Json:
        return {
            "pid": os.getpid(), "launcher_pid": 1, "started": "2026-11-20T09:00:00+05:30", "version": "0.1.0",
            "url": "http://127.0.0.1", "state": self.state, "why": "",
        }  # fmt: skip

    def config(self, id: str) -> Json:
        return self.strategies[self._known(id)].config()

    def etag(self, id: str) -> str:
        return self.etags[self._known(id)]

    def explain(self, id: str, at: datetime | None) -> Json:
        self._known(id)
        return {"run": False, "why": "not scheduled; start it by hand", "until": None, "boundaries": []}

    def explain_schedule(self, schedule: Json, mode: str, at: datetime | None, count: int) -> Json:
        schema.read(Schedule, schedule, "schedule")
        return {"run": False, "why": "no window", "until": None, "boundaries": []}

    def calendar(self, name: str, from_: date | None, to: date | None) -> list[Json]:
        if name != "NSE":
            raise NotFound(f"there is no calendar {name!r}", code="CALENDAR_NOT_FOUND")
        day = (from_ or date(2026, 11, 20)).isoformat()
        return [{"date": day, "open": f"{day}T03:45:00Z", "close": f"{day}T10:00:00Z", "kind": "regular", "why": ""}]

    def calendars(self) -> Json:
        nse = {"name": "NSE", "timezone": "Asia/Kolkata", "valid_through": "2027-12-31", "warning": None}
        return {"calendars": [nse], "warnings": []}

    def week(self) -> Json:
        return {"text": "", "rows": []}

    def log_reader(self, id: str) -> LogReader:
        return LogReader(self.rows[self._known(id)]["log_path"], self.log_runs(id))

    def log_runs(self, id: str) -> list[tuple[str, datetime, datetime | None]]:
        run_id = self.rows[id]["run_id"]
        return [(run_id, datetime(2020, 1, 1, tzinfo=UTC), None)] if run_id else []

    def on_change(self, callback: Callable[[set[str], set[str], bool], None]) -> Callable[[], None]:
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def on_tick(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        self._tickers.append(callback)
        return lambda: self._tickers.remove(callback)

    # -- driving it from tests

    def change(self, id: str, **fields: Any) -> None:
        """Set status fields and tell everybody."""
        self.rows[id].update(fields)
        self.tell({id})

    def _new(self, id: str) -> None:
        check_id(id)
        if find_id(id, self.rows):
            raise Conflict(f"{id} is registered already", code="ID_TAKEN")

    def register_missing(self, ids: list[str]) -> None:
        """Bring back what was removed."""
        for id in ids:
            if id not in self.rows:
                self._register(id)
                self.tell({id})

    def tell(self, changed: set[str], removed: set[str] | None = None, supervisor: bool = False) -> None:
        """As the real one does it: at the end of this turn of the loop."""

        def now() -> None:
            for callback in list(self._watchers):
                callback(changed, removed or set(), supervisor)

        asyncio.get_running_loop().call_soon(now)

    def tick(self, t: float, cpu: dict[str, float], mem: dict[str, float]) -> None:
        for callback in list(self._tickers):
            callback(FakeTick(t, cpu, mem, {"cpu_percent": 1.0, "memory_mb": 100.0, "memory_total_mb": 1000.0}))

    def print_line(self, id: str, text: str) -> None:
        """What the strategy would have printed."""
        with open(self.rows[id]["log_path"], "a", encoding="utf-8") as file:
            file.write(text + "\n")

    # -- acting

    async def _act(self, name: str, id: str, by: str, *more: Any) -> None:
        self._known(id)
        self.calls.append((name, id, by, *more))
        if self.gate is not None:
            await self.gate.wait()

    async def start(self, id: str, *, by: str, params: Any = None, args: Any = None, deploy: Any = None) -> Result:
        await self._act("start", id, by, params, args, deploy)
        if self.state == "panic":
            raise Conflict("panic is on; `stratpanel resume` first", code="PANIC")
        if (params or {}).get("explode"):
            raise RuntimeError("a fault of ours with a secret in it")
        changed = self.rows[id]["state"] != "running"
        self.change(id, state="running", why="started by hand", pid=4711, run_id=f"{id}~1", hold="started")
        self.events.append("started", id, by, "started", strategy=self.status(id))
        return Result(changed, self.status(id))

    async def stop(self, id: str, *, by: str, why: str = "") -> Result:
        await self._act("stop", id, by, why)
        changed = self.rows[id]["state"] == "running"
        self.change(id, state="stopped", why=f"stopped by {by}", pid=None, hold="stopped", signal="SIGTERM")
        self.events.append("stopped", id, by, "stopped", strategy=self.status(id))
        return Result(changed, self.status(id))

    async def kill(self, id: str, *, by: str) -> Result:
        return await self.stop(id, by=by)

    async def restart(self, id: str, *, by: str) -> Result:
        await self.stop(id, by=by)
        return await self.start(id, by=by)

    async def reset(self, id: str, *, by: str) -> Result:
        await self._act("reset", id, by)
        return Result(False, self.status(id))

    async def pause(self, id: str | None, *, by: str, why: str = "") -> Any:
        self.calls.append(("pause", id, by, why))
        if id is None:
            self.state = "paused"
            self.tell(set(), supervisor=True)
            return {}
        self.change(id, hold="paused")
        return Result(True, self.status(id))

    async def resume(self, id: str | None, *, by: str, dry_run: bool = False) -> Any:
        self.calls.append(("resume", id, by, dry_run))
        if id is None:
            if not dry_run:
                self.state = "running"
                self.tell(set(), supervisor=True)
            return {"would_start": [{"id": "ema", "why": "in session"}]}
        self.change(id, hold="none")
        return Result(True, self.status(id))

    async def panic(self, *, by: str, why: str = "") -> Json:
        self.calls.append(("panic", by, why))
        running = [id for id, row in self.rows.items() if row["state"] == "running"]
        for id in running:
            self.change(id, state="stopped", hold="panic")
        return {"stopped": running, "left": []}

    async def reload(self, *, by: str) -> Json:
        self.calls.append(("reload", by))
        return {}

    async def down(self, keep: bool, *, by: str) -> Json:
        self.calls.append(("down", keep, by))
        return {}

    async def add(self, id: str | None, *, by: str, path: Any = None, source: Any = None, upload: Any = None) -> Json:
        self.calls.append(("add", id, path, source, upload and (upload[0], len(upload[1])), by))
        new = id or Path(upload[0] if upload else path).stem
        self._new(new)
        self._register(new)
        self.sources[new] = source or (upload[1].decode("utf-8", "replace") if upload else "")
        self.tell({new})
        return self.status(new)

    async def rename(self, id: str, new: str, *, by: str) -> Json:
        self._new(new)
        await self.remove(id, by=by)
        self._register(new)
        self.tell({new}, {id})
        return self.status(new)

    async def duplicate(self, id: str, new: str, *, by: str) -> Json:
        return await self.add(new, by=by, source=await self.source(id))

    async def remove(self, id: str, *, by: str) -> None:
        if self.rows[self._known(id)]["state"] not in ("stopped", "exited", "fatal"):
            raise Conflict(f"{id} is running; stop it first", code="STRATEGY_RUNNING")
        del self.rows[id], self.strategies[id]
        self.tell(set(), {id})

    async def patch(self, id: str, merge: Json, if_match: str | None, *, by: str) -> None:
        if if_match is not None and if_match != self.etag(id):
            raise PreconditionFailed(f"{id} was changed by somebody else meanwhile; read it again")
        schema.patch(self.strategies[id], merge)
        self._configured(id)
        self.tell({id})

    # -- code and past

    async def deploy(self, id: str, *, by: str) -> Result:
        await self._act("deploy", id, by)
        self.change(id, version=(self.rows[id]["version"] or 0) + 1)
        return Result(True, self.status(id), ["line 3 writes beside __file__"])

    async def rollback(self, id: str, n: int, *, by: str) -> Result:
        await self._act("rollback", id, by, n)
        self.change(id, version=n)
        return Result(True, self.status(id))

    async def promote(self, id: str, *, by: str, mode: str = "live", version: int | None = None) -> Result:
        await self._act("promote", id, by, mode, version)
        self.change(id, mode=mode)
        return Result(True, self.status(id))

    async def source(self, id: str) -> str:
        self._known(id)
        return self.sources.get(id, "print('hello')\n")

    async def put_source(self, id: str, text: str, *, by: str) -> Json:
        self._known(id)
        try:
            compile(text, id, "exec")
        except SyntaxError as error:
            raise InvalidValue(f"line {error.lineno}: {error.msg}", fields={"source": f"line {error.lineno}"}) from None
        self.sources[id] = text
        return {"saved": True}

    async def versions(self, id: str) -> list[Json]:
        self._known(id)
        return [{"n": 1, "sha": "ab" * 20, "at": "2026-11-20T09:00:00+05:30", "by": "api", "mode": "paper"}]

    async def version(self, id: str, n: int) -> Json:
        if n != 1:
            raise NotFound(f"{id} has no version {n}", code="VERSION_NOT_FOUND")
        return {**(await self.versions(id))[0], "source": "print(1)\n"}

    async def diff(self, id: str, from_: int | str | None, to: int | str | None) -> Json:
        self._known(id)
        return {"from": from_ or 1, "to": to or "working", "diff": "--- 1\n+++ working\n"}

    async def runs(self, id: str, limit: int = 100) -> list[Json]:
        self._known(id)
        return [{"run_id": f"{id}~1", "started": "2026-11-20T09:20:00+05:30", "ended": None, "exit_code": None}][:limit]

    async def live(self, id: str, run: str | None, since: float | None, limit: int, after: int = 0) -> Json:
        self._known(id)
        return {"run_id": None, "runs": [], "t": [], "metrics": {}, "signals": [], "notes": [], "heartbeat": None,
                "cut": False, "next": after}  # fmt: skip

    async def parameters(self, id: str) -> Json:
        self._known(id)
        return {"class": None, "parameters": [], "problem": None}

    async def usage(self, id: str, since: float | None, step: float | None) -> Json:
        self._known(id)
        return {"step_s": step or 1.0, "t": [1.0, 2.0], "cpu_percent": [0.5, None], "memory_mb": [10.0, None],
                "threads": [1, None], "open_files": [4, None]}  # fmt: skip

    async def clear_log(self, id: str, *, by: str) -> None:
        await self._act("clear_log", id, by)
        Path(self.rows[id]["log_path"]).write_text("")

    async def past_events(self, since: int | None, limit: int) -> list[Json]:
        return (self.events.since(None) or [])[-limit:]

    async def events_after(self, after: int, limit: int) -> list[Json] | None:
        kept = [*self.kept_events, *(self.events.since(None) or [])]
        if not kept or not kept[0]["seq"] - 1 <= after <= kept[-1]["seq"]:
            return None
        return [event for event in kept if event["seq"] > after][:limit]

    async def overrides(self, calendar: str | None) -> list[Json]:
        return [
            {"kind": "closed", "calendars": ["NSE"], "date": "2026-12-01", "reason": "x", "line": 1}
            | {"sessions": [], "partial": False, "days": []}
        ]

    async def override_calendar(
        self, name: str, day: date, override: Json | None, *, about: str = "day", by: str
    ) -> Json:
        self.calls.append(("override", name, day, override, about, by))
        return {"name": name, "date": day.isoformat(), "override": override}
