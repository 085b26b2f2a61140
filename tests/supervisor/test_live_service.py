"""What people rely on, with real processes from outside: alerts, logins before a start, versions, secrets, instances,
metrics, and a history that was damaged."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.house import House
from tests.support import pid_alive, wait_for

SLEEPER = "import time\nprint('up', flush=True)\nwhile True:\n    time.sleep(0.1)\n"


def settings(house: House, text: str) -> None:
    """Put values under the tables of the commented default."""
    path = house.workspace / "stratpanel.toml"
    table = text.split("\n", 1)[0]
    path.write_text(path.read_text().replace(table, text, 1))


def alerts(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def test_silence_and_crashes_reach_the_users_command_and_silence_restarts(house: House) -> None:
    heard = house.workspace / "heard"
    settings(
        house, f'[on_event]\ncommand = ["sh", "-c", "cat >> {heard}; echo >> {heard}"]\ntypes = ["quiet", "crash"]'
    )
    house.up().add("mute", SLEEPER, quiet_after=1, quiet_restart=True, restart={"backoff_s": 0.1, "backoff_max_s": 0.2})
    first = house.ok("POST", "/api/strategies/mute/start", {})["strategy"]
    told = wait_for(lambda: [one for one in alerts(heard) if one["type"] == "quiet"], 20, "the alert of silence")
    assert told[0]["id"] == "mute"
    assert "no line in its log" in told[0]["message"]
    again = wait_for(lambda: house.lines("mute").count("up") > 1 and house.status("mute"), 20, "its restart")
    assert again["restarts"] >= 1
    assert not pid_alive(first["pid"])
    house.ok("POST", "/api/strategies/mute/stop")
    house.add("fails", "import time, sys\ntime.sleep(1.5)\nsys.exit(3)\n", restart={"policy": "never"})
    house.ok("POST", "/api/strategies/fails/start", {})
    crash = wait_for(lambda: [one for one in alerts(heard) if one["id"] == "fails"], 20, "the alert of the crash")
    assert (crash[0]["type"], crash[0]["exit_code"]) == ("crash", 3)


def test_a_login_must_have_succeeded_today_before_a_start(house: House) -> None:
    house.up().add(
        "login", "import os, sys\nsys.exit(0 if os.path.exists('token') else 1)\n", restart={"policy": "never"}
    )
    house.add("ema", SLEEPER, before_start="login")
    status, answer = house.call("POST", "/api/strategies/ema/start", {})
    assert (status, answer["error_code"]) == (409, "BEFORE_START")
    assert "login has not exited with 0 today" in answer["message"]
    assert "before_start" in [event["type"] for event in house.events()]
    assert house.lines("ema") == []
    house.call("POST", "/api/strategies/login/start", {})
    assert house.reach("login", "exited", "fatal")["exit_code"] == 1
    assert house.call("POST", "/api/strategies/ema/start", {})[0] == 409, "a login that failed does not count"
    (house.workspace / "token").touch()
    house.ok("POST", "/api/strategies/login/start", {})
    house.reach("login", "exited")
    assert house.ok("POST", "/api/strategies/ema/start", {})["strategy"]["state"] == "running"


def test_an_edit_while_it_runs_never_reaches_a_restart(house: House) -> None:
    house.up().add("ema", SLEEPER.replace("'up'", "'one'"), restart={"policy": "always", "backoff_s": 0.1})
    running = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    (house.workspace / "strategies/scripts/ema.py").write_text(SLEEPER.replace("'up'", "'two'"))
    os.kill(running["pid"], signal.SIGKILL)
    wait_for(lambda: len(house.lines("ema")) == 2, 20, "its automatic restart")
    assert house.lines("ema") == ["one", "one"]
    assert house.status("ema")["version"] == running["version"] == 1
    wait_for(lambda: house.status("ema")["state"] == "running", 10, "running")
    house.ok("POST", "/api/strategies/ema/restart")
    wait_for(lambda: len(house.lines("ema")) == 3, 20, "a person's restart")
    assert house.lines("ema")[-1] == "one", "a restart keeps its run's version"
    house.ok("POST", "/api/strategies/ema/stop")
    house.ok("POST", "/api/strategies/ema/start", {})
    wait_for(lambda: house.lines("ema")[-1] == "two", 20, "a person's start takes the new text")
    assert house.status("ema")["version"] == 2
    copy = next(path for path in (house.workspace / "strategies/versions/ema").glob("2-*") if path.is_dir())
    script = next(copy.rglob("*.py"))
    house.ok("POST", "/api/strategies/ema/stop")
    script.chmod(0o644)
    script.write_text("print('tampered')\n")
    house.ok("POST", "/api/strategies/ema/rollback", {"n": 1})
    status, answer = house.call("POST", "/api/strategies/ema/rollback", {"n": 2})
    if status < 300:
        status, answer = house.call("POST", "/api/strategies/ema/start", {"deploy": False})
    assert status >= 400, answer
    assert "tampered" not in house.lines("ema"), "a version is checked by its hash before it runs"


PRINTS_KEY = "import os, time\nprint(os.environ['SP_MODE'], os.environ['BROKER_KEY'], flush=True)\ntime.sleep(60)\n"


def test_secrets_by_mode_are_read_at_every_start_and_masked_in_answers(house: House) -> None:
    secrets = house.workspace / "secrets.toml"
    secrets.write_text('[paper]\nBROKER_KEY = "paper-hunter2"\n[live]\nBROKER_KEY = "live-hunter2"\n')
    house.up().add("ema", PRINTS_KEY)
    house.ok("POST", "/api/strategies/ema/start", {})
    wait_for(lambda: house.lines("ema") == ["paper paper-hunter2"], 10, "the paper key")
    shown = house.ok("GET", "/api/strategies/ema/logs")["lines"][0]["text"]
    assert shown.startswith("paper ")
    assert "hunter2" not in shown
    house.ok("POST", "/api/strategies/ema/stop")
    secrets.write_text('[paper]\nBROKER_KEY = "paper-swordfish"\n[live]\nBROKER_KEY = "live-swordfish"\n')
    house.ok("POST", "/api/strategies/ema/promote", {"mode": "live"})
    house.ok("POST", "/api/strategies/ema/start", {})
    wait_for(lambda: house.lines("ema")[-1] == "live live-swordfish", 10, "the live key")
    for path in (
        "/api/strategies/ema",
        "/api/strategies/ema/logs",
        "/api/events",
        "/api/strategies/ema/runs",
        "/metrics",
    ):
        text = json.dumps(house.ok("GET", path))
        assert "swordfish" not in text, path
        assert "hunter2" not in text, path
    house.ok("POST", "/api/strategies/ema/stop")
    secrets.chmod(0o644)
    status, answer = house.call("POST", "/api/strategies/ema/start", {})
    assert status >= 400
    assert "chmod 600" in answer["message"]


def test_one_script_runs_as_several_instances_and_metrics_can_be_parsed(house: House) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    source = "import os, sys, time\nprint(sys.argv[1], os.environ['SP_FAST'], flush=True)\ntime.sleep(60)\n"
    (house.workspace / "strategies/scripts/one.py").write_text(source)
    house.up()
    for id, symbol, fast in (("nifty", "NIFTY", 5), ("banknifty", "BANKNIFTY", 9)):
        house.ok("POST", "/api/strategies", {"id": id, "path": "one.py"})
        house.ok("PATCH", f"/api/strategies/{id}", {"args": [symbol], "params": {"fast": fast}})
        house.ok("POST", f"/api/strategies/{id}/start", {})
    wait_for(lambda: house.lines("nifty") == ["NIFTY 5"], 10, "the first instance")
    wait_for(lambda: house.lines("banknifty") == ["BANKNIFTY 9"], 10, "the second instance")
    wait_for(lambda: house.status("nifty")["memory_mb"], 10, "a sample")
    families = {one.name: one.samples for one in parser.text_string_to_metric_families(house.ok("GET", "/metrics"))}
    states = {one.labels["state"]: one.value for one in families["stratpanel_strategies"]}
    assert states["running"] == 2
    assert {one.labels["id"] for one in families["stratpanel_strategy_memory_bytes"]} == {"nifty", "banknifty"}
    for name in ("strategy_restarts", "strategy_cpu_percent", "strategy_log_bytes", "supervisor_resident_bytes"):
        assert families[f"stratpanel_{name}"], name
    assert "stratpanel_decision_lateness_seconds" in families


def test_a_damaged_history_is_set_aside_and_nothing_stops(house: House) -> None:
    house.up().add("ema", SLEEPER)
    running = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    database = house.workspace / "log/stratpanel.db"
    wait_for(database.exists, 10, "the database")
    house.away()
    database.write_bytes(b"this is no database at all" * 1000)
    for side in database.parent.glob("stratpanel.db-*"):
        side.unlink()
    house.up()
    status = house.reach("ema", "running")
    assert status["pid"] == running["pid"]
    assert list(database.parent.glob("stratpanel.db*damaged*")) or len(list(database.parent.glob("*.db*"))) > 1
    assert house.ok("GET", "/api/events")["events"]
    house.ok("POST", "/api/strategies/ema/stop")
    wait_for(lambda: house.ok("GET", "/api/strategies/ema/runs")["runs"], 10, "new history")
