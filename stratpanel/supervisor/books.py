"""What is written down: runs and usage into history, what came of a run, that we are alive, holds the command line
left.

Called on the loop. Writes here are small and unsynced, or handed to history's own thread; losing one of them may cost
a line of history or a repeated decision, never a second copy of a strategy.
"""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from stratpanel.market.plan import Hold
from stratpanel.model.errors import Conflict
from stratpanel.model.states import State
from stratpanel.process.errors import ProcessError
from stratpanel.process.records import read_json, write_json
from stratpanel.supervisor.holds import hold_from_json
from stratpanel.supervisor.sampling import Tick
from stratpanel.supervisor.unit import Order, Run, Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

log = logging.getLogger("stratpanel.books")

GAP_S: Final = 10.0  # a supervisor that was away for less missed no edge that the reconciler does not catch anyway


class HistoryLike(Protocol):
    """What the core needs of history; see history/history.py."""

    @property
    def problem(self) -> str | None: ...
    def append_event(self, event: Any) -> dict[str, Any]: ...
    def record_run(self, run: Any) -> None: ...
    def add_usage(self, t: float, figures: Any) -> None: ...
    def runs(self, id: str | None = None, limit: int = 100) -> list[dict[str, Any]]: ...
    def events(self, since: int = 0, limit: int = 1000, *, newest: bool = False) -> list[dict[str, Any]]: ...
    def event_bounds(self) -> tuple[int, int]: ...
    def usage(self, id: str, since: float | None = None, step: int | None = None) -> dict[str, Any]: ...
    def succeeded_since(self, id: str, t: float) -> bool: ...
    def forget(self, id: str) -> None: ...


