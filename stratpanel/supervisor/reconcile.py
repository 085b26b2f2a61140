"""Compares what should run with what does, on every edge, every event and every two seconds, and acts on the
difference.

Level-triggered: it looks at the answer of `decide` and at the state, never at what it did before, so a missed edge, a
suspend, a clock step or an hour of downtime heals by itself. It starts and stops through the same doors as a person.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from stratpanel.market.decide import boundaries, decide, next_start, next_stop, window_began
from stratpanel.market.plan import Decision
from stratpanel.model.states import State
from stratpanel.supervisor.clock import TimeWatch
from stratpanel.supervisor.launch import LineClosed
from stratpanel.supervisor.preparation import AFTER_PANIC
from stratpanel.supervisor.unit import Order, Unit

if TYPE_CHECKING:
    from stratpanel.market.calendar import Calendar
    from stratpanel.supervisor.core import Core

log = logging.getLogger("stratpanel.reconcile")

EVERY_S: Final = 2.0  # how long a difference may stay unseen when no edge and no event announced it
WATCH_S: Final = 1.0  # how often the clocks are compared
STOOD_STILL_S: Final = 10.0  # stopped by a signal, a debugger or a frozen container; load alone costs less
LATE_S: Final = 60.0  # a scheduled start later than this after its edge is reported as missed
NEVER_ALIVE: Final = timedelta(days=7)  # how far back whole missed windows are looked for


class Reconciler:
    """One pass after the other; `poke` asks for one soon."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._dirty: dict[str, None] = {}  # in the order of asking
        self._pass_due = False
        self._watch = TimeWatch(core.clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._deadlines: dict[str, float | None] = {}  # run id → what its runner was last told
        self._gaps: deque[tuple[float, float, str]] = deque(maxlen=100)
        self.enabled = False
        self._beat_at = asyncio.get_running_loop().time()  # by the loop's clock
        self.lateness_s: float | None = None  # how long after its edge the latest edge was decided

    # -- when to look -------------------------------------------------------------------------------------------------

    def poke(self, id: str | None = None) -> None:
        """Look at one strategy (or all) before the loop does much else; many pokes make one pass."""
        if id is None:
            self._dirty.update(dict.fromkeys(self._core.units))
        else:
            self._dirty[id] = None
        if not self._pass_due and self.enabled:
            self._pass_due = True
            asyncio.get_running_loop().call_soon(self._run_pass)

    async def run(self) -> None:
        """The heartbeat: clocks every second, everything every two."""
        self.enabled = True
        self.poke()
        beat = 0
        self._beat_at = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(WATCH_S)
            beat += 1
            try:
                self._look_at_clocks(self._late_s())
                self._beat_at = asyncio.get_running_loop().time()
                if beat * WATCH_S % EVERY_S == 0:
                    self._core.chores.beat()
                    self.poke()
            except Exception:  # whatever fails in one beat, stops and starts depend on the next one coming
                log.exception("a heartbeat failed; the next one follows")

    def _late_s(self) -> float:
        """How much longer ago the last heartbeat is than it should be, by the loop's clock (seconds)."""
        return asyncio.get_running_loop().time() - self._beat_at - WATCH_S

    def _look_at_clocks(self, late_s: float = 0.0) -> None:
        """Notice that time was lost: asleep, by a step of the clock, or because nobody let us run (`late_s`)."""
        before = self._watch.last_wall
        jump = self._watch.look()
        because = "the machine slept"
        if jump > 0:
            what = f"the machine slept or its clock went forward by {jump:.0f} s"
        elif jump < 0:
            what = f"its clock went back by {-jump:.0f} s"
        elif late_s > STOOD_STILL_S:
            what = because = f"the supervisor stood still for {late_s:.0f} s"
        else:
            return
        log.warning("%s; every strategy is looked at again", what)
        self._core.happened("clock", None, "supervisor", what)
        if jump >= 0:
            self._core.edges.look_again()
            self.report_missed(before, self._core.clock.time(), because)
        else:
            self.set_edges()  # edges that lay behind us lie ahead again, and no alarm waits for them
        self.poke()

    def set_edges(self) -> None:
        """Give every strategy its alarms anew, by the calendars and the clock as they are now."""
        for unit in self._core.units.values():
            self._core.edges.set(unit.id, unit.plan, self.calendar(unit))

    def _run_pass(self) -> None:
        self._pass_due = False
        if (late_s := self._late_s()) > STOOD_STILL_S:  # an alarm came before the heartbeat: first what was missed
            self._beat_at = asyncio.get_running_loop().time()
            self._look_at_clocks(late_s)
        dirty, self._dirty = self._dirty, {}
        units = [unit for id in dirty if (unit := self._core.units.get(id)) is not None]
        units.sort(key=lambda unit: not unit.is_live)  # what may have to stop does not wait for what may start
        for unit in units:
            try:
                self.look(unit)
            except Exception:  # one strategy's trouble must not keep the others from their stops
                log.exception("cannot reconcile %s", unit.id)

    # -- what should be -----------------------------------------------------------------------------------------------

    def calendar(self, unit: Unit) -> Calendar | None:
        """The calendar of a strategy's plan; None for a plain clock, and when it cannot be had."""
        return self._core.calendar_of(unit.plan.calendar)

    def decision(self, unit: Unit) -> Decision:
        """Whether it should run now, and why."""
        core, now = self._core, self._core.clock.now()
        if unit.refusal is not None and core.holds.current.kind != "panic":
            stopped = unit.hold.kind == "stopped" and (unit.hold.until is None or unit.hold.until > now)
            if not stopped:
                return unit.refusal
        return decide(unit.plan, self.calendar(unit), unit.hold, now, core.holds.current)

    def deadline(self, unit: Unit) -> float | None:
        """The stop deadline for its runner (epoch seconds), None when nothing says an end."""
        decision = self.decision(unit)
        if decision.run is not False and decision.until is not None:
            return decision.until.timestamp()
        return None

    # -- acting on the difference -------------------------------------------------------------------------------------

    def look(self, unit: Unit) -> None:
        """Bring one strategy nearer to what it should be."""
        core = self._core
        if unit.id == AFTER_PANIC:
            return  # no schedule, no restart, and the panic is what it runs for
        now = core.clock.now()
        if unit.hold.kind == "started" and unit.hold.until is not None and unit.hold.until <= now:
            core.set_hold(unit, "none", by="schedule", why="the window it was started for is over")
        decision = self.decision(unit)
        changed = decision is not unit.decision
        if changed:
            if unit.decision is not None and unit.decision.until is not None and unit.decision.until <= now:
                self.lateness_s = (now - unit.decision.until).total_seconds()
            unit.decision = decision
            calendar, over = self.calendar(unit), core.holds.current
            unit.next_start = next_start(unit.plan, calendar, unit.hold, now, over)
            unit.next_stop = next_stop(unit.plan, calendar, unit.hold, now, over)
        if changed and decision.alert and decision is not unit.refusal:  # the refusal of a schedule was told
            core.happened("calendar", unit, "schedule", decision.why)
        self._send_deadline(unit, decision)
        if decision.run is False:
            self._should_rest(unit, decision)
        elif decision.run is True:
            self._should_run(unit, decision, now)
        self._explain(unit, decision, changed)

    def _should_rest(self, unit: Unit, decision: Decision) -> None:
        core = self._core
        if unit.state in (State.STARTING, State.RUNNING):
            panic = core.holds.panic
            if panic.kind == "panic":
                core.stops.ask(unit, reason="panic", by=panic.by)
            elif unit.hold.kind == "stopped":
                core.stops.ask(unit, reason="stop", by=unit.hold.by)
            else:
                core.stops.ask(unit, reason="window", by="schedule")
        elif unit.state is State.BACKOFF:
            unit.stop_asked(f"not restarted: {decision.why}")
            core.after_end(unit)

    def _should_run(self, unit: Unit, decision: Decision, now: datetime) -> None:
        core = self._core
        if unit.state is State.BACKOFF and "retry" not in unit.timers:
            core.endings.retry(unit)  # it waited for a pause to end
        if unit.state not in (State.STOPPED, State.EXITED, State.FATAL) or not core.may_start(unit):
            return
        if core.clock.time() < unit.not_before:
            return
        begun = window_began(unit.plan, self.calendar(unit), now)
        if unit.spent is not None and (begun is None or begun.timestamp() <= unit.spent):
            return  # it ended by itself in this window, or gave up: the next window is its next chance
        by_hand = unit.hold.kind == "started"
        if begun is not None and not by_hand and (because := self._away_at(begun.timestamp())) is not None:
            late = (now - begun).total_seconds()
            if late > LATE_S:
                core.happened("missed_start", unit, "schedule", f"starts {late / 60:.0f} min late: {because}")
        if by_hand:
            core.starts.begin(unit, Order(by=unit.hold.by, cause="recovery"))
        else:
            core.starts.begin(unit, Order(by="schedule", cause="schedule"))

    def _away_at(self, moment: float) -> str | None:
        """Why nobody looked at that epoch second: we were down, or the machine slept."""
        return next((because for since, until, because in self._gaps if since < moment <= until), None)

    def _explain(self, unit: Unit, decision: Decision, changed: bool) -> None:
        resting = unit.state is State.STOPPED and not decision.run
        at_work = unit.state is State.RUNNING and (unit.run is None or unit.run.leader_pid is not None)
        if unit.spent is not None and unit.state in (State.STOPPED, State.EXITED, State.FATAL):
            unit.explain(f"{unit.ended_why}; {self._what_next(unit)}")
        elif resting or at_work:
            unit.explain(decision.why)
        elif unit.state is State.BACKOFF and decision.run is None and "retry" not in unit.timers:
            unit.explain(f"restart waits: {decision.why}")
        elif changed:
            unit.touch()

    def _what_next(self, unit: Unit) -> str:
        if unit.next_start is None:
            return "start it by hand"
        return f"starts again {unit.next_start.astimezone(self._core.zone_of(unit)):%a %d %b %H:%M %Z}"

    # -- deadlines ----------------------------------------------------------------------------------------------------

    def _send_deadline(self, unit: Unit, decision: Decision) -> None:
        """Tell the runner when it must stop, whenever that changes. A calendar that cannot answer takes none back."""
        run = unit.run
        if run is None or run.line is None or unit.state is State.STOPPING or decision.run is False:
            return
        if decision.run is None and decision.until is None:
            return
        at = decision.until.timestamp() if decision.until is not None else None
        if run.stop_at == at or self._deadlines.get(run.run_id, run.stop_at) == at:
            return
        self._deadlines[run.run_id] = at
        task = asyncio.get_running_loop().create_task(self._deliver_deadline(unit, run.run_id, at))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver_deadline(self, unit: Unit, run_id: str, at: float | None) -> None:
        run = unit.run
        if run is None or run.run_id != run_id or run.line is None:
            self._deadlines.pop(run_id, None)
            return
        try:
            answer = await run.line.request("deadline", at=at, reason="window")
        except (LineClosed, TimeoutError) as error:
            self._deadlines.pop(run_id, None)  # the next pass tries again, with whichever runner there is then
            log.warning("%s: its runner did not take the deadline: %s", unit.id, error)
            return
        if answer.get("ok"):
            run.stop_at = at
        self._deadlines.pop(run_id, None)

    # -- what was missed ----------------------------------------------------------------------------------------------

    def report_missed(self, since: float, until: float, because: str) -> None:
        """Say which scheduled windows began and ended between two epoch seconds without anybody to start them."""
        self._gaps.append((since, until, because))
        begin = max(datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(until, UTC) - NEVER_ALIVE)
        end = datetime.fromtimestamp(until, UTC)
        for unit in self._core.units.values():
            if not unit.plan.enabled or unit.hold.kind in ("stopped", "paused") or unit.is_live:
                continue
            if self._core.holds.current.kind != "none":
                continue
            edges = [e for e in boundaries(unit.plan, self.calendar(unit), begin, 32) if e.at <= end]
            for first, second in pairwise(edges):
                if first.action == "start" and second.action == "stop":
                    when = first.at.astimezone(self._core.zone_of(unit)).strftime("%a %d %b %H:%M %Z")
                    message = f"its whole window from {when} was missed: {because}"
                    self._core.happened("missed_start", unit, "schedule", message)
