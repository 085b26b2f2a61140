"""Fakes for the supervisor's core: a clock whose hands the test turns, and runners that do what the test says."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stratpanel.process.identity import boot_id
from stratpanel.process.paths import Runtime
from stratpanel.supervisor.clock import Clock
from stratpanel.supervisor.configuration.settings import Settings
from stratpanel.supervisor.core import Core
from stratpanel.supervisor.launch import LineClosed
from stratpanel.supervisor.unit import Unit

Message = dict[str, Any]


class FakeTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock(Clock):
    """Time stands still until `advance`; `jump` turns the wall clock alone, as a suspend or NTP does."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self._wall = start
        self._monotonic = 1000.0
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (self._monotonic + delay_s, next(self._count), timer))
        return timer

    def jump(self, seconds: float) -> None:
        self._wall += seconds

    async def advance(self, seconds: float) -> None:
        end = self._monotonic + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._wall += due - self._monotonic
            self._monotonic = due
            if timer.callback is not None:
                timer.callback()
            await settle()
        self._wall += end - self._monotonic
        self._monotonic = end
        await settle()


async def settle(turns: int = 30) -> None:
    """Let the loop run until what was posted has been done; threads included, as far as they are quick."""
    for _ in range(turns):
        await asyncio.sleep(0)


class FakeRunner:
    """A line to a runner, and the runner behind it."""

    _pids = itertools.count(1_000_000)

    def __init__(self, processes: FakeProcesses, spec: Mapping[str, Any]) -> None:
        self.processes = processes
        self.spec = dict(spec)
        self.id: str = spec["id"]
        self.pid = next(self._pids)
        self.requests: list[Message] = []
        self.on_message: Callable[[Message], None] = lambda _m: None
        self.on_closed: Callable[[], None] = lambda: None
        self.obedient = True
        self.ended = False
        self.status: Message = {
            "v": 1,
            "id": spec["id"],
            "run_id": spec["run_id"],
            "phase": "forked",
            "runner": {"pid": self.pid, "boot_id": processes.boot_id},
            "leader": {"pid": self.pid + 500_000, "start_ticks": 1},
            "leader_exit": None,
            "members": [],
            "started": processes.clock.time(),
            "stop_at": spec.get("stop_at"),
            "stop_at_reason": "window",
            "stop": None,
            "dropped_bytes": 0,
            "log_path": spec["log"]["path"],
            "spec": {k: v for k, v in spec.items() if k != "env"},
        }

    def say(self, **changes: Any) -> None:
        self.status = {**self.status, **changes}
        self.on_message({"ev": "status", "status": self.status})

    def run(self) -> None:
        self.say(phase="running")

    def exit(self, code: int | None = 0, signal: str | None = None, *, told: bool = True, **more: Any) -> Message:
        self.ended = True
        record = {
            "v": 1,
            "id": self.id,
            "run_id": self.spec["run_id"],
            "started": self.status["started"],
            "ended": self.processes.clock.time(),
            "exit_code": code,
            "signal": signal,
            "route": "parent",
            "stopped_by_us": self.status["stop"] is not None,
            "stop": self.status["stop"],
            "reason": "",
            "emptied": "subreaper",
            "leftover": [],
            "dropped_bytes": 0,
            "version": self.spec.get("version"),
            "mode": self.spec.get("mode"),
            "started_by": self.spec.get("started_by"),
            "instance": self.spec.get("instance"),
            "began": True,
            **more,
        }
        self.processes.living.pop(self.id, None)
        if told:
            self.on_message({"ev": "exit", "record": record})
        return record

    def die(self) -> None:
        """The runner's process is gone; its strategy lives on."""
        asyncio.get_running_loop().call_soon(self.on_closed)

    async def request(self, op: str, **fields: Any) -> Message:
        self.requests.append({"op": op, **fields})
        if self.ended:
            raise LineClosed("gone")
        if op in ("stop", "kill"):
            self.say(phase="stopping", stop={"reason": fields["reason"], "by": fields["by"]})
            if self.obedient or op == "kill":
                asyncio.get_running_loop().call_soon(
                    lambda: self.exit(None, "SIGKILL") if op == "kill" else self.exit(0)
                )
        if op == "deadline":
            self.status["stop_at"] = fields["at"]
        return {"ok": True}

    def close(self) -> None:
        self.on_closed = lambda: None


