"""Real processes from end to end: start, stop, crash, backoff, fatal, limits, panic, and two clients at once."""

from __future__ import annotations

import threading

from tests.supervisor.house import House
from tests.support import pid_alive, wait_for


def test_start_stop_and_what_status_says(house: House) -> None:
    house.up().add("ema")
    started = house.ok("POST", "/api/strategies/ema/start", {})
    assert started["changed"]
    status = started["strategy"]
    assert status["state"] == "running"
    assert pid_alive(status["pid"])
    assert status["version"] == 1
    wait_for(lambda: len(house.lines("ema")) > 3, 5, "lines in the log")
    stopped = house.ok("POST", "/api/strategies/ema/stop")["strategy"]
    assert stopped["state"] == "stopped"
    assert stopped["signal"] == "SIGTERM"
    assert not pid_alive(status["pid"])
    runs = house.ok("GET", "/api/strategies/ema/runs")["runs"]
    assert [run["run_id"] for run in runs] == [status["run_id"]]
    assert runs[0]["signal"] == "SIGTERM"


def test_crash_restarts_with_backoff_and_then_is_fatal(house: House) -> None:
    source = "import sys, os\nprint(os.environ['STRATPANEL_RUN_ID'], flush=True)\nsys.exit(7)\n"
    policy = {"policy": "on-failure", "max_restarts": 2, "backoff_s": 0.1, "backoff_max_s": 0.2}
    house.up().add("bad", source, restart=policy)
    code, answer = house.call("POST", "/api/strategies/bad/start", {})
    assert code == 422
    assert answer["error_code"] == "START_FAILED"
    status = house.reach("bad", "fatal")
    assert status["exit_code"] == 7
    assert status["restarts"] == 2
    assert "gave up after 2 restarts" in status["why"]
    assert len(house.lines("bad")) == 3
    assert len(set(house.lines("bad"))) == 3, "three runs, three ids"
    types = [event["type"] for event in house.events() if event["id"] == "bad"]
    assert types.count("crash") == 3
    assert types.count("fatal") == 1


def test_two_clients_start_at_once_and_get_one_run(house: House) -> None:
    house.up().add("ema")
    answers: list[dict[str, object]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(house.ok("POST", "/api/strategies/ema/start", {})))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(bool(answer["changed"]) for answer in answers) == 1
    assert len(house.ok("GET", "/api/strategies/ema/runs")["runs"]) == 1


def test_a_stubborn_one_is_killed_after_its_grace_and_kill_is_at_once(house: House) -> None:
    source = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)\n"
    )
    house.up().add("stubborn", source, grace_s=0.3)
    house.ok("POST", "/api/strategies/stubborn/start", {})
    wait_for(lambda: house.lines("stubborn"), 5, "its first line")
    stopped = house.ok("POST", "/api/strategies/stubborn/stop")["strategy"]
    assert (stopped["state"], stopped["signal"]) == ("stopped", "SIGKILL")
    house.ok("POST", "/api/strategies/stubborn/start", {})
    killed = house.ok("POST", "/api/strategies/stubborn/kill")["strategy"]
    assert (killed["state"], killed["signal"]) == ("stopped", "SIGKILL")


def test_memory_over_the_limit_stops_it_and_counts_as_a_failure(house: House) -> None:
    source = "import time\nhog = bytearray(150 << 20)\nfor i in range(0, len(hog), 4096): hog[i] = 1\ntime.sleep(600)\n"
    house.up().add("hog", source, limits={"memory_mb": 60})
    house.ok("POST", "/api/strategies/hog/start", {})
    status = house.reach("hog", "stopped", "exited", timeout=15)
    assert "memory" in status["why"]
    messages = [event["message"] for event in house.events() if event["type"] == "memory"]
    assert any("60 MiB" in message for message in messages)
    assert house.status("hog")["state"] == status["state"], "it is not started again by itself"


