"""A foreign calendar from the command line: compiled in a child process, then a strategy scheduled on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workbench import Workbench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench.make(tmp_path / "ws")
    yield bench
    bench.close()


def test_sync_then_a_strategy_on_new_york(bench: Workbench) -> None:
    pytest.importorskip("pandas_market_calendars")
    bench.cli("up")
    bench.register("usa", "import time\ntime.sleep(60)\n")
    unknown = bench.cli("schedule", "usa", "--start", "open", "--stop", "close", "--calendar", "XNYS", check=False)
    assert unknown.returncode == 1
    assert "stratpanel calendar sync XNYS" in unknown.stderr
    done = bench.cli("calendar", "sync", "XNYS", "XHKG", "CME_Equity", timeout=120)
    assert done.stdout.count("sessions, data until") == 3
    listed = {row["name"]: row for row in json.loads(bench.cli("calendar", "list", "--json").stdout)}
    assert listed["XNYS"]["timezone"] == "America/New_York"
    bench.cli("schedule", "usa", "--start", "open+5m", "--stop", "close-10m", "--calendar", "XNYS")
    told = json.loads(bench.cli("schedule", "usa", "--explain", "--at", "2026-11-27T12:00-05:00", "--json").stdout)
    assert told["run"] is True
    assert told["until"].startswith("2026-11-27T12:50:00-05:00"), "the day after Thanksgiving closes at 13:00"
    closed = json.loads(bench.cli("schedule", "usa", "--explain", "--at", "2026-11-26T12:00-05:00", "--json").stdout)
    assert closed["run"] is False
    assert "Thanksgiving" in closed["why"]
    lunch = json.loads(
        bench.cli("calendar", "show", "XHKG", "--from", "2026-11-23", "--to", "2026-11-23", "--json").stdout
    )
    assert len(lunch) == 2, "Hong Kong has a lunch break"
    assert "usa" in bench.cli("week").stdout
    supervisor = bench.supervisor_pid()
    assert "pandas" not in Path(f"/proc/{supervisor}/maps").read_text(), "the supervisor never imports it"


def test_without_the_extra_it_says_what_to_install(bench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none/pandas_market_calendars.py").write_text("raise ImportError('not here')\n")
    bench.environment["PYTHONPATH"] = str(tmp_path / "none")
    done = bench.cli("calendar", "sync", "XNYS", check=False)
    assert done.returncode == 1
    assert "pip install 'stratpanel[calendars]'" in done.stderr
    assert not list((bench.folder / ".stratpanel").glob("calendars/*.json"))
