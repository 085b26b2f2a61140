"""`[panic] then` with nothing of ours alive: the command brings a supervisor up for it, which starts nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import pid_alive, wait_for
from tests.workbench import Workbench

TICKER = "import time\nwhile True:\n    print('tick', flush=True)\n    time.sleep(0.1)\n"
FLATTEN = (
    "import os, pathlib\n"
    "place = pathlib.Path('flattened')\n"
    "text = place.read_text() if place.exists() else ''\n"
    "place.write_text(text + os.environ['SP_MODE'] + ' ' + os.environ['STRATEGY_ID'] + chr(10))\n"
)
ALL = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ALWAYS = {"enabled": True, "windows": [{"start": "00:00", "stop": "00:00", "days": ALL}], "timezone": "UTC"}


@pytest.fixture
def dead(tmp_path: Path) -> Iterator[Workbench]:
    """A workspace with a flatten script, `hand` and the scheduled `plan` running, and none of ours alive for good."""
    bench = Workbench.make(tmp_path / "w")
    try:
        bench.script("flatten", FLATTEN)
        settings = bench.folder / "stratpanel.toml"
        text = settings.read_text()
        assert text.count("[panic]") == 1
        settings.write_text(text.replace("[panic]", '[panic]\nthen = "strategies/scripts/flatten.py"'))
        bench.cli("up")
        bench.register("hand", TICKER, start_seconds=0)
        bench.register("plan", TICKER, start_seconds=0, schedule=ALWAYS)
        bench.cli("start", "hand")
        bench.wait_state("plan", "running")
        leave_alone(bench)
        yield bench
    finally:
        bench.close()


def leave_alone(bench: Workbench) -> None:
    """Kill all of ours; the strategies live."""
    leaders = [bench.leader_pid("hand"), bench.leader_pid("plan")]
    (bench.folder / ".stratpanel" / "wanted").unlink()
    ours = [bench.launcher_pid(), bench.supervisor_pid(), bench.runner_pid("hand"), bench.runner_pid("plan")]
    for pid in ours:
        assert pid
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(pid_alive(pid) for pid in ours if pid), 10, "the end of ours")
    assert all(pid and pid_alive(pid) for pid in leaders)


def flattened(bench: Workbench) -> str:
    place = bench.folder / "flattened"
    return place.read_text() if place.exists() else ""


def test_the_script_runs_once_after_the_trees_are_empty_and_nothing_else_starts(dead: Workbench) -> None:
    leaders = [dead.leader_pid("hand"), dead.leader_pid("plan")]
    done = dead.cli("panic", "--why", "broker is down", timeout=90)
    assert not any(pid and pid_alive(pid) for pid in leaders)
    assert "2 stopped (hand, plan)" in done.stdout
    assert "starting one to run strategies/scripts/flatten.py" in done.stdout
    assert "stratpanel logs after-panic" in done.stdout
    wait_for(lambda: flattened(dead), 20, "the script's work")
    dead.wait_state("after-panic", "exited", timeout=20)
    assert dead.api.get("/api/supervisor")["hold"] == "panic"
    runs = len(dead.api.get("/api/strategies/plan/runs")["runs"])
    refused = dead.cli("start", "plan", check=False)
    assert refused.returncode == 1
    assert "panic" in refused.stderr
    again = dead.cli("panic")
    assert "0 stopped" in again.stdout
    supervisor = dead.supervisor_pid()
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)  # nor does another supervisor run it again
    wait_for(lambda: dead.supervisor_pid() not in (None, supervisor), 20, "the next supervisor", every=0.05)
    dead.wait_state("plan", "stopped")
    assert flattened(dead) == "live after-panic\n"
    assert len(dead.api.get("/api/strategies/plan/runs")["runs"]) == runs
    dead.cli("resume", "--yes")
    dead.wait_state("plan", "running")


def test_up_soon_after_runs_what_the_command_could_not(dead: Workbench) -> None:
    settings = dead.folder / "stratpanel.toml"
    text = settings.read_text()
    settings.write_text(text + "\nthis is no toml\n")
    done = dead.cli("panic", check=False, timeout=90)
    assert done.returncode == 0, "a broken file names no script: " + done.stderr
    assert not flattened(dead)
    settings.write_text(text)
    dead.cli("up")
    wait_for(lambda: flattened(dead), 20, "the script's work")
    dead.wait_state("after-panic", "exited")
    assert dead.status("plan")["state"] == "stopped"


def test_a_supervisor_that_cannot_come_up_is_said_and_is_a_failure(dead: Workbench) -> None:
    settings = dead.folder / "stratpanel.toml"
    settings.write_text(settings.read_text().replace("timezone = ", 'timezone = "Mars/Phobos" #', 1))
    done = dead.cli("panic", check=False, timeout=90)
    assert "2 stopped" in done.stdout
    assert done.returncode == 1
    assert "flatten.py was not run" in done.stderr
    assert "Mars/Phobos" in done.stderr
    assert "look at your broker" in done.stderr
    assert not flattened(dead)


def test_a_script_that_fails_at_once_is_a_failure(dead: Workbench) -> None:
    dead.script("flatten", "raise SystemExit('no broker')\n")
    done = dead.cli("panic", check=False, timeout=90)
    assert done.returncode == 1 or "running" in done.stdout, done.stdout + done.stderr
    assert dead.wait_state("after-panic", "exited", "fatal")["exit_code"] == 1


def test_without_a_script_no_supervisor_is_started(dead: Workbench) -> None:
    settings = dead.folder / "stratpanel.toml"
    settings.write_text(settings.read_text().replace('then = "strategies/scripts/flatten.py"', ""))
    done = dead.cli("panic", timeout=90)
    assert "2 stopped" in done.stdout
    assert "starting one" not in done.stdout
    assert dead.supervisor_pid() is None
    assert dead.launcher_pid() is None
