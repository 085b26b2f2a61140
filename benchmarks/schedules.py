"""1,000 schedules with an edge in the same minute: how late the last of them is decided, and ordered.

The real core, calendar and scheduler; runners are fakes, since 1,000 interpreters would measure the machine.
"""

from __future__ import annotations

import asyncio
import datetime
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import Row, median
from stratpanel.supervisor.clock import Clock
from tests.supervisor.fakes import Bench, FakeRunner

STRATEGIES = 1000
PREPARE_S = 30.0  # to put the schedules in place before the edge


def measure() -> list[Row]:
    """Rows of this module."""
    with tempfile.TemporaryDirectory(prefix="sp-bench-") as folder:
        decided, ordered = asyncio.run(_edges(Path(folder)))
    return [
        Row(
            f"{STRATEGIES} starts due in one second: latest decision after the edge",
            "ms",
            max(decided),
            None,
            "1000",
            "100",
        ),
        Row(f"{STRATEGIES} starts due in one second: median decision", "ms", median(decided)),
        Row(
            f"{STRATEGIES} starts due in one second: latest order to the launcher",
            "ms",
            max(ordered),
            note="versions verified, environment made; fake runners",
        ),
    ]


async def _edges(folder: Path) -> tuple[list[float], list[float]]:
    """Milliseconds after the edge at which each start was decided, and at which it was ordered."""
    clock: Any = Clock()
    bench = await Bench(folder, clock=clock).open()
    core = bench.core
    scripts = folder / "strategies" / "scripts"
    ids = [f"s{n:04}" for n in range(STRATEGIES)]
    for id in ids:
        (scripts / f"{id}.py").write_text("print('hello')\n")
        core.shelf.versions.deploy(id, scripts / f"{id}.py", by="benchmark")
    await asyncio.gather(*(core.fleet.add(id, {"file_path": f"{id}.py"}, "benchmark") for id in ids))
    edge = (int(time.time() + PREPARE_S) // 60 + 1) * 60
    start = datetime.datetime.fromtimestamp(edge, datetime.UTC)
    stop = start + datetime.timedelta(hours=1)
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    window = {"start": f"{start:%H:%M}", "stop": f"{stop:%H:%M}", "days": days}
    schedule = {"enabled": True, "timezone": "UTC", "calendar": "24x7", "windows": [window]}
    await asyncio.gather(*(core.fleet.patch(core.unit(id), {"schedule": schedule}, None, "benchmark") for id in ids))
    assert time.time() < edge - 5, "the schedules were not in place before the edge"
    done = asyncio.Event()
    decided: list[float] = []
    ordered: list[float] = []
    begin, spawn = core.starts.begin, bench.processes.spawn

    def begun(unit: Any, order: Any) -> bool:
        decided.append((time.time() - edge) * 1000)
        return begin(unit, order)

    async def spawned(*arguments: Any) -> FakeRunner:
        ordered.append((time.time() - edge) * 1000)
        if len(ordered) == STRATEGIES:
            done.set()
        return await spawn(*arguments)

    core.starts.begin = begun  # type: ignore[method-assign]
    bench.processes.spawn = spawned  # type: ignore[assignment,method-assign]
    await asyncio.wait_for(done.wait(), 200)
    await bench.close()
    return decided, ordered
