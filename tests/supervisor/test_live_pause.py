"""Pause, resume and panic from outside, over a strategy that a person started outside its window; a supervisor that
stands still as on a suspended machine; events resumed over a restart; a schedule that a person broke by hand."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from stratpanel.client.connection import Api
from tests.supervisor.house import House
from tests.supervisor.test_live_schedule import minute, schedule
from tests.support import pid_alive, wait_for


def beaten(house: House, times: int = 2) -> None:
    """Wait until the supervisor has had so many heartbeats (two seconds each), and so looked at everything."""
    alive = house.runtime.root / "alive"

    def at() -> float:
        return alive.stat().st_mtime if alive.exists() else 0.0

    for _ in range(times):
        before = at()
        wait_for(lambda before=before: at() > before, 20, "a heartbeat", every=0.05)


def replaced(house: House) -> None:
    """Kill the supervisor and wait for the next one."""
    old = house.answers()["pid"]
    house.kill(old)
    wait_for(lambda: house.answers()["pid"] != old, 30, "another supervisor", every=0.1)


def outside(now: datetime) -> dict[str, object]:
    """A window of today's weekday's neighbours: two hours away from now, whatever the hour."""
    start = now + timedelta(hours=2)
    return schedule(start.strftime("%H:%M"), (start + timedelta(hours=1)).strftime("%H:%M"))


def test_pausing_one_started_outside_its_window_leaves_it_running(house: House) -> None:
    house.up()
    house.add("ema", start_seconds=0, schedule=outside(datetime.now(UTC)))
    started = house.ok("POST", "/api/strategies/ema/start")["strategy"]
    until = started["hold_detail"]["until"]
    pid = started["pid"]
    assert until
    paused = house.ok("POST", "/api/strategies/ema/pause", {"why": "lunch"})["strategy"]
    assert (paused["hold"], paused["state"]) == ("paused", "running")
    beaten(house)
    status = house.status("ema")
    assert (status["state"], status["pid"], status["hold"]) == ("running", pid, "paused")
    assert datetime.fromisoformat(status["next_stop"]) == datetime.fromisoformat(until)
    replaced(house)
    beaten(house)
    status = house.status("ema")
    assert (status["state"], status["pid"], status["hold"]) == ("running", pid, "paused")
    run = json.loads((house.runtime.run_dir("ema") / "status.json").read_text())
    assert run["stop_at"] == datetime.fromisoformat(until).timestamp(), "its runner keeps the end it was told"
    assert house.ok("POST", "/api/strategies/ema/resume")["changed"] is True
    beaten(house)
    status = house.status("ema")
    assert (status["state"], status["pid"], status["hold"]) == ("running", pid, "started")
    assert status["hold_detail"]["until"] == until
    assert house.ok("POST", "/api/strategies/ema/stop")["strategy"]["state"] == "stopped"


def test_resuming_one_during_a_panic_starts_nothing(house: House) -> None:
    house.up()
    always = schedule("00:00", "00:00")
    house.add("plan", start_seconds=0, schedule=always)
    house.reach("plan", "running")
    house.ok("POST", "/api/strategies/plan/pause")
    house.ok("POST", "/api/panic", {"why": "test"})
    house.reach("plan", "stopped")
    answer = house.ok("POST", "/api/strategies/plan/resume")
    assert answer["changed"] is True, "its own pause is lifted"
    assert "panic" in answer["strategy"]["why"]
    assert "stratpanel resume" in answer["strategy"]["why"], "and what lifts the panic is said"
    again = house.ok("POST", "/api/strategies/plan/resume")
    assert again["changed"] is False
    beaten(house)
    assert house.status("plan")["state"] == "stopped"
    assert house.answers()["hold"] == "panic"
    status, refused = house.call("POST", "/api/strategies/plan/start")
    assert (status, refused["error_code"]) == (409, "PANIC")
    assert [row["id"] for row in house.ok("POST", "/api/resume", {"confirm": True})["would_start"]] == ["plan"]
    house.reach("plan", "running")


def test_a_schedule_broken_by_hand_is_refused_after_a_restart_too(house: House) -> None:
    house.up()
    house.add("live", start_seconds=0, schedule=schedule("00:00", "00:00"))
    house.add("rest", start_seconds=0, schedule=outside(datetime.now(UTC)))
    pid = house.reach("live", "running")["pid"]
    registry = house.workspace / "strategies/strategy_configs.json"
    wait_for(
        lambda: json.loads(registry.read_text()).get("live", {}).get("is_running"), 20, "the registry's last write"
    )
    entries = json.loads(registry.read_text())
    entries["live"] |= {"calendar": "NSE", "schedule_days": ["sun"]}
    entries["rest"] |= {"calendar": "NZE", "schedule_start": "00:00", "schedule_stop": "00:00"}
    registry.write_text(json.dumps(entries))
    wait_for(lambda: len([e for e in house.events() if e["type"] == "schedule"]) == 2, 20, "both are told")
    replaced(house)
    beaten(house)
    status = house.status("live")
    assert (status["state"], status["pid"], status["next_stop"]) == ("running", pid, None)
    assert "can never run" in status["why"]
    resting = house.status("rest")
    assert (resting["state"], resting["next_start"]) == ("stopped", None)
    assert 'there is no calendar "NZE"' in resting["why"]
    warnings = house.answers()["warnings"]
    assert sum(text.startswith(("live: ", "rest: ")) for text in warnings) == 2
    code, refused = house.call("POST", "/api/strategies/rest/start")
    assert (code, refused["error_code"]) == (409, "SCHEDULE_REFUSED")
    assert "stratpanel schedule rest" in refused["message"]
    house.ok("PATCH", "/api/strategies/rest", {"schedule": {"enabled": False, "calendar": None}})
    assert house.ok("POST", "/api/strategies/rest/start")["strategy"]["state"] == "running"
    assert house.ok("POST", "/api/strategies/live/stop")["strategy"]["state"] == "stopped"


@pytest.mark.xdist_group("minutes of a pause")  # groups begin first: two minutes each, waited for while others work
@pytest.mark.parametrize("who", ["the supervisor", "the supervisor and the launcher"])
def test_an_edge_is_kept_while_we_stand_still_as_on_a_suspended_machine(house: House, who: str) -> None:
    house.up()
    now = datetime.now(UTC)
    if now.second > 40:  # all must be set before the edge
        wait_for(lambda: datetime.now(UTC).second < 5, 30, "the next minute", every=0.1)
        now = datetime.now(UTC)
    edge = (now + timedelta(minutes=1)).replace(second=0, microsecond=0)
    house.add("ends", start_seconds=0, schedule=schedule(minute(now, 0), minute(now, 1)))
    house.add("begins", start_seconds=0, schedule=schedule(minute(now, 1), minute(now, 60)))
    house.add("missed", start_seconds=0, schedule=schedule(minute(now, 1), minute(now, 2)))
    pid = house.reach("ends", "running")["pid"]
    here = house.answers()
    sleepers = [here["pid"], here["launcher_pid"]] if "launcher" in who else [here["pid"]]
    for sleeper in sleepers:
        os.kill(sleeper, signal.SIGSTOP)
    try:
        wait_for(lambda: not pid_alive(pid), 75, "the runner keeping the stop time alone", every=0.05)
        assert 0 <= (datetime.now(UTC) - edge).total_seconds() < 5
        second = edge + timedelta(minutes=1, seconds=2)
        wait_for(lambda: datetime.now(UTC) > second, 75, "the end of the window that nobody saw", every=0.2)
        assert not (house.runtime.run_dir("begins") / "status.json").exists()
    finally:
        for sleeper in sleepers:
            os.kill(sleeper, signal.SIGCONT)
    woke = datetime.now(UTC)
    house.reach("begins", "running", timeout=20)
    assert (datetime.now(UTC) - woke).total_seconds() < 15, "in its window, so it starts late rather than never"
    wait_for(lambda: any(e["type"] == "clock" for e in house.events()), 20, "the gap is noticed")
    told = {(e["type"], e["id"]): e["message"] for e in house.events() if e["type"] == "missed_start"}
    assert "late" in told["missed_start", "begins"]
    assert "whole window" in told["missed_start", "missed"]
    beaten(house)
    assert house.status("missed")["state"] == "stopped", "nothing is started outside its window"
    ended = house.status("ends")
    assert (ended["state"], ended["hold"]) == ("stopped", "none")
    assert 0 <= (datetime.fromisoformat(ended["last_stopped"]) - edge).total_seconds() < 3


def test_events_are_resumed_over_a_restart_of_the_supervisor(house: House) -> None:
    house.up()
    house.add("ema", start_seconds=0)
    first = house.events()[0]["seq"]
    for turn in range(3):
        house.ok("POST", "/api/pause", {"why": f"turn {turn}"})
        house.ok("POST", "/api/resume", {"confirm": True})
    before = house.events()
    wait_for(lambda: house.stored_events("resume") == 3, 10, "the events on disk")  # the last of them
    replaced(house)
    house.ok("POST", "/api/pause", {"why": "after it"})
    seen = []
    stream = Api(house.workspace, by="tests").stream("/api/events/stream", last_event_id=str(first))
    for event in stream:
        seen.append(event)
        if event.event != "event" or "after it" in event.data["message"]:
            break
    stream.close()
    assert {event.event for event in seen} == {"event"}, "no reset: the history has what memory never had"
    numbers = [int(event.id) for event in seen]
    assert numbers == sorted(set(numbers))
    assert [event["seq"] for event in before if event["seq"] > first] == numbers[: len(before) - 1]
    future = Api(house.workspace, by="tests").stream("/api/events/stream", last_event_id=str(numbers[-1] + 10**6))
    assert next(iter(future)).event == "reset"
    future.close()
