"""What should run does, what should not does not, whatever was missed; on a clock that the test turns."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stratpanel.model.errors import Conflict
from stratpanel.supervisor.clock import TimeWatch
from tests.supervisor.fakes import Bench, FakeClock, FakeRunner, settle

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
NINE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()  # a Monday


def schedule(start: str = "09:20", stop: str = "15:15", **more: Any) -> dict[str, Any]:
    return {"enabled": True, "windows": [{"start": start, "stop": stop, "days": DAYS}], "timezone": "UTC", **more}


async def at_nine(folder: Path) -> Bench:
    return await Bench(folder, FakeClock(NINE)).open()


async def look(bench: Bench) -> None:
    bench.core.reconciler.poke()
    await settle()


async def up(bench: Bench, unit: Any, runs: int = 1) -> None:
    await bench.at_work(unit, runs)
    await bench.clock.advance(1.0)
    await bench.reach(unit, "running")


async def test_a_window_starts_and_stops_it_and_why_says_so(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule())
    await look(bench)
    assert unit.state == "stopped"
    assert "09:20" in unit.why
    assert unit.next_start == datetime.fromtimestamp(NINE, UTC) + timedelta(minutes=20)
    await bench.clock.advance(20 * 60)
    await look(bench)
    await up(bench, unit)
    runner = bench.processes.last("ema")
    assert runner.spec["started_by"] == "schedule"
    assert runner.spec["stop_at"] == NINE + (6 * 60 + 15) * 60, "the runner has the deadline from its first moment"
    assert "15:15" in unit.why
    await bench.clock.advance(6 * 3600)
    await look(bench)
    assert unit.state == "stopped"
    assert runner.requests[-1]["reason"] == "window"
    assert unit.hold.kind == "none"
    await bench.close()


async def test_a_manual_stop_holds_over_the_next_window_until_a_person_starts_it(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule("09:00", "15:00"))
    await look(bench)
    await up(bench, unit)
    await bench.core.actions.stop(unit, by="anna")
    await bench.clock.advance(26 * 3600)
    await look(bench)
    assert unit.state == "stopped"
    assert "anna" in unit.why
    await bench.started(unit)
    assert unit.hold.kind == "none", "inside its window a start just lifts the stop"
    await bench.close()


async def test_a_manual_start_before_the_window_runs_to_its_end(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule())
    result = await bench.started(unit)
    end = datetime.fromtimestamp(NINE, UTC) + timedelta(hours=6, minutes=15)
    assert unit.hold.until == end
    assert result.strategy["hold_detail"]["until"] == end.isoformat()
    assert bench.processes.last("ema").spec["stop_at"] == end.timestamp()
    await bench.clock.advance(7 * 3600)
    await look(bench)
    assert unit.state == "stopped"
    assert unit.hold.kind == "none"
    await bench.close()


async def test_one_that_finished_in_its_window_starts_again_in_the_next_not_in_this(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule("09:00", "15:00"))
    await look(bench)
    await up(bench, unit)
    bench.processes.last("ema").exit(0)
    await look(bench)
    assert unit.state == "exited"
    assert "finished" in unit.why
    assert "Tue 24 Nov 09:00" in unit.why
    await bench.clock.advance(3600)
    await look(bench)
    assert len(bench.processes.runners) == 1
    await bench.clock.advance(23 * 3600)
    await look(bench)
    await up(bench, unit, runs=2)
    await bench.close()


async def test_backoff_grows_gives_up_and_the_next_window_is_a_new_chance(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    policy = {"policy": "on-failure", "max_restarts": 3}
    unit = await bench.add(schedule=schedule("09:00", "15:00"), restart=policy)
    await look(bench)
    waits = []
    for n in range(1, 5):
        await up(bench, unit, runs=n)
        bench.processes.last("ema").exit(1)
        if unit.state == "backoff":
            waits.append(unit.retry_at - bench.clock.monotonic())
            await bench.clock.advance(waits[-1] + 0.01)
    assert unit.state == "fatal"
    assert len(waits) == 3
    assert 5.0 <= waits[0] <= 5.5
    assert 10.0 <= waits[1] <= 11.0
    assert 20.0 <= waits[2] <= 22.0
    assert unit.restarts == 3
    assert bench.events("ema").count("fatal") == 1
    await look(bench)
    assert len(bench.processes.runners) == 4
    await bench.clock.advance(24 * 3600)
    await look(bench)
    await up(bench, unit, runs=5)
    assert unit.restarts == 0
    await bench.close()


async def test_a_stable_run_forgives_earlier_crashes(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    policy = {"policy": "on-failure", "max_restarts": 1}
    unit = await bench.add(schedule=schedule("09:00", "15:00"), restart=policy)
    await look(bench)
    for n in range(1, 4):
        await up(bench, unit, runs=n)
        await bench.clock.advance(61)
        bench.processes.last("ema").exit(1)
        assert unit.state == "backoff"
        await bench.clock.advance(6)
    assert unit.restarts == 3
    await bench.close()


async def test_no_restart_after_the_window_or_a_manual_stop(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    policy = {"policy": "always", "backoff_s": 60, "backoff_max_s": 60}
    unit = await bench.add(schedule=schedule("09:00", "09:10"), restart=policy)
    await look(bench)
    await up(bench, unit)
    await bench.clock.advance(9 * 60 + 30)
    bench.processes.last("ema").exit(1)
    assert unit.state == "backoff"
    await bench.clock.advance(61)
    assert unit.state == "stopped", "the wait ended outside the window"
    other = await bench.add("other", schedule=schedule("09:00", "15:00"), restart=policy)
    await look(bench)
    await bench.at_work(other)
    await bench.clock.advance(1)
    bench.processes.last("other").exit(1)
    assert other.state == "backoff"
    result = await bench.core.actions.stop(other, by="anna")
    assert result.changed
    await bench.clock.advance(120)
    assert other.state == "stopped"
    assert len([r for r in bench.processes.runners if r.id == "other"]) == 1
    await bench.close()


async def test_a_restart_waits_while_the_workspace_is_paused(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule("09:00", "15:00"), restart={"policy": "always"})
    await look(bench)
    await up(bench, unit)
    await bench.core.actions.pause_all(by="anna", why="")
    bench.processes.last("ema").exit(1)
    await bench.clock.advance(30)
    await look(bench)
    assert unit.state == "backoff"
    assert "paused" in unit.why
    await bench.core.actions.resume_all(by="anna")
    await look(bench)
    await up(bench, unit, runs=2)
    await bench.close()


async def test_a_suspend_over_the_edge_is_noticed_and_reported(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule())
    await look(bench)
    bench.clock.jump(3600)
    bench.core.reconciler._look_at_clocks()
    await settle()
    await up(bench, unit)
    assert "clock" in bench.events()
    missed = [e for e in bench.history.event_rows if e["type"] == "missed_start"]
    assert len(missed) == 1
    assert "40 min late" in missed[0]["message"]
    await bench.close()


async def test_a_whole_window_missed_while_down_is_reported(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    await bench.add(schedule=schedule())
    await bench.core.fleet.durable()
    bench.core.chores.beat()
    await bench.close()
    import os

    os.utime(bench.runtime.root / "alive", (NINE, NINE))
    later = await Bench(tmp_path, FakeClock(NINE + 9 * 3600), bench.processes).open()
    await look(later)
    missed = [e for e in later.history.event_rows if e["type"] == "missed_start"]
    assert len(missed) == 1
    assert "whole window" in missed[0]["message"]
    assert not later.processes.runners, "nothing is started outside its window by recovery"
    await later.close()


async def test_a_new_deadline_reaches_the_runner_when_the_schedule_is_edited(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule("08:00", "15:00"))
    await look(bench)
    await up(bench, unit)
    await bench.core.fleet.patch(unit, {"schedule": schedule("08:00", "16:00")}, None, "anna")
    await settle()
    runner = bench.processes.last("ema")
    assert runner.requests[-1] == {"op": "deadline", "at": NINE + 7 * 3600, "reason": "window"}
    assert unit.run is not None
    assert unit.run.stop_at == NINE + 7 * 3600
    before = len(runner.requests)
    await look(bench)
    assert len(runner.requests) == before, "said once"
    await bench.close()


async def test_starts_of_one_second_go_by_priority_and_no_more_at_once_than_cores(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    bench.processes.gate = asyncio.Event()
    units = {}
    for name, priority in (("late", 9), ("first", 0), ("mid1", 5), ("mid2", 5)):
        units[name] = await bench.add(name, schedule=schedule("09:10", "15:00"), priority=priority)
    bench.core.queue._at_once = 1
    await bench.clock.advance(601)
    await look(bench)
    assert bench.core.queue.waiting == ["mid1", "mid2", "late"]
    await bench.clock.advance(0.3)
    assert units["late"].queue_place == 3
    assert "turn" in units["late"].why
    late_stop = asyncio.create_task(bench.core.actions.stop(units["late"], by="anna"))
    bench.processes.gate.set()
    await bench.at_work(units["first"])
    assert not any(r.id == "mid1" for r in bench.processes.runners), "a less important one waits until it is up"
    await bench.clock.advance(1.0)
    await bench.at_work(units["mid1"])
    await bench.at_work(units["mid2"])
    await bench.clock.advance(3.0)
    assert [runner.id for runner in bench.processes.runners] == ["first", "mid1", "mid2"]
    assert (await late_stop).strategy["state"] == "stopped"
    await bench.close()


async def test_before_start_refuses_alerts_once_and_tries_each_minute(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    flag = tmp_path / "logged-in"
    command = ["/bin/sh", "-c", f"test -e {flag} || {{ echo token expired; exit 3; }}"]
    unit = await bench.add(schedule=schedule("09:00", "15:00"), before_start=command)
    await look(bench)
    await bench.until(unit, lambda: unit.not_before > 0, "a refusal")
    assert unit.state == "stopped"
    assert "token expired" in unit.why
    assert bench.events("ema").count("before_start") == 1
    refused_at = unit.not_before
    await bench.clock.advance(61)
    await bench.until(unit, lambda: unit.not_before > refused_at, "another refusal")
    assert bench.events("ema").count("before_start") == 1
    flag.touch()
    await bench.clock.advance(61)
    await up(bench, unit)
    await bench.close()


async def test_a_crashed_supervisors_start_hold_is_found_in_the_run(tmp_path: Path) -> None:
    """The hold of a person's start had not reached the registry: the run itself says it."""
    bench = await at_nine(tmp_path)
    unit = await bench.add()
    await bench.started(unit)
    runner = bench.processes.last("ema")
    (bench.runtime.run_dir("ema") / "status.json").write_text(json.dumps(runner.status))
    await bench.close()
    registry = tmp_path / "strategies/strategy_configs.json"
    entries = json.loads(registry.read_text())
    entries["ema"].pop("hold", None)
    registry.write_text(json.dumps(entries))
    again = await Bench(tmp_path, bench.clock, bench.processes).open()
    found = again.core.units["ema"]
    await again.reach(found, "running")
    await look(again)
    assert found.hold.kind == "started"
    assert found.state == "running"
    assert len(bench.processes.runners) == 1
    await again.close()


