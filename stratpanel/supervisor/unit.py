"""One strategy as the supervisor knows it: a plain record whose every change of state is one method named after its
event.

The methods are driven by the total table in model/states.py and by nothing else; they do no I/O and wait for nobody.
Owned by the loop's thread. Param objects follow afterwards, elsewhere; a watcher can never stand between a fact and
its record.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from stratpanel.market.plan import NO_HOLD, Decision, Hold, Plan
from stratpanel.model.states import Event, Ignored, State, transition
from stratpanel.supervisor.clock import Clock, Timer
from stratpanel.supervisor.copies import Standing

if TYPE_CHECKING:
    from stratpanel.model.strategy import Strategy
    from stratpanel.supervisor.launch import RunnerLine

log = logging.getLogger("stratpanel.unit")

#: states in which we have, or are making, a run; a lost one has none we could speak to
LIVE = frozenset({State.STARTING, State.RUNNING, State.STOPPING})
ENDS = frozenset(
    {Event.ENDED_BY_ITSELF, Event.ENDED_AFTER_STOP, Event.RESTART_PLANNED, Event.GAVE_UP, Event.START_FAILED}
)


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants a run, why, and with what; a restart keeps its run's version, mode, parameters and arguments."""

    by: str
    cause: str  # person | schedule | restart | recovery
    params: dict[str, Any] = field(default_factory=dict)
    args: list[str] | None = None
    deploy: bool | None = None
    version: int | None = None
    mode: str | None = None
    attempt: int = 1  # how often the launcher has been asked; it may die between the asking and the fork


@dataclass(slots=True)
class Run:
    """One run of a strategy, from the order until its end is known."""

    run_id: str
    order: Order
    version: int | None
    mode: str
    log_path: str
    started: float  # epoch seconds
    params: dict[str, Any] = field(default_factory=dict)
    args: list[str] = field(default_factory=list)
    line: RunnerLine | None = None
    phase: str = "asked"  # asked | forked | running | stopping | ended
    runner_pid: int | None = None
    leader_pid: int | None = None
    leader_start: int | None = None
    members: frozenset[int] = frozenset()
    stop_at: float | None = None
    stop: dict[str, Any] | None = None
    dropped_bytes: int = 0
    dropped_told: float = 0.0  # epoch seconds of the latest alert about that
    spawned: bool = False
    ordered_late: bool = False  # we already called it failed; should it appear after all, it is stopped


@dataclass(slots=True)
class LastEnd:
    """How the run that ended last ended; code and signal both None: unknown."""

    run_id: str
    exit_code: int | None
    signal: str | None
    ended: float  # epoch seconds
    reason: str
    version: int | None = None
    mode: str | None = None


