"""What follows when a run has ended: its record, its reason in words, and the policy's verdict, in that order.

Called with the runner's exit record, whether it comes live or was found after we had been away. A record is final: it
is taken in once, an unknown code stays unknown, and no restart is decided while any part of the tree may live.
"""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from stratpanel.model.states import State
from stratpanel.supervisor.backoff import RestartRules, after_end, recent_restarts
from stratpanel.supervisor.unit import LastEnd, Order, Run, Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

log = logging.getLogger("stratpanel.endings")

A_PERSONS_STOP: Final = frozenset({"stop", "kill"})
# stops by us that the restart policy treats as crashes
COUNTS_AS_FAILURE: Final = frozenset({"memory", "quiet", "watchdog"})


def end_in_words(record: dict[str, Any]) -> str:
    """How a run ended, as one would say it: "crashed with exit code 1", "killed by SIGKILL", "ended, code unknown"."""
    if record.get("began") is False:  # None: nobody can tell any more
        return str(record.get("error") or "could not be executed")
    signal, code = record.get("signal"), record.get("exit_code")
    if signal:
        return f"killed by {signal}"
    if code is None:
        return "ended while nobody could see its exit code"
    return "finished" if code == 0 else f"crashed with exit code {code}"


class Endings:
    """Turns ends into states."""

    def __init__(self, core: Core, rng: random.Random | None = None) -> None:
        self._core = core
        self._rng = rng or random.Random()

    def ended(self, unit: Unit, run: Run, record: dict[str, Any], away: bool = False) -> None:
        """A run's tree is empty. Ignored when that run's end is known already or belongs to an older one."""
        if unit.run is not run or record.get("run_id") != run.run_id:
            return
        core = self._core
        unit.run = None
        unit.cancel("alive")
        unit.over_limit, unit.memory_warned = 0, False
        unit.silences.clear()
        unit.cpu_percent = unit.memory_mb = None
        if run.line is not None:
            run.line.close()
            run.line = None
        words = end_in_words(record)
        reason = str(record.get("reason") or "") or words
        self.remember(unit, record, reason)
        unit.past.append((run.run_id, run.started, float(record.get("ended") or core.clock.time())))
        core.books.record_end(unit, record)
        core.trees_changed()
        core.queue.is_up(unit.id)
        self._follow(unit, run, record, words, away)
        core.after_end(unit)

    def remember(self, unit: Unit, record: dict[str, Any], reason: str) -> None:
        """Keep the last run's code, signal and reason where `status` shows them."""
        unit.last = LastEnd(
            run_id=str(record.get("run_id")),
            exit_code=record.get("exit_code"),
            signal=record.get("signal"),
            ended=float(record.get("ended") or self._core.clock.time()),
            reason=reason,
            version=record.get("version"),
            mode=record.get("mode"),
        )

    def _follow(self, unit: Unit, run: Run, record: dict[str, Any], words: str, away: bool) -> None:
        core = self._core
        stop = record.get("stop") or {}
        cause = str(stop.get("reason") or "")
        by_us = bool(record.get("stopped_by_us"))
        told = " while the supervisor was away" if away else ""
        pending, unit.pending = unit.pending, None
        if pending is None and by_us and cause == "restart":
            pending = self.again(run, by=str(stop.get("by") or ""), cause="person")  # we died between stop and start
        if pending is not None:
            unit.ended_after_stop("restarting")
            core.happened("stopped", unit, pending.by, f"{words}{told}; starting again")
            if core.may_start(unit):
                core.starts.begin(unit, pending)
            return
        if by_us and cause not in COUNTS_AS_FAILURE:
            if cause in A_PERSONS_STOP:
                self._heed(unit, stop)
            why = core.stops.words(stop)
            unit.ended_after_stop(f"{why}{told}")
            core.happened("stopped", unit, str(stop.get("by") or "schedule"), why + told)
            return
        if record.get("began") is False:
            self.refused(unit, "EXEC_FAILED", f"cannot start {unit.id}: {words}")
            return
        self._by_itself(unit, run, record, core.stops.words(stop) if by_us else words, told, cause)

    def _heed(self, unit: Unit, stop: dict[str, Any]) -> None:
        """A person's stop that went past us, because we hung or were dead, is a hold all the same."""
        core = self._core
        core.books.take_up_holds()
        at = unit.hold.at.timestamp() if unit.hold.at is not None else 0.0
        if unit.hold.kind != "stopped" and at <= float(stop.get("at") or core.clock.time()):
            core.set_hold(unit, "stopped", by=str(stop.get("by") or ""), why="")

    def _by_itself(self, unit: Unit, run: Run, record: dict[str, Any], words: str, told: str, cause: str) -> None:
        core = self._core
        failed = bool(cause) or not (record.get("exit_code") == 0 and not record.get("signal"))
        rules = rules_of(unit.config)
        now = core.clock.time()
        lived = float(record.get("ended") or now) - run.started
        unit.recent = recent_restarts(unit.recent, now, lived, rules)
        if cause in ("quiet", "watchdog"):
            rules = RestartRules("always", rules.max_restarts, rules.window_s, rules.backoff_s, rules.backoff_max_s)
        verdict = after_end(failed, unit.recent, rules, self._rng)
        decision = core.reconciler.decision(unit)
        person_said_no = unit.hold.kind == "stopped" or core.holds.panic.kind == "panic"
        outside = decision.run is False
        code = self._code(record)
        planned = verdict.again and not person_said_no and not outside
        if planned and unit.restart_planned(f"{words}{told}; {verdict.why}"):
            self.plan_restart(unit, self.again(run, by="restart", cause="restart"), verdict.delay_s)
            core.happened("crash" if failed else "exited", unit, "strategy", f"{words}{told}; {verdict.why}", **code)
        elif verdict.fatal and not person_said_no:
            self.no_longer_wanted(unit)
            unit.gave_up(f"{words}{told}; {verdict.why}")
            core.happened("crash", unit, "strategy", words + told, **code)
            core.happened("fatal", unit, "supervisor", unit.why, **code)
        else:
            self.no_longer_wanted(unit)
            tail = "; not restarted outside its window" if verdict.again and outside else ""
            unit.ended_by_itself(f"{words}{told}{tail}")
            core.happened("crash" if failed else "exited", unit, "strategy", unit.why, **code)

    def _code(self, record: dict[str, Any]) -> dict[str, Any]:
        return {"exit_code": record.get("exit_code"), "signal": record.get("signal")}

    def no_longer_wanted(self, unit: Unit) -> None:
        """It starts again in its next window, or when a person says so."""
        unit.spent = self._core.clock.time()
        # a hand-started strategy is kept running until a person stops it or it ends by itself: it just did
        if unit.hold.kind == "started":
            self._core.set_hold(unit, "none", by="strategy", why="ended by itself")
        elif unit.hold.start_at is not None:  # paused over that start: only the pause is left
            self._core.set_hold(unit, "paused", by=unit.hold.by, why=unit.hold.why)

    def again(self, run: Run, *, by: str, cause: str) -> Order:
        """The order for the same run once more: version, mode, parameters and arguments stay."""
        return Order(
            by=by, cause=cause, params=run.params, args=run.args, deploy=False, version=run.version, mode=run.mode
        )

    def plan_restart(self, unit: Unit, order: Order, delay_s: float) -> None:
        """Start it again after `delay_s`, unless the decision says otherwise by then."""
        unit.retry_order = order
        unit.retry_at = self._core.clock.monotonic() + delay_s
        unit.after("retry", delay_s, lambda: self.retry(unit))

    def retry(self, unit: Unit) -> None:
        """The wait is over: start, or stay, if what it was waiting for is not there (a pause), or give it up."""
        core = self._core
        if unit.state is not State.BACKOFF or unit.retry_order is None:
            return
        if unit.retry_at is not None and core.clock.monotonic() < unit.retry_at - 0.001:
            return
        decision = core.reconciler.decision(unit)
        if decision.run is False:
            unit.stop_asked(f"not restarted: {decision.why}")
        elif decision.run is None or not core.may_start(unit):
            unit.explain(f"restart waits: {decision.why}")
        else:
            core.starts.begin(unit, unit.retry_order)

    def refused(self, unit: Unit, code: str, message: str) -> None:
        """It could not be started. Nothing of it lives."""
        core = self._core
        unit.cancel("alive")
        core.queue.is_up(unit.id)
        core.trees_changed()
        if code == "PANIC" or unit.state is State.STOPPING:
            if unit.state is State.STARTING:
                unit.stop_asked(message)
            unit.ended_after_stop(message)
            return
        if unit.start_failed(message):
            self.no_longer_wanted(unit)
            core.happened("fatal", unit, "supervisor", message, code=code)
        core.after_end(unit)

    def never_started(self, unit: Unit) -> None:
        """A stop came before anything was forked."""
        stop, unit.stop_wanted = unit.stop_wanted, None
        pending, unit.pending = unit.pending, None
        unit.run = None
        unit.ended_after_stop(self._core.stops.words(stop))
        if pending is not None and self._core.may_start(unit):
            self._core.starts.begin(unit, pending)
            return
        self._core.happened("stopped", unit, str((stop or {}).get("by") or ""), "stopped before it was started")
        self._core.after_end(unit)


def rules_of(config: dict[str, Any]) -> RestartRules:
    """The restart policy of a strategy's configuration."""
    restart = config.get("restart") or {}
    default = RestartRules()
    return RestartRules(
        policy=str(restart.get("policy") or default.policy),
        max_restarts=int(restart.get("max_restarts", default.max_restarts)),
        window_s=float(restart.get("window_s", default.window_s)),
        backoff_s=float(restart.get("backoff_s", default.backoff_s)),
        backoff_max_s=float(restart.get("backoff_max_s", default.backoff_max_s)),
        stable_s=float(restart.get("stable_s", default.stable_s)),
    )


def ended_at(unit: Unit) -> datetime | None:
    """When its last run ended, in UTC."""
    return datetime.fromtimestamp(unit.last.ended, UTC) if unit.last is not None else None
