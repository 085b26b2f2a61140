"""How a strategy is asked to end: one message to its runner, or, where there is none, its tree is ended from here.

Persons, the schedule, panic, the memory limit and restarts all come through `ask`. It never waits: the end arrives as
the runner's exit record, and only that makes a strategy `stopped`. A stop waits for no queue and no lock.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stratpanel.model.states import State
from stratpanel.process.errors import ProcessError
from stratpanel.supervisor.launch import LineClosed
from stratpanel.supervisor.unit import Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

log = logging.getLogger("stratpanel.stops")

AFTER_GRACE_S: Final = 15.0  # past the grace: SIGKILL, a machine short of memory, the record's fsync

WORDS: Final = {
    "stop": "stopped",
    "kill": "killed",
    "window": "its window is over",
    "panic": "panic",
    "memory": "over its memory limit",
    "quiet": "silent for too long",
    "watchdog": "its heartbeat stayed away",
    "restart": "restarting",
    "down": "stratpanel is going down",
    "late": "it appeared after its start was given up",
}


class Stops:
    """Asks runs to end and makes sure that somebody heard it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tasks: set[asyncio.Task[None]] = set()

    def words(self, stop: dict[str, Any] | None) -> str:
        """A stop record as the reason shown to a trader."""
        if not stop:
            return "stopped"
        reason = str(stop.get("reason") or "stop")
        by = str(stop.get("by") or "")
        words = WORDS.get(reason, reason)
        return f"{words} by {by}" if reason in ("stop", "kill", "panic") and by else words

    def ask(self, unit: Unit, *, reason: str, by: str, kill: bool = False, why: str = "") -> bool:
        """Begin to end it; True when that changed anything. Asking again is harmless, a kill escalates a stop."""
        stop = {"op": "kill" if kill else "stop", "reason": reason, "by": by}
        words = why or self.words(stop)
        moved = unit.kill_asked(words) if kill else unit.stop_asked(words)
        if not moved:
            return False
        unit.cancel("retry", "alive")
        unit.retry_at = unit.retry_order = None
        if unit.state is State.STOPPING:
            run = unit.run
            if run is None or (run.line is None and not run.spawned):
                unit.stop_wanted = stop  # its start looks at this before and right after the fork
            else:
                self.send(unit, stop)
        return True

    def send(self, unit: Unit, stop: dict[str, Any]) -> None:
        """Tell the run's runner; where there is none, end the tree in a worker thread."""
        task = asyncio.get_running_loop().create_task(self._deliver(unit, stop), name=f"stop {unit.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, unit: Unit, stop: dict[str, Any]) -> None:
        run = unit.run
        if run is not None and run.line is not None:
            fields = {"reason": stop["reason"], "by": stop["by"]}
            if stop["op"] == "stop":
                fields["grace_s"] = float(unit.config.get("grace_s") or 5.0)
            try:
                answer = await run.line.request(stop["op"], **fields)
            except (LineClosed, TimeoutError) as error:
                log.warning("%s: its runner does not take the stop (%s); ending its tree from here", unit.id, error)
            else:
                if answer.get("ok"):
                    return
                log.warning("%s: its runner refused the stop: %s", unit.id, answer.get("message"))
        if unit.run is run and unit.is_live:
            await self._end_from_here(unit, stop)

    async def _end_from_here(self, unit: Unit, stop: dict[str, Any]) -> None:
        """`end_run` talks to a runner if there is one after all, else takes its lock and ends the tree itself."""
        end = partial(
            self._core.processes.end_run,
            unit.id,
            grace_s=0.0 if stop["op"] == "kill" else float(unit.config.get("grace_s") or 5.0),
            by=stop["by"],
            reason=stop["reason"],
            kill=stop["op"] == "kill",
        )
        try:
            await asyncio.get_running_loop().run_in_executor(self._core.enders, end)
        except ProcessError as error:
            log.error("cannot end %s from here: %s", unit.id, error)
            self._core.happened("stop_failed", unit, stop["by"], f"cannot end it: {error}")
        if unit.run is not None:
            self._core.recovery.look_for(unit, unit.run)

    def deadline_s(self, unit: Unit) -> float:
        """How long an action waits for an end before it says that the thing is not done."""
        return float(unit.config.get("grace_s") or 5.0) + AFTER_GRACE_S
