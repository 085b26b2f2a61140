"""What a person can do to a strategy or to all of them, each with one defined answer in every state.

Called by the API's handlers on the loop. An action changes records at once, waits outside any lock for the thing to be
done, and says what changed; a stop never waits for anything but the end itself. Holds are durable before it answers.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from stratpanel.market.decide import decide, end_of_next_window
from stratpanel.market.plan import NO_HOLD, Hold
from stratpanel.model.errors import Conflict, InvalidValue
from stratpanel.model.states import State
from stratpanel.supervisor import afterpanic
from stratpanel.supervisor.preparation import AFTER_PANIC
from stratpanel.supervisor.unit import Order, Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

log = logging.getLogger("stratpanel.actions")

START_S: Final = 120.0  # queue, deploy and fork; a start that takes longer is reported as still under way
CROWD_S: Final = 0.5  # past what the machine is good for, a thousand starts at once do not count a thousand times
AT_REST: Final = frozenset({State.STOPPED, State.EXITED, State.FATAL, State.LOST})


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action did: whether anything changed, and the status fields afterwards."""

    changed: bool
    strategy: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


class Actions:
    """start, stop, kill, restart, reset, pause, resume, panic, down."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._crowd, self._crowd_at = 0, float("-inf")

    def _result(self, unit: Unit, changed: bool, warnings: list[str] | None = None) -> ActionResult:
        return ActionResult(changed, self._core.status_of(unit), warnings or [])

    # -- start --------------------------------------------------------------------------------------------------------

    async def start(
        self,
        unit: Unit,
        *,
        by: str,
        params: dict[str, Any] | None = None,
        args: list[str] | None = None,
        deploy: bool | None = None,
    ) -> ActionResult:
        """Start it and wait until it is up; raises InvalidValue START_FAILED when it does not come up."""
        core = self._core
        core.starts.check(unit)
        if params and unit.state not in (State.STARTING, State.RUNNING):
            await asyncio.to_thread(core.preparation.check_params, unit.id, dict(unit.config), dict(params))
            core.starts.check(unit)  # a panic, say, may have come while the script was asked
        order = Order(by=by, cause="person", params=dict(params or {}), args=args, deploy=deploy)
        changed = False
        if unit.state in (State.STARTING, State.RUNNING):
            if unit.hold.kind == "paused":
                self._hold_for_start(unit, by)
        else:
            self._hold_for_start(unit, by)
            changed = True
            if unit.state is State.STOPPING:
                unit.pending = order
            else:
                core.starts.begin(unit, order)
        warnings = self._crowding() if changed else []
        saved = asyncio.create_task(core.journal.synced())
        await self._up(unit, order)
        await saved
        return self._result(unit, changed, warnings)

    def _crowding(self) -> list[str]:
        """The warning of the seed's scaling table, when more strategies run than it allows on this machine."""
        running, good_for = self._crowd, self._core.advice.max_strategies
        now = self._core.clock.monotonic()
        if running <= good_for or now - self._crowd_at > CROWD_S:
            running = self._crowd = sum(unit.is_live for unit in self._core.units.values())
            self._crowd_at = now
        if running <= good_for:
            return []
        return [f"{running} strategies run; this machine is good for {good_for} (see `stratpanel doctor`)"]

    def _hold_for_start(self, unit: Unit, by: str) -> None:
        """In its window a start lifts a stop; outside it holds to the end of the next; unscheduled, for good."""
        core = self._core
        now, calendar = core.clock.now(), core.reconciler.calendar(unit)
        if decide(unit.plan, calendar, NO_HOLD, now).run is True:
            core.set_hold(unit, "none", by=by, why="")
            return
        until = end_of_next_window(unit.plan, calendar, now) if unit.plan.enabled else None
        core.set_hold(unit, "started", by=by, why="", until=until)

    async def _up(self, unit: Unit, order: Order) -> None:
        """Wait for the end of a start and raise unless it came up (or finished with 0)."""
        patience = START_S + float(unit.config.get("start_seconds") or 0.0)

        def settled() -> bool:
            return unit.pending is not order and unit.state is not State.STARTING

        if not await unit.until(settled, patience):
            raise Conflict(f"{unit.id} is still starting after {patience:.0f} s: {unit.why}", code="START_PENDING")
        if unit.state is State.RUNNING:
            return
        if unit.state is State.EXITED and unit.last is not None and unit.last.exit_code == 0:
            return
        if unit.state is State.STOPPED and unit.not_before > self._core.clock.time():
            raise Conflict(f"cannot start {unit.id} yet: {unit.why}", code="BEFORE_START")
        if unit.state in (State.STOPPING, State.STOPPED):
            raise Conflict(f"{unit.id} was stopped before it was up: {unit.why}", code="STOPPED_MEANWHILE")
        if unit.state is State.LOST:
            raise Conflict(f"cannot start {unit.id}: {unit.why}", code="STATE_LOST")
        raise InvalidValue(_about(unit), code="START_FAILED")

    # -- stop, kill ---------------------------------------------------------------------------------------------------

    async def stop(self, unit: Unit, *, by: str, why: str = "", kill: bool = False) -> ActionResult:
        """Stop it and wait until its tree is empty; one that does not run gets the hold all the same."""
        core = self._core
        unit.pending = None
        before, ends = unit.state, unit.ends
        changed = core.stops.ask(unit, reason="kill" if kill else "stop", by=by, kill=kill)
        core.set_hold(unit, "stopped", by=by, why=why)
        saved = asyncio.create_task(core.journal.synced())
        if before is State.BACKOFF:
            core.happened("stopped", unit, by, "its restart was called off")
            core.after_end(unit)
        # its next start, asked for while it was stopping, may already be under way when we look
        ended = await unit.until(lambda: not unit.is_live or unit.ends > ends, core.stops.deadline_s(unit))
        await saved
        if not ended:
            raise Conflict(
                f"{unit.id} is still alive: {unit.why}; kill it, and see which processes are left in its status",
                code="STILL_ALIVE",
            )
        core.reconciler.poke(unit.id)
        return self._result(unit, changed, [core.journal.problem] if core.journal.problem else None)

    # -- restart, reset -----------------------------------------------------------------------------------------------

    async def restart(self, unit: Unit, *, by: str) -> ActionResult:
        """Stop it and start it with the same version, mode, parameters, arguments; start one that does not run."""
        core = self._core
        core.starts.check(unit)
        if not unit.is_live:
            return await self.start(unit, by=by)
        run = unit.run
        order = core.endings.again(run, by=by, cause="person") if run is not None else Order(by=by, cause="person")
        unit.pending = order
        core.stops.ask(unit, reason="restart", by=by)
        await self._up(unit, order)
        return self._result(unit, True)

    async def reset(self, unit: Unit, *, by: str) -> ActionResult:
        """Clear `exited`, `fatal` or `lost`; anything else stays as it is. What was lost is not started by itself."""
        core = self._core
        was_lost = unit.state is State.LOST
        if was_lost:
            await core.books.forget_lost(unit)
        changed = unit.reset_asked(f"reset by {by}")
        if changed:
            unit.run = None
            unit.spent, unit.recent, unit.restarts = None, [], 0
            if was_lost:  # part of it may live where nobody sees it: whoever looked says when it starts again
                core.endings.no_longer_wanted(unit)
            core.happened("reset", unit, by, "reset")
            core.after_end(unit)
        return self._result(unit, changed)

    # -- pause, resume ------------------------------------------------------------------------------------------------

    async def pause(self, unit: Unit, *, by: str, why: str = "") -> ActionResult:
        """Nothing starts it by itself until `resume`; what runs goes on. A stopped one stays stopped."""
        core = self._core
        if unit.hold.kind in ("stopped", "paused"):
            return self._result(unit, False)
        core.set_hold(unit, "paused", by=by, why=why, over=unit.hold.start)
        core.happened("pause", unit, by, f"paused: {why}" if why else "paused")
        await core.journal.synced()
        return self._result(unit, True)

    async def resume(self, unit: Unit, *, by: str, dry_run: bool = False) -> ActionResult:
        """Lift its pause. What a person had started goes on as that; so does one that runs without a schedule."""
        core = self._core
        if unit.hold.kind != "paused":
            return self._result(unit, False)
        if dry_run:
            return self._result(unit, True)
        start = unit.hold.start
        at_work = unit.is_live or unit.state is State.BACKOFF
        if at_work and (start.kind == "started" or not unit.plan.enabled):
            core.set_hold(unit, "started", by=by, why="resumed while it ran", until=start.until)
        else:
            core.set_hold(unit, "none", by=by, why="resumed")
        core.happened("resume", unit, by, "resumed")
        await core.journal.synced()
        return self._result(unit, True)

    async def pause_all(self, *, by: str, why: str = "") -> dict[str, Any]:
        """Nothing starts by itself in this workspace until `resume`."""
        core = self._core
        await asyncio.to_thread(core.holds.pause, by, core.clock.now(), why)
        core.holds_changed()
        core.happened("pause", None, by, f"the workspace is paused: {why}" if why else "the workspace is paused")
        return {"changed": True, "supervisor": core.supervisor_status()}

    async def resume_all(self, *, by: str, dry_run: bool = False) -> dict[str, Any]:
        """Lift the workspace's pause and panic. With `dry_run` only say what would start, and why."""
        core = self._core
        would = self.would_start()
        if dry_run:
            return {"changed": False, "would_start": would}
        changed = core.holds.current.kind != "none"
        await asyncio.to_thread(core.holds.lift)
        afterpanic.forget(core)
        if core.fleet.foreign:
            core.fleet.accept_foreign()
        core.holds_changed()
        if changed:
            core.happened("resume", None, by, f"the workspace is resumed; {len(would)} start")
        return {"changed": changed, "would_start": would, "supervisor": core.supervisor_status()}

    def would_start(self) -> list[dict[str, str]]:
        """What the reconciler would start if the workspace were not held."""
        core, found = self._core, []
        now = core.clock.now()
        for unit in core.units.values():
            if unit.is_live or unit.spent is not None or unit.removed or unit.refusal is not None:
                continue
            decision = decide(unit.plan, core.reconciler.calendar(unit), unit.hold, now)
            if decision.run is True:
                found.append({"id": unit.id, "why": decision.why})
        return found

    # -- panic, down --------------------------------------------------------------------------------------------------

    async def panic(self, *, by: str, why: str = "") -> dict[str, Any]:
        """End every tree at once and refuse every start until `resume`. Says what ended and what is left."""
        core = self._core
        warnings = []
        try:
            await asyncio.to_thread(core.holds.raise_panic, by, core.clock.now(), why)
        except OSError as error:  # a disk gone read-only must not keep anything alive
            warnings = [f"the panic cannot be kept ({error.strerror or error}): it ends with this supervisor"]
            log.error("%s", warnings[0])
        live = [unit for unit in core.units.values() if unit.is_live or unit.state is State.BACKOFF]
        live = [unit for unit in live if unit.id != AFTER_PANIC]  # a second panic lets it finish
        for unit in core.units.values():
            unit.pending = None
        for unit in live:
            core.stops.ask(unit, reason="panic", by=by)
        core.holds_changed()
        core.happened("panic", None, by, f"panic: {why or 'every strategy is stopped'}")
        left = await self._ended(live)
        stopped = [unit.id for unit in live if unit.id not in left]
        if not left:
            await afterpanic.run_script(core)
        supervisor = core.supervisor_status()
        return {"changed": True, "stopped": stopped, "left": left, "warnings": warnings, "supervisor": supervisor}

    async def _ended(self, units: list[Unit]) -> list[str]:
        """Wait for all of them side by side; the ids that are still alive after their deadlines."""
        waits = [unit.until(lambda unit=unit: not unit.is_live, self._core.stops.deadline_s(unit)) for unit in units]  # type: ignore[misc]
        done = await asyncio.gather(*waits)
        return [unit.id for unit, ended in zip(units, done, strict=True) if not ended]

    async def down(self, *, keep: bool, by: str) -> dict[str, Any]:
        """Leave: strategies are stopped (or kept under their runners), then launcher and supervisor end."""
        core = self._core
        core.leaving = True
        if core.holds.current.kind == "none":
            since = core.clock.now().astimezone(core.zone)
            try:
                await asyncio.to_thread(core.holds.pause, by, since, f"down at {since:%H:%M}", "down")
            except OSError as error:  # then a later implicit start does not come up paused; going down matters more
                log.error("cannot note the pause: %s", error)
        core.happened("down", None, by, "stratpanel goes down; strategies run on" if keep else "stratpanel goes down")
        live = [] if keep else [unit for unit in core.units.values() if unit.is_live or unit.state is State.BACKOFF]
        for unit in live:
            unit.pending = None
            core.stops.ask(unit, reason="down", by=by)
        left = await self._ended(live)
        await core.fleet.durable()
        core.leave()
        return {"changed": True, "stopped": [unit.id for unit in live if unit.id not in left], "left": left}


def _about(unit: Unit) -> str:
    why = unit.why
    return why if why.startswith("cannot start") else f"cannot start {unit.id}: {why}; see its log"


def new_hold(kind: Any, by: str, at: datetime, why: str, until: datetime | None) -> Hold:
    """A hold as said now; `none` carries nothing."""
    return NO_HOLD if kind == "none" else Hold(kind=kind, by=by, at=at, why=why, until=until)
