"""How a strategy is started: its turn in the queue, what it needs from the disk, the order to the launcher, its first
news.

Persons, the schedule and the restart policy all come through `begin`, which returns at once; everything slow happens
in the strategy's own task. What refuses a start leaves the strategy `fatal` with the reason, never half started.
"""

from __future__ import annotations

import asyncio
import logging
import secrets as random_bytes
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stratpanel.model.errors import Conflict, StratpanelError
from stratpanel.model.states import State
from stratpanel.process.errors import ProcessError
from stratpanel.supervisor.environment import command, interpreter, parameters_json, surroundings
from stratpanel.supervisor.holds import hold_from_json, hold_to_json
from stratpanel.supervisor.unit import Order, Run, Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core
    from stratpanel.supervisor.launch import Message

log = logging.getLogger("stratpanel.starts")

FIRST_NEWS_S: Final = 30.0  # from the order to the runner's first status; forking takes milliseconds
GOING_ON_S: Final = 2.0  # a started strategy's line may close and be reopened by a replacement within this


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the worker thread found out for a run."""

    spec: dict[str, Any]
    version: int | None
    mode: str
    notes: list[str]
    deployed: bool


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
            raise Conflict(
                f"cannot start {unit.id}: panic is on since {core.holds.panic.at}; resume first", code="PANIC"
            )
        if unit.state is State.LOST:
            raise Conflict(
                f"cannot start {unit.id}: its lock is held but no process of it can be found; reset it first",
                code="STATE_LOST",
            )
        if unit.removed:
            raise Conflict(f"cannot start {unit.id}: it is no longer registered; add it again", code="NOT_REGISTERED")
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
        unit.run = unit.spent = None
        unit.task = asyncio.get_running_loop().create_task(self._launch(unit, order), name=f"start {unit.id}")
        return True

    async def _launch(self, unit: Unit, order: Order) -> None:
        core = self._core
        try:
            async with core.queue.turn(unit.id, int(unit.config.get("priority", 5))):
                if self._stopped_first(unit):
                    return
                prepared = await asyncio.to_thread(
                    self._prepare, unit.id, dict(unit.config), order, self._instance(unit)
                )
                if self._stopped_first(unit):
                    return
                await self._spawn(unit, order, prepared)
        except (StratpanelError, ProcessError) as error:
            self._failed(unit, error.code, error.message)
        except OSError as error:
            self._failed(unit, "START_FAILED", f"cannot start {unit.id}: {error.strerror or error}")
        finally:
            if unit.state is not State.STARTING:
                core.queue.is_up(unit.id)

    def _stopped_first(self, unit: Unit) -> bool:
        if unit.stop_wanted is None:
            return False
        self._core.endings.never_started(unit)
        return True

    def _failed(self, unit: Unit, code: str, message: str) -> None:
        unit.run = None
        self._core.endings.refused(unit, code, message)

    def _instance(self, unit: Unit) -> dict[str, Any]:
        return {"restarts": unit.restarts, "recent": list(unit.recent), "hold": hold_to_json(unit.hold)}

    def _prepare(self, id: str, config: dict[str, Any], order: Order, instance: dict[str, Any]) -> Prepared:
        """In a worker thread: deploy or verify the version, read secrets, put the run's order together."""
        core = self._core
        source = core.shelf.working_copy(config["file_path"])
        mode = order.mode or config.get("mode") or "paper"
        version, deployed, notes = core.shelf.choose(id, source, mode, order)
        run_id = f"{id}~{core.clock.now().strftime('%Y%m%dT%H%M%S')}~{random_bytes.token_hex(4)}"
        state_dir = core.workspace / "strategies" / "state" / id
        state_dir.mkdir(parents=True, exist_ok=True)
        python = interpreter(config.get("interpreter"), core.workspace, core.settings.python or core.python)
        params = {**(config.get("params") or {}), **order.params}
        args = list(order.args if order.args is not None else config.get("args") or [])
        folder = source if source.is_dir() else source.parent
        env = surroundings(
            own=core.environ,
            python=python,
            caps=core.thread_caps,
            workspace_env=core.settings.env,
            strategy_env={str(k): str(v) for k, v in (config.get("env") or {}).items()},
            secrets=core.secrets.for_run(mode, id),
            reserved={
                "PYTHONPYCACHEPREFIX": str(core.runtime.pycache),
                "STRATEGY_ID": id,
                "STRATEGY_NAME": str(config.get("name") or id),
                "STRATEGY_DIR": str(folder),
                "STRATEGY_STATE_DIR": str(state_dir),
                "SP_MODE": mode,
                "SP_PARAMS": parameters_json(params),
                "STRATPANEL_RUN_ID": run_id,
            },
            working_copy=folder,
        )
        cwd = Path(config["cwd"]).expanduser() if config.get("cwd") else core.workspace
        limits, logs = config.get("limits") or {}, config.get("log") or {}
        spec: dict[str, Any] = {
            "id": id,
            "run_id": run_id,
            "argv": command(python, version.entry_path, args),
            "cwd": str(core.workspace / cwd),
            "env": env,
            "log": {
                "path": str(core.log_path(id)),
                "max_bytes": int(float(logs.get("max_mb") or 10) * 2**20),
                "keep": int(logs.get("keep") or 5),
            },
            "grace_s": float(config.get("grace_s") or 5.0),
            "start_seconds": float(config.get("start_seconds") or 0.0),
            "nofile": int(limits.get("nofile") or core.settings.nofile),
            "nice": limits.get("nice"),
            "oom_score_adj": 500,
            "stop_at": None,
            "stop_at_reason": "window",
            "started_by": order.by,
            "mode": mode,
            "version": version.n,
            "config": config,
            "instance": {**instance, "params": params, "args": args, "cause": order.cause},
        }
        return Prepared(spec, version.n, mode, notes, deployed)

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
        if prepared.deployed:
            core.happened("deployed", unit, order.by, f"version {prepared.version} deployed")
        for note in prepared.notes:
            core.happened("note", unit, order.by, note)
        core.books.record_start(unit, run, spec)
        # the panic file is looked at by launcher and runner again; here it only saves a fork
        self.check(unit)
        try:
            run.line = await core.processes.spawn(
                spec, partial(self.heard, unit, run), partial(self._silent, unit, run)
            )
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
        run.dropped_bytes = int(status.get("dropped_bytes") or 0)
        self._core.trees_changed()
        if run.phase == "running" and before in ("asked", "forked"):
            self._runs(unit, run, float(status.get("started") or run.started))
        if gone and run.phase != "ended":
            rest = ", ".join(map(str, sorted(run.members))) or "others of its tree"
            unit.leader_exited(f"its main process is gone; still alive: {rest}")
        if run.phase == "stopping" and unit.state in (State.STARTING, State.RUNNING):
            unit.stop_asked(self._core.stops.words(run.stop))
        unit.touch()

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

    def _silent(self, unit: Unit, run: Run) -> None:
        """The line to the runner closed. The run may go on: look for its successor, or its record."""
        run.line = None
        if unit.run is run and run.phase != "ended":
            self._core.recovery.look_for(unit, run)

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


def started_at(run: Run, zone: Any) -> datetime:
    """When a run's leader started, in `zone`."""
    return datetime.fromtimestamp(run.started, zone)
