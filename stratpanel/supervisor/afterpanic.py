"""`[panic] then`: the trader's own script, run once as a supervised run when every tree is empty after a panic.

Called by the panic action. It is a strategy like any other but for its id, its place outside the registry and the panic
it is allowed to run in; it is shown until `resume`.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from stratpanel.model.errors import StratpanelError
from stratpanel.process.errors import ProcessError
from stratpanel.supervisor.preparation import AFTER_PANIC
from stratpanel.supervisor.unit import Order, Run, Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

log = logging.getLogger("stratpanel.afterpanic")


async def run_script(core: Core, by: str) -> None:
    """Start the script, if one is set and it does not run already; its failure is an event, never an exception."""
    script = core.settings.panic_then
    if not script:
        return
    unit = core.units.get(AFTER_PANIC)
    if unit is None:
        unit = core.units[AFTER_PANIC] = Unit(AFTER_PANIC, core.clock, core.changed)
        unit.removed = True
    if unit.is_live:
        return
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
