"""Ending runs from outside: with runners alive, hung or dead, and with nothing of ours alive at all."""

from __future__ import annotations

import os
import signal

import pytest

from stratpanel.process import ending, wake
from tests.process.bench import Bench, kill
from tests.support import pid_alive, wait_for


def end_all_of_ours(bench: Bench, *ids: str) -> None:
    """Launcher, then runners: nobody is left to bring anybody back."""
    wake.remove_wanted(bench.runtime)
    kill(bench.launcher_pid())
    for strategy_id in ids:
        kill(bench.runner_pid(strategy_id))


def test_a_living_runner_is_asked(bench: Bench) -> None:
    bench.launch()
    bench.start("import signal; signal.pause()")
    assert [status["id"] for status in ending.live_runs(bench.runtime)] == ["ema"]
    record = ending.end_run(bench.runtime, "ema", grace_s=5, by="ann", reason="stop")
    assert record is not None
    assert (record["signal"], record["route"], record["stop"]["by"]) == ("SIGTERM", "parent", "ann")
    assert ending.live_runs(bench.runtime) == []


@pytest.mark.parametrize("kill_it", [False, True])
def test_with_nothing_of_ours_alive_the_tree_is_ended_from_here(bench: Bench, kill_it: bool) -> None:
    bench.launch()
    bench.start("""
        import signal, subprocess, sys
        subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"], start_new_session=True)
        print("up")
        signal.pause()
    """)
    wait_for(lambda: "up" in bench.log(), what="the strategy")
    run_id = bench.status()["run_id"]
    end_all_of_ours(bench, "ema")
    assert len(bench.members(run_id)) == 2
    record = ending.end_run(bench.runtime, "ema", grace_s=5, by="ann", reason="panic", kill=kill_it)
    assert record is not None
    assert record["signal"] == ("SIGKILL" if kill_it else "SIGTERM")
    assert record["emptied"] == "scan"
    assert record["stopped_by_us"] is True
    assert bench.members(run_id) == []
    assert ending.live_runs(bench.runtime) == []


def test_many_are_ended_at_once(bench: Bench) -> None:
    bench.launch()
    ids = [f"s{n}" for n in range(5)]
    for strategy_id in ids:
        bench.start(
            """
            import signal, sys, time
            signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit(0)))
            print("up")
            while True:
                signal.pause()
        """,
            id=strategy_id,
        )
        wait_for(lambda strategy_id=strategy_id: "up" in bench.log(strategy_id), what="the strategy")
    end_all_of_ours(bench, *ids)
    records = ending.end_all(bench.runtime, by="ann", reason="panic")
    assert sorted(records) == ids
    found = [record for record in records.values() if record is not None]
    assert len(found) == 5
    assert {record["exit_code"] for record in found} <= {0, None}
    assert max(record["ended"] for record in found) - min(record["stop"]["at"] for record in found) < 2.0


def test_a_hung_runner_is_no_shield(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "ANSWER_S", 0.2)
    bench.launch()
    bench.start("import signal; signal.pause()")
    leader, runner = bench.status()["leader"]["pid"], bench.runner_pid()
    os.kill(runner, signal.SIGSTOP)
    record = ending.end_run(bench.runtime, "ema", grace_s=5, by="ann", reason="stop")
    assert record is not None
    assert not pid_alive(leader)
    assert not pid_alive(runner)
