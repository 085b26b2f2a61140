"""Schedules in real time with real processes: what should run runs, what should not does not, and the runner knows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.supervisor.house import House
from tests.support import pid_alive, wait_for

ALL = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def minute(now: datetime, plus: int) -> str:
    return (now + timedelta(minutes=plus)).strftime("%H:%M")


def schedule(start: str, stop: str, **more: object) -> dict[str, object]:
    return {"enabled": True, "windows": [{"start": start, "stop": stop, "days": ALL}], "timezone": "UTC", **more}


@pytest.mark.xdist_group("minutes of a schedule")  # groups begin first: waited for while others work
def test_one_stops_and_another_starts_on_the_same_minute(house: House) -> None:
    house.up()
    now = datetime.now(UTC)
    if now.second > 50:  # both must be set before the edge
        wait_for(lambda: datetime.now(UTC).second < 5, 20, "the next minute")
        now = datetime.now(UTC)
    house.add("ends", schedule=schedule(minute(now, 0), minute(now, 1)))
    house.add("begins", schedule=schedule(minute(now, 1), minute(now, 3)))
    edge = (now + timedelta(minutes=1)).replace(second=0, microsecond=0)
    running = house.reach("ends", "running", timeout=5)
    assert house.status("begins")["state"] == "stopped"
    assert datetime.fromisoformat(house.status("begins")["next_start"]) == edge
    assert datetime.fromisoformat(running["next_stop"]) == edge
    started = house.reach("begins", "running", timeout=70)
    late = (datetime.fromisoformat(started["started"]) - edge).total_seconds()
    assert 0 <= late < 1.5, f"started {late:.3f} s after the edge"
    ended = house.reach("ends", "stopped", timeout=5)
    late = (datetime.fromisoformat(ended["last_stopped"]) - edge).total_seconds()
    assert 0 <= late < 2.5, f"ended {late:.3f} s after the edge"
    assert not pid_alive(running["pid"])


@pytest.mark.xdist_group("minutes of a schedule")  # groups begin first: waited for while others work
def test_it_starts_on_the_minute_and_stops_a_minute_later_with_launcher_and_supervisor_dead(house: House) -> None:
    house.up()
    now = datetime.now(UTC)
    if now.second > 50:
        wait_for(lambda: datetime.now(UTC).second < 5, 20, "the next minute")
        now = datetime.now(UTC)
    opens = (now + timedelta(minutes=1)).replace(second=0, microsecond=0)
    closes = opens + timedelta(minutes=1)
    house.add("alone", schedule=schedule(minute(now, 1), minute(now, 2)))
    assert house.status("alone")["state"] == "stopped"
    running = house.reach("alone", "running", timeout=75)
    assert 0 <= (datetime.fromisoformat(running["started"]) - opens).total_seconds() < 5
    house.away()  # both, by SIGKILL, for good
    assert pid_alive(running["pid"])
    wait_for(lambda: not pid_alive(running["pid"]), 75, "the runner keeping the stop time alone")
    assert 0 <= (datetime.now(UTC) - closes).total_seconds() < 5
    written = house.runtime.run_dir("alone") / "exit.json"
    record = json.loads(wait_for(lambda: written.exists() and written.read_text(), 5, "the record of its end"))
    assert record["stop"]["reason"] == "window"
    house.up()
    status = house.reach("alone", "stopped")
    assert status["hold"] == "none"


def test_edits_of_the_schedule_reach_a_running_strategy_and_its_runner(house: House) -> None:
    house.up()
    now = datetime.now(UTC)
    house.add("ema", schedule=schedule(minute(now, -5), minute(now, 30)))
    house.reach("ema", "running", timeout=5)

    def told() -> object:
        return json.loads(house.runtime.status("ema").read_text()).get("stop_at")

    until = (now + timedelta(minutes=30)).replace(second=0, microsecond=0).timestamp()
    assert told() == until
    house.ok("PATCH", "/api/strategies/ema", {"schedule": schedule(minute(now, -5), minute(now, 45))})
    wait_for(lambda: told() == until + 900, 5, "the new deadline at the runner")
    house.ok("PATCH", "/api/strategies/ema", {"schedule": schedule(minute(now, 60), minute(now, 90))})
    status = house.reach("ema", "stopped", timeout=5)
    assert status["next_start"] is not None
    house.ok("POST", "/api/strategies/ema/start", {})
    status = house.reach("ema", "running")
    assert status["hold"] == "started"
    until = (now + timedelta(minutes=90)).replace(second=0, microsecond=0)
    assert datetime.fromisoformat(status["hold_detail"]["until"]) == until, "to the end of the next window"
    wait_for(lambda: told() == until.timestamp(), 5, "that end at the runner")


def test_a_schedule_switched_off_does_not_end_what_runs(house: House) -> None:
    house.up()
    now = datetime.now(UTC)
    house.add("ema", schedule=schedule(minute(now, -5), minute(now, 30)))
    running = house.reach("ema", "running", timeout=5)
    house.ok("PATCH", "/api/strategies/ema", {"schedule": {"enabled": False}})
    wait_for(lambda: house.status("ema")["hold"] == "started", 5, "the hold that keeps it running")
    assert house.status("ema")["pid"] == running["pid"]


def test_a_schedule_that_can_never_run_is_refused_with_its_field(house: House) -> None:
    house.up().add("ema")
    code, answer = house.call(
        "PATCH", "/api/strategies/ema", {"schedule": schedule("close+5m", "close", calendar="NSE", timezone=None)}
    )
    assert code == 422
    assert any(field.startswith("schedule.windows[0]") for field in answer["fields"]), answer


def test_explain_says_why_and_until(house: House) -> None:
    house.up().add("ema", schedule=schedule("09:20", "15:15", calendar="NSE", timezone=None))
    told = house.ok("GET", "/api/strategies/ema/schedule/explain?at=2026-11-24T10:00:00%2B05:30")
    assert told["run"] is False
    assert "Guru Nanak" in told["why"]
    assert told["boundaries"][0]["action"] == "start"
    told = house.ok("GET", "/api/strategies/ema/schedule/explain?at=2026-11-25T10:00:00%2B05:30")
    assert told["run"] is True
    assert told["until"].startswith("2026-11-25T15:15:00")
    house.ok("GET", "/api/week")
