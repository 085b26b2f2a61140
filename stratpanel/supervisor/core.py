"""The supervisor of one workspace: makes its parts, keeps what they share, and tells others what changed.

Made by `python -m stratpanel.supervisor` and by tests, which give fakes for the process layer, the clock and history.
Everything runs on the loop's thread; what may wait for a disk goes to a worker thread. What the API calls is front.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from stratpanel import __version__, scaling
from stratpanel.market.calendar import Calendar
from stratpanel.market.plan import NO_HOLD, Hold
from stratpanel.market.store import CalendarStore
from stratpanel.model.errors import Conflict, NotFound
from stratpanel.model.ids import find_id
from stratpanel.model.states import State
from stratpanel.model.strategy import Strategy
from stratpanel.model.values import Limits
from stratpanel.process.paths import Runtime
from stratpanel.supervisor import statusview
from stratpanel.supervisor.actions import Actions, new_hold
from stratpanel.supervisor.books import Books, HistoryLike
from stratpanel.supervisor.chores import Chores
from stratpanel.supervisor.clock import Clock
from stratpanel.supervisor.configuration.settings import Settings, load_settings
from stratpanel.supervisor.copies import Copies
from stratpanel.supervisor.endings import Endings
from stratpanel.supervisor.events import EventLog, EventRecord
from stratpanel.supervisor.fleet import Fleet
from stratpanel.supervisor.gate import Gate
from stratpanel.supervisor.holds import WorkspaceHolds
from stratpanel.supervisor.journal import HoldJournal
from stratpanel.supervisor.launch import LauncherLink, Message, Processes
from stratpanel.supervisor.preparation import AFTER_PANIC, Preparation
from stratpanel.supervisor.reconcile import Reconciler
from stratpanel.supervisor.recovery import Recovery
from stratpanel.supervisor.registry.registry import Registry, RegistryError
from stratpanel.supervisor.sampling import Sampler, Tick
from stratpanel.supervisor.schedule import EdgeScheduler
from stratpanel.supervisor.shelf import Shelf
from stratpanel.supervisor.startqueue import StartQueue
from stratpanel.supervisor.starts import Starts
from stratpanel.supervisor.stops import Stops
from stratpanel.supervisor.unit import Unit
from stratpanel.supervisor.watch import Watch

log = logging.getLogger("stratpanel.core")

SAVE_S: Final = 5.0  # the last write of the registry
AIM_AFTER_S: Final = 0.5  # many trees that come at once are looked up once; samples come once a second anyway
ENDERS: Final = 64  # trees without a runner that are ended side by side

ChangeCallback = Callable[[set[str], set[str], bool], None]
TickCallback = Callable[[Tick], None]


class SecretsLike(Protocol):
    """What a run needs of the secrets."""

    def for_run(self, mode: str, id: str) -> Mapping[str, str]: ...
    def mask(self, text: str) -> str: ...
    def remember(self, *values: str) -> None: ...


def use_limits(settings: Settings) -> None:
    """What a strategy gets that sets no limits of its own; the registry leaves out what equals it."""
    Limits.param.memory_mb.default = settings.memory_mb
    Limits.param.nofile.default = settings.nofile


class Core:
    """One workspace's supervisor."""

    def __init__(
        self,
        runtime: Runtime,
        settings: Settings,
        *,
        history: HistoryLike,
        secrets: SecretsLike,
        clock: Clock | None = None,
        processes: Processes | None = None,
        environ: Mapping[str, str] = os.environ,
        hooks: Callable[[EventRecord], object] | None = None,
    ) -> None:
        self.runtime = runtime
        self.workspace: Path = runtime.workspace
        self.settings = settings
        self.on_settings: list[Callable[[Settings], None]] = []  # called after every reload
        self.secrets = secrets
        self.history = history
        self.clock = clock or Clock()
        self.environ = dict(environ)
        self.python = sys.executable
        self.zone: tzinfo = ZoneInfo(settings.timezone)
        use_limits(settings)
        self.started = self.clock.now()
        self.advice = scaling.advice()
        self.thread_caps = scaling.thread_caps()
        self.degraded: str | None = None
        self.leaving = False
        self.left = asyncio.Event()
        self.url: str | None = None
        self.units: dict[str, Unit] = {}
        self.enders = ThreadPoolExecutor(ENDERS, thread_name_prefix="end")
        self.events = EventLog(self.clock.now, keep=history.append_event)
        if hooks is not None:
            self.events.forward_to(hooks)
        self.holds = WorkspaceHolds(runtime)
        self.journal = HoldJournal(runtime.root / "holds.log")
        self.calendars = CalendarStore(
            compiled_dir=runtime.root / "calendars",
            overrides_file=self.workspace / "strategies" / "calendar_overrides.toml",
        )
        self.shelf = Shelf(self.workspace)
        self.copies = Copies(self)
        self.books = Books(self, history)
        self.preparation, self.gate, self.chores = Preparation(self), Gate(self), Chores(self)
        self.processes: Processes = processes or LauncherLink(runtime, self._launcher_said, self._launcher_came)
        self.queue = StartQueue(2 * max(1, int(scaling.machine_cpus())), self.clock, self._queue_moved)
        self.starts, self.stops, self.endings = Starts(self), Stops(self), Endings(self)
        self.recovery, self.reconciler, self.watch = Recovery(self), Reconciler(self), Watch(self)
        self.actions = Actions(self)
        self.edges = EdgeScheduler(self._from_thread(self.reconciler.poke), self._from_thread(self._edge_trouble))
        self.sampler = Sampler(self._from_thread(self._ticked))
        self.fleet = Fleet(self, Registry(self.workspace / "strategies" / "strategy_configs.json"))
        self._change_callbacks: list[ChangeCallback] = []
        self._tick_callbacks: list[TickCallback] = []
        self._changed: set[str] = set()
        self._removed: set[str] = set()
        self._supervisor_changed = False
        self._flush_due = False
        self._targets_due = False
        self._tasks: set[asyncio.Task[None]] = set()

    def _from_thread(self, callback: Callable[..., object]) -> Callable[..., None]:
        loop = asyncio.get_running_loop()

        def post(*values: object) -> None:
            loop.call_soon_threadsafe(callback, *values)

        return post

    # -- life ---------------------------------------------------------------------------------------------------------

    def load(self) -> str | None:
        """Read the registry; answers why it is refused, if it is. Units are made in any case."""
        try:
            self.fleet.load()
        except RegistryError as error:
            return error.message
        return None

    async def open(self) -> None:
        """Come up: find out what lives, then begin to act. Nothing is started before every runner could answer."""
        if self.fleet.foreign and self.holds.current.kind == "none":
            why = "this registry was written by another program" + await self.gate.meet_outsiders()
            self.holds.pause("registry", self.clock.now(), why, "foreign")
        await asyncio.to_thread(self.journal.reserve)
        self._take_up_holds()  # before anything is made of how runs ended
        await self.processes.open()
        await self.recovery.boot()
        await self.fleet.first()
        self._take_up_holds()  # of strategies that only their runs told us of
        gap = self.books.last_alive()
        self.edges.start()
        self.sampler.start()
        if gap is not None:
            self.reconciler.report_missed(gap, self.clock.time(), "the supervisor was not running")
        self.happened("supervisor", None, "supervisor", f"stratpanel {__version__} is up")
        self.do(self.reconciler.run())

    def _take_up_holds(self) -> None:
        self.books.replay_holds()
        self.books.take_up_holds()

    async def close(self) -> None:
        """End our threads and lines; strategies and their runners are not touched."""
        self.leaving = True
        with contextlib.suppress(TimeoutError):  # a disk that hangs must not keep us; the file stays whole
            await asyncio.wait_for(asyncio.gather(self.fleet.durable(), self.books.outcomes_written()), SAVE_S)
        for task in self._tasks:
            task.cancel()
        self.edges.stop()
        await asyncio.to_thread(self.sampler.stop)
        for unit in self.units.values():
            unit.cancel(*unit.timers)
            if unit.task is not None:
                unit.task.cancel()
            if unit.run is not None and unit.run.line is not None:
                unit.run.line.close()
        self.processes.close()
        self.enders.shutdown(wait=False, cancel_futures=True)

    def do(self, work: Any) -> None:
        """Run a coroutine for as long as the supervisor lives."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of ours failed", exc_info=error)

    def leave(self) -> None:
        """`down`: nobody brings us back, then the process ends."""
        self.runtime.wanted.unlink(missing_ok=True)

        async def go() -> None:
            await self.processes.down()
            self.left.set()

        self.do(go())

    # -- what the parts share -----------------------------------------------------------------------------------------

    def unit(self, id: str) -> Unit:
        """The unit of this id; NotFound with what there is."""
        unit = self.units.get(id) or self.units.get(find_id(id, self.units) or "")
        if unit is None:
            raise NotFound(f"there is no strategy {id!r}; `stratpanel status` lists them", code="STRATEGY_NOT_FOUND")
        return unit

    def log_path(self, id: str) -> Path:
        """Where a strategy's log lies."""
        return self.workspace / "log" / "strategies" / f"{id}.log"

    def calendar_of(self, name: str | None) -> Calendar | None:
        """A calendar by name; None for none, and for one that nobody has."""
        return self.calendars.find(name)

    def zone_of(self, unit: Unit) -> tzinfo:
        """The zone in which a strategy's times are shown."""
        calendar = self.calendar_of(unit.plan.calendar)
        if unit.plan.timezone:
            return ZoneInfo(unit.plan.timezone)
        return calendar.timezone if calendar is not None else self.zone

    def status_of(self, unit: Unit) -> dict[str, Any]:
        """The status fields of CONTRACTS."""
        if not unit.log_path:
            unit.log_path = str(self.log_path(unit.id))  # joining paths costs more than all the rest of a status
        return statusview.status(unit, self.clock.time(), self.zone_of(unit), unit.log_path, self.secrets.mask)

    def happened(self, type: str, unit: Unit | None, by: str, message: str, **more: Any) -> None:
        """Append an event."""
        status = self.status_of(unit) if unit is not None else None
        self.events.append(type, unit.id if unit is not None else None, by, self.secrets.mask(message), status, **more)

    def may_start(self, unit: Unit) -> bool:
        """True unless something forbids every start of it right now."""
        try:
            self.starts.check(unit)
        except Conflict:
            return False
        return True

    def set_hold(
        self, unit: Unit, kind: str, *, by: str, why: str, until: datetime | None = None, over: Hold = NO_HOLD
    ) -> None:
        """Record what a person (or the end of what a person asked for) says about running; saved with the registry.

        `over`: the manual start that a pause leaves as it is.
        """
        hold = replace(new_hold(kind, by, self.clock.now(), why, until), start_at=over.at, start_until=over.until)
        if (hold.kind, hold.until) == (unit.hold.kind, unit.hold.until) == ("none", None):
            return
        unit.hold = hold
        self.journal.append(unit.id, hold, self.clock.time())
        unit.touch()
        self.fleet.changed(unit.id)
        self.reconciler.poke(unit.id)

    def holds_changed(self) -> None:
        """Pause or panic came or went: look at everything again."""
        for unit in self.units.values():
            unit.touch()
        self.supervisor_changed()
        self.reconciler.poke()

    def after_end(self, unit: Unit) -> None:
        """A run's end was dealt with: keep what came of it, drop what is not registered any more, look again."""
        self.fleet.changed(unit.id)
        self.books.keep_outcome(unit)
        if unit.removed and not unit.is_live and unit.id != AFTER_PANIC:
            self.drop(unit, "registry")
            return
        self.reconciler.poke(unit.id)

    def drop(self, unit: Unit, by: str) -> None:
        """Forget a unit whose entry is gone and that does not run."""
        if self.units.pop(unit.id, None) is None:
            return
        unit.cancel(*unit.timers)
        self.watch.series.pop(unit.id, None)
        self._removed.add(unit.id)
        self._flush_soon()
        self.happened("removed", None, by, f"{unit.id} was removed", removed=unit.id)

    def unregistered(self, id: str, status: dict[str, Any]) -> Unit:
        """A unit for a living run whose entry is gone, or cannot be read (degraded): shown, stopped, never started."""
        config = (status.get("spec") or {}).get("config") or {}
        unit = self.units[id] = Unit(id, self.clock, self.changed)
        unit.removed = True
        unit.config = dict(config)
        if self.degraded:
            strategy = Strategy.from_config(id, config)
            unit = self.fleet.take_up(id, strategy)
        return unit

    def reload_settings(self) -> None:
        """Read stratpanel.toml again. Raises InvalidValue, and then nothing changes."""
        self.settings = load_settings(self.workspace)
        self.zone = ZoneInfo(self.settings.timezone)
        use_limits(self.settings)
        for follow in self.on_settings:
            follow(self.settings)

    def version_is(self, unit: Unit, n: int) -> None:
        """The deployed version changed; what runs keeps its own."""
        unit.version = n
        self.copies.look_at(unit)
        unit.touch()
        self.fleet.changed(unit.id)

    def calendars_changed(self) -> None:
        """Read calendars again and let every schedule follow."""
        self.calendars.reload()
        self.fleet.calendars_changed()
        self.reconciler.set_edges()
        self.reconciler.poke()

    def supervisor_status(self) -> dict[str, Any]:
        """The supervisor's fields of CONTRACTS, and its warnings."""
        return statusview.supervisor(self)

    # -- telling others -----------------------------------------------------------------------------------------------

    def on_change(self, callback: ChangeCallback) -> Callable[[], None]:
        """Call with (changed ids, removed ids, supervisor changed) once per loop turn; returns the unsubscribe."""
        self._change_callbacks.append(callback)
        return lambda: self._change_callbacks.remove(callback) if callback in self._change_callbacks else None

    def on_tick(self, callback: TickCallback) -> Callable[[], None]:
        """Call once a second with everything's figures; returns the unsubscribe."""
        self._tick_callbacks.append(callback)
        return lambda: self._tick_callbacks.remove(callback) if callback in self._tick_callbacks else None

    def changed(self, id: str) -> None:
        """A unit's visible fields are different now."""
        self._changed.add(id)
        self._flush_soon()

    def supervisor_changed(self) -> None:
        """The supervisor's own fields are different now."""
        self._supervisor_changed = True
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        changed, removed, supervisor = self._changed, self._removed, self._supervisor_changed
        self._changed, self._removed, self._supervisor_changed = set(), set(), False
        for callback in tuple(self._change_callbacks):
            try:
                callback(changed & self.units.keys(), removed, supervisor)
            except Exception:  # a stream's trouble must not keep the others from the news
                log.exception("cannot tell a subscriber what changed")

    def trees_changed(self) -> None:
        """A tree came, went or has another leader: the sampler looks at other processes from now on."""
        if not self._targets_due:
            self._targets_due = True
            asyncio.get_running_loop().call_later(AIM_AFTER_S, self._aim)

    def _aim(self) -> None:
        self._targets_due = False
        self.sampler.targets = self.watch.targets()

    def _ticked(self, tick: Tick) -> None:
        self.watch.take(tick)
        self.books.usage(tick)
        for callback in tuple(self._tick_callbacks):
            try:
                callback(tick)
            except Exception:  # as above
                log.exception("cannot hand on a tick")

    def _queue_moved(self) -> None:
        places = {id: place for place, id in enumerate(self.queue.waiting, start=1)}
        for unit in self.units.values():
            place = places.get(unit.id)
            if unit.queue_place == place:
                continue
            unit.queue_place = place
            if place is not None and unit.state is State.STARTING:
                unit.explain(f"waits for its turn to start, number {place}")
            unit.touch()
        self.supervisor_changed()

    def _edge_trouble(self, type: str, id: str, message: str) -> None:
        self.happened(type, self.units.get(id), "scheduler", message)
        self.reconciler.poke(id)

    def _launcher_came(self, up: bool) -> None:
        self.supervisor_changed()
        if up:
            log.info("connected to the launcher, PID %s", self.processes.launcher_pid)

    def _launcher_said(self, message: Message) -> None:
        if message.get("ev") != "runner_lost":
            return
        unit = self.units.get(str(message.get("id")))
        if unit is not None and unit.run is not None and unit.run.run_id == message.get("run_id"):
            log.warning("the runner of %s died; its successor is %s", unit.id, message.get("replaced_by"))
            if unit.run.line is None:
                self.recovery.look_for(unit, unit.run)