async def test_a_hold_noted_just_before_a_power_cut_still_holds(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule("09:00", "15:00"))
    await look(bench)
    await up(bench, unit)
    registry = tmp_path / "strategies/strategy_configs.json"
    before = registry.read_bytes()
    await bench.core.actions.stop(unit, by="anna")
    noted = (bench.runtime.root / "holds.log").read_bytes().rstrip(b"\0")
    await bench.close()
    registry.write_bytes(before)  # as if only the journal had reached the disk
    (bench.runtime.root / "holds.log").write_bytes(noted + b'{"id": "em')
    again = await Bench(tmp_path, bench.clock).open()
    await look(again)
    assert again.core.units["ema"].hold.kind == "stopped"
    assert again.core.units["ema"].hold.by == "anna"
    assert not again.processes.runners
    await again.core.fleet.durable()
    assert (bench.runtime.root / "holds.log").read_bytes().strip(b"\0") == b"", "the registry has it now"
    await again.close()


async def test_a_lost_one_cannot_be_started_until_reset(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add()
    await bench.started(unit)
    runner = bench.processes.last("ema")
    folder = bench.runtime.run_dir("ema")
    (folder / "status.json").write_text(json.dumps(runner.status))
    (folder / "run.lock").touch()
    runner.status = {**runner.status, "members": [], "leader": None}
    bench.processes.deaf = True
    runner.die()
    await settle()
    await bench.clock.advance(6)
    await bench.reach(unit, "lost")
    assert "lost" in bench.events("ema")
    with pytest.raises(Conflict) as caught:
        await bench.core.actions.start(unit, by="anna")
    assert caught.value.code == "STATE_LOST"
    result = await bench.core.actions.reset(unit, by="anna")
    assert result.strategy["state"] == "stopped"
    assert not (folder / "run.lock").exists()
    await bench.close()


async def test_an_order_that_dies_with_its_launcher_is_given_again(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add()

    def die_once(runner: FakeRunner) -> None:
        if len(bench.processes.runners) == 1:
            bench.processes.living.pop(runner.id)
            runner.die()
        else:
            runner.run()

    bench.processes.behave = die_once
    going = asyncio.create_task(bench.core.actions.start(unit, by="anna"))
    await bench.at_work(unit, runs=2)
    await bench.clock.advance(1)
    assert (await going).strategy["state"] == "running"
    assert len(bench.processes.living) == 1
    await bench.close()


async def test_a_registry_of_openalgo_comes_up_paused_until_a_person_resumes(tmp_path: Path) -> None:
    (tmp_path / "strategies/scripts").mkdir(parents=True)
    (tmp_path / "strategies/scripts/ema.py").write_text("print('x')\n")
    entry = {
        "name": "EMA",
        "file_path": "strategies/scripts/ema.py",
        "file_name": "ema.py",
        "exchange": "24x7",
        "is_running": True,
        "pid": 4242,
        "is_scheduled": True,
        "schedule_start": "09:00",
        "schedule_stop": "15:00",
        "schedule_days": DAYS,
        "created_at": "2026-01-01T00:00:00",
        "user_id": "me",
    }
    (tmp_path / "strategies/strategy_configs.json").write_text(json.dumps({"ema": entry}))
    bench = await Bench(tmp_path, FakeClock(NINE)).open()
    await look(bench)
    assert bench.core.supervisor_status()["state"] == "paused"
    assert not bench.processes.runners
    assert any("4242" in event["message"] for event in bench.history.event_rows)
    would = await bench.core.actions.resume_all(by="anna", dry_run=True)
    assert [row["id"] for row in would["would_start"]] == ["ema"]
    await bench.core.actions.resume_all(by="anna")
    await bench.at_work(bench.core.units["ema"])
    await bench.close()


async def test_quiet_is_said_once_and_ends_with_a_line(tmp_path: Path) -> None:
    from stratpanel.supervisor.sampling import Tick

    bench = await at_nine(tmp_path)
    unit = await bench.add(quiet_after=30)
    await bench.started(unit)

    async def tick(silent: float) -> None:
        now = bench.clock.time()
        one = Tick(now, {"ema": 0.0}, {"ema": 10.0}, last_output={"ema": now - silent})
        bench.core._ticked(one)
        await settle()

    await bench.clock.advance(60)
    await tick(10)
    assert not unit.quiet
    await tick(31)
    await tick(32)
    assert bench.core.status_of(unit)["quiet"] is True
    assert bench.events("ema").count("quiet") == 1
    await tick(1)
    assert not unit.quiet
    await bench.close()


async def test_memory_warns_at_80_percent_and_stops_after_three_samples_over(tmp_path: Path) -> None:
    from stratpanel.supervisor.sampling import Tick

    bench = await at_nine(tmp_path)
    unit = await bench.add(limits={"memory_mb": 100}, restart={"policy": "on-failure"})
    await bench.started(unit)

    async def tick(memory: float) -> None:
        await bench.clock.advance(1)
        bench.core._ticked(Tick(bench.clock.time(), {"ema": 1.0}, {"ema": memory}))
        await settle()

    for memory in (50, 85, 85, 101, 101, 99, 101, 101):
        await tick(memory)
    assert unit.state == "running"
    assert bench.events("ema").count("memory") == 1
    await tick(101)
    assert unit.state == "backoff", "over the limit counts as a failure"
    assert "memory" in unit.why
    await bench.close()


def test_time_watch_tells_suspends_and_steps_from_passing_time() -> None:
    clock = FakeClock()
    watch = TimeWatch(clock)
    assert watch.look() == 0
    clock.jump(1.0)
    assert watch.look() == 0, "a second is slewing"
    clock.jump(7200)
    assert watch.look() == 7200
    assert watch.look() == 0
    clock.jump(-3600)
    assert watch.look() == -3600
