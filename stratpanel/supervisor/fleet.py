"""The strategies of the workspace: the registry's entries as units, edits of them, and saving them.

The loop's thread owns it. Records (units) come first and the Param objects follow when the registry is saved; many
saves asked for in one breath become one write. A file that a person broke is never overwritten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from stratpanel.market.check import check
from stratpanel.market.plan import DayException, Decision, Hold, Plan, Window
from stratpanel.model import schema
from stratpanel.model.errors import Conflict, InvalidValue, NotFound, PreconditionFailed
from stratpanel.model.ids import find_id
from stratpanel.model.states import REMOVABLE
from stratpanel.model.strategy import Strategy, report
from stratpanel.model.values import Hold as HoldValue
from stratpanel.supervisor.holds import hold_from_json
from stratpanel.supervisor.registry.entry import name_in_file
from stratpanel.supervisor.registry.registry import Displaced, MergeReport, Registry, RegistryError, Saving
from stratpanel.supervisor.unit import Unit
from stratpanel.supervisor.workspace import first_strategy

if TYPE_CHECKING:
    from stratpanel.market.calendar import Calendar
    from stratpanel.supervisor.core import Core

log = logging.getLogger("stratpanel.fleet")

SAVE_AT_ONCE: Final = 10  # entries per turn of the loop: each costs it 0.5 ms, and an exit must not wait for 500
SAVE_AFTER_S: Final = 2.0  # of calm; what must not wait is in the journal, so a burst of starts shares its writes
HOLD_FIELDS: Final = tuple(field.name for field in fields(Hold))
SAVE_LATEST_S: Final = 10.0  # where calm does not come


def plan_of(config: dict[str, Any], default_zone: str) -> Plan:
    """The schedule of a configuration as the market room's value; without zone and calendar the workspace's zone."""
    schedule = config.get("schedule") or {}
    return Plan(
        enabled=bool(schedule.get("enabled")),
        windows=tuple(
            Window(w["start"], w["stop"], tuple(w["days"]), bool(w.get("on_special")))
            for w in schedule.get("windows") or ()
        ),
        calendar=schedule.get("calendar"),
        timezone=schedule.get("timezone") or ("" if schedule.get("calendar") else default_zone),
        exceptions=tuple(
            DayException(date.fromisoformat(x["date"]), x["kind"], x.get("start"), x.get("stop"), x.get("why") or "")
            for x in schedule.get("exceptions") or ()
        ),
        live=config.get("mode") == "live",
    )


def refuse_bad_schedule(plan: Plan, calendar: Calendar | None, now: datetime) -> list[str]:
    """Raise InvalidValue for a schedule that can never run; answers warnings about one a person hardly meant."""
    problems = check(plan, calendar, now)
    errors = {one.field: one.message for one in problems if one.severity == "error"}
    if errors:
        field, message = next(iter(errors.items()))
        raise InvalidValue(f"{field}: {message}", fields=errors)
    return [f"{one.field}: {one.message}" for one in problems]


class Fleet:
    """Units by id, and the registry behind them."""

    def __init__(self, core: Core, registry: Registry) -> None:
        self._core = core
        self._registry = registry
        self._dirty: set[str] = set()
        self._save_timer: asyncio.TimerHandle | None = None
        self._changed_first = self._changed_last = 0.0
        self._saving: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why the file is not what memory says, in words."""
        return self._registry.problem

    @property
    def foreign(self) -> bool:
        """True when OpenAlgo wrote the file and we never did."""
        return self._registry.foreign

    def accept_foreign(self) -> None:
        """A person resumed: the registry is ours from now on."""
        self._registry.foreign = False
        self.changed(*self._core.units)

    def load(self) -> None:
        """Read the registry and make its units. Raises RegistryError."""
        for id, strategy in self._registry.load().items():
            self.take_up(id, strategy)
        if self.foreign:
            for id, pid in self._registry.claimed_pids().items():
                unit = self._core.units.get(id)
                self._core.happened("note", unit, "registry", f"the registry says that PID {pid} runs it")

    def take_up(self, id: str, strategy: Strategy) -> Unit:
        """A unit for a registered strategy, new or brought up to date."""
        core = self._core
        unit = core.units.get(id)
        if unit is None:
            unit = core.units[id] = Unit(id, core.clock, core.changed)
        unit.removed = False
        unit.strategy = strategy
        unit.hold = _hold(strategy.hold)
        if unit.last_started is None and strategy.last_started is not None:
            unit.last_started = strategy.last_started.timestamp()
        self._configure(unit)
        return unit

    def settings_changed(self) -> None:
        """The workspace's time zone may be another: it is that of every schedule without zone and calendar."""
        for unit in self._core.units.values():
            if unit.strategy is not None and plan_of(unit.config, self._core.settings.timezone) != unit.plan:
                self._configure(unit)

    def calendars_changed(self) -> None:
        """A calendar that a schedule names may be there now."""
        for unit in self._core.units.values():
            if unit.strategy is not None and unit.schedule_problem:
                self._configure(unit)

    def _judge(self, unit: Unit) -> bool:
        """Say, once, what is wrong with the schedule that the registry gives it; True when it can never run. Cheap: it
        computes what the first decision needs too."""
        core = self._core
        config = unit.strategy.config() if unit.strategy is not None else unit.config
        plan = plan_of(config, core.settings.timezone)
        found = check(plan, core.calendar_of(plan.calendar), core.clock.now())
        never = plan.enabled and any(one.severity == "error" for one in found)
        said = "; ".join(f"{name_in_file(one.field)}: {one.message}" for one in found)
        if said != unit.schedule_problem:
            unit.schedule_problem = said
            if said:
                what = "can never run" if never else "was hardly meant like that"
                core.happened("schedule", unit, "registry", f"its schedule in the registry {what}: {said}")
            core.supervisor_changed()
        return never

    def _configure(self, unit: Unit) -> None:
        """Take over what its Param object says. A schedule that can never run is not taken over: the one before it
        stays in force, and where there is none nothing is started or stopped on a guess."""
        strategy, core = unit.strategy, self._core
        assert strategy is not None
        before = unit.plan
        unit.config = strategy.config()
        unit.etag = strategy.etag()
        wanted, known = plan_of(unit.config, core.settings.timezone), before.enabled and unit.refusal is None
        if not self._judge(unit):
            unit.plan, unit.refusal = wanted, None
        elif known:
            unit.plan = replace(before, live=wanted.live)
        else:
            unit.plan = replace(wanted, windows=(), exceptions=())
            unit.refusal = Decision(None, _refused(unit), None, alert=True)
        if before.enabled and not unit.plan.enabled and unit.is_live and unit.hold.kind == "none":
            # taking a schedule away from what runs must not end it: a person keeps it running now
            core.set_hold(unit, "started", by="registry", why="its schedule was switched off while it ran")
        core.edges.set(unit.id, unit.plan, core.reconciler.calendar(unit))
        core.trees_changed()
        unit.touch()
        core.reconciler.poke(unit.id)

    # -- saving -------------------------------------------------------------------------------------------------------

    def changed(self, *ids: str) -> None:
        """These units' registry entries are no longer what the file says; written when changes have calmed down."""
        self._dirty.update(ids)
        loop = asyncio.get_running_loop()
        self._changed_last = loop.time()
        if self._save_timer is None and not self._core.degraded:
            self._changed_first = self._changed_last
            self._save_timer = loop.call_later(SAVE_AFTER_S, self._save_soon)

    def _save_soon(self) -> None:
        loop = asyncio.get_running_loop()
        due = min(self._changed_last + SAVE_AFTER_S, self._changed_first + SAVE_LATEST_S)
        if due > loop.time() + 0.01:
            self._save_timer = loop.call_at(due, self._save_soon)
            return
        self._save_timer = None
        self._core.do(self.durable())

    async def durable(self) -> None:
        """Return when everything changed so far is on disk (or cannot be: then `problem` says why).

        Whoever asks while a write is under way shares the next one.
        """
        mine = set(self._dirty)
        while mine & self._dirty and not self._core.degraded:
            if self._saving is None:
                self._saving = asyncio.get_running_loop().create_task(self._save(), name="save the registry")
            await asyncio.shield(self._saving)
        if self._saving is not None:
            await asyncio.shield(self._saving)

    async def _save(self) -> None:
        """One write of all that changed, made ready a few entries a turn; the disk is waited for in a thread."""
        try:
            await asyncio.sleep(0)  # whoever asks in the same turn of the loop shares this write
            dirty, prepared = set(self._dirty), {}
            for number, id in enumerate(dirty, start=1):
                self._dirty.discard(id)  # what changes from now on is the next write's
                if (unit := self._core.units.get(id)) is not None:
                    self._mirror(unit)
                    ready = self._registry.prepare(id, unit.strategy) if unit.strategy is not None else None
                    if ready is not None:
                        prepared[id] = ready
                if number % SAVE_AT_ONCE == 0:
                    await asyncio.sleep(0)
            before = self.problem
            steps = self._registry.saving(self._strategies(), dirty, prepared)
            self._taken_over(await self._write(steps))
            if self.problem != before:
                self._core.supervisor_changed()
            if not self._dirty and not self.problem:
                self._core.journal.forget()
        finally:
            self._saving = None

    async def _write(self, steps: Saving) -> MergeReport:
        try:
            write = next(steps)
            while True:
                try:
                    standing = await asyncio.to_thread(write)
                except (Displaced, RegistryError) as error:
                    write = steps.throw(error)
                else:
                    write = steps.send(standing)
        except StopIteration as done:
            return cast(MergeReport, done.value)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """While no write is under way: what is written must not change under it in ways it would take back."""
        while self._saving is not None:
            await asyncio.shield(self._saving)
        yield

    def _strategies(self) -> dict[str, Strategy]:
        units = self._core.units.values()
        return {unit.id: unit.strategy for unit in units if unit.strategy is not None and not unit.removed}

    def _mirror(self, unit: Unit) -> None:
        """Let the Param object follow the record, in one update."""
        if unit.strategy is None:
            return
        run, last, hold = unit.run, unit.last, unit.strategy.hold
        said = {name: getattr(unit.hold, name) for name in HOLD_FIELDS}
        if any(getattr(hold, name) != value for name, value in said.items()):
            hold = HoldValue(**said)
        report(
            unit.strategy,
            hold=hold,
            state=unit.state,
            why=unit.why[:10_000],
            pid=run.leader_pid if run is not None else None,
            runner_pid=run.runner_pid if run is not None else None,
            run_id=run.run_id if run is not None else last.run_id if last is not None else None,
            version=run.version if run is not None else unit.version,
            exit_code=last.exit_code if last is not None else None,
            signal=last.signal if last is not None else None,
            restarts=unit.restarts,
            last_started=_instant(unit.last_started),
            last_stopped=_instant(last.ended) if last is not None else unit.strategy.last_stopped,
        )

    def _taken_over(self, result: MergeReport) -> None:
        """Bring units in step with what a person wrote into the file."""
        core = self._core
        for id, strategy in result.added.items():
            unit = self.take_up(id, strategy)
            core.happened("added", unit, "registry", "added by an edit of the registry")
        for id in result.changed:
            unit = core.units[id]
            if unit.strategy is not None and id not in self._dirty:  # else our newer hold is on its way to the file
                unit.hold = _hold(unit.strategy.hold)
            self._configure(unit)
        for id in result.removed:
            self._gone(core.units[id], "registry")
        for edit in result.edits:
            unit_or_none = core.units.get(edit.id)
            core.happened("config", unit_or_none, "registry", f"the registry was edited: {edit}")

    # -- what people edit ---------------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Take up a person's edit of the file, if there is one. Cheap when there is none."""
        if self._core.degraded or self._saving is not None or not self._registry.changed_on_disk():
            return
        before = self.problem
        self._taken_over(self._registry.save(self._strategies(), ()))
        if self.problem != before:
            self._core.happened("registry", None, "registry", self.problem or "the registry is in order again")
            self._core.supervisor_changed()

    async def reload(self, by: str) -> None:
        """Read the file again on a person's word. Raises RegistryError while it is broken."""
        core = self._core
        if core.degraded:
            strategies = self._registry.load()
            core.degraded = None
            for id, strategy in strategies.items():
                self.take_up(id, strategy)
            core.books.replay_holds()  # what people said while the file could not be read
            core.books.take_up_holds()
            self.changed(*strategies)
        else:
            async with self._alone():
                self._taken_over(self._registry.reload(self._strategies()))
        core.happened("registry", None, by, "the registry was read again")
        core.supervisor_changed()

    def require_editable(self) -> None:
        """Raise Conflict while edits cannot be kept."""
        if self._core.degraded:
            raise Conflict(f"cannot change anything: {self._core.degraded}", code="DEGRADED")
        if self.problem:
            raise Conflict(f"cannot change anything: {self.problem}", code="REGISTRY_SUSPENDED")

    async def add(self, id: str, config: dict[str, Any], by: str) -> Unit:
        """Register a strategy. Raises Conflict when the id is taken, InvalidValue for a bad id or configuration."""
        self.require_editable()
        taken = find_id(id, self._core.units)
        if taken is not None:
            raise Conflict(f"cannot add {id}: there is {taken} already; choose another id", code="STRATEGY_EXISTS")
        strategy = Strategy.from_config(id, {"created": datetime.now(UTC).isoformat(), "user_id": by, **config})
        async with self._alone():
            unit = self.take_up(id, strategy)
        self._core.happened("added", unit, by, f"added: {config.get('file_path')}")
        self.changed(id)
        await self.durable()
        return unit

    async def first(self) -> None:
        """Register the example in a workspace that has never had a registry, so that there is something to start."""
        if self._core.degraded or self._core.units:
            return
        found = await asyncio.to_thread(first_strategy, self._core.workspace)
        if found is not None:
            id, path = found
            await self.add(id, {"file_path": path.relative_to(self._core.shelf.scripts).as_posix()}, "stratpanel")

    async def remove(self, unit: Unit, by: str) -> None:
        """Unregister a strategy that does not run; its files stay."""
        self.require_editable()
        if unit.state not in REMOVABLE:
            raise Conflict(f"cannot remove {unit.id}: it is {unit.state.value}; stop it first", code="STRATEGY_RUNNING")
        async with self._alone():
            self._gone(unit, by)
        self._dirty.add(unit.id)
        await self.durable()

    def _gone(self, unit: Unit, by: str) -> None:
        core = self._core
        unit.removed = True
        core.edges.remove(unit.id)
        if unit.is_live:
            unit.explain("removed from the registry; it runs on until it is stopped")
            return
        core.drop(unit, by)

    async def patch(self, unit: Unit, merge: dict[str, Any], if_match: str | None, by: str) -> list[str]:
        """Change a configuration by RFC 7396 merge; answers warnings. Raises PreconditionFailed, InvalidValue."""
        self.require_editable()
        if unit.strategy is None:
            raise NotFound(f"{unit.id} is not registered", code="STRATEGY_NOT_FOUND")
        if if_match is not None and if_match.strip() not in ("*", unit.etag, f"W/{unit.etag}"):
            raise PreconditionFailed(f"{unit.id} was changed by somebody else; read it again, then change it")
        async with self._alone():
            return await self._patch(unit, unit.strategy, merge, by)

    async def _patch(self, unit: Unit, old: Strategy, merge: dict[str, Any], by: str) -> list[str]:
        values = schema.checked_patch(old, merge)
        if not values:
            return []
        warnings: list[str] = []
        if "schedule" in values:
            plan = plan_of(
                {**old.config(), "schedule": schema.to_json(values["schedule"])}, self._core.settings.timezone
            )
            warnings = refuse_bad_schedule(plan, self._core.calendar_of(plan.calendar), self._core.clock.now())
        report(old, **values)
        self._configure(unit)
        self._core.happened("config", unit, by, f"changed: {', '.join(values)}")
        self.changed(unit.id)
        await self.durable()
        return warnings


def _refused(unit: Unit) -> str:
    return (
        f"its schedule in the registry can never run ({unit.schedule_problem}); nothing is started or stopped until it"
        f" is set right: `stratpanel schedule {unit.id} …`, or `--clear` to run it by hand"
    )


def _instant(epoch: float | None) -> datetime | None:
    return datetime.fromtimestamp(epoch, UTC) if epoch is not None else None


def _hold(value: HoldValue) -> Hold:
    return hold_from_json({name: getattr(value, name) for name in HOLD_FIELDS})
