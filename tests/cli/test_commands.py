"""Every command of the contract, run as a user runs it, with its exit code and what it changed in the world."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stratpanel.process import records
from stratpanel.process.paths import Runtime
from tests.support import pid_alive, wait_for
from tests.workbench import Workbench

SLEEPS = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"
IGNORES_TERM = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)\n"
)
STATUS_FIELDS = {
    "id", "name", "state", "why", "pid", "runner_pid", "run_id", "version", "mode", "hold", "uptime_s", "cpu_percent",
    "memory_mb", "exit_code", "signal", "restarts", "next_start", "next_stop", "log_path",
}  # fmt: skip


def test_init_makes_a_workspace_and_leaves_what_is_there(tmp_path: Path) -> None:
    bench = Workbench.make(tmp_path / "w")
    settings = bench.folder / "stratpanel.toml"
    settings.write_text(settings.read_text() + "\n# mine\n")
    bench.cli("init", str(bench.folder), workspace=False)
    assert settings.read_text().endswith("# mine\n")
    assert (bench.folder / "strategies" / "examples" / "simple_ema.py").exists()
    assert not (bench.folder / ".stratpanel" / "wanted").exists()


def test_no_workspace_is_an_error_that_names_the_ways_on(tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    done = bench.cli("status", check=False, workspace=False)
    assert done.returncode == 2
    assert "stratpanel init" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--no-such"], ["nonsense"], ["start"], ["stop", "a", "--all"], ["start", "--param", "x", "a"]]
)
def test_usage_errors_exit_2(bench: Workbench, arguments: list[str]) -> None:
    assert bench.cli(*arguments, check=False).returncode == 2


def test_unknown_ids_exit_4(bench: Workbench) -> None:
    for command in (
        "start",
        "stop",
        "kill",
        "restart",
        "reset",
        "status",
        "logs",
        "runs",
        "deploy",
        "versions",
        "remove",
    ):
        done = bench.cli(command, "nobody", check=False)
        assert done.returncode == 4, (command, done.stderr)
        assert "nobody" in done.stderr


def test_first_up_registers_the_example(bench: Workbench) -> None:
    rows = json.loads(bench.cli("status", "--json").stdout)["strategies"]
    assert [row["id"] for row in rows] == ["simple_ema"]
    assert rows[0]["state"] == "stopped"


def test_a_day_in_the_life(bench: Workbench, tmp_path: Path) -> None:
    script = tmp_path / "elsewhere" / "mine.py"
    script.parent.mkdir()
    script.write_text(SLEEPS)
    bench.cli("add", str(script), "--id", "mine")
    assert (bench.folder / "strategies" / "scripts" / "mine.py").read_text() == SLEEPS

    bench.cli("start", "mine")
    pid = bench.leader_pid("mine")
    assert pid is not None
    body = json.loads(bench.cli("status", "mine", "--json").stdout)
    row = body["strategies"][0]
    assert set(row) >= STATUS_FIELDS
    assert (row["state"], row["pid"], row["mode"], row["version"]) == ("running", pid, "paper", 1)
    assert Path(row["log_path"]).is_absolute()
    assert body["supervisor"]["state"] == "running"
    assert "mine" in bench.cli("status").stdout

    again = bench.cli("start", "mine")
    assert "unchanged, running" in again.stdout
    assert bench.leader_pid("mine") == pid

    bench.cli("restart", "mine")
    assert not pid_alive(pid)
    assert bench.leader_pid("mine") not in (None, pid)

    bench.cli("stop", "mine")
    assert bench.leader_pid("mine") is None
    stopped = bench.cli("stop", "mine")
    assert stopped.returncode == 0
    assert bench.status("mine")["hold"] == "stopped"

    runs = json.loads(bench.cli("runs", "mine", "--json").stdout)["runs"]
    assert [run["signal"] for run in runs] == ["SIGTERM", "SIGTERM"]
    assert bench.cli("runs", "mine").stdout.count("SIGTERM") >= 2
    types = [json.loads(line)["type"] for line in bench.cli("events", "--json", "-n", "100").stdout.splitlines()]
    assert {"added", "deployed", "started", "stopped"} <= set(types)
    bench.cli("remove", "mine")
    assert bench.cli("status", "mine", check=False).returncode == 4
    assert (bench.folder / "strategies" / "scripts" / "mine.py").exists()


def test_kill_does_not_wait_for_the_grace(bench: Workbench) -> None:
    bench.register("deaf", IGNORES_TERM, grace_s=300)
    bench.cli("start", "deaf")
    pid = bench.leader_pid("deaf")
    bench.cli("kill", "deaf", timeout=30)
    assert pid is not None
    assert not pid_alive(pid)
    assert bench.status("deaf")["signal"] == "SIGKILL"


def test_several_ids_at_once_and_one_that_fails(bench: Workbench) -> None:
    for n in range(3):
        bench.register(f"s{n}", SLEEPS)
    done = bench.cli("start", "s0", "nobody", "s1", "s2", check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert all(bench.leader_pid(f"s{n}") for n in range(3))
    bench.cli("stop", "--all")
    assert not any(bench.leader_pid(f"s{n}") for n in range(3))


def test_stop_all_asks_everybody_before_it_waits_for_anybody(bench: Workbench) -> None:
    """More than any pool of workers: the last one must not wait for the grace of the first."""
    stubborn = bench.folder / "stubborn"
    stubborn.write_text("#!/bin/sh\ntrap '' TERM\nexec sleep 3600\n")
    stubborn.chmod(0o755)
    ids = [f"s{n:02}" for n in range(70)]
    for id in ids:
        bench.register(id, "", interpreter=str(stubborn), grace_s=4.0, start_seconds=0.01)
    bench.cli("start", *ids, timeout=120)
    bench.cli("stop", "--all", timeout=120)
    ends = [records.read_json(Runtime.of(bench.folder).exit(id)) for id in ids]
    asked = [end["stop"]["at"] for end in ends if end is not None]
    ended = [end["ended"] for end in ends if end is not None]
    assert len(asked) == len(ids)
    assert max(asked) < min(ended)
    assert {end["signal"] for end in ends if end is not None} == {"SIGKILL"}


def test_a_start_that_fails_says_why_and_exits_1(bench: Workbench) -> None:
    bench.register("broken", "import no_such_package_here\n", restart={"policy": "never"})
    done = bench.cli("start", "broken", check=False)
    assert done.returncode == 1
    assert "broken" in done.stderr
    bench.script("syntax", "if x\n")
    done = bench.cli("add", "strategies/scripts/syntax.py", check=False)
    if done.returncode == 0:
        done = bench.cli("start", "syntax", check=False)
    assert done.returncode == 1
    assert "line 1" in done.stderr


def test_start_with_arguments_and_parameters_for_this_run(bench: Workbench) -> None:
    program = (
        "import json, os, sys, time\n"
        "print(sys.argv[1:], open(os.environ['SP_PARAMS_FILE']).read(), flush=True)\n"
        "time.sleep(600)\n"
    )
    bench.register("p", program)
    bench.cli("start", "p", "--param", "fast=12", "--param", "symbol=SBIN", "--arg=--verbose")
    wait_for(lambda: "--verbose" in bench.log("p"), 10, "the arguments in the log")
    said = bench.log("p")
    assert json.loads(said[said.index("{") :].splitlines()[0]) == {"fast": 12, "symbol": "SBIN"}


def test_logs_tail_search_times_and_follow(bench: Workbench) -> None:
    bench.register(
        "talk",
        "import time\nfor n in range(200): print('line', n)\nprint('<b>last</b>', flush=True)\ntime.sleep(600)\n",
    )
    bench.cli("start", "talk")
    wait_for(lambda: "last" in bench.log("talk"), 10, "the last line")
    assert bench.cli("logs", "talk", "-n", "2").stdout == "line 199\n<b>last</b>\n"
    assert bench.cli("logs", "talk", "--search", "LINE 17", "-n", "100").stdout.splitlines()[0] == "line 17"
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  <b>", bench.cli("logs", "talk", "-n", "1", "-t").stdout)
    assert bench.cli("logs", "talk", "--since", "1h", "-n", "1000").stdout.count("\n") == 201
    assert bench.cli("logs", "talk", "--since", "nonsense", check=False).returncode == 2


def test_logs_follow_over_a_restart(bench: Workbench) -> None:
    bench.register("talk", "import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(600)\n")
    bench.cli("start", "talk")
    command = [sys.executable, "-m", "stratpanel", "-w", str(bench.folder), "logs", "talk", "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=bench.environment) as follower:
        assert follower.stdout is not None
        try:
            assert follower.stdout.readline().startswith("pid ")
            bench.cli("restart", "talk")
            assert follower.stdout.readline() == f"pid {bench.leader_pid('talk')}\n"
        finally:
            follower.terminate()  # not SIGINT: a suite started in the background hands on that it is ignored
            follower.wait(10)


def test_versions_deploy_rollback_promote(bench: Workbench) -> None:
    bench.register("v", SLEEPS)
    bench.cli("deploy", "v")
    bench.script("v", SLEEPS + "# second\n")
    assert "deployed version 2" in bench.cli("deploy", "v").stdout
    assert "unchanged" in bench.cli("deploy", "v").stdout
    rows = json.loads(bench.cli("versions", "v", "--json").stdout)["versions"]
    assert [row["n"] for row in rows] == [2, 1]
    bench.cli("rollback", "v", "1")
    assert bench.status("v")["version"] == 1
    refused = bench.cli("promote", "v", check=False, input="w\n")
    assert refused.returncode == 1
    bench.cli("promote", "v", input="v\n")
    rows = json.loads(bench.cli("versions", "v", "--json").stdout)["versions"]
    assert [row["live"] for row in rows] == [False, True]


def test_schedule_set_explain_clear(bench: Workbench) -> None:
    bench.register("s", SLEEPS)
    bench.cli("schedule", "s", "--start", "09:20", "--stop", "15:15", "--days", "mon-fri", "--calendar", "NSE")
    shown = json.loads(bench.cli("schedule", "s", "--json").stdout)
    assert shown["windows"][0]["start"] == "09:20"
    assert shown["windows"][0]["days"] == ["mon", "tue", "wed", "thu", "fri"]
    at = ["--at", "2026-11-24T10:00:00+05:30"]
    holiday = json.loads(bench.cli("schedule", "s", "--explain", *at, "--json").stdout)
    assert holiday["run"] is False
    assert "Guru Nanak" in holiday["why"]
    assert {"run", "why", "until", "boundaries"} <= set(holiday)
    assert set(holiday["boundaries"][0]) >= {"at", "action", "rule"}
    assert "Guru Nanak" in bench.cli("schedule", "s", "--explain", *at).stdout
    refused = bench.cli("schedule", "s", "--start", "25:99", check=False)
    assert refused.returncode == 1
    assert '"25:99" is not' in refused.stderr
    assert "s" in bench.cli("week").stdout
    bench.cli("schedule", "s", "--clear")
    assert json.loads(bench.cli("schedule", "s", "--json").stdout)["enabled"] is False


def test_calendars(bench: Workbench) -> None:
    names = {row["name"] for row in json.loads(bench.cli("calendar", "list", "--json").stdout)}
    assert {"NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX", "NCO", "24x7"} <= names
    show = ["calendar", "show", "NSE", "--from", "2026-11-06", "--to", "2026-11-10", "--json"]
    days = {row["date"]: row for row in json.loads(bench.cli(*show).stdout)}
    assert days["2026-11-08"]["kind"] == "special"
    assert set(days["2026-11-09"]) >= {"date", "open", "close", "kind", "why"}
    bench.cli("calendar", "close", "NSE", "2026-11-09", "--why", "a day of mine")
    assert "2026-11-09" not in {row["date"] for row in json.loads(bench.cli(*show).stdout)}
    bench.cli("calendar", "open", "NSE", "2026-11-07", "10:00-11:00", "--why", "mock session")
    assert "2026-11-07" in {row["date"] for row in json.loads(bench.cli(*show).stdout)}
    bench.cli("calendar", "clear", "NSE", "2026-11-09")
    assert "2026-11-09" in {row["date"] for row in json.loads(bench.cli(*show).stdout)}
    bench.cli("calendar", "hours", "NSE", "2026-11-09", "09:15-15:45", "--days", "mon-wed", "--why", "circular 45")
    days = {row["date"]: row for row in json.loads(bench.cli(*show).stdout)}
    assert days["2026-11-09"]["close"].startswith("2026-11-09T10:15")
    bench.cli("calendar", "clear", "NSE", "2026-11-09", "--about", "hours")
    days = {row["date"]: row for row in json.loads(bench.cli(*show).stdout)}
    assert days["2026-11-09"]["close"].startswith("2026-11-09T10:00")
    bench.cli("calendar", "valid", "NSE", "2029-12-31", "--why", "entered by hand")
    listed = {row["name"]: row for row in json.loads(bench.cli("calendar", "list", "--json").stdout)}
    assert listed["NSE"]["valid_through"] == "2029-12-31"
    assert "2029-12-31  valid" in bench.cli("calendar", "overrides", "NSE").stdout
    assert bench.cli("calendar", "show", "NOWHERE", check=False).returncode == 4


def test_pause_resume_and_panic(bench: Workbench) -> None:
    bench.register("a", SLEEPS)
    bench.register("b", IGNORES_TERM, grace_s=0.2)
    bench.cli("start", "a", "b")
    pids = [bench.leader_pid("a"), bench.leader_pid("b")]
    bench.cli("pause")
    assert json.loads(bench.cli("status", "--json").stdout)["supervisor"]["state"] == "paused"
    assert all(pid is not None and pid_alive(pid) for pid in pids), "a pause stops nothing"
    assert bench.cli("resume", check=False).returncode == 1, "no yes, no resume"
    bench.cli("resume", "--yes")
    done = bench.cli("panic", "--why", "test")
    assert "2 stopped" in done.stdout
    assert "closes no position" in done.stdout or "closes no position" in done.stderr
    assert not any(pid is not None and pid_alive(pid) for pid in pids)
    refused = bench.cli("start", "a", check=False)
    assert refused.returncode == 1
    assert "panic" in refused.stderr.lower()
    listed = bench.cli("resume", check=False, input="n\n")
    assert listed.returncode == 1
    assert "would start a:" in listed.stdout
    assert bench.leader_pid("a") is None
    bench.cli("resume", "--yes")
    for strategy_id in ("a", "b"):  # a person had started them, so they run again once a person says so
        bench.wait_state(strategy_id, "running")


def test_down_and_what_comes_back(bench: Workbench) -> None:
    bench.register("a", SLEEPS)
    bench.cli("start", "a")
    pid = bench.leader_pid("a")
    bench.cli("down", "--keep")
    assert pid is not None
    assert pid_alive(pid)
    assert bench.supervisor_pid() is None
    assert bench.launcher_pid() is None
    body = json.loads(bench.cli("status", "--json").stdout)
    assert body["supervisor"]["state"] == "paused", "an implicit start after `down` comes up paused"
    row = next(row for row in body["strategies"] if row["id"] == "a")
    assert (row["state"], row["pid"]) == ("running", pid)
    bench.cli("down")
    assert not pid_alive(pid)
    bench.cli("up")
    assert json.loads(bench.cli("status", "--json").stdout)["supervisor"]["state"] == "running"


def test_stop_and_kill_with_nothing_of_ours_alive(bench: Workbench) -> None:
    for strategy_id in ("a", "b"):
        bench.register(strategy_id, IGNORES_TERM if strategy_id == "b" else SLEEPS, grace_s=0.3)
    bench.cli("start", "a", "b")
    pids = {i: bench.leader_pid(i) for i in ("a", "b")}
    (bench.folder / ".stratpanel" / "wanted").unlink()
    import os

    for pid in (bench.launcher_pid(), bench.supervisor_pid(), bench.runner_pid("a"), bench.runner_pid("b")):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: bench.supervisor_pid() is None and bench.launcher_pid() is None, 5, "our death")
    bench.cli("stop", "a")
    assert not pid_alive(pids["a"] or 0)
    assert pid_alive(pids["b"] or 0)
    bench.cli("kill", "b")
    assert not pid_alive(pids["b"] or 0)
    assert bench.supervisor_pid() is None
    bench.cli("up")
    assert bench.status("a")["hold"] == "stopped"
    assert bench.leader_pid("a") is None


def test_token_show_and_rotate(bench: Workbench) -> None:
    before = bench.cli("token", "show").stdout
    bench.cli("token", "rotate")
    after = bench.cli("token", "show").stdout
    assert before != after
    assert bench.api.reachable()


def test_doctor_service_completion_reload(bench: Workbench) -> None:
    body = json.loads(bench.cli("doctor", "--json", check=False).stdout)
    assert body
    unit = bench.cli("service", "print").stdout
    assert "KillMode=process" in unit
    assert str(bench.folder) in unit
    bench.cli("reload")
    assert "stratpanel" in bench.cli("completion", "bash").stdout


def test_status_json_imports_neither_rich_nor_param(bench: Workbench) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "stratpanel", "-w", str(bench.folder), "status", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, env=bench.environment)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "argparse" in imported
    assert imported & {"rich", "param", "panel", "tornado", "psutil", "pandas"} == set()


def test_add_refuses_what_it_cannot_take(bench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "no_main").mkdir()
    for argument, sentence in ((str(tmp_path / "missing.py"), "no such file"), (str(tmp_path / "no_main"), "main.py")):
        done = bench.cli("add", argument, check=False)
        assert done.returncode != 0
        assert sentence in done.stderr
    script = tmp_path / "ok.py"
    script.write_text(SLEEPS)
    for bad in ("../x", "a/b", ".hidden", "x" * 101, "a..b", "ends."):
        assert bench.cli("add", str(script), "--id", bad, check=False).returncode == 1
    bench.cli("add", str(script), "--id", "Ok")
    assert bench.cli("add", str(script), "--id", "oK", check=False).returncode == 1, (
        "ids are unique without regard to case"
    )


def test_two_ups_and_three_clients_at_once_give_one_supervisor(tmp_path: Path) -> None:
    bench = Workbench.make(tmp_path / "w")
    commands = [["up"], ["up"], ["status", "--json"], ["status", "--json"], ["events"]]
    try:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "stratpanel", "-w", str(bench.folder), *arguments],
                env=bench.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for arguments in commands
        ]  # fmt: skip
        answers = [process.communicate(timeout=60) for process in started]
        assert [process.returncode for process in started] == [0] * 5, answers
        pids = {json.loads(out)["supervisor"]["pid"] for out, _ in answers[2:4]}
        assert pids == {bench.supervisor_pid()}
    finally:
        bench.close()
