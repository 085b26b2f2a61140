"""Whatever of ours dies, the strategy is found again and never started twice; what ended meanwhile is known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

from stratpanel.process import ending
from tests.supervisor.house import House
from tests.support import pid_alive, wait_for


def test_a_killed_supervisor_comes_back_to_the_same_run(house: House) -> None:
    house.up().add("ema")
    before = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    first = house.answers()
    house.kill(first["pid"])
    second = wait_for(lambda: (s := house.answers())["pid"] != first["pid"] and s, 10, "a new supervisor")
    after = house.reach("ema", "running")
    assert (after["pid"], after["run_id"], after["runner_pid"]) == (
        before["pid"],
        before["run_id"],
        before["runner_pid"],
    )
    assert second["launcher_pid"] == first["launcher_pid"]
    assert len(house.ok("GET", "/api/strategies/ema/runs")["runs"]) == 1
    stopped = house.ok("POST", "/api/strategies/ema/stop")["strategy"]
    assert stopped["signal"] == "SIGTERM"


def test_a_killed_runner_is_replaced_and_the_run_goes_on(house: House) -> None:
    house.up().add("ema")
    before = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    house.kill(before["runner_pid"])

    def replaced() -> Any:
        status = house.status("ema")
        return status["runner_pid"] not in (None, before["runner_pid"]) and status

    after = wait_for(replaced, 10, "another runner")
    assert (after["pid"], after["run_id"], after["state"]) == (before["pid"], before["run_id"], "running")
    assert house.ok("POST", "/api/strategies/ema/stop")["strategy"]["state"] == "stopped"
    assert not pid_alive(before["pid"])


def test_launcher_supervisor_and_runner_killed_together_come_back(house: House) -> None:
    house.up().add("ema")
    before = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    here = house.answers()
    for pid in (here["launcher_pid"], here["pid"], before["runner_pid"]):
        house.kill(pid)
    from stratpanel.process import wake

    wake.start_launcher(house.runtime)  # a client's command would
    after = house.reach("ema", "running", timeout=20)
    wait_for(lambda: house.status("ema")["runner_pid"], 10, "a runner")
    assert (after["pid"], after["run_id"]) == (before["pid"], before["run_id"])
    assert house.ok("POST", "/api/strategies/ema/stop")["strategy"]["state"] == "stopped"


def test_an_exit_while_we_were_away_is_taken_into_history_with_its_code(house: House) -> None:
    source = "import os, sys, time\nwhile not os.path.exists('go'):\n    time.sleep(0.02)\nsys.exit(7)\n"
    house.up().add("ends", source)
    started = house.ok("POST", "/api/strategies/ends/start", {})["strategy"]
    house.away()
    (house.workspace / "go").touch()
    wait_for(lambda: house.runtime.exit("ends").exists(), 10, "the runner's exit record")
    house.up()
    status = house.reach("ends", "exited")
    assert (status["exit_code"], status["run_id"]) == (7, started["run_id"])
    assert "while the supervisor was away" in status["why"]
    runs = house.ok("GET", "/api/strategies/ends/runs")["runs"]
    assert [(run["run_id"], run["exit_code"]) for run in runs] == [(started["run_id"], 7)]
    crashes = [event for event in house.events() if event["type"] == "crash"]
    assert len(crashes) == 1
    wait_for(lambda: house.stored_events("crash"), 10, "the event on disk")
    house.kill(house.answers()["pid"])
    house.reach("ends", "exited")
    assert len([event for event in house.events() if event["type"] == "crash"]) == 1, "an end is judged once"


def test_a_crash_while_we_were_away_is_restarted_by_policy(house: House) -> None:
    source = (
        "import os, sys, time\n"
        "print('up', flush=True)\n"
        "while not os.path.exists('go'):\n    time.sleep(0.02)\n"
        "os.unlink('go'); sys.exit(1)\n"
    )
    house.up().add("again", source, restart={"policy": "on-failure", "backoff_s": 0.1})
    first = house.ok("POST", "/api/strategies/again/start", {})["strategy"]
    house.away()
    (house.workspace / "go").touch()
    wait_for(lambda: house.runtime.exit("again").exists(), 10, "the exit record")
    house.up()
    status = house.reach("again", "running")
    assert status["run_id"] != first["run_id"]
    assert status["restarts"] == 1


def test_stop_by_the_command_line_while_we_were_away_holds(house: House) -> None:
    house.up().add("ema")
    house.ok("POST", "/api/strategies/ema/start", {})
    house.away()
    ending.end_run(house.runtime, "ema", grace_s=2.0, by="cli", reason="stop")
    house.runtime.holds.mkdir(exist_ok=True)
    hold = {"kind": "stopped", "by": "cli", "at": "2199-01-01T00:00:00+00:00", "why": "", "until": None}
    (house.runtime.holds / "ema.json").write_text(json.dumps(hold))
    house.up()
    status = house.reach("ema", "stopped")
    assert status["hold"] == "stopped"
    wait_for(lambda: not (house.runtime.holds / "ema.json").exists(), 10, "the hold moved to the registry")
    path = house.workspace / "strategies/strategy_configs.json"
    wait_for(lambda: json.loads(path.read_text())["ema"]["manually_stopped"], 10, "the hold in the registry")


def test_what_a_person_started_goes_on_after_everything_was_killed(house: House) -> None:
    """As after a power cut, but for the boot id: the strategy is dead too, its end unknown."""
    house.up().add("ema", restart={"policy": "on-failure", "backoff_s": 0.1})
    first = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    here = house.answers()
    for pid in (here["launcher_pid"], here["pid"], first["runner_pid"], first["pid"]):
        house.kill(pid)
    house.up()
    second = wait_for(
        lambda: (s := house.reach("ema", "running"))["run_id"] != first["run_id"] and s, 25, "another run"
    )
    assert pid_alive(second["pid"])


def test_a_broken_registry_with_live_runners_means_degraded(house: House) -> None:
    house.up().add("ema")
    running = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    house.add("other")
    house.away()
    registry = house.workspace / "strategies/strategy_configs.json"
    good = registry.read_text()
    registry.write_text(good[:-20])
    broken = registry.read_bytes()
    house.up()
    house.reach("ema", "running")
    here = house.answers()
    assert here["state"] == "degraded"
    assert "strategy_configs.json" in here["why"]
    code, answer = house.call("POST", "/api/strategies/ema/restart", {})
    assert (code, answer["error_code"]) == (409, "DEGRADED")
    code, _ = house.call("PATCH", "/api/strategies/ema", {"notes": "x"})
    assert code == 409
    assert house.ok("POST", "/api/strategies/ema/stop")["strategy"]["state"] == "stopped"
    assert not pid_alive(running["pid"])
    assert registry.read_bytes() == broken, "byte for byte untouched"
    registry.write_text(good)
    house.ok("POST", "/api/reload", {})
    assert house.answers()["state"] == "running"
    assert house.status("other")["state"] == "stopped"
    told = house.status("ema")
    assert (told["state"], told["hold"]) == ("stopped", "stopped"), "a stop said while degraded still holds"


def test_a_broken_registry_without_runners_is_refused_with_78(house: House) -> None:
    registry = house.workspace / "strategies/strategy_configs.json"
    registry.write_text('{"ema": {"name": 1}}')
    done = subprocess.run(
        [sys.executable, "-P", "-m", "stratpanel.supervisor", str(house.workspace)],
        timeout=30,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 78
    refused = json.loads((house.runtime.root / "refused.json").read_text())
    assert "strategy_configs.json" in refused["message"]
    assert registry.read_text() == '{"ema": {"name": 1}}'


def test_down_stops_strategies_and_comes_up_paused_only_implicitly(house: House) -> None:
    house.up().add("ema")
    running = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    here = house.answers()
    house.ok("POST", "/api/down", {"keep": False})
    wait_for(lambda: not pid_alive(here["pid"]) and not pid_alive(here["launcher_pid"]), 20, "the end of us")
    assert not pid_alive(running["pid"])
    assert not house.runtime.wanted.exists()
    house.up()  # nobody removed the mark that `down` left: an implicit start
    assert house.answers()["state"] == "paused"
    assert house.status("ema")["state"] == "stopped"
    assert "paused" in house.status("ema")["why"]
    house.ok("POST", "/api/resume", {"confirm": True})
    house.reach("ema", "running")
    here = house.answers()
    before = house.status("ema")
    house.ok("POST", "/api/down", {"keep": True})
    wait_for(lambda: not pid_alive(here["pid"]), 20, "the supervisor's end")
    assert pid_alive(before["pid"])
    house.up()
    assert house.reach("ema", "running")["pid"] == before["pid"]


def test_two_supervisors_at_once_are_one(house: House) -> None:
    house.up()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "stratpanel.supervisor", str(house.workspace)], timeout=30, check=False
    )
    assert done.returncode == 0
    assert house.answers()["state"] == "running"


def test_a_supervisor_whose_runtime_folder_was_deleted_leaves_to_the_next(house: House) -> None:
    """Its lock protects nothing any more; two would decide for the same strategies."""
    house.up().add("ema")
    before = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    first = house.answers()
    shutil.rmtree(house.runtime.root)
    second = house.up().answers()
    assert second["pid"] != first["pid"]
    wait_for(lambda: not pid_alive(first["pid"]), 20, "the end of the first supervisor")
    wait_for(lambda: not pid_alive(first["launcher_pid"]), 20, "the end of the first launcher")
    assert pid_alive(before["pid"])
    assert house.answers()["pid"] == second["pid"]
    status, answer = house.call("POST", "/api/strategies/ema/start", {})
    assert (status, answer["error_code"]) == (422, "START_FAILED"), "it never runs twice"
    assert str(before["pid"]) in answer["message"]