def test_figures_of_a_busy_tree(house: House) -> None:
    source = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'while True: pass'])\n"
    house.up().add("busy", source)
    house.ok("POST", "/api/strategies/busy/start", {})
    status = wait_for(lambda: (s := house.status("busy"))["cpu_percent"] and s, 10, "figures")
    assert wait_for(lambda: house.status("busy")["cpu_percent"] > 20, 10, "the child's CPU in the tree's figure")
    assert status["memory_mb"] > 5
    usage = house.ok("GET", "/api/strategies/busy/usage")
    assert len(usage["t"]) == len(usage["cpu_percent"]) == len(usage["memory_mb"])


def test_panic_stops_all_refuses_starts_and_resume_lists_first(house: House) -> None:
    house.up()
    for id in ("a", "b"):
        house.add(id)
        house.ok("POST", f"/api/strategies/{id}/start", {})
    house.ok("POST", "/api/panic", {"why": "test"})
    assert {house.status(id)["state"] for id in ("a", "b")} == {"stopped"}
    code, answer = house.call("POST", "/api/strategies/a/start", {})
    assert (code, answer["error_code"]) == (409, "PANIC")
    would = house.ok("POST", "/api/resume", {"dry_run": True})
    assert {row["id"] for row in would["would_start"]} == {"a", "b"}
    assert house.status("a")["state"] == "stopped"
    house.ok("POST", "/api/resume", {"confirm": True})
    house.reach("a", "running")
    house.reach("b", "running")


def test_the_environment_and_the_descriptors_hold_nothing_of_ours(house: House) -> None:
    source = (
        "import os, json\n"
        "print(json.dumps(sorted(os.environ)))\n"
        "print(json.dumps({f: os.readlink('/proc/self/fd/' + f) for f in os.listdir('/proc/self/fd')"
        " if os.path.exists('/proc/self/fd/' + f)}))\n"
    )
    house.up().add("look", source)
    house.ok("POST", "/api/strategies/look/start", {})
    house.reach("look", "exited")
    import json

    names, links = (json.loads(line) for line in house.lines("look"))
    assert "OMP_NUM_THREADS" in names
    promised = {"STRATPANEL_RUN_ID", "STRATPANEL_LIVE_FILE", "STRATPANEL_STOP_REASON"}
    assert {name for name in names if name.startswith("STRATPANEL_")} <= promised
    assert not [link for link in links.values() if link.startswith("socket:")]


def test_the_flatten_script_runs_once_when_all_trees_are_empty(house: House) -> None:
    settings = house.workspace / "stratpanel.toml"
    (house.workspace / "strategies/scripts/flatten.py").write_text(
        "import os, pathlib\n"
        "alive = [p for p in os.listdir('/proc') if p.isdigit()]\n"
        "pathlib.Path('flattened').write_text(os.environ['SP_MODE'])\n"
    )
    text = settings.read_text().replace("[panic]", '[panic]\nthen = "strategies/scripts/flatten.py"', 1)
    settings.write_text(text)
    house.up().add("ema")
    running = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]
    answer = house.ok("POST", "/api/panic", {"why": "test"})
    assert answer["stopped"] == ["ema"]
    assert not pid_alive(running["pid"])
    wait_for(lambda: (house.workspace / "flattened").exists(), 10, "the flatten script")
    assert (house.workspace / "flattened").read_text() == "live"
    status = house.reach("after-panic", "exited")
    assert status["exit_code"] == 0
    house.ok("POST", "/api/resume", {"confirm": True})
    assert house.call("GET", "/api/strategies/after-panic")[0] == 404


def test_an_exit_is_known_at_once_and_a_stop_answers_when_done(house: House) -> None:
    import time
    from datetime import datetime

    source = "import os, sys, time\nwhile not os.path.exists('go'):\n    time.sleep(0.001)\nsys.exit(7)\n"
    house.up().add("ends", source)
    house.ok("POST", "/api/strategies/ends/start", {})
    (house.workspace / "go").touch()
    status = house.reach("ends", "exited")
    known = datetime.fromisoformat(status["state_since"]).timestamp()
    ended = datetime.fromisoformat(status["last_stopped"]).timestamp()
    assert known - ended < 0.5, "0.05 s on a quiet machine; this bound only says that nobody polls"
    house.add("ema")
    house.ok("POST", "/api/strategies/ema/start", {})
    begun = time.monotonic()
    house.ok("POST", "/api/strategies/ema/stop")
    assert time.monotonic() - begun < 2.0
