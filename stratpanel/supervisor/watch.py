"""What follows from the figures: the memory limit, a strategy gone quiet, and the numbers everybody shows.

The loop's thread hands it each tick of the sampler. It never samples itself and never ends anything but through
`Stops`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stratpanel.model.states import State
from stratpanel.supervisor.procfs import Target
from stratpanel.supervisor.sampling import Series, Tick
from stratpanel.supervisor.unit import Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

WARN_AT: Final = 0.8  # of the limit
WARN_AGAIN_BELOW: Final = 0.7  # one warning per climb, not one per sample around 80 %
OVER_TIMES: Final = 3  # samples in a row above the limit before it is stopped


class Watch:
    """Takes in ticks."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.series: dict[str, Series] = {}
        self.last: Tick | None = None

    def targets(self) -> tuple[Target, ...]:
        """The trees the sampler should look at from now on."""
        found = []
        for unit in self._core.units.values():
            run = unit.run
            if run is None or run.phase in ("asked", "ended"):
                continue
            limit = (unit.config.get("limits") or {}).get("memory_mb")
            quiet = unit.config.get("quiet_after")
            found.append(
                Target(
                    id=unit.id,
                    run_id=run.run_id,
                    runner=run.runner_pid,
                    leader=run.leader_pid,
                    leader_start=run.leader_start,
                    known=run.members,
                    limit_mb=float(limit) if limit else None,
                    log_path=run.log_path if quiet else None,
                )
            )
        return tuple(found)

    def take(self, tick: Tick) -> None:
        """One second's figures."""
        self.last = tick
        second = int(tick.t)
        for unit in self._core.units.values():
            cpu, mem = tick.cpu.get(unit.id), tick.mem.get(unit.id)
            unit.cpu_percent, unit.memory_mb = cpu, mem
            if cpu is None or mem is None:
                continue
            series = self.series.get(unit.id)
            if series is None:
                series = self.series[unit.id] = Series()
            series.add(second, cpu, mem, tick.threads.get(unit.id), tick.open_files.get(unit.id))
            self._memory(unit, mem)
            self._quiet(unit, tick)

    def _memory(self, unit: Unit, memory_mb: float) -> None:
        limit = float((unit.config.get("limits") or {}).get("memory_mb") or 0.0)
        if not limit or unit.state not in (State.STARTING, State.RUNNING):
            return
        share = memory_mb / limit
        if share < WARN_AGAIN_BELOW:
            unit.memory_warned = False
        elif share >= WARN_AT and not unit.memory_warned:
            unit.memory_warned = True
            text = f"uses {memory_mb:.0f} of {limit:.0f} MiB; three samples above the limit stop it"
            self._core.happened("memory", unit, "supervisor", text)
        unit.over_limit = unit.over_limit + 1 if share > 1.0 else 0
        if unit.over_limit >= OVER_TIMES:
            unit.over_limit = 0
            why = f"over its memory limit: {memory_mb:.0f} of {limit:.0f} MiB"
            self._core.happened("memory", unit, "supervisor", f"stopped, {why}")
            self._core.stops.ask(unit, reason="memory", by="supervisor", why=why)

    def _quiet(self, unit: Unit, tick: Tick) -> None:
        allowed = unit.config.get("quiet_after")
        if not allowed or unit.state is not State.RUNNING or unit.run is None:
            return
        heard = max(tick.last_output.get(unit.id, 0.0), unit.run.started)
        silent = tick.t - heard
        quiet = silent > float(allowed)
        if quiet == unit.quiet:
            return
        unit.quiet = quiet
        unit.touch()
        if not quiet:
            return
        self._core.happened("quiet", unit, "supervisor", f"no line in its log for {silent:.0f} s")
        if unit.config.get("quiet_restart"):
            self._core.stops.ask(unit, reason="quiet", by="supervisor", why=f"silent for {silent:.0f} s")