class FakeProcesses:
    """The process layer: spawns FakeRunners, remembers them, and can refuse."""

    launcher_pid: int | None = 4242

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.boot_id = boot_id()
        self.runners: list[FakeRunner] = []
        self.living: dict[str, FakeRunner] = {}
        self.refusal: Exception | None = None
        self.behave: Callable[[FakeRunner], None] = lambda runner: runner.run()
        self.gate: asyncio.Event | None = None
        self.ended: list[str] = []
        self.deaf = False

    def last(self, id: str) -> FakeRunner:
        return next(runner for runner in reversed(self.runners) if runner.id == id)

    async def open(self) -> None: ...

    def close(self) -> None: ...

    async def spawn(
        self, spec: Mapping[str, Any], on_message: Callable[[Message], None], on_closed: Callable[[], None]
    ) -> FakeRunner:
        if self.gate is not None:
            await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        assert spec["id"] not in self.living, f"{spec['id']} would run twice"
        runner = FakeRunner(self, spec)
        runner.on_message, runner.on_closed = on_message, on_closed
        self.runners.append(runner)
        self.living[runner.id] = runner
        asyncio.get_running_loop().call_soon(self.behave, runner)
        return runner

    def attach(
        self, id: str, on_message: Callable[[Message], None], on_closed: Callable[[], None]
    ) -> FakeRunner | None:
        runner = self.living.get(id)
        if runner is None or self.deaf:
            return None
        runner.on_message, runner.on_closed = on_message, on_closed
        asyncio.get_running_loop().call_soon(lambda: runner.say())
        return runner

    async def down(self) -> None: ...

    def live_runs(self) -> list[Message]:
        return [runner.status for runner in self.living.values()]

    def end_run(self, id: str, *, grace_s: float, by: str, reason: str, kill: bool) -> None:
        self.ended.append(id)


class FakeHistory:
    problem: str | None = None

    def __init__(self) -> None:
        self.seq = 0
        self.run_rows: dict[str, Message] = {}
        self.event_rows: list[Message] = []

    def append_event(self, event: Message) -> Message:
        self.seq += 1
        row = {**event, "seq": self.seq, "time": "2026-11-22T10:00:00.000+00:00"}
        self.event_rows.append(row)
        return row

    def record_run(self, run: Message) -> None:
        known = {key: value for key, value in run.items() if value is not None}
        self.run_rows.setdefault(run["run_id"], {}).update(known)

    def add_usage(self, t: float, figures: Any) -> None: ...

    def runs(self, id: str | None = None, limit: int = 100) -> list[Message]:
        return list(self.run_rows.values())

    def events(self, since: int = 0, limit: int = 1000, *, newest: bool = False) -> list[Message]:
        return self.event_rows

    def event_bounds(self) -> tuple[int, int]:
        return 1, self.seq

    def usage(self, id: str, since: float | None = None, step: int | None = None) -> Message:
        return {}

    def succeeded_since(self, id: str, t: float) -> bool:
        return False

    def forget(self, id: str) -> None: ...


class FakeSecrets:
    def for_run(self, mode: str, id: str) -> dict[str, str]:
        return {"BROKER_KEY": f"{mode}-secret"}

    def mask(self, text: str) -> str:
        return text.replace("paper-secret", "•••")

    def remember(self, *values: str) -> None: ...


class Bench:
    """A core on fakes, in a workspace of its own."""

    def __init__(self, workspace: Path, clock: FakeClock | None = None, processes: FakeProcesses | None = None) -> None:
        (workspace / "strategies" / "scripts").mkdir(parents=True, exist_ok=True)
        self.workspace = workspace
        self.runtime = Runtime(workspace)
        self.runtime.make()
        self.clock = clock or FakeClock()
        self.processes = processes or FakeProcesses(self.clock)
        self.history = FakeHistory()
        self.core = Core(
            self.runtime,
            Settings(timezone="Asia/Kolkata"),
            history=self.history,
            secrets=FakeSecrets(),
            clock=self.clock,
            processes=self.processes,
            environ={"PATH": "/usr/bin:/bin", "HOME": "/root", "STRATPANEL_TOKEN": "leak"},
        )

    async def open(self) -> Bench:
        assert self.core.load() is None
        await self.core.open()
        await settle()
        return self

    async def add(self, id: str = "ema", **config: Any) -> Unit:
        (self.workspace / "strategies" / "scripts" / f"{id}.py").write_text("print('hello')\n")
        unit = await self.core.fleet.add(id, {"file_path": f"{id}.py", **config}, "tester")
        await settle()
        return unit

    async def until(self, unit: Unit, reached: Callable[[], bool], what: str) -> None:
        """Wait for a change of this unit that makes `reached()` true; the seconds are a deadline only."""
        assert await unit.until(reached, 10.0), f"{what} did not happen; it is {unit!r}"

    async def reach(self, unit: Unit, state: str) -> None:
        await self.until(unit, lambda: unit.state.value == state, state)

    async def ordered(self, unit: Unit) -> None:
        """Wait until the launcher was asked for a run."""
        await self.until(unit, lambda: unit.run is not None, "an order")

    async def at_work(self, unit: Unit, runs: int = 1) -> None:
        """Wait until a run says that it runs, `runs` having been made in all."""
        await self.until(
            unit,
            lambda: len(self.processes.runners) >= runs and unit.run is not None and unit.run.phase == "running",
            "a run at work",
        )

    async def started(self, unit: Unit) -> Any:
        """Start it and let it live for its start_seconds."""
        going = asyncio.create_task(self.core.actions.start(unit, by="tester"))
        await self.until(unit, lambda: unit.run is not None and unit.run.phase == "running", "a run at work")
        await self.clock.advance(1.0)
        return await going

    def events(self, id: str | None = None) -> list[str]:
        return [event["type"] for event in self.history.event_rows if id is None or event["id"] == id]

    async def close(self) -> None:
        await self.core.close()