class Books:
    """Records on behalf of the core."""

    def __init__(self, core: Core, history: HistoryLike) -> None:
        self._core = core
        self._history = history
        self._alive = core.runtime.root / "alive"
        self._outcomes: dict[str, dict[str, Any]] = {}
        self._writing: asyncio.Task[None] | None = None

    # -- runs ---------------------------------------------------------------------------------------------------------

    def record_start(self, unit: Unit, run: Run, spec: dict[str, Any]) -> None:
        """A run was ordered, or found: history may hear of it more than once."""
        self._history.record_run(
            {
                "run_id": run.run_id,
                "id": unit.id,
                "version": run.version,
                "mode": run.mode,
                "started": run.started,
                "started_by": run.order.by or spec.get("started_by"),
                "config": spec.get("config"),
                "params": run.params,
                "args": run.args,
            }
        )
        self._core.fleet.changed(unit.id)

    def forget_start(self, unit: Unit, run: Run) -> None:
        """The launcher made no runner: the ordered run never existed."""
        now = self._core.clock.time()
        self._history.record_run(
            {"run_id": run.run_id, "id": unit.id, "ended": now, "reason": "never started", "began": False}
        )

    def record_end(self, unit: Unit, record: dict[str, Any]) -> None:
        """A run ended."""
        self._history.record_run({"id": unit.id, **{k: v for k, v in record.items() if k not in ("spec", "instance")}})

    def usage(self, tick: Tick) -> None:
        """One second of everybody's figures."""
        figures = {
            id: (cpu, tick.mem.get(id), tick.threads.get(id), tick.open_files.get(id)) for id, cpu in tick.cpu.items()
        }
        if figures:
            self._history.add_usage(tick.t, figures)

    # -- what came of a run -------------------------------------------------------------------------------------------

    def keep_outcome(self, unit: Unit) -> None:
        """Write down what was made of the last end, so that the next supervisor does not judge it again."""
        if unit.is_live or unit.last is None:
            return
        order, now = unit.retry_order, self._core.clock
        outcome = {
            "run_id": unit.last.run_id,
            "at": now.time(),
            "state": unit.state.value,
            "why": unit.ended_why or unit.why,
            "restarts": unit.restarts,
            "recent": unit.recent,
            "spent": unit.spent,
            "retry_in_s": max(0.0, unit.retry_at - now.monotonic()) if unit.retry_at is not None else None,
            "retry": {"params": order.params, "args": order.args, "version": order.version, "mode": order.mode}
            if order is not None
            else None,
        }
        self._outcomes[unit.id] = outcome
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_outcomes(), name="outcomes")

    async def outcomes_written(self) -> None:
        """Return when every outcome noted so far is on disk, or could not be."""
        while self._writing is not None:
            await asyncio.shield(self._writing)

    async def _write_outcomes(self) -> None:
        # a rename over an old file makes ext4 write it out: 5 ms that 500 ends must not cost the loop one by one
        try:
            while self._outcomes:
                due, self._outcomes = self._outcomes, {}
                await asyncio.to_thread(self._write_all, due)
        finally:
            self._writing = None

    def _write_all(self, outcomes: dict[str, dict[str, Any]]) -> None:
        for id, outcome in outcomes.items():
            try:
                write_json(self._core.runtime.run_dir(id) / "outcome.json", outcome)
            except OSError as error:  # a full disk: the next supervisor judges the exit record itself
                log.warning("cannot note the outcome of %s: %s", id, error)

    def restore_outcome(self, unit: Unit, outcome: dict[str, Any]) -> None:
        """Go on where the supervisor before us stood with this strategy."""
        try:
            state = State(outcome["state"])
        except (KeyError, ValueError):  # written by a newer stratpanel
            state = State.STOPPED
        unit.restarts = int(outcome.get("restarts") or 0)
        unit.recent = [float(at) for at in outcome.get("recent") or ()]
        unit.spent = outcome.get("spent")
        why = str(outcome.get("why") or "")
        if state is State.BACKOFF:
            retry = outcome.get("retry") or {}
            order = Order(
                by="restart",
                cause="restart",
                params=dict(retry.get("params") or {}),
                args=retry.get("args"),
                deploy=False,
                version=retry.get("version"),
                mode=retry.get("mode"),
            )
            unit.restore(state, why)
            waited = self._core.clock.time() - float(outcome.get("at") or 0.0)
            left = float(outcome.get("retry_in_s") or 0.0) - max(0.0, waited)
            self._core.endings.plan_restart(unit, order, max(0.0, left))
        elif state in (State.STOPPED, State.EXITED, State.FATAL):
            unit.restore(state, why)

    # -- being alive --------------------------------------------------------------------------------------------------

    def note_alive(self) -> None:
        """Leave a trace of the time, so that a successor knows how long nobody looked."""
        try:
            with open(self._alive, "ab"):
                os.utime(self._alive)
        except OSError as error:  # a full or vanished disk is reported where it hurts, not here
            log.debug("cannot touch %s: %s", self._alive, error)

    def last_alive(self) -> float | None:
        """When a supervisor was last alive here (epoch seconds), if that is long enough ago to have missed an edge."""
        try:
            at = self._alive.stat().st_mtime
        except OSError:  # the first one ever
            return None
        return at if self._core.clock.time() - at > GAP_S else None

    # -- what the command line left -----------------------------------------------------------------------------------

    def replay_holds(self) -> None:
        """Take over what the journal has and the registry does not: we were killed between the two."""
        for id, (at, hold) in self._core.journal.replay().items():
            unit = self._core.units.get(id)
            known = unit.hold.at.timestamp() if unit is not None and unit.hold.at is not None else 0.0
            if unit is not None and at > known and hold != unit.hold:
                unit.hold = hold
                unit.touch()
                self._core.fleet.changed(id)

    def take_up_holds(self) -> None:
        """Move holds that the command line wrote while no supervisor lived into the registry."""
        folder = self._core.runtime.holds
        try:
            names = [name for name in os.listdir(folder) if name.endswith(".json")]
        except OSError:  # none was ever written
            return
        for name in names:
            path = folder / name
            unit = self._core.units.get(name.removesuffix(".json"))
            if unit is None and self._core.degraded:
                continue  # the registry cannot be read, so it may well be there: when it can, this still holds
            try:
                hold = hold_from_json(read_json(path))
            except (ProcessError, OSError) as error:  # only a stop is ever left like this: the file is the message
                log.error("cannot read the hold %s, taking it for a stop: %s", path, error)
                hold = Hold("stopped", at=self._core.clock.now(), why=f"{name} cannot be read")
            if (
                unit is not None
                and hold.kind != "none"
                and (unit.hold.at is None or hold.at is None or hold.at > unit.hold.at)
            ):
                self._core.set_hold(unit, hold.kind, by=hold.by, why=hold.why, until=hold.until)
            self._core.do(self._forget_hold(name))

    async def _forget_hold(self, name: str) -> None:
        await self._core.journal.synced()
        if self._core.journal.problem is None:  # not before we have it on disk ourselves
            (self._core.runtime.holds / name).unlink(missing_ok=True)

    # -- lost, panic --------------------------------------------------------------------------------------------------

    async def forget_lost(self, unit: Unit) -> None:
        """Clear what a lost run left. Raises Conflict when a process of it is found after all."""
        core = self._core
        living = await asyncio.to_thread(core.processes.live_runs)
        mine = next((status for status in living if status.get("id") == unit.id), None)
        members = list(mine.get("members") or ()) if mine is not None else []
        if members:
            pids = ", ".join(map(str, members))
            raise Conflict(f"cannot reset {unit.id}: processes of it live: {pids}; stop it", code="STILL_ALIVE")
        folder = core.runtime.run_dir(unit.id)
        for name in ("status.json", "run.lock"):
            await asyncio.to_thread(partial((folder / name).unlink, missing_ok=True))
