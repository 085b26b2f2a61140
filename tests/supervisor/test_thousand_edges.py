"""1,000 windows that open in the same second: every one is decided in one pass, the queue can be seen, stops are not
held up. How fast that is, benchmarks/schedule.py says."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.supervisor.fakes import Bench, FakeClock, settle

EIGHT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC).timestamp()
OPENING, CLOSING = 1000, 50


def entry(start: str, stop: str, priority: int = 5) -> dict[str, Any]:
    return {
        "file_path": "one.py",
        "is_scheduled": True,
        "schedule_start": start,
        "schedule_stop": stop,
        "schedule_days": ["mon", "tue"],
        "timezone": "UTC",
        "priority": priority,
    }


async def test_all_are_decided_in_one_pass_and_no_stop_waits_for_a_start(tmp_path: Path) -> None:
    entries = {f"opens{n:04}": entry("09:00", "15:00", n % 10) for n in range(OPENING)}
    entries |= {f"zcloses{n:02}": entry("07:00", "09:00") for n in range(CLOSING)}
    (tmp_path / "strategies/scripts").mkdir(parents=True)
    (tmp_path / "strategies/scripts/one.py").write_text("print('hello')\n")
    (tmp_path / "strategies/strategy_configs.json").write_text(json.dumps(entries))
    bench = Bench(tmp_path, FakeClock(EIGHT))
    at_once = 4
    bench.core.queue._at_once = at_once
    await bench.open()
    units = bench.core.units
    closing = [unit for unit in units.values() if unit.id.startswith("z")]
    opening = [unit for unit in units.values() if not unit.id.startswith("z")]
    for unit in closing:
        await bench.until(unit, lambda unit=unit: unit.run is not None and unit.run.phase == "running", "a run")
    await bench.clock.advance(3.0)
    assert all(unit.state.value == "running" for unit in closing)
    assert all(unit.state.value == "stopped" for unit in opening)
    order: list[str] = []
    for runner in bench.processes.runners:

        async def noted(op: str, runner: Any = runner, ask: Any = runner.request, **fields: Any) -> Any:
            if op == "stop":
                order.append(f"stop {runner.id}")
            return await ask(op, **fields)

        runner.request = noted  # type: ignore[method-assign]
    begin = bench.core.starts.begin

    def begun(unit: Any, what: Any) -> bool:
        order.append(f"start {unit.id}")
        return begin(unit, what)

    bench.core.starts.begin = begun  # type: ignore[method-assign]
    bench.processes.gate = asyncio.Event()  # a launcher that does not answer holds no decision and no stop up
    await bench.clock.advance(EIGHT + 3600 - bench.clock.time())
    bench.core.reconciler.poke()
    await settle()
    assert {unit.state.value for unit in opening} == {"starting"}, "each is decided in the pass after the edge"
    assert {unit.state.value for unit in closing} <= {"stopping", "stopped"}
    assert sum(text.startswith("start ") for text in order) == OPENING, "one start edge, one start"
    for unit in closing:
        await bench.reach(unit, "stopped")
    assert [text for text in order if text.startswith("stop ")] == [f"stop {unit.id}" for unit in closing]
    waiting = bench.core.supervisor_status()["queue"]
    assert OPENING - at_once <= len(waiting) <= OPENING
    priorities = [units[id].config["priority"] for id in waiting]
    assert priorities == sorted(priorities), "the important ones go first"
    await bench.clock.advance(0.3)
    last = units[bench.core.supervisor_status()["queue"][-1]]
    assert last.why == f"waits for its turn to start, number {last.queue_place}"
    assert bench.core.status_of(last)["queue"] == last.queue_place
    await bench.close()
