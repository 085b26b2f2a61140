"""What must be so before a strategy may start: nobody else runs its script, and what must have succeeded today did.

The latter is `before_start`, a command or another strategy: broker tokens die daily before the open, so a login comes
first. Asked by every start but automatic restarts; that answer is remembered for the day in the strategy's zone. It
refuses with a sentence, it never starts the strategy itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final

from stratpanel.supervisor.outsiders import Outsiders, in_words
from stratpanel.supervisor.unit import Order, Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

COMMAND_S: Final = 120.0  # a login that takes longer hangs
SHOWN: Final = 300  # characters of a failing command's last output that the alert carries


class Gate:
    """Remembers per strategy on which day its condition was met."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._passed: dict[str, tuple[date, str]] = {}
        self.outsiders = Outsiders()

    def day(self, unit: Unit) -> date:
        """Today, where the strategy trades."""
        return self._core.clock.now().astimezone(self._core.zone_of(unit)).date()

    async def refusal(self, unit: Unit, order: Order) -> str | None:
        """Why it may not start yet, or None."""
        condition = unit.config.get("before_start")
        if not condition:
            return None
        today = (self.day(unit), str(condition))
        if self._passed.get(unit.id) == today:
            return None
        if isinstance(condition, str):
            refusal = await self._strategy_succeeded(unit, condition)
        else:
            unit.explain(f"waits for {' '.join(condition)}")
            mode = order.mode or unit.config.get("mode") or "paper"
            refusal = await asyncio.to_thread(self._command_succeeds, unit.id, dict(unit.config), mode, list(condition))
        if refusal is None:
            self._passed[unit.id] = today
        return refusal

    async def meet_outsiders(self) -> str:
        """Name the strategies that somebody else is running now, as events; in short for the pause's reason."""
        core = self._core
        scripts = {id: core.shelf.working_copy(unit.config["file_path"]) for id, unit in core.units.items()}
        found = await asyncio.to_thread(self.outsiders.named, scripts)
        for id, pids in found.items():
            unit = core.units[id]
            core.happened("note", unit, "registry", in_words(pids, str(unit.config["file_path"])))
        named = "; ".join(f"{id} is being run by PID {', '.join(map(str, pids))}" for id, pids in found.items())
        return f"; {named}" if named else ""

    def outside(self, config: dict[str, Any]) -> str | None:
        """Why it must not start beside what somebody else runs, or None. It reads /proc: for worker threads."""
        pids = self.outsiders.of(self._core.shelf.working_copy(config["file_path"]))
        return in_words(pids, str(config["file_path"])) if pids else None

    async def _strategy_succeeded(self, unit: Unit, other: str) -> str | None:
        midnight = datetime.combine(self.day(unit), time(), self._core.zone_of(unit)).timestamp()
        if await asyncio.to_thread(self._core.history.succeeded_since, other, midnight):
            return None
        known = other in self._core.units
        return (
            f"{other} has not exited with 0 today" if known else f"before_start names {other}, which is not registered"
        )

    def _command_succeeds(self, id: str, config: dict[str, Any], mode: str, command: list[str]) -> str | None:
        """Run it with the strategy's own environment, in a session of its own that a timeout ends whole."""
        core = self._core
        preparation = core.preparation
        env = preparation.environment(id, config, mode, preparation.python(config), f"before-{id}")
        del env["STRATPANEL_RUN_ID"]  # it is no member of any run's tree
        try:
            child = subprocess.Popen(
                command,
                cwd=core.workspace,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot run {command[0]}: {error.strerror or error}"
        try:
            output, _ = child.communicate(timeout=COMMAND_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return f"{command[0]} did not end within {COMMAND_S:g} s"
        if child.returncode == 0:
            return None
        said = core.secrets.mask(output.decode(errors="replace").strip()[-SHOWN:])
        return f"{' '.join(command)} ended with code {child.returncode}" + (f": {said}" if said else "")
