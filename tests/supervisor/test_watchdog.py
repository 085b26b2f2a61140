"""A heartbeat that stays away: the state says so, an event tells it once, and the strategy is restarted if wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stratpanel.supervisor.live.heartbeats import FIRST_LOOK_BYTES, Beat, Heartbeats
from tests.support import pid_alive, wait_for
from tests.workbench import Workbench

STALLS = """
import os, sys, time
from stratpanel import live

print("up", flush=True)
live.heartbeat(float(sys.argv[1]) if len(sys.argv) > 1 else None)
while live.running():
    print("still printing", flush=True)
    live.sleep(0.2)
"""


def line(t: float, within: float | None = None, **more: Any) -> str:
    return json.dumps({"kind": "heartbeat", "t": t, "within": within, **more}) + "\n"


def test_the_last_heartbeat_is_read_as_the_file_grows(tmp_path: Path) -> None:
    path, beats = tmp_path / "r.jsonl", Heartbeats()
    assert beats.of("ema", str(path)) is None
    path.write_text(line(1.0) + '{"kind": "note", "text": "\\"heartbeat\\"", "t": 2.0}\n' + line(3.0, 600))
    assert beats.of("ema", str(path)) == Beat(3.0, 600.0)
    with path.open("a") as file:
        file.write('{"kind": "metric", "t": 4.0, "values": {}}\n' + line(5.0)[:9])
    assert beats.of("ema", str(path)) == Beat(3.0, 600.0), "half a line is no heartbeat yet"
    with path.open("a") as file:
        file.write(line(5.0)[9:])
    assert beats.of("ema", str(path)) == Beat(5.0, None)
    assert beats.of("ema", str(tmp_path / "next.jsonl")) is None, "another run begins anew"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"kind": "heartbeat", "t": 1, "more": ' + "[" * 50_000 + "\n", id="nested without end"),
        "[1]\n",
        '{"kind": "heartbeat", "t": true}\n',
        '{"kind": "heartbeat", "t": NaN}\n',
        '"heartbeat"\n',
        "{\n",
    ],
)
def test_what_a_strategy_scribbles_is_no_heartbeat(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(text)
    assert Heartbeats().of("ema", str(path)) is None


def test_a_long_file_is_looked_at_from_its_end(tmp_path: Path) -> None:
    path, beats = tmp_path / "r.jsonl", Heartbeats()
    path.write_text(line(1.0) + ('{"kind": "note"}\n' * FIRST_LOOK_BYTES) + line(2.0))
    assert beats.of("ema", str(path)) == Beat(2.0, None)
    path.write_text(line(9.0))
    assert beats.of("ema", str(path)) == Beat(9.0, None), "a file that became shorter is another one"


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    with Workbench.up(tmp_path / "w") as bench:
        yield bench


def events_of(bench: Workbench, id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bench.api.get("/api/events")["events"]
    return [event for event in found if event["id"] == id and event["type"] == "watchdog"]


def test_a_strategy_that_stops_beating_is_told_of_and_restarted(bench: Workbench) -> None:
    quick = {"backoff_s": 0.1, "backoff_max_s": 0.2}
    bench.register("stalls", STALLS, watchdog_s=2, watchdog_restart=True, restart={"policy": "never", **quick})
    bench.cli("start", "stalls")
    pid = bench.wait_state("stalls", "running")["pid"]
    told = wait_for(lambda: events_of(bench, "stalls"), 20, "the event", every=0.05)
    assert "no heartbeat for" in told[0]["message"]
    again = wait_for(
        lambda: bench.status("stalls")["restarts"] and bench.status("stalls"), 20, "its restart", every=0.05
    )
    assert not pid_alive(pid)
    assert again["pid"] != pid
    ended = wait_for(lambda: [r for r in bench.api.get("/api/strategies/stalls/runs")["runs"] if r["ended"]], 10)
    assert "watchdog" in ended[-1]["reason"]


def test_the_state_says_so_and_takes_it_back(bench: Workbench) -> None:
    bench.register("patient", STALLS, watchdog_s=1, args=["600"])
    bench.register("late", STALLS, watchdog_s=1)
    bench.cli("start", "patient", "late")
    late = wait_for(lambda: bench.status("late")["quiet"] and bench.status("late"), 20, "late", every=0.05)
    assert late["state"] == "running"
    assert "no heartbeat since" in late["why"]
    assert pid_alive(late["pid"]), "told, not ended: nobody asked for a restart"
    patient = bench.status("patient")
    assert not patient["quiet"], "it promised the next one within 600 s"
    assert len(events_of(bench, "late")) == 1
    assert events_of(bench, "patient") == []

    file = next((bench.folder / "log" / "live" / "late").glob("*.jsonl"))
    with file.open("a") as out:
        out.write(line(late["uptime_s"] + 4e9, 600))  # the strategy beats again
    wait_for(lambda: not bench.status("late")["quiet"], 20, "on time again", every=0.05)
    assert "heartbeat" not in bench.status("late")["why"]
