"""A person's stop is never lost: not by a broken registry, a full disk, a killed supervisor, or all of them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from stratpanel.market.plan import Hold
from stratpanel.process import wake
from stratpanel.process.paths import Runtime
from stratpanel.process.records import write_json
from tests.supervisor.fakes import Bench, FakeClock
from tests.supervisor.house import House
from tests.support import wait_for

STOPPED = {"kind": "stopped", "by": "cli", "at": "2199-01-01T00:00:00+00:00", "why": "", "until": None}


def leave_word(runtime: Runtime) -> Path:
    """As `stratpanel stop ema` does with no supervisor alive."""
    runtime.holds.mkdir(exist_ok=True)
    write_json(runtime.holds / "ema.json", STOPPED)
    return runtime.holds / "ema.json"


def kill_supervisor(house: House) -> None:
    first = house.answers()["pid"]
    house.kill(first)
    wait_for(lambda: house.answers()["pid"] != first, 20, "a new supervisor")


def looked_at(house: House) -> None:
    """Wait until the reconciler has had its say about everything, two heartbeats after now."""
    alive = house.runtime.root / "alive"
    for _ in range(2):
        before = alive.stat().st_mtime_ns
        wait_for(lambda before=before: alive.stat().st_mtime_ns > before, 20, "a heartbeat", every=0.05)


def test_a_stop_while_the_registry_cannot_be_written_outlives_the_supervisor(house: House) -> None:
    house.up().add("ema")
    house.add("keeps")
    for id in ("ema", "keeps"):
        house.ok("POST", f"/api/strategies/{id}/start", {})
    registry = house.workspace / "strategies/strategy_configs.json"
    wait_for(lambda: '"started"' in registry.read_text(), 10, "the registry's start")
    good = registry.read_text()
    registry.write_text(good[:-20])
    wait_for(lambda: "mend it" in house.answers()["why"], 20, "the suspension", every=0.1)
    broken = registry.read_bytes()
    house.ok("POST", "/api/strategies/ema/stop")
    kill_supervisor(house)
    assert house.answers()["state"] == "degraded"
    assert registry.read_bytes() == broken
    kill_supervisor(house)  # and once more, while it is degraded
    registry.write_text(good)
    house.ok("POST", "/api/reload", {})
    looked_at(house)
    told = house.status("ema")
    assert (told["state"], told["hold"], told["hold_detail"]["by"]) == ("stopped", "stopped", "tester")
    assert house.status("keeps")["state"] == "running"
    wait_for(lambda: json.loads(registry.read_text())["ema"]["manually_stopped"], 10, "the hold in the registry")


def test_a_stop_by_the_command_line_waits_for_a_registry_that_cannot_be_read(house: House) -> None:
    house.up().add("ema")
    house.add("keeps")
    for id in ("ema", "keeps"):
        house.ok("POST", f"/api/strategies/{id}/start", {})
    registry = house.workspace / "strategies/strategy_configs.json"
    wait_for(lambda: registry.read_text().count('"started"') == 2, 10, "the starts in the registry")
    leader = house.status("ema")["pid"]
    house.away()
    os.kill(leader, signal.SIGKILL)
    wait_for(lambda: house.runtime.exit("ema").exists(), 10, "the exit record")
    leave_word(house.runtime)
    good = registry.read_text()
    registry.write_text("{")
    house.up()
    assert house.answers()["state"] == "degraded"
    looked_at(house)
    assert (house.runtime.holds / "ema.json").exists(), "nobody knows yet whether there is such a strategy"
    registry.write_text(good)
    house.ok("POST", "/api/reload", {})
    looked_at(house)
    assert (house.status("ema")["state"], house.status("ema")["hold"]) == ("stopped", "stopped")
    assert not (house.runtime.holds / "ema.json").exists()


async def test_a_stop_left_by_the_command_line_is_known_before_a_crash_is_judged(tmp_path: Path) -> None:
    bench = await Bench(tmp_path).open()
    unit = await bench.add(restart={"policy": "always", "backoff_s": 0.1})
    await bench.started(unit)
    record = bench.processes.last("ema").exit(1, told=False)
    await bench.close()
    write_json(bench.runtime.exit("ema"), record)
    (bench.runtime.run_dir("ema") / "outcome.json").unlink(missing_ok=True)
    leave_word(bench.runtime)
    again = await Bench(tmp_path, FakeClock(bench.clock.time())).open()
    assert again.core.units["ema"].state.value == "exited", "a strategy that a person stopped waits for no restart"
    assert again.core.units["ema"].hold.kind == "stopped"
    await again.close()


async def test_a_hold_file_that_cannot_be_read_is_a_stop(tmp_path: Path) -> None:
    bench = await Bench(tmp_path).open()
    unit = await bench.add()
    leave_word(bench.runtime).write_bytes(b"\0\0\0")
    bench.core.books.take_up_holds()
    assert unit.hold.kind == "stopped"
    await bench.close()


async def test_the_journal_keeps_a_stop_on_a_disk_that_fills_up(small_disk: Path) -> None:
    bench = await Bench(small_disk / "ws").open()
    unit = await bench.add()
    await bench.started(unit)
    fill(small_disk)
    result = await bench.core.actions.stop(unit, by="anna")
    assert result.strategy["state"] == "stopped"
    assert result.warnings == []
    noted = bench.core.journal.replay()
    assert noted["ema"][1] == Hold("stopped", by="anna", at=bench.clock.now())
    await bench.close()
    again = await Bench(small_disk / "ws", FakeClock(bench.clock.time())).open()
    assert again.core.units["ema"].hold.kind == "stopped"
    (small_disk / "filler").unlink()
    await again.core.fleet.durable()
    await again.close()


async def test_a_stop_that_cannot_be_kept_is_done_said_and_kept_later(tmp_path: Path) -> None:
    bench = await Bench(tmp_path).open()
    unit = await bench.add()
    await bench.started(unit)
    journal = bench.runtime.root / "holds.log"
    journal.unlink()
    journal.mkdir()  # whoever opens it is refused, as by a file system that went read-only
    result = await bench.core.actions.stop(unit, by="anna")
    assert result.strategy["state"] == "stopped"
    assert "cannot be kept" in result.warnings[0]
    journal.rmdir()
    await bench.core.journal.synced()
    assert bench.core.journal.replay()["ema"][1].kind == "stopped"
    assert bench.core.journal.problem is None
    await bench.close()


def fill(disk: Path) -> None:
    """Take every byte that is left."""
    with open(disk / "filler", "ab", buffering=0) as file:
        for size in (4096, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_stops_on_a_full_disk_work_and_outlive_all_of_us(small_disk: Path) -> None:
    house = House(small_disk / "ws")
    try:
        house.up().add("ema", restart={"policy": "always", "backoff_s": 0.1})
        house.add("keeps")
        before = {}
        for id in ("ema", "keeps"):
            before[id] = house.ok("POST", f"/api/strategies/{id}/start", {})["strategy"]
        registry = house.workspace / "strategies/strategy_configs.json"
        wait_for(lambda: registry.read_text().count('"started"') == 2, 10, "the starts in the registry")
        fill(small_disk)
        assert house.ok("POST", "/api/strategies/ema/stop")["strategy"]["state"] == "stopped"
        here = house.answers()
        for pid in (here["launcher_pid"], here["pid"], before["keeps"]["runner_pid"]):
            house.kill(pid)
        wake.start_launcher(house.runtime)
        wait_for(lambda: house.answers()["pid"] != here["pid"], 20, "a new supervisor")
        assert house.reach("ema", "stopped")["hold"] == "stopped"
        assert house.reach("keeps", "running")["pid"] == before["keeps"]["pid"]
        assert house.ok("POST", "/api/strategies/keeps/stop")["strategy"]["state"] == "stopped"
        (small_disk / "filler").unlink()
        wait_for(lambda: json.loads(registry.read_text())["ema"]["manually_stopped"], 20, "the hold in the registry")
    finally:
        house.close()