class Unit:
    """One strategy: its configuration, state and reason, its run, and what should happen next."""

    def __init__(self, id: str, clock: Clock, changed: Callable[[str], None]) -> None:
        self.id = id
        self.strategy: Strategy | None = None  # the Param object; follows this record, never leads it
        self.config: dict[str, Any] = {}  # its configuration as plain JSON values, safe to hand to a thread
        self.etag = ""
        self.log_path = ""
        self.plan = Plan(enabled=False)
        self.schedule_problem = ""  # what the registry's schedule has wrong
        self.refusal: Decision | None = None  # in place of what it would mean, when no schedule before it is in force
        self.state = State.STOPPED
        self.why = ""
        self.ended_why = ""  # how its last run ended, without what comes next
        self.since: datetime = clock.now()
        self.hold: Hold = NO_HOLD
        self.run: Run | None = None
        self.last: LastEnd | None = None
        self.last_started: float | None = None
        self.version: int | None = None  # the deployed one
        self.standing = Standing()  # its working copy beside its versions, as of the last look
        self.ends = 0  # runs, and starts that came to nothing, that are over; a stop waits for the next one
        self.restarts = 0
        self.recent: list[float] = []  # restarts that count towards giving up, epoch seconds
        self.retry_at: float | None = None  # monotonic
        self.retry_order: Order | None = None
        self.pending: Order | None = None  # starts as soon as the present run has ended
        self.stop_wanted: dict[str, Any] | None = None  # asked while the start was still being prepared
        self.decision: Decision | None = None
        self.next_start: datetime | None = None
        self.next_stop: datetime | None = None
        self.queue_place: int | None = None
        self.over_limit = 0
        self.memory_warned = False
        self.silences: dict[str, str] = {}  # "quiet" and "watchdog": what it does not do, in words
        self.spent: float | None = None  # epoch seconds at which it ended by itself: its window is used up
        self.gate_told: object = None  # the day on which an alert about before_start was given
        self.past: deque[tuple[str, float, float]] = deque(maxlen=20)  # ended runs: id, started, ended
        self.not_before: float = 0.0  # epoch seconds; before_start failed, look again then
        self.removed = False  # its entry left the registry while it ran
        self.cpu_percent: float | None = None
        self.memory_mb: float | None = None
        self.timers: dict[str, Timer] = {}
        self.task: asyncio.Task[None] | None = None
        self._clock = clock
        self._changed = changed
        self._waiters: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        return f"<Unit {self.id} {self.state.value}: {self.why}>"

    @property
    def quiet(self) -> bool:
        """True while its log is silent or its heartbeat overdue."""
        return bool(self.silences)

    # -- events ---------------------------------------------------------------------------------------------------

    def start_asked(self, why: str) -> bool:
        """Somebody or something starts it; the start itself is under way elsewhere."""
        return self._fire(Event.START_ASKED, why)

    def spawned(self, why: str) -> bool:
        """Its leader is on record and runs."""
        return self._fire(Event.SPAWNED, why)

    def alive(self, why: str) -> bool:
        """It has been alive for `start_seconds`."""
        return self._fire(Event.ALIVE_LONG_ENOUGH, why)

    def leader_exited(self, why: str) -> bool:
        """The leader is gone, the rest of its tree lives on."""
        return self._fire(Event.LEADER_EXITED, why)

    def stop_asked(self, why: str) -> bool:
        """It is being stopped; a wait for a restart ends at once."""
        return self._fire(Event.STOP_ASKED, why)

    def kill_asked(self, why: str) -> bool:
        """It is being killed, perhaps after a stop it did not obey."""
        return self._fire(Event.KILL_ASKED, why)

    def backoff_elapsed(self, why: str) -> bool:
        """The wait before a restart is over."""
        return self._fire(Event.BACKOFF_ELAPSED, why)

    def reset_asked(self, why: str) -> bool:
        """A person clears a final state."""
        return self._fire(Event.RESET_ASKED, why)

    def lost(self, why: str) -> bool:
        """Its lock is held but no member can be found."""
        return self._fire(Event.LOST, why)

    def ended_after_stop(self, why: str) -> bool:
        """It ended because we stopped it."""
        return self._fire(Event.ENDED_AFTER_STOP, why)

    def ended_by_itself(self, why: str) -> bool:
        """It ended by itself and stays so."""
        return self._fire(Event.ENDED_BY_ITSELF, why)

    def restart_planned(self, why: str) -> bool:
        """It ended by itself and will be restarted."""
        return self._fire(Event.RESTART_PLANNED, why)

    def gave_up(self, why: str) -> bool:
        """It ended by itself once too often."""
        return self._fire(Event.GAVE_UP, why)

    def start_failed(self, why: str) -> bool:
        """It could not be started at all."""
        return self._fire(Event.START_FAILED, why)

    def found_alive(self, why: str) -> bool:
        """A living run of it was found: by reattaching, or because another runner serves it."""
        return self._fire(Event.FOUND_ALIVE, why)

    def restore(self, state: State, why: str) -> None:
        """Take over the state that the records of an earlier supervisor prove; only before the first event."""
        self.state = state
        self.why = self.ended_why = why
        self.touch()

    # -- the record -----------------------------------------------------------------------------------------------

    def _fire(self, event: Event, why: str) -> bool:
        """Follow the table; True when the event counted (even if it leads back to the same state)."""
        outcome = transition(self.state, event)
        if isinstance(outcome, Ignored):
            log.debug("%s: %s ignored while %s: %s", self.id, event.value, self.state.value, outcome.reason)
            return False
        if event in ENDS:
            self.ends += 1
            self.ended_why = why
        if outcome is not self.state:
            log.info("%s: %s → %s (%s): %s", self.id, self.state.value, outcome.value, event.value, why)
            self.state = outcome
            self.since = self._clock.now()
        self.why = why
        self.touch()
        return True

    def explain(self, why: str) -> None:
        """Replace the reason without a change of state."""
        if why != self.why:
            self.why = why
            self.touch()

    def touch(self) -> None:
        """Something a client can see has changed: tell the mirror and whoever waits for this unit."""
        self._changed(self.id)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `reached()` after some change of this unit; False when `timeout_s` went by first."""
        if reached():
            return True
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                while not reached():
                    waiter: asyncio.Future[None] = loop.create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        except TimeoutError:
            return reached()
        return True

    def after(self, name: str, delay_s: float, callback: Callable[[], object]) -> None:
        """(Re)set this unit's timer `name`, in monotonic seconds."""
        self.cancel(name)

        def fire() -> None:
            self.timers.pop(name, None)
            callback()

        self.timers[name] = self._clock.call_later(max(0.0, delay_s), fire)

    def cancel(self, *names: str) -> None:
        """Forget timers by name."""
        for name in names:
            if (timer := self.timers.pop(name, None)) is not None:
                timer.cancel()

    @property
    def is_live(self) -> bool:
        """True while part of it may be alive or is about to be."""
        return self.state in LIVE
