"""Stopped means empty: no member of a strategy's tree survives a stop, whoever carries it out."""

from __future__ import annotations

import os
import signal

import pytest

from stratpanel.process import ending, wake
from tests.process import families
from tests.process.bench import Bench, Line, kill
from tests.support import pid_alive, wait_for

GRACE_S = 0.3


def start_family(bench: Bench, code: str) -> tuple[Line, str]:
    bench.launch()
    line = bench.start(code, grace_s=GRACE_S)
    wait_for(lambda: "up" in bench.log(), what="the family")
    return line, str(bench.status()["run_id"])


@pytest.mark.parametrize("name", families.ALL)
def test_nobody_survives_a_stop(bench: Bench, name: str) -> None:
    line, run_id = start_family(bench, families.ALL[name])
    line.ask("stop", reason="stop", by="ann")
    record = line.exit(20)
    assert bench.members(run_id) == []
    assert record["emptied"] == "subreaper"
    assert record["leftover"] == []


@pytest.mark.parametrize("name", families.ALL)
def test_nobody_survives_a_kill(bench: Bench, name: str) -> None:
    line, run_id = start_family(bench, families.ALL[name])
    line.ask("kill", reason="kill", by="ann")
    line.exit(20)
    assert bench.members(run_id) == []


@pytest.mark.parametrize("name", families.ALL)
def test_nobody_survives_a_stop_by_a_replacement_runner(bench: Bench, name: str) -> None:
    _, run_id = start_family(bench, families.ALL[name])
    first = bench.runner_pid()
    kill(first)
    wait_for(lambda: bench.runner_pid() != first, what="the replacement")
    line = bench.runner()
    line.ask("stop", reason="stop", by="ann")
    record = line.exit(20)
    assert bench.members(run_id) == []
    assert record["emptied"] == "scan"


@pytest.mark.parametrize("name", families.ALL)
def test_nobody_survives_an_ending_with_nothing_of_ours_alive(bench: Bench, name: str) -> None:
    _, run_id = start_family(bench, families.ALL[name])
    wake.remove_wanted(bench.runtime)
    kill(bench.launcher_pid())
    kill(bench.runner_pid())
    record = ending.end_run(bench.runtime, "ema", grace_s=GRACE_S, by="ann", reason="panic")
    assert record is not None
    assert bench.members(run_id) == []


def test_the_leaders_end_is_not_the_end(bench: Bench) -> None:
    """A deaf member of the group keeps the run stopping until it is killed, and the exit is said only then."""
    line, run_id = start_family(bench, families.DEAF_MEMBER)
    leader = bench.status()["leader"]["pid"]
    line.ask("stop", reason="stop", by="ann", grace_s=60)
    status = line.wait(lambda m: m.get("ev") == "status" and m["status"]["leader_exit"] is not None)["status"]
    assert status["phase"] == "stopping"
    assert status["leader_exit"]["signal"] == "SIGTERM"
    left = bench.members(run_id)
    assert len(left) == 1
    assert left[0] != leader
    assert status["members"] == left
    assert not any(message.get("ev") == "exit" for message in line.heard)
    line.ask("kill", reason="kill", by="ann")
    record = line.exit()
    assert record["signal"] == "SIGTERM"  # of the leader, not of what was killed after it
    assert not pid_alive(left[0])


def test_a_run_goes_on_while_a_member_lives(bench: Bench) -> None:
    line, run_id = start_family(bench, families.HEAD + "sleeper(start_new_session=True)\nprint('up')\nsys.exit(4)")
    status = line.wait(lambda m: m.get("ev") == "status" and m["status"]["leader_exit"] is not None)["status"]
    assert status["phase"] == "running"
    (member,) = bench.members(run_id)
    assert status["members"] == [member]
    os.kill(member, signal.SIGKILL)
    record = line.exit()
    assert (record["exit_code"], record["stopped_by_us"]) == (4, False)


def test_a_kill_during_the_grace_ends_the_waiting(bench: Bench) -> None:
    code = families.HEAD + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up')\nwhile True: signal.pause()"
    line, _ = start_family(bench, code)
    line.ask("stop", reason="stop", by="ann", grace_s=600)
    assert line.ask("stop", reason="stop", by="bob", grace_s=600)["already"] is True
    assert line.ask("kill", reason="panic", by="bob")["ok"]
    record = line.exit()
    assert record["signal"] == "SIGKILL"
    assert (record["stop"]["reason"], record["stop"]["by"]) == ("panic", "bob")


def test_each_member_is_asked_once(bench: Bench) -> None:
    """A second SIGTERM would interrupt what a strategy does on the first: cancelling its orders."""
    code = (
        families.HEAD
        + """
def main():
    signal.signal(signal.SIGTERM, lambda *_: print(os.getpid(), "asked", flush=True))
    print(os.getpid(), "ready", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        signal.pause()
if os.fork() == 0:
    main()
if os.fork() == 0:
    os.setsid()
    main()
main()
"""
    )
    bench.launch()
    line = bench.start(code)
    wait_for(lambda: bench.log().count("ready") == 3, what="all three")
    line.ask("stop", reason="stop", by="ann", grace_s=1.0)
    line.exit()
    asked = [entry for entry in bench.log().splitlines() if "asked" in entry]
    assert len(asked) == 3
    assert len(set(asked)) == 3
