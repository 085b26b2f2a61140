"""How a strategy is started: its turn in the queue, what it needs from the disk, the order to the launcher, its first
news.

Persons, the schedule and the restart policy all come through `begin`, which returns at once; everything slow happens
in the strategy's own task. What refuses a start leaves the strategy `fatal` with the reason, never half started.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stratpanel.model.errors import Conflict, StratpanelError
from stratpanel.model.states import State
from stratpanel.process.errors import ProcessError
from stratpanel.supervisor.holds import hold_from_json, hold_to_json, since
from stratpanel.supervisor.preparation import Prepared
from stratpanel.supervisor.unit import Order, Run, Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core
    from stratpanel.supervisor.launch import Message

log = logging.getLogger("stratpanel.starts")

FIRST_NEWS_S: Final = 30.0  # from the order to the runner's first status; forking takes milliseconds
TELL_AGAIN_S: Final = 300.0  # between alerts that the disk does not take a strategy's log
AGAIN_S: Final = 60.0  # between looks at what must come before a start
ATTEMPTS: Final = 3  # orders given to launchers that die of it


class Starts:
    """Begins runs and listens to them until they are up."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def check(self, unit: Unit) -> None:
        """Raise Conflict when nothing may start this strategy now, saying why and what helps."""
        core = self._core
        if core.degraded:
            raise Conflict(f"cannot start {unit.id}: {core.degraded}", code="DEGRADED")
        if core.holds.panic.kind == "panic":
            on = since(core.holds.panic, core.zone)
            raise Conflict(f"cannot start {unit.id}: panic is on since {on}; resume first", code="PANIC")
        if unit.state is State.LOST:
            raise Conflict(
                f"cannot start {unit.id}: its lock is held but no process of it can be found; reset it first",
                code="STATE_LOST",
            )
        if unit.removed:
            raise Conflict(f"cannot start {unit.id}: it is no longer registered; add it again", code="NOT_REGISTERED")
        if unit.refusal is not None:
            raise Conflict(f"cannot start {unit.id}: {unit.refusal.why}", code="SCHEDULE_REFUSED")
        if core.leaving:
            raise Conflict(f"cannot start {unit.id}: the supervisor is going down", code="GOING_DOWN")

    def begin(self, unit: Unit, order: Order) -> bool:
        """Start it in its own task; False when its state does not allow a start."""
        why = {"restart": "restarting", "schedule": "starting on schedule"}.get(
            order.cause, f"starting, asked by {order.by}"
        )
        moved = unit.backoff_elapsed(why) if order.cause == "restart" and unit.state is State.BACKOFF else None
        if moved is None:
            moved = unit.start_asked(why)
        if not moved:
            return False
        if order.cause == "restart":
            unit.restarts += 1
            unit.recent.append(self._core.clock.time())
        else:
            unit.restarts, unit.recent = 0, []
        unit.cancel("retry")
        unit.retry_at = unit.retry_order = unit.pending = unit.stop_wanted = None
        unit.not_before = 0.0
        unit.run = unit.spent = None
        unit.task = asyncio.get_running_loop().create_task(self._launch(unit, order), name=f"start {unit.id}")
        return True

    async def _launch(self, unit: Unit, order: Order) -> None:
        core = self._core
        try:
            if order.cause != "restart" and (refusal := await core.gate.refusal(unit, order)) is not None:
                self._not_yet(unit, order, refusal)
                return
            async with core.queue.turn(unit.id, int(unit.config.get("priority", 5))):
                if self._stopped_first(unit):
                    return
                prepared = await asyncio.to_thread(
                    self._prepare, unit.id, dict(unit.config), order, self._instance(unit)
                )
                if self._stopped_first(unit):
                    return
                if isinstance(prepared, str):
                    self._not_yet(unit, order, prepared)
                    return
                await self._spawn(unit, order, prepared)
        except (StratpanelError, ProcessError) as error:
            self._failed(unit, error.code, error.message)
        except OSError as error:
            self._failed(unit, "START_FAILED", f"cannot start {unit.id}: {error.strerror or error}")
        except Exception as error:  # a fault of ours: the strategy must not hang between two states over it
            log.exception("cannot start %s", unit.id)
            self._failed(unit, "INTERNAL", f"cannot start {unit.id}: {error!r}; log/supervisor.log has the details")
        finally:
            if unit.state is not State.STARTING:
                core.queue.is_up(unit.id)

    def _prepare(self, id: str, config: dict[str, Any], order: Order, instance: dict[str, Any]) -> Prepared | str:
        """What the run needs from the disk, or why it must not start beside somebody else's. In one worker thread:
        each change of thread costs a start a fifth of a millisecond, and more on a busy machine."""
        if order.cause != "restart" and (refusal := self._core.gate.outside(config)) is not None:
            return refusal
        return self._core.preparation.run(id, config, order, instance)

    def _stopped_first(self, unit: Unit) -> bool:
        if unit.stop_wanted is None:
            return False
        self._core.endings.never_started(unit)
        return True

    def _not_yet(self, unit: Unit, order: Order, refusal: str) -> None:
        """What must come first has not succeeded today: no start, an alert, and another look in a minute."""
        core = self._core
        again = core.clock.now() + timedelta(seconds=AGAIN_S)
        unit.not_before = again.timestamp()
        why = f"{refusal}; looked at again {again.astimezone(core.zone_of(unit)):%H:%M}"
        unit.stop_asked(why)
        unit.ended_after_stop(why)
        if unit.gate_told != core.gate.day(unit):
            unit.gate_told = core.gate.day(unit)
            core.happened("before_start", unit, order.by, refusal)
        unit.after("gate", AGAIN_S, lambda: core.reconciler.poke(unit.id))

    def _failed(self, unit: Unit, code: str, message: str) -> None:
        unit.run = None
        self._core.endings.refused(unit, code, message)

    def _instance(self, unit: Unit) -> dict[str, Any]:
        return {"restarts": unit.restarts, "recent": list(unit.recent), "hold": hold_to_json(unit.hold)}

    async def _spawn(self, unit: Unit, order: Order, prepared: Prepared) -> None:
        core, spec = self._core, prepared.spec
        spec["stop_at"] = core.reconciler.deadline(unit)
        run = Run(
            run_id=spec["run_id"],
            order=order,
            version=prepared.version,
            mode=prepared.mode,
            log_path=spec["log"]["path"],
            started=core.clock.time(),
            params=spec["instance"]["params"],
            args=spec["instance"]["args"],
            stop_at=spec["stop_at"],
        )
        unit.run, unit.version = run, prepared.version
        if prepared.deployed or prepared.version not in unit.standing.known:
            core.copies.look_at(unit)
        unit.touch()
        if prepared.deployed:
            core.happened("deployed", unit, order.by, f"version {prepared.version} deployed")
        for note in prepared.notes:
            core.happened("note", unit, order.by, note)
        core.books.record_start(unit, run, spec)
        # the panic file is looked at by launcher and runner again; here it only saves a fork
        self.check(unit)
        try:
            run.line = await core.processes.spawn(spec, partial(self.heard, unit, run), partial(self.silent, unit, run))
        except StratpanelError:
            core.books.forget_start(unit, run)
            raise
        if unit.stop_wanted is not None:
            core.stops.send(unit, unit.stop_wanted)
        if not await unit.until(lambda: run.phase not in ("asked", "forked") or unit.run is not run, FIRST_NEWS_S):
            run.ordered_late = True
            self._failed(unit, "START_FAILED", f"cannot start {unit.id}: no word of its runner for {FIRST_NEWS_S:g} s")

    # -- what the runner says ---------------------------------------------------------------------------------------

    def heard(self, unit: Unit, run: Run, message: Message) -> None:
        """One message of a run's runner."""
        kind = message.get("ev")
        if kind == "status":
            self.status(unit, run, message["status"])
        elif kind == "exit":
            run.phase = "ended"
            self._core.endings.ended(unit, run, message["record"])
        elif kind == "refused" and unit.run is run:
            run.phase = "ended"
            unit.run = None
            if message.get("code") in ("LOCKED", "STILL_ALIVE"):
                self._core.recovery.someone_lives(unit, message)
            else:
                self._core.endings.refused(unit, str(message.get("code")), str(message.get("message")))

    def status(self, unit: Unit, run: Run, status: dict[str, Any]) -> None:
        """Take in a run's status and move the unit along with it."""
        if unit.run is not run:
            if run.ordered_late and run.line is not None:
                log.error("%s appeared after its start was given up; stopping it", run.run_id)
                unit.run = run
                unit.found_alive("appeared after its start was given up")
                self._core.stops.ask(unit, reason="late", by="supervisor")
            return
        before = run.phase
        leader = status.get("leader") or {}
        gone = bool(status.get("leader_exit"))
        run.phase = str(status["phase"])
        run.runner_pid = (status.get("runner") or {}).get("pid")
        run.leader_pid = None if gone else leader.get("pid")
        run.leader_start = leader.get("start_ticks")
        run.members = frozenset(status.get("members") or ())
        run.stop_at, run.stop = status.get("stop_at"), status.get("stop")
        self._dropped(unit, run, int(status.get("dropped_bytes") or 0))
        self._core.trees_changed()
        if run.phase == "running" and before in ("asked", "forked"):
            self._runs(unit, run, float(status.get("started") or run.started))
        if gone and run.phase != "ended":
            rest = ", ".join(map(str, sorted(run.members))) or "others of its tree"
            unit.leader_exited(f"its main process is gone; still alive: {rest}")
        if run.phase == "stopping" and unit.state in (State.STARTING, State.RUNNING):
            unit.stop_asked(self._core.stops.words(run.stop))
        unit.touch()

    def _dropped(self, unit: Unit, run: Run, dropped: int) -> None:
        if dropped > run.dropped_bytes and self._core.clock.time() - run.dropped_told > TELL_AGAIN_S:
            run.dropped_told = self._core.clock.time()
            self._core.happened(
                "disk", unit, "runner", f"its log cannot be written; {dropped} bytes were dropped so far"
            )
        run.dropped_bytes = dropped

    def _runs(self, unit: Unit, run: Run, started: float) -> None:
        run.started = unit.last_started = started
        if unit.state is not State.STARTING:
            return
        unit.spawned(unit.why)
        delay = float(unit.config.get("start_seconds") or 0.0) - max(0.0, self._core.clock.time() - started)
        unit.after("alive", delay, lambda: self._alive(unit, run))
        again = run.order.cause == "restart"
        self._core.happened(
            "restarted" if again else "started", unit, run.order.by, f"started, version {run.version}, {run.mode}"
        )
        self._core.reconciler.poke(unit.id)

    def _alive(self, unit: Unit, run: Run) -> None:
        if unit.run is run and unit.alive("running"):
            self._core.queue.is_up(unit.id)
            self._core.reconciler.poke(unit.id)

    def silent(self, unit: Unit, run: Run) -> None:
        """The line to the runner closed. The run may go on: look for its successor, or its record."""
        run.line = None
        if unit.run is not run or run.phase == "ended":
            return
        if run.phase == "asked":
            self._core.do(self._never_forked(unit, run))
        else:
            self._core.recovery.look_for(unit, run)

    async def _never_forked(self, unit: Unit, run: Run) -> None:
        """The line ended before any word: the launcher died with our order, or a runner before it wrote its record.

        Either way nothing runs, if the record on disk is not of this run: the strategy waits for that record's being
        written. Then the order is given again.
        """
        core = self._core
        if await asyncio.to_thread(core.recovery.is_on_record, unit.id, run.run_id):
            core.recovery.look_for(unit, run)
            return
        if unit.run is not run:
            return
        if unit.stop_wanted is not None:
            core.endings.never_started(unit)
            return
        if run.order.attempt >= ATTEMPTS or not core.may_start(unit):
            text = f"cannot start {unit.id}: no runner came up, asked {run.order.attempt} times; see log/supervisor.log"
            self._failed(unit, "START_FAILED", text)
            return
        log.warning("%s: the launcher died with the order; giving it again", unit.id)
        unit.stop_asked("its launcher died")
        unit.ended_after_stop("its launcher died before it was started")
        self.begin(unit, replace(run.order, attempt=run.order.attempt + 1))

    def adopt(self, unit: Unit, status: dict[str, Any]) -> Run:
        """A Run for a living run that an earlier supervisor, or another client, started."""
        spec = status.get("spec") or {}
        instance = spec.get("instance") or {}
        order = Order(by=str(spec.get("started_by") or ""), cause=str(instance.get("cause") or "recovery"))
        run = Run(
            run_id=str(status["run_id"]),
            order=order,
            version=spec.get("version"),
            mode=str(spec.get("mode") or "paper"),
            log_path=str(status.get("log_path") or self._core.log_path(unit.id)),
            started=float(status.get("started") or self._core.clock.time()),
            params=dict(instance.get("params") or {}),
            args=list(instance.get("args") or []),
            spawned=True,
        )
        unit.run = run
        unit.last_started = run.started
        unit.restarts = int(instance.get("restarts") or 0)
        unit.recent = [float(at) for at in instance.get("recent") or ()]
        hold = hold_from_json(instance.get("hold"))
        known_at, its_at = unit.hold.at, hold.at
        if hold.kind == "started" and (known_at is None or (its_at is not None and its_at > known_at)):
            unit.hold = hold  # a person's start whose hold did not reach the registry before we died
        return run
