"""What follows from the figures: the memory limit, a strategy gone quiet, and the numbers everybody shows.

The loop's thread hands it each tick of the sampler. It never samples itself and never ends anything but through
`Stops`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from stratpanel.model.states import State
from stratpanel.supervisor.live import reports
from stratpanel.supervisor.procfs import Target
from stratpanel.supervisor.sampling import Series, Tick
from stratpanel.supervisor.unit import Unit

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

WARN_AT: Final = 0.8  # of the limit
WARN_AGAIN_BELOW: Final = 0.7  # one warning per climb, not one per sample around 80 %
OVER_TIMES: Final = 3  # samples in a row above the limit before it is stopped
GAP_S: Final = 10.0  # without a tick: we or the machine slept; heartbeats are due from the waking on


class Watch:
    """Takes in ticks."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.series: dict[str, Series] = {}
        self.last: Tick | None = None
        self._woke = 0.0

    def targets(self) -> tuple[Target, ...]:
        """The trees the sampler should look at from now on."""
        found = []
        for unit in self._core.units.values():
            run = unit.run
            if run is None or run.phase in ("asked", "ended"):
                continue
            limit = (unit.config.get("limits") or {}).get("memory_mb")
            quiet, watchdog = unit.config.get("quiet_after"), unit.config.get("watchdog_s")
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
                    live_path=str(reports.file_of(self._core.workspace, unit.id, run.run_id)) if watchdog else None,
                )
            )
        return tuple(found)

    def take(self, tick: Tick) -> None:
        """One second's figures."""
        if self.last is not None and tick.t - self.last.t > GAP_S:
            self._woke = tick.t
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
        """Silence in its log, and heartbeats that stay away: each is told once, and may restart it."""
        if unit.state is not State.RUNNING or unit.run is None:
            return
        silent = self._silent_since(unit, tick)
        late = self._late_since(unit, tick)
        self._fell_quiet(unit, tick, "quiet", "no line in its log", silent, unit.config.get("quiet_restart"))
        self._fell_quiet(unit, tick, "watchdog", "no heartbeat", late, unit.config.get("watchdog_restart"))

    def _silent_since(self, unit: Unit, tick: Tick) -> float | None:
        """Since when its log is silent for longer than `quiet_after`; None while it is not."""
        allowed = unit.config.get("quiet_after")
        heard = max(tick.last_output.get(unit.id, 0.0), unit.run.started if unit.run else 0.0)
        return heard if allowed and tick.t - heard > float(allowed) else None

    def _late_since(self, unit: Unit, tick: Tick) -> float | None:
        """Since when its heartbeat is overdue: past what it promised itself, else past `watchdog_s`."""
        allowed = unit.config.get("watchdog_s")
        if not allowed:
            return None
        beat = tick.beats.get(unit.id)
        heard = max(beat.t if beat else 0.0, unit.run.started if unit.run else 0.0)
        within = beat.within if beat is not None and beat.within else float(allowed)
        return heard if tick.t - max(heard, self._woke) > within else None

    def _fell_quiet(
        self, unit: Unit, tick: Tick, kind: str, words: str, since: float | None, restart: bool | None
    ) -> None:
        if (kind in unit.silences) == (since is not None):
            return
        if since is None:
            del unit.silences[kind]
            unit.touch()
            return
        when = datetime.fromtimestamp(since, UTC).astimezone(self._core.zone)
        unit.silences[kind] = f"{words} since {when:%H:%M:%S}"
        unit.touch()
        for_s = f"{tick.t - since:.0f} s"
        self._core.happened(kind, unit, "supervisor", f"{words} for {for_s}")
        if restart:
            why = f"silent for {for_s}" if kind == "quiet" else f"{words} for {for_s}"
            self._core.stops.ask(unit, reason=kind, by="supervisor", why=why)
