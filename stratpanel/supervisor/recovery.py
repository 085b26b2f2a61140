"""Finding out what lives when nobody told us: at our own start, and when the line to a runner closes.

Order of trust: an exit record, a runner that answers, then the process table. A run is called ended only on the word of
one of these; while any doubt is left the strategy keeps its state, says so in `why`, and cannot be started.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stratpanel.model.states import State
from stratpanel.process.errors import ProcessError
from stratpanel.process.identity import boot_id
from stratpanel.process.records import read_json
from stratpanel.supervisor.unit import Run, Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core
    from stratpanel.supervisor.launch import Message, RunnerLine

log = logging.getLogger("stratpanel.recovery")

LOOK_S: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # waits between looks; the last one repeats
HELLO_S: Final = 3.0  # a runner says its status as soon as we connect
PATIENCE_S: Final = 5.0  # a replacement runner is made within a second; after this the process table is asked
SETTLE_S: Final = 3.0  # how long the first reconcile waits for runners to answer


@dataclass(frozen=True, slots=True)
class Records:
    """What lies on disk about the latest run of one strategy."""

    id: str
    status: dict[str, Any] | None
    exit: dict[str, Any] | None
    outcome: dict[str, Any] | None
    problem: str = ""


class Recovery:
    """Reattaches to what lives and takes in what ended."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._looking: dict[str, asyncio.Task[None]] = {}

    # -- at our start -------------------------------------------------------------------------------------------------

    async def boot(self) -> None:
        """Rebuild every strategy's state from records and runners; returns when all that can answer has answered."""
        found = await asyncio.to_thread(self._read_all)
        for records in found:
            unit = self._core.units.get(records.id)
            if unit is None and records.status is not None and self._may_live(records):
                unit = self._core.unregistered(records.id, records.status)
            if unit is not None:
                self._take(unit, records)
        looking = list(self._looking.values())
        if looking:
            await asyncio.wait(looking, timeout=SETTLE_S)

    def _read_all(self) -> list[Records]:
        return [self._read(id) for id in self._core.runtime.strategy_ids()]

    def _read(self, id: str) -> Records:
        runtime = self._core.runtime
        parts: list[dict[str, Any] | None] = []
        problems: list[str] = []
        for path in (runtime.status(id), runtime.exit(id), runtime.run_dir(id) / "outcome.json"):
            try:
                parts.append(read_json(path))
            except (ProcessError, OSError) as error:  # said in the log and, if the run lives, by its runner
                problems.append(str(error))
                parts.append(None)
        return Records(id, parts[0], parts[1], parts[2], "; ".join(problems))

    def is_on_record(self, id: str, run_id: str) -> bool:
        """True when the status or exit record on disk is this run's. For worker threads."""
        records = self._read(id)
        return any(record is not None and record.get("run_id") == run_id for record in (records.status, records.exit))

    def _may_live(self, records: Records) -> bool:
        status, exit = records.status, records.exit
        if status is not None and status.get("copied"):
            return False  # it came with a copy of the workspace: those processes belong to the original
        return status is not None and not (exit is not None and exit.get("run_id") == status.get("run_id"))

    def _take(self, unit: Unit, records: Records) -> None:
        if records.problem:
            log.error("%s: %s", unit.id, records.problem)
        if self._may_live(records) and records.status is not None and records.status.get("phase") != "ended":
            run = self._core.starts.adopt(unit, records.status)
            if self._is_of_earlier_boot(records.status):
                unit.restore(State.STOPPED, "the machine was restarted")
                self._cut_off(unit, run, records.status)
                return
            unit.restore(State.STARTING, "looking for its runner")
            self.look_for(unit, run)
        elif records.exit is not None:
            self._take_end(unit, records.exit, records.outcome)

    def _is_of_earlier_boot(self, status: dict[str, Any]) -> bool:
        runner = status.get("runner") or {}
        return bool(runner) and runner.get("boot_id") != boot_id()

    def _cut_off(self, unit: Unit, run: Run, status: dict[str, Any]) -> None:
        """The machine went down with the run: nobody's fault and nobody's wish. What should run now, decide says."""
        record = unknown_end(run, "the machine was restarted", self._core.clock.time())
        unit.run = None
        self._core.endings.remember(unit, record, "the machine was restarted")
        self._core.books.record_end(unit, record)
        self._core.happened("exited", unit, "machine", "the machine was restarted while it ran")
        self._core.after_end(unit)

    def _take_end(self, unit: Unit, exit: dict[str, Any], outcome: dict[str, Any] | None) -> None:
        if outcome is not None and (
            outcome.get("run_id") == exit.get("run_id")
            or float(outcome.get("at") or 0) >= float(exit.get("ended") or 0)
        ):
            self._core.endings.remember(unit, exit, str(exit.get("reason") or ""))
            self._core.books.restore_outcome(unit, outcome)
            return
        run = self._core.starts.adopt(unit, {**exit, "spec": exit.get("spec") or _spec_of(exit)})
        unit.restore(State.RUNNING, "ended while the supervisor was away")
        self._core.endings.ended(unit, run, exit, away=True)

    # -- when a line closed -------------------------------------------------------------------------------------------

    def look_for(self, unit: Unit, run: Run) -> None:
        """Find this run again: a successor of its runner, or the record of its end."""
        task = self._looking.get(unit.id)
        if task is not None and not task.done():
            return
        task = asyncio.get_running_loop().create_task(self._look(unit, run), name=f"look for {unit.id}")
        self._looking[unit.id] = task

    async def _look(self, unit: Unit, run: Run) -> None:
        clock = self._core.clock
        begun, attempt = clock.monotonic(), 0
        while unit.run is run and run.phase != "ended":
            await asyncio.sleep(LOOK_S[min(attempt, len(LOOK_S) - 1)])
            attempt += 1
            if unit.run is not run or run.line is not None:
                return
            if await self._ended_on_record(unit, run) or await self._attached(unit, run):
                return
            if clock.monotonic() - begun > PATIENCE_S and await self._settled_by_processes(unit, run):
                return

    async def _ended_on_record(self, unit: Unit, run: Run) -> bool:
        records = await asyncio.to_thread(self._read, unit.id)
        if records.exit is None or records.exit.get("run_id") != run.run_id or unit.run is not run:
            return unit.run is not run
        self._core.endings.ended(unit, run, records.exit, away=True)
        return True

    async def _attached(self, unit: Unit, run: Run) -> bool:
        first: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        line: RunnerLine | None = None

        def heard(message: Message) -> None:
            if not first.done():
                first.set_result(message)
                return
            self._core.starts.heard(unit, run, message)

        def closed() -> None:
            if not first.done():
                first.cancel()
            elif unit.run is run and run.line is line:
                run.line = None
                if run.phase != "ended":
                    self.look_for_later(unit, run)

        line = self._core.processes.attach(unit.id, heard, closed)
        if line is None:
            return False
        try:
            message = await asyncio.wait_for(first, HELLO_S)
        except (TimeoutError, asyncio.CancelledError):
            line.close()
            return unit.run is not run
        if unit.run is not run:
            line.close()
            return True
        if (message.get("status") or message.get("record") or {}).get("run_id") != run.run_id:
            log.error("%s is served by a runner of another run; the one we looked for must have ended", unit.id)
            line.close()
            return False
        run.line = line
        self._welcome(unit, run, message)
        return True

    def _welcome(self, unit: Unit, run: Run, message: Message) -> None:
        """A runner answered for this run: it lives, or just told its end."""
        status = message.get("status")
        if status is None:
            self._core.starts.heard(unit, run, message)
            return
        if status.get("phase") in ("running", "stopping"):
            unit.found_alive("found running after the supervisor came back")
        self._core.starts.status(unit, run, status)
        self._core.books.record_start(unit, run, status.get("spec") or {})
        if unit.state is State.STOPPING and run.phase != "stopping":
            stop = unit.stop_wanted or {"op": "stop", "reason": "stop", "by": unit.hold.by or "supervisor"}
            self._core.stops.send(unit, stop)  # the stop was under way when its runner went
        self._core.reconciler.poke(unit.id)

    def look_for_later(self, unit: Unit, run: Run) -> None:
        """As `look_for`, once the present look has ended."""
        asyncio.get_running_loop().call_soon(self.look_for, unit, run)

    async def _settled_by_processes(self, unit: Unit, run: Run) -> bool:
        """No runner answers and there is no record of an end: ask the process table. True when that settles it."""
        try:
            living = await asyncio.to_thread(self._core.processes.live_runs)
        except (ProcessError, OSError) as error:
            unit.explain(f"no runner serves it and the process table cannot be read: {error}")
            return False
        if unit.run is not run or run.line is not None:
            return True
        mine = next((status for status in living if status.get("id") == unit.id), None)
        if mine is None:
            record = unknown_end(run, "ended while nobody could see it", self._core.clock.time())
            self._core.endings.ended(unit, run, record, away=True)
            return True
        members = mine.get("members") or ([mine["leader"]["pid"]] if mine.get("leader") else [])
        if not members:
            if unit.state is not State.LOST and unit.lost("its lock is held but no process of it can be found"):
                self._core.happened("lost", unit, "supervisor", unit.why)
            return False
        if unit.state is State.STARTING:
            unit.found_alive("")
        unit.explain(
            f"no runner serves it; alive: {', '.join(map(str, members))}; waiting for the launcher to make one"
        )
        return False

    def someone_lives(self, unit: Unit, message: Message) -> None:
        """A start was refused because a run of it lives that we do not know: attach to it, or say whom we found."""
        asyncio.get_running_loop().create_task(self._meet(unit, message))

    async def _meet(self, unit: Unit, message: Message) -> None:
        records = await asyncio.to_thread(self._read, unit.id)
        if records.status is not None and self._may_live(records) and unit.run is None:
            run = self._core.starts.adopt(unit, records.status)
            if await self._attached(unit, run):
                return
            unit.run = None
        self._core.endings.refused(unit, str(message.get("code")), str(message.get("message")))


def unknown_end(run: Run, reason: str, now: float) -> dict[str, Any]:
    """An exit record for a run whose end nobody saw: code and signal stay unknown."""
    return {
        "run_id": run.run_id,
        "started": run.started,
        "ended": now,
        "exit_code": None,
        "signal": None,
        "route": "unknown",
        "stopped_by_us": False,
        "stop": None,
        "reason": reason,
        "version": run.version,
        "mode": run.mode,
        "began": True,
    }


def _spec_of(exit: dict[str, Any]) -> dict[str, Any]:
    return {name: exit.get(name) for name in ("version", "mode", "started_by", "instance")}
