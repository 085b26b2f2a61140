"""The history with a year of data in it: how long its questions take, and what writing costs.

50 strategies, a year of runs and events, 30 days of usage at every step that is kept.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.record import Row
from stratpanel.supervisor.history import database as historydb
from stratpanel.supervisor.history import usage
from stratpanel.supervisor.history.history import History

STRATEGIES = 50
DAYS = 365
RUNS_A_DAY = 4
EVENTS_A_DAY = 20


def _fill(path: Path, now: float) -> None:
    """Write the year straight into the tables: handing 20 million samples over would take an hour."""
    file = historydb.open_or_create(path)
    file.execute("BEGIN")
    seq = 0
    for day in range(DAYS):
        at = now - (DAYS - day) * 86_400
        for strategy in range(STRATEGIES):
            id = f"strategy {strategy}"
            for run in range(RUNS_A_DAY):
                run_id = f"{id}~{day:03d}~{run}"
                row = {"run_id": run_id, "id": id, "started": at + run * 3600, "ended": at + run * 3600 + 1800}
                data = json.dumps({**row, "exit_code": 0, "config": {"env": {str(n): "x" * 20 for n in range(30)}}})
                file.execute(
                    "INSERT INTO runs VALUES (?,?,?,?,?,?)", (run_id, id, row["started"], row["ended"], 0, data)
                )
            for event in range(EVENTS_A_DAY):
                seq += 1
                message = {"seq": seq, "type": ("started", "exited", "crash")[event % 3], "id": id, "message": "m" * 80}
                historydb.write_events(file, [(seq, at + event * 60, str(message["type"]), id, json.dumps(message))])
    bucket = usage.Bucket(1, 1500, 1500, 1, 100_000, 100_000, 8, 30)
    for strategy in range(STRATEGIES):
        sid = historydb.series_number(file, f"strategy {strategy}")
        for level in usage.LEVELS:
            first = int(now) - usage.KEEP_S[level]
            historydb.write_usage(
                file, sid, level, dict.fromkeys(range(first - first % level, int(now), level), bucket)
            )
    file.execute("COMMIT")
    file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.close()


def _p99(question: Callable[[], object], times: int = 100) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        question()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.quantiles(taken, n=100)[98]


def measure() -> list[Row]:
    """The questions of the API over a full file, and one second's writing of 500 strategies."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stratpanel.db"
        now = time.time()
        _fill(path, now)
        size = path.stat().st_size / 1_048_576
        started = time.perf_counter()
        history = History(path)
        opened = (time.perf_counter() - started) * 1000
        id = "strategy 7"
        middle = history.event_bounds()[1] // 2
        questions: dict[str, Callable[[], object]] = {
            "runs of one strategy, 100": lambda: history.runs(id),
            "runs of all, 100": lambda: history.runs(),
            "newest 100 events of one": lambda: history.events(id=id, limit=100, newest=True),
            "newest 200 crashes": lambda: history.events(types=["crash"], limit=200, newest=True),
            "1000 events after the middle": lambda: history.events(since=middle, limit=1000),
            "usage, an hour at 1 s": lambda: history.usage(id),
            "usage, two days": lambda: history.usage(id, since=now - 2 * 86_400 + 60),
            "usage, 30 days": lambda: history.usage(id, since=now - 30 * 86_400),
            "usage, 30 days, as fine as it goes": lambda: history.usage(id, since=now - 30 * 86_400, step=60),
            "usage, a week, by the minute": lambda: history.usage(id, since=now - 6.9 * 86_400, step=60),
            "usage, a year": lambda: history.usage(id, since=now - 365 * 86_400),
        }
        rows = [Row(f"{name}, p99", "ms", _p99(question), must="50") for name, question in questions.items()]
        rows.append(Row("open", "ms", opened))
        rows.append(Row("size of the file", "MiB", size))
        figures = {f"strategy {n}": (1.5, 100.0, 8, 30) for n in range(500)}
        cpu = time.process_time()
        for second in range(120):
            history.add_usage(now + second, figures)
        history.flush(60)
        took = (time.process_time() - cpu) / 120 * 1000
        rows.append(Row("CPU for a second of usage of 500 strategies", "ms", took))
        history.close()
        return rows
