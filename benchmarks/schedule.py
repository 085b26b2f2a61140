"""1,000 windows that open in the same second, beside 50 that close in it: when the last one is decided and the last
stop is asked for. Real clock, scheduler and core; the processes are fakes, so that only deciding is measured.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.record import Row, quantile
from stratpanel.supervisor.clock import Clock
from stratpanel.supervisor.unit import Order, Unit
from tests.supervisor.fakes import Bench, FakeProcesses, FakeRunner

OPENING = 1000
CLOSING = 50
READY_S = 15.0  # before the edge at least: everything of the start-up is over by then
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Ordered(FakeProcesses):
    """Runners that note when their stop was asked for."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.asked: dict[str, float] = {}
        self.behave = self._watch

    def _watch(self, runner: FakeRunner) -> None:
        request = runner.request

        async def noted(op: str, **fields: Any) -> dict[str, Any]:
            if op in ("stop", "kill"):
                self.asked.setdefault(runner.id, time.time())
            return await request(op, **fields)

        runner.request = noted  # type: ignore[method-assign]
        runner.run()


def _entry(start: datetime, stop: datetime) -> dict[str, Any]:
    return {
        "file_path": "one.py",
        "is_scheduled": True,
        "schedule_start": f"{start:%H:%M}",
        "schedule_stop": f"{stop:%H:%M}",
        "schedule_days": DAYS,
        "timezone": "UTC",
        "start_seconds": 0,
    }


def _decisions(bench: Bench) -> dict[str, float]:
    """When the reconciler decided to start each strategy; filled as it does."""
    found: dict[str, float] = {}
    begin = bench.core.starts.begin

    def noted(unit: Unit, order: Order) -> bool:
        found.setdefault(unit.id, time.time())
        return begin(unit, order)

    bench.core.starts.begin = noted  # type: ignore[method-assign]
    return found


async def _edge(folder: Path) -> tuple[list[float], list[float], float]:
    """Seconds after the edge of each decision to start and of each stop asked for; and CPU seconds of that second."""
    edge = (datetime.now(UTC) + timedelta(seconds=READY_S + 60)).replace(second=0, microsecond=0)
    minute = timedelta(minutes=1)
    entries = {f"opens{n:04}": _entry(edge, edge + 60 * minute) for n in range(OPENING)}
    entries |= {f"closes{n:02}": _entry(edge - 60 * minute, edge) for n in range(CLOSING)}
    (folder / "strategies/scripts").mkdir(parents=True)
    (folder / "strategies/scripts/one.py").write_text("print('hello')\n")
    (folder / "strategies/strategy_configs.json").write_text(json.dumps(entries))
    clock = Clock()
    processes = Ordered(clock)
    bench = await Bench(folder, clock, processes).open()  # type: ignore[arg-type]
    begun = _decisions(bench)
    units = bench.core.units
    closing = [unit for id, unit in units.items() if id.startswith("closes")]
    for unit in closing:
        assert await unit.until(lambda unit=unit: unit.state.value == "running", READY_S), unit  # type: ignore[misc]
    await asyncio.sleep(max(0.0, edge.timestamp() - time.time() - 0.5))
    cpu = time.process_time()
    opening = [unit for id, unit in units.items() if id.startswith("opens")]
    for unit in opening:
        assert await unit.until(lambda unit=unit: unit.state.value != "stopped", READY_S), unit  # type: ignore[misc]
    spent = time.process_time() - cpu
    for unit in closing:
        assert await unit.until(lambda unit=unit: unit.id in processes.asked, READY_S), unit  # type: ignore[misc]
    decided = [begun[unit.id] - edge.timestamp() for unit in opening]
    asked = [processes.asked[unit.id] - edge.timestamp() for unit in closing]
    await bench.close()
    return decided, asked, spent


def measure() -> list[Row]:
    """Lateness after the edge, in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="sp-bench-") as folder:
        decided, asked, cpu = asyncio.run(_edge(Path(folder)))
    early = sum(late < 0 for late in [*decided, *asked])
    return [
        Row(f"{OPENING} starts in one second: latest decision", "ms", max(decided) * 1000, None, "1000", "100"),
        Row(f"{OPENING} starts in one second: median decision", "ms", quantile(decided, 0.5) * 1000),
        Row(f"{CLOSING} stops in the same second: last one asked for", "ms", max(asked) * 1000, None, "1000", "100"),
        Row("decisions before their edge", "", early, None, "0", "0"),
        Row("CPU until all were decided", "ms", cpu * 1000),
    ]
