"""`[panic] then`: the trader's own script, run once as a supervised run when every tree is empty after a panic.

Called by the panic action and by every heartbeat, so that a tree that took too long or a supervisor that died in
between costs time only. Once: the panic's file says so before the script starts. It is a strategy like any other but
for its id, its place outside the registry and the panic it is allowed to run in; it is shown until `resume`.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from stratpanel.model.errors import StratpanelError
from stratpanel.process.errors import ProcessError
from stratpanel.supervisor.preparation import AFTER_PANIC
from stratpanel.supervisor.unit import Order, Run, Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

log = logging.getLogger("stratpanel.afterpanic")


FRESH: Final = timedelta(minutes=10)  # a script that was to run then may be harmful now: positions have changed


def is_due(core: Core) -> bool:
    """True when a panic is on, its script has not had its turn, and nothing of any strategy can be alive."""
    if core.holds.panic.kind != "panic" or core.holds.then is not None or not core.settings.panic_then:
        return False
    return not any(unit.is_live for unit in core.units.values())


async def run_script(core: Core) -> None:
    """Run it if it is due; its failure is an event, never an exception."""
    if not is_due(core):
        return
    panic, now = core.holds.panic, core.clock.now()
    core.holds.then = now.isoformat()  # whoever looks from now on finds it taken
    try:
        await asyncio.to_thread(core.holds.script_begun, now)
    except OSError as error:  # a full disk must not keep positions open; at worst a successor runs it once more
        log.error("cannot note that the script after the panic begins: %s", error)
        core.holds.then = now.isoformat()
    if panic.at is not None and now - panic.at > FRESH:
        text = f"{core.settings.panic_then} was not run: the panic is over {FRESH.seconds // 60} minutes old by now"
        core.happened("panic", None, "supervisor", text)
        return
    await _start(core, str(core.settings.panic_then), panic.by)


async def _start(core: Core, script: str, by: str) -> None:
    unit = core.units.get(AFTER_PANIC)
    if unit is None:
        unit = core.units[AFTER_PANIC] = Unit(AFTER_PANIC, core.clock, core.changed)
        unit.removed = True
    unit.config = {"name": f"after panic: {script}", "file_path": script, "mode": "live", "start_seconds": 0.0}
    unit.start_asked(f"panic is over; running {script}")
    try:
        spec = await asyncio.to_thread(core.preparation.panic_script, script, by)
        order = Order(by=by, cause="person")
        run = Run(spec["run_id"], order, None, "live", spec["log"]["path"], started=core.clock.time())
        unit.run = run
        core.books.record_start(unit, run, spec)
        hear, closed = partial(core.starts.heard, unit, run), partial(core.starts.silent, unit, run)
        run.line = await core.processes.spawn(spec, hear, closed)
    except (StratpanelError, ProcessError, OSError) as error:
        unit.run = None
        core.endings.refused(unit, "START_FAILED", f"cannot run {script} after the panic: {error}")


def forget(core: Core) -> None:
    """A person resumed: the script's run is history."""
    unit = core.units.get(AFTER_PANIC)
    if unit is not None and not unit.is_live:
        core.drop(unit, "supervisor")
