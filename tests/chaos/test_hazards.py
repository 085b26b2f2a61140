"""The hazards of an in-app strategy runner, as found in the field, and the test that keeps each from coming back.

Numbers are those of the list of 24 defects that this product was designed against. Paths are below `tests/`.

 1 kills a stranger by a stale PID     process/test_starts: a_stranger_with_a_recycled, a_record_of_an_earlier
 2 a crash is invisible                supervisor/test_live_runs: crash_restarts_with_backoff_and_then_is_fatal
 3 a calendar's error stops all        here: a_calendar_that_cannot_answer
 4 stop jobs are lost                  here: fifty_windows_that_end_in_one_second; process/test_deadlines (all)
 5 a graceful restart kills the day    here: a_restart_of_ours_inside_the_window
 6 a restore ignores the schedule      here: a_reboot_after_the_window
 7 configuration is lost               model/test_registry_disk: killed_at_any_moment, two_writers_at_full_speed
 8 limits break NumPy and threads      supervisor/test_live_surroundings: numpy_with_threads
 9 delete leaves orphans               supervisor/test_core_actions: remove_of_a_running_one; here: a_delete_is_refused
10 members survive a stop              process/test_tree (all)
11 code runs between fork and exec     here: whoever_forks_has_one_thread
12 a stop holds everybody up           supervisor/test_live_surroundings: fifty_stops
13 windows over midnight               market/test_decide_cases (NIGHT), market/test_year
14 special sessions half work          market/test_decide_cases, market/test_calendar: special_and_evening_sessions
15 calendar data ends or is wrong      market/test_calendar: past_the_end_nothing_is_invented, market/test_foreign
16 a failed scheduled start is dropped here: a_scheduled_start_that_fails
17 a failed resume is forgotten        here: a_resume_that_fails
18 logs grow, vanish, are sent whole   logs/test_logpump: it_rotates; logs/test_reader: a_large_page
19 clearing a log clears another's     here: clearing_a_log
20 our secrets leak into strategies    supervisor/test_live_surroundings: finds_what_contracts_say
21 anyone reads and stops anything     api/test_access (all)
22 the API's PID is always null        here: what_the_api_says_is_what_runs
23 a slow client goes stale silently   api/test_streams: a_slow_event_reader, a_slow_mirror
24 lists break while others add        here: adding_while_listing
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from stratpanel.process.errors import ProcessError
from stratpanel.process.identity import boot_id
from stratpanel.process.records import write_json
from tests.supervisor.fakes import Bench, FakeClock
from tests.supervisor.house import House
from tests.supervisor.test_core_reconcile import at_nine, look, schedule, up
from tests.support import pid_alive

TESTS = Path(__file__).resolve().parent.parent


def test_every_hazard_names_a_test_that_exists() -> None:
    rows = [line for line in (__doc__ or "").splitlines() if re.match(r" ?\d+ ", line)]
    assert [int(line.split()[0]) for line in rows] == list(range(1, 25))
    own = Path(__file__).read_text()
    for row in rows:
        place = "here"
        for part in re.split(r"[;,] ", row[38:].strip()):
            where, colon, name = part.partition(": ")
            place, name = (where, name) if colon else (place, part)
            source = own if place == "here" else None
            if " (" in name or re.fullmatch(r"\w+/\w+", name):  # a whole file
                assert (TESTS / f"{name.split(' (')[0]}.py").exists(), row
                continue
            source = source or (TESTS / f"{place}.py").read_text()
            assert re.search(rf"def test_\w*{name}", source), (row, name)


async def test_a_calendar_that_cannot_answer_stops_nothing_and_is_shown(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    window = {"start": "09:20", "stop": "15:15", "days": ["mon", "tue", "wed", "thu", "fri"]}
    unit = await bench.add(schedule={"enabled": True, "windows": [window], "calendar": "NSE"})
    bench.clock.jump(-5 * 3600)  # 04:00 UTC is 09:30 in Mumbai
    await look(bench)
    await up(bench, unit)
    bench.core.calendars.find = lambda name: None  # type: ignore[method-assign]
    await look(bench)
    await bench.clock.advance(60)
    await look(bench)
    assert unit.state == "running"
    assert "calendar" in bench.events("ema")
    assert bench.processes.last("ema").status["stop_at"] is not None, "the clock stop that was given still stands"
    await bench.close()


async def test_fifty_windows_that_end_in_one_second_all_end(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    units = [await bench.add(f"s{n}", schedule=schedule("08:00", "15:00")) for n in range(50)]
    await look(bench)
    for unit in units:
        await bench.at_work(unit)
    await bench.clock.advance(1)
    stops = {runner.status["stop_at"] for runner in bench.processes.runners}
    assert stops == {bench.clock.time() - 1 + 6 * 3600}, "each runner knows its end, whoever of us is alive then"
    await bench.clock.advance(6 * 3600)
    await look(bench)
    assert {unit.state.value for unit in units} == {"stopped"}
    await bench.close()


async def test_a_restart_of_ours_inside_the_window_starts_what_should_run(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule("09:00", "15:00"))
    await look(bench)
    await up(bench, unit)
    record = bench.processes.last("ema").exit(0, told=False, stop={"reason": "down", "by": "x"}, stopped_by_us=True)
    await bench.close()
    write_json(bench.runtime.exit("ema"), record)
    bench.clock.jump(2 * 3600)
    again = await Bench(tmp_path, FakeClock(bench.clock.time())).open()
    await look(again)
    await again.at_work(again.core.units["ema"])
    await again.close()


async def test_a_reboot_after_the_window_starts_nothing(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule("09:00", "15:00"))
    stopped = await bench.add("stopped", schedule=schedule("09:00", "23:00"))
    await look(bench)
    await up(bench, unit, 2)
    await bench.core.actions.stop(stopped, by="anna")
    status = bench.processes.last("ema").status
    await bench.close()
    write_json(bench.runtime.status("ema"), {**status, "runner": {"pid": 1, "boot_id": f"not {boot_id()}"}})
    again = await Bench(tmp_path, FakeClock(bench.clock.time() + 13 * 3600)).open()
    await look(again)
    await again.clock.advance(60)
    assert not again.processes.runners, "neither outside its window nor against a person's stop"
    assert again.core.units["ema"].state == "stopped"
    await again.close()


def test_a_delete_is_refused_while_it_runs_and_leaves_nobody(house: House) -> None:
    house.up().add("ema")
    pid = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]["pid"]
    code, answer = house.call("DELETE", "/api/strategies/ema")
    assert (code, answer["error_code"]) == (409, "STRATEGY_RUNNING")
    assert pid_alive(pid)
    house.ok("POST", "/api/strategies/ema/stop")
    house.ok("DELETE", "/api/strategies/ema")
    assert not pid_alive(pid)
    assert house.call("GET", "/api/strategies/ema")[0] == 404


def test_whoever_forks_has_one_thread(house: House) -> None:
    house.up().add("ema")
    runner = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]["runner_pid"]
    for pid in (house.answers()["launcher_pid"], runner):
        assert re.search(r"^Threads:\s+1$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE), pid


async def test_a_scheduled_start_that_fails_is_shown_and_tried_again_in_the_next_window(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    unit = await bench.add(schedule=schedule("09:20", "15:00"))
    bench.processes.refusal = ProcessError("CANNOT_FORK", "cannot start ema: the limit of processes is reached")
    await bench.clock.advance(21 * 60)
    await look(bench)
    await bench.reach(unit, "fatal")
    assert "limit of processes" in unit.why
    assert "starts again Tue" in (await _explained(bench, unit.id))
    assert "fatal" in bench.events("ema")
    bench.processes.refusal = None
    await bench.clock.advance(timedelta(days=1).total_seconds())
    await look(bench)
    await up(bench, unit)
    await bench.close()


async def _explained(bench: Bench, id: str) -> str:
    await look(bench)
    return bench.core.units[id].why


async def test_a_resume_that_fails_says_so_and_can_be_repeated(tmp_path: Path) -> None:
    bench = await at_nine(tmp_path)
    await bench.core.actions.pause_all(by="anna")
    unit = await bench.add(schedule=schedule("08:00", "15:00"))
    await look(bench)
    assert unit.state == "stopped"
    bench.processes.refusal = ProcessError("CANNOT_FORK", "cannot start ema: the limit of processes is reached")
    await bench.core.actions.resume_all(by="anna")
    await look(bench)
    await bench.reach(unit, "fatal")
    assert "limit of processes" in unit.why
    bench.processes.refusal = None
    task = asyncio.create_task(bench.core.actions.start(unit, by="anna"))
    await up(bench, unit)
    assert (await task).changed
    await bench.close()


def test_clearing_a_log_leaves_those_with_longer_names_alone(house: House) -> None:
    house.up()
    for id in ("ema", "ema_20261122", "ema.log"):
        house.add(id, f"print('I am {id}')")
        house.ok("POST", f"/api/strategies/{id}/start", {})
        house.reach(id, "exited")
    house.ok("DELETE", "/api/strategies/ema/logs")
    assert house.lines("ema") == []
    assert house.lines("ema_20261122") == ["I am ema_20261122"]
    assert house.lines("ema.log") == ["I am ema.log"]


def test_what_the_api_says_is_what_runs(house: House) -> None:
    house.up().add("ema", "import os, signal\nprint(os.getpid(), flush=True)\nsignal.pause()\n")
    told = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    assert [str(told["pid"])] == house.lines("ema")
    assert pid_alive(told["runner_pid"])
    assert house.ok("POST", "/api/strategies/ema/stop")["strategy"]["pid"] is None


def test_adding_while_listing_breaks_nobody(house: House) -> None:
    house.up()
    with ThreadPoolExecutor(8) as pool:
        adding = [pool.submit(house.add, f"s{n}") for n in range(20)]
        listing = [pool.submit(house.call, "GET", "/api/strategies") for _ in range(60)]
        assert {answer.result()[0] for answer in listing} == {200}
        for one in adding:
            one.result()
    names = {row["id"] for row in house.ok("GET", "/api/strategies")["strategies"]}
    assert {f"s{n}" for n in range(20)} <= names
