"""Market days on a clock that the test turns: clock steps, zones, overrides, restarts of the supervisor at each edge,
hand edits of the registry, holds over midnight, and the panic's script."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobExecutionEvent, JobSubmissionEvent

from stratpanel.model.errors import Conflict, InvalidValue
from stratpanel.supervisor.configuration.settings import Settings
from stratpanel.supervisor.front import Front
from stratpanel.supervisor.unit import Unit
from tests.supervisor.fakes import Bench, FakeClock, settle

IST = ZoneInfo("Asia/Kolkata")
ALL = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def ist(text: str) -> float:
    """Epoch seconds of "2026-11-23 10:00" in India."""
    return datetime.fromisoformat(text).replace(tzinfo=IST).timestamp()


def schedule(start: str, stop: str, **more: Any) -> dict[str, Any]:
    return {"enabled": True, "windows": [{"start": start, "stop": stop, "days": ALL}], **more}


async def opened(folder: Path, when: str) -> Bench:
    return await Bench(folder, FakeClock(ist(when))).open()


async def look(bench: Bench) -> None:
    """What the heartbeat does every two seconds."""
    bench.core.reconciler._look_at_clocks()
    bench.core.chores.beat()
    bench.core.reconciler.poke()
    await settle()


async def go_to(bench: Bench, when: str) -> None:
    await bench.clock.advance(ist(when) - bench.clock.time())
    await look(bench)


async def at_work(bench: Bench, unit: Unit, runs: int = 1) -> None:
    await bench.at_work(unit, runs)
    await bench.clock.advance(1.0)
    await bench.reach(unit, "running")


async def again(bench: Bench, when: str) -> Bench:
    """The supervisor dies; another comes up at that time and finds what the runners left."""
    await bench.core.fleet.durable()
    bench.core.chores.beat()
    for runner in bench.processes.living.values():
        (bench.runtime.run_dir(runner.id) / "status.json").write_text(json.dumps(runner.status))
    before = bench.clock.time()
    await bench.close()
    os.utime(bench.runtime.root / "alive", (before, before))
    bench.clock.jump(ist(when) - before)
    later = await Bench(bench.workspace, bench.clock, bench.processes).open()
    await look(later)
    return later


def told(bench: Bench, type: str) -> list[str]:
    return [event["message"] for event in bench.history.event_rows if event["type"] == type]


async def posted(happened: Callable[[], object]) -> None:
    """Wait for what another thread posts to the loop; the seconds are a deadline only."""
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110  # a thread's post sets no event of ours
            await asyncio.sleep(0.005)


# -- restarts of the supervisor on each side of each edge ------------------------------------------------------------


async def trading(folder: Path, at: str) -> tuple[Bench, Unit]:
    """A workspace at this moment with "ema" at work in its window, 09:20 to 15:15 of NSE."""
    bench = await opened(folder, at)
    unit = await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    await look(bench)
    await at_work(bench, unit)
    return bench, unit


@pytest.mark.parametrize(
    ("died", "back", "runs"),
    [
        ("09:19:30", "09:19:59", False),
        ("09:19:59", "09:20:00", True),
        ("09:19:59", "09:20:01", True),
        ("09:00:00", "11:00:00", True),  # in-window catch-up
        ("09:00:00", "15:14:30", True),
        ("09:00:00", "15:15:00", False),  # nothing is started outside its window
        ("09:00:00", "15:15:01", False),
    ],
)
async def test_a_supervisor_that_was_away_over_the_start(tmp_path: Path, died: str, back: str, runs: bool) -> None:
    bench = await opened(tmp_path, f"2026-11-23 {died}")
    await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    await look(bench)
    bench = await again(bench, f"2026-11-23 {back}")
    unit = bench.core.units["ema"]
    if runs:
        await at_work(bench, unit)
        late = ist(f"2026-11-23 {back}") - ist("2026-11-23 09:20:00")
        assert len(told(bench, "missed_start")) == (late > 60), "a late start is told"
        assert bench.processes.last("ema").spec["stop_at"] == ist("2026-11-23 15:15:00")
    else:
        assert unit.state == "stopped"
        assert not bench.processes.runners
    await bench.close()


@pytest.mark.parametrize(
    ("back", "runs"),
    [("15:14:58", True), ("15:15:00", False), ("15:15:01", False), ("19:00:00", False)],
)
async def test_a_supervisor_that_was_away_over_the_stop(tmp_path: Path, back: str, runs: bool) -> None:
    bench, unit = await trading(tmp_path, "2026-11-23 10:00:00")
    bench = await again(bench, f"2026-11-23 {back}")
    unit = bench.core.units["ema"]
    if runs:
        await bench.reach(unit, "running")
        await go_to(bench, "2026-11-23 15:15:00")
    await bench.reach(unit, "stopped")
    assert bench.processes.last("ema").requests[-1]["reason"] == "window"
    assert len(bench.processes.runners) == 1
    await bench.close()


async def test_a_wait_for_a_restart_that_ends_outside_the_window_starts_nothing(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 15:10:00")
    policy = {"policy": "always", "backoff_s": 60, "backoff_max_s": 60}
    unit = await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"), restart=policy)
    await look(bench)
    await at_work(bench, unit)
    await go_to(bench, "2026-11-23 15:14:30")
    bench.processes.last("ema").exit(1)
    await bench.reach(unit, "backoff")
    await bench.core.books.outcomes_written()
    bench = await again(bench, "2026-11-23 15:20:00")
    await bench.reach(bench.core.units["ema"], "stopped")
    await bench.clock.advance(120)
    await look(bench)
    assert len(bench.processes.runners) == 1
    await bench.close()


# -- clocks and zones -------------------------------------------------------------------------------------------------


async def test_a_suspend_over_the_stop_ends_it_at_once(tmp_path: Path) -> None:
    bench, unit = await trading(tmp_path, "2026-11-23 10:00:00")
    bench.clock.jump(8 * 3600)
    await look(bench)
    await bench.reach(unit, "stopped")
    assert "slept or its clock went forward" in told(bench, "clock")[0]
    await bench.close()


async def test_a_clock_that_goes_back_over_a_start_meets_that_start_again(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 08:00:00")
    unit = await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    await look(bench)
    bench.clock.jump(10 * 3600)  # 18:00: wrong by hours, after the window
    await look(bench)
    assert unit.state == "stopped"
    bench.clock.jump(-9 * 3600)  # 09:00: set right
    await look(bench)
    assert "went back by 32400 s" in told(bench, "clock")[-1]
    assert unit.next_start == datetime.fromtimestamp(ist("2026-11-23 09:20"), UTC)
    await go_to(bench, "2026-11-23 09:20:00")
    await at_work(bench, unit)
    await bench.close()


async def test_another_time_zone_of_the_workspace_moves_windows_without_one(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 10:00:00")
    (tmp_path / "stratpanel.toml").write_text('timezone = "Asia/Kolkata"\n')
    unit = await bench.add(schedule=schedule("09:20", "15:15"))
    fixed = await bench.add("fixed", schedule=schedule("09:20", "15:15", timezone="Asia/Kolkata"))
    await look(bench)
    await at_work(bench, unit)
    (tmp_path / "stratpanel.toml").write_text('timezone = "Europe/London"\n')
    await Front(bench.core).reload(by="anna")
    await settle()
    await bench.reach(unit, "stopped")
    assert unit.next_start == datetime(2026, 11, 23, 9, 20, tzinfo=ZoneInfo("Europe/London"))
    assert fixed.state != "stopped"
    await bench.close()


# -- calendars --------------------------------------------------------------------------------------------------------


async def test_an_override_while_it_runs_moves_its_runners_deadline_and_can_be_taken_back(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 10:00:00")
    unit = await bench.add(schedule=schedule("09:20", "close-10m", calendar="NSE"))
    await look(bench)
    await at_work(bench, unit)
    runner = bench.processes.last("ema")
    assert runner.spec["stop_at"] == ist("2026-11-23 15:20")
    front, day = Front(bench.core), date(2026, 11, 23)
    short = {"kind": "open", "why": "flood", "windows": [{"open": "09:15", "close": "12:00"}]}
    await front.override_calendar("NSE", day, short, by="anna")
    await settle()
    assert runner.requests[-1] == {"op": "deadline", "at": ist("2026-11-23 11:50"), "reason": "window"}
    rows = await front.overrides("NSE")
    assert [(row["date"], row["reason"], row["sessions"]) for row in rows] == [("2026-11-23", "flood", ["09:15-12:00"])]
    assert await front.overrides("MCX") == []
    await front.override_calendar("NSE", day, None, by="anna")
    await settle()
    assert runner.requests[-1]["at"] == ist("2026-11-23 15:20")
    await front.override_calendar("NSE", day, {"kind": "closed", "why": "strike"}, by="anna")
    await bench.reach(unit, "stopped")
    await look(bench)
    assert "strike" in unit.why
    await bench.close()


async def test_the_end_of_a_calendars_data_is_told_once_and_when_it_comes_into_use(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-16 10:00:00")  # 45 days before NSE's data end
    await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    await look(bench)
    assert told(bench, "calendar") == []
    await go_to(bench, "2026-11-17 10:00:00")
    await look(bench)
    assert len(told(bench, "calendar")) == 1
    assert "in 44 days: calendar NSE has no data after 2026-12-31" in told(bench, "calendar")[0]
    assert told(bench, "calendar") == bench.core.supervisor_status()["warnings"]
    await bench.add("gold", schedule=schedule("17:00", "23:00", calendar="MCX"))
    await look(bench)
    assert ["NSE" in told(bench, "calendar")[0], "MCX" in told(bench, "calendar")[1]] == [True, True]
    assert len(told(bench, "calendar")) == 2
    assert len(bench.core.supervisor_status()["warnings"]) == 2
    await go_to(bench, "2026-11-18 10:00:00")
    assert len(told(bench, "calendar")) == 4, "once a day"
    await bench.close()


async def test_past_the_data_nothing_starts_nothing_is_stopped_and_the_deadline_stands(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-12-31 22:00:00")
    night = await bench.add("night", schedule=schedule("21:00", "02:00", calendar="MCX"), mode="live")
    await look(bench)
    bench = await again(bench, "2027-01-04 10:00:00")
    unit = bench.core.units["night"]
    assert night.id == unit.id
    assert unit.decision is not None
    assert not [runner for runner in bench.processes.runners if runner.status["started"] > ist("2027-01-01 03:00")]
    assert any("MCX" in text for text in bench.core.supervisor_status()["warnings"])
    await bench.close()


# -- the registry edited by hand --------------------------------------------------------------------------------------


def edit(bench: Bench, id: str, **fields: Any) -> None:
    path = bench.workspace / "strategies/strategy_configs.json"
    entries = json.loads(path.read_text())
    entries[id].update(fields)
    path.write_text(json.dumps(entries, indent=2))


async def test_the_seeds_names_edited_by_hand_take_effect_at_once(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 10:00:00")
    unit = await bench.add()
    await bench.core.fleet.durable()
    edit(bench, "ema", is_scheduled=True, schedule_start="09:20", schedule_stop="15:15", schedule_days=["mon"])
    await look(bench)
    await at_work(bench, unit)
    await bench.core.fleet.durable()
    edit(bench, "ema", schedule_stop="15:45")
    await look(bench)
    assert bench.processes.last("ema").requests[-1]["at"] == ist("2026-11-23 15:45")
    await bench.core.fleet.durable()
    edit(bench, "ema", manually_stopped=True)
    await look(bench)
    await bench.reach(unit, "stopped")
    assert unit.hold.kind == "stopped"
    await bench.core.fleet.durable()
    edit(bench, "ema", manually_stopped=False)
    await look(bench)
    await at_work(bench, unit, runs=2)
    await bench.close()


async def test_a_hand_edit_that_can_never_run_is_refused_with_field_and_remedy(tmp_path: Path) -> None:
    bench, unit = await trading(tmp_path, "2026-11-23 10:00:00")
    await bench.core.fleet.durable()
    edit(bench, "ema", schedule_days=["sat", "sun"])
    await look(bench)
    said = told(bench, "schedule")
    assert len(said) == 1
    assert "can never run: schedule_days: NSE has no session on sat, sun" in said[0]
    assert "choose of mon, tue, wed, thu, fri" in said[0]
    assert any(text.startswith("ema: schedule_days:") for text in bench.core.supervisor_status()["warnings"])
    assert unit.state == "running", "the schedule it had goes on"
    assert unit.next_stop == datetime.fromtimestamp(ist("2026-11-23 15:15"), UTC)
    edit(bench, "ema", calendar="NZE")
    await look(bench)
    assert 'calendar: there is no calendar "NZE"; see `stratpanel calendar list`' in told(bench, "schedule")[1]
    edit(bench, "ema", schedule_days=["mon"], calendar="NSE", schedule_stop="16:00")
    await look(bench)
    assert unit.next_stop == datetime.fromtimestamp(ist("2026-11-23 16:00"), UTC)
    assert not any("ema" in text for text in bench.core.supervisor_status()["warnings"])
    await bench.close()


async def test_what_lies_broken_in_the_registry_at_the_start_is_told_and_never_runs(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 10:00:00")
    await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    await bench.core.fleet.durable()
    await bench.core.actions.pause_all(by="anna")
    edit(bench, "ema", schedule_days=["sun"])
    await bench.close()
    bench = await Bench(tmp_path, bench.clock, bench.processes).open()
    await settle(200)
    assert "schedule_days: NSE has no session on sun" in told(bench, "schedule")[0]
    await bench.close()


@pytest.mark.parametrize(
    "broken",
    [{"schedule_days": ["sun"]}, {"calendar": "NZE"}, {"calendar": None, "schedule_start": "open+5m"}],
    ids=["never", "no calendar", "not to be read"],
)
async def test_a_bad_hand_edit_is_no_schedule_after_a_restart_either(tmp_path: Path, broken: dict[str, Any]) -> None:
    bench = await opened(tmp_path, "2026-11-23 10:00:00")
    unit = await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    await bench.add("other", schedule=schedule("09:20", "15:15", calendar="NSE"))
    await look(bench)
    await at_work(bench, unit)
    await bench.core.fleet.durable()
    edit(bench, "ema", **broken)
    await look(bench)
    assert unit.next_stop == datetime.fromtimestamp(ist("2026-11-23 15:15"), UTC), "the one before stays in force"
    bench = await again(bench, "2026-11-23 10:05:00")
    unit = bench.core.unit("ema")
    assert unit.state == "running", "nothing is stopped on a guess"
    assert "can never run" in unit.why
    assert any(text.startswith("ema: ") for text in bench.core.supervisor_status()["warnings"])
    assert bench.processes.last("ema").requests == [], "its runner keeps the deadline it was given"
    assert bench.core.status_of(unit)["alert"] is True
    assert len(told(bench, "schedule")) == 1
    explained = Front(bench.core).explain("ema", None)
    assert explained["run"] is None
    assert "can never run" in explained["why"]
    assert explained["boundaries"] == []
    await look(bench)
    assert len(told(bench, "schedule")) == 1, "it is told once"
    assert not any("can never run" in text for text in told(bench, "calendar"))
    bench.processes.last("ema").exit(0)  # as its runner ends it at the deadline
    await bench.until(unit, lambda: not unit.is_live, "its end")
    other = bench.core.unit("other")
    await go_to(bench, "2026-11-23 15:15:01")
    await bench.reach(other, "stopped")
    await go_to(bench, "2026-11-25 10:00:00")
    await bench.until(other, lambda: other.is_live, "the start of one whose schedule is right")
    assert not unit.is_live, "nothing is started on a guess"
    assert bench.core.actions.would_start() == []
    with pytest.raises(Conflict, match="can never run") as refused:
        await bench.core.actions.start(unit, by="anna")
    assert refused.value.code == "SCHEDULE_REFUSED"
    await bench.core.fleet.patch(unit, {"notes": "mended soon"}, None, "anna")
    assert unit.refusal is not None, "another field mends nothing"
    mended = schedule("09:20", "15:15", calendar="NSE")
    await bench.core.fleet.patch(unit, {"schedule": mended}, None, "anna")
    assert unit.refusal is None
    assert not any("ema" in text for text in bench.core.supervisor_status()["warnings"])
    await bench.close()


async def test_pausing_one_that_was_started_outside_its_window_leaves_it_running_until_it_would_stop(
    tmp_path: Path,
) -> None:
    bench = await opened(tmp_path, "2026-11-23 16:00:00")
    unit = await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    start = asyncio.create_task(bench.core.actions.start(unit, by="anna"))
    await at_work(bench, unit)
    await start
    ends = datetime.fromtimestamp(ist("2026-11-25 15:15"), UTC)
    assert unit.hold.until == ends
    await bench.core.actions.pause(unit, by="bob")
    await look(bench)
    assert (unit.state, unit.hold.kind, unit.next_stop) == ("running", "paused", ends)
    bench = await again(bench, "2026-11-23 18:00:00")
    unit = bench.core.unit("ema")
    assert (unit.state, unit.hold.kind, unit.next_stop) == ("running", "paused", ends)
    await bench.core.actions.resume(unit, by="bob")
    await look(bench)
    assert (unit.state, unit.hold.kind, unit.hold.until) == ("running", "started", ends)
    await bench.core.actions.pause(unit, by="bob")
    await go_to(bench, "2026-11-25 10:00:00")
    assert unit.state == "running"
    await go_to(bench, "2026-11-25 15:15:01")
    await bench.reach(unit, "stopped")
    await go_to(bench, "2026-11-26 10:00:00")
    assert unit.state == "stopped", "paused: nothing starts by itself"
    await bench.core.actions.resume(unit, by="bob")
    await look(bench)
    await at_work(bench, unit, runs=2)
    await bench.close()


async def test_a_started_one_that_ends_while_it_is_paused_does_not_come_back(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 16:00:00")
    unit = await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    start = asyncio.create_task(bench.core.actions.start(unit, by="anna"))
    await at_work(bench, unit)
    await start
    await bench.core.actions.pause(unit, by="bob")
    bench.processes.last("ema").exit(0)
    await bench.reach(unit, "exited")
    assert (unit.hold.kind, unit.hold.by, unit.hold.start_at) == ("paused", "bob", None)
    await bench.core.actions.resume(unit, by="bob")
    await look(bench)
    assert (unit.state, unit.hold.kind) == ("exited", "none")
    await bench.close()


async def test_a_patch_that_can_never_run_is_refused_and_a_minute_is_warned_about(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 10:00:00")
    unit = await bench.add()
    wrong = schedule("close-5m", "close-10m", calendar="NSE")
    with pytest.raises(InvalidValue) as caught:
        await bench.core.fleet.patch(unit, {"schedule": wrong}, None, "anna")
    assert "choose a later stop" in caught.value.fields["schedule.windows[0].stop"]
    short = schedule("close-1m", "close", calendar="NSE")
    warnings = await bench.core.fleet.patch(unit, {"schedule": short}, None, "anna")
    assert any("runs for 60 s only" in text for text in warnings)
    await bench.close()


# -- holds ------------------------------------------------------------------------------------------------------------


async def test_a_manual_stop_holds_over_midnight_and_over_a_restart_of_the_supervisor(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 22:30:00")
    unit = await bench.add(schedule=schedule("22:00", "02:00", timezone="Asia/Kolkata"))
    await look(bench)
    await at_work(bench, unit)
    await bench.core.actions.stop(unit, by="anna", why="news at ten")
    for when in ("2026-11-23 23:59:59", "2026-11-24 00:00:01", "2026-11-24 01:30:00"):
        await go_to(bench, when)
        assert unit.state == "stopped", when
    bench = await again(bench, "2026-11-24 22:00:05")
    unit = bench.core.units["ema"]
    assert unit.state == "stopped"
    detail = bench.core.status_of(unit)["hold_detail"]
    assert (detail["kind"], detail["by"], detail["why"]) == ("stopped", "anna", "news at ten")
    assert datetime.fromisoformat(detail["at"]).timestamp() == pytest.approx(ist("2026-11-23 22:30:00"), abs=5)
    assert "anna" in unit.why
    assert "news at ten" in unit.why
    assert len(bench.processes.runners) == 1
    await bench.started(unit)
    assert unit.hold.kind == "none"
    assert bench.processes.last("ema").spec["stop_at"] == ist("2026-11-25 02:00")
    await bench.close()


async def test_a_manual_start_outside_the_window_names_the_date_and_outlives_a_restart(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 16:00:00")  # Tuesday is Guru Nanak Jayanti
    unit = await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    await bench.started(unit)
    end = ist("2026-11-25 15:15")
    assert unit.hold.until == datetime.fromtimestamp(end, UTC)
    assert "Wed 15:15 IST" in unit.why
    bench = await again(bench, "2026-11-25 15:14:00")
    unit = bench.core.units["ema"]
    await bench.reach(unit, "running")
    await go_to(bench, "2026-11-25 15:15:00")
    await bench.reach(unit, "stopped")
    assert unit.hold.kind == "none"
    await bench.close()


# -- the scheduler's own trouble --------------------------------------------------------------------------------------


async def test_trouble_of_the_scheduler_is_in_the_event_log(tmp_path: Path) -> None:
    bench = await opened(tmp_path, "2026-11-23 10:00:00")
    unit = await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    scheduler = bench.core.edges._scheduler
    at = datetime.now(UTC)
    scheduler._dispatch_event(JobExecutionEvent(EVENT_JOB_MISSED, "ema", "default", at))
    scheduler._dispatch_event(JobSubmissionEvent(EVENT_JOB_MAX_INSTANCES, "ema", "default", [at]))
    scheduler.add_job(lambda: 1 / 0, id="broken")  # runs at once, in the scheduler's thread
    await posted(lambda: told(bench, "schedule_error"))
    assert unit.next_stop is not None
    assert [event["type"] for event in bench.history.event_rows if event["type"].startswith("schedule_")] == [
        "schedule_missed",
        "schedule_max_instances",
        "schedule_error",
    ]
    assert "division by zero" in told(bench, "schedule_error")[0]
    await bench.close()


# -- the panic's script -----------------------------------------------------------------------------------------------


async def panicky(folder: Path, when: str) -> Bench:
    (folder / "flatten.py").write_text("print('flat')\n")
    bench = Bench(folder, FakeClock(ist(when)))
    bench.core.settings = Settings(timezone="Asia/Kolkata", panic_then="flatten.py")
    return await bench.open()


def scripts(bench: Bench) -> list[str]:
    return [runner.id for runner in bench.processes.runners if runner.id == "after-panic"]


async def test_the_panics_script_runs_once_although_the_supervisor_died_before_the_trees(tmp_path: Path) -> None:
    bench = await panicky(tmp_path, "2026-11-23 10:00:00")
    unit = await bench.add(schedule=schedule("09:20", "15:15", calendar="NSE"))
    await look(bench)
    await at_work(bench, unit)
    bench.processes.last("ema").obedient = False
    bench.core.holds.raise_panic("anna", bench.clock.now(), "flash crash")
    await look(bench)
    assert unit.state == "stopping"
    assert scripts(bench) == [], "not while a tree lives"
    (bench.runtime.run_dir("ema") / "status.json").write_text(json.dumps(bench.processes.last("ema").status))
    await bench.close()
    later = Bench(tmp_path, bench.clock, bench.processes)
    later.core.settings = bench.core.settings
    await later.open()
    await look(later)
    assert scripts(later) == []
    later.processes.last("ema").exit(None, "SIGKILL")
    await look(later)
    await later.until(later.core.units["ema"], lambda: scripts(later) == ["after-panic"], "the script")
    script = later.processes.last("after-panic")
    assert script.spec["mode"] == "live"
    script.exit(0)
    for _ in range(3):
        await later.clock.advance(60)
        await look(later)
    await later.core.actions.panic(by="anna", why="again, to be sure")
    assert scripts(later) == ["after-panic"], "once for a panic"
    await later.core.actions.resume_all(by="anna")
    await later.core.actions.panic(by="anna", why="another one")
    # at once, or, where a start that resume began ends a little later, at a heartbeat
    async with asyncio.timeout(10):
        while scripts(later) != ["after-panic", "after-panic"]:
            assert len(scripts(later)) < 2
            await look(later)
    await later.close()


async def test_the_script_of_an_old_panic_is_not_run_but_told(tmp_path: Path) -> None:
    bench = await panicky(tmp_path, "2026-11-23 10:00:00")
    bench.core.holds.raise_panic("anna", bench.clock.now() - timedelta(minutes=11), "")
    await look(bench)
    assert scripts(bench) == []
    await posted(lambda: told(bench, "panic"))
    assert "flatten.py was not run" in told(bench, "panic")[0]
    await look(bench)
    assert len(told(bench, "panic")) == 1
    await bench.close()
