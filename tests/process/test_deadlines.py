"""A strategy stops when it must, even if all our other processes are dead."""

from __future__ import annotations

import time

from stratpanel.process import wake
from tests.process.bench import Bench, kill
from tests.support import wait_for

WAITING = "import signal; print('up', flush=True); signal.pause()"


def test_a_runner_alone_keeps_the_deadline(bench: Bench) -> None:
    bench.launch()
    line = bench.start(WAITING, stop_at=time.time() + 1.5, stop_at_reason="window")
    wake.remove_wanted(bench.runtime)
    kill(bench.launcher_pid())
    record = line.exit()
    assert record["stop"]["reason"] == "window"
    assert record["stop"]["by"] == "deadline"
    assert record["signal"] == "SIGTERM"
    assert 0 <= record["ended"] - bench.status()["stop_at"] < 1.0


def test_a_replacement_knows_a_deadline_that_was_changed_later(bench: Bench) -> None:
    bench.launch()
    line = bench.start(WAITING)
    at = time.time() + 2.5
    assert line.ask("deadline", at=at, reason="early close")["ok"]
    # on record before it was acknowledged
    assert (bench.status()["stop_at"], bench.status()["stop_at_reason"]) == (at, "early close")
    old = bench.runner_pid()
    kill(old)
    wait_for(lambda: bench.runner_pid() != old, what="the replacement")
    record = bench.exit()
    assert record["stop"]["reason"] == "early close"
    assert 0 <= record["ended"] - at < 1.0


def test_a_deadline_that_passed_while_nobody_served_is_kept_at_once(bench: Bench) -> None:
    """As after a suspend: whoever wakes first sees the wall clock."""
    bench.launch()
    at = time.time() + 0.5
    bench.start(WAITING, stop_at=at)
    wake.remove_wanted(bench.runtime)
    kill(bench.launcher_pid())
    kill(bench.runner_pid())
    wait_for(lambda: time.time() > at + 0.2, what="the deadline")
    bench._launcher = None
    bench.launch()
    record = bench.exit()
    assert record["stop"]["by"] == "deadline"
    assert record["stopped_by_us"] is True


def test_a_deadline_can_be_taken_away(bench: Bench) -> None:
    bench.launch()
    at = time.time() + 1.0
    line = bench.start(WAITING, stop_at=at)
    assert line.ask("deadline", at=None)["ok"]
    assert bench.status()["stop_at"] is None
    wait_for(lambda: time.time() > at + 0.3, what="the old deadline")
    assert line.ask("ping")["run_id"] == bench.status()["run_id"]
    assert line.ask("deadline", at=time.time() - 1, reason="closed")["ok"]
    assert line.exit()["stop"]["reason"] == "closed"


def test_nonsense_is_answered_and_changes_nothing(bench: Bench) -> None:
    bench.launch()
    line = bench.start(WAITING)
    before = bench.status()
    assert line.ask("deadline")["code"] == "BAD_MESSAGE"
    assert line.ask("deadline", at="soon")["code"] == "BAD_MESSAGE"
    assert line.ask("stop", grace_s="long")["code"] == "BAD_MESSAGE"
    assert line.ask("dance")["code"] == "UNKNOWN_COMMAND"
    assert bench.status() == before
