"""A run from start to exit record, with a real launcher, runner and strategy."""

from __future__ import annotations

import os
import signal

from tests.process.bench import Bench
from tests.support import wait_for


def test_a_run_starts_prints_and_ends_with_its_code(bench: Bench) -> None:
    bench.launch()
    line = bench.start("print('hello'); raise SystemExit(3)")
    record = line.exit()
    assert (record["exit_code"], record["signal"], record["route"]) == (3, None, "parent")
    assert record["began"] is True
    assert record["emptied"] == "subreaper"
    assert record["reason"] == "ended by itself, exit code 3"
    assert bench.exit() == record
    assert bench.log() == "hello\n"
    assert bench.status()["phase"] == "ended"


def test_a_polite_strategy_stops_at_once(bench: Bench) -> None:
    bench.launch()
    line = bench.start("import signal\nprint('up')\nsignal.pause()")
    wait_for(lambda: "up" in bench.log(), what="the first line")
    assert line.ask("stop", reason="stop", by="ann")["ok"]
    record = line.exit()
    assert record["signal"] == "SIGTERM"
    assert record["stopped_by_us"] is True
    assert record["stop"]["by"] == "ann"
    assert record["ended"] - record["stop"]["at"] < 1.0


def test_a_killed_strategy_tells_its_signal(bench: Bench) -> None:
    bench.launch()
    line = bench.start("import signal\nsignal.pause()")
    os.kill(bench.status()["leader"]["pid"], signal.SIGKILL)
    record = line.exit()
    assert (record["exit_code"], record["signal"], record["stopped_by_us"]) == (None, "SIGKILL", False)
