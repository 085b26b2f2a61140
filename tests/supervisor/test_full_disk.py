"""On a full disk, or one gone read-only, people can still stop, panic and go down; what they said still holds."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.supervisor.fakes import Bench
from tests.supervisor.house import House
from tests.supervisor.test_stop_is_kept import fill
from tests.support import pid_alive, wait_for
from tests.workbench import Workbench


def a_house(disk: Path, *ids: str) -> House:
    house = House(disk / "ws")
    house.up()
    for id in ids:
        house.add(id)
        house.ok("POST", f"/api/strategies/{id}/start", {})
    return house


def test_panic_on_a_full_disk_ends_everything_and_refuses_starts(small_disk: Path) -> None:
    house = a_house(small_disk, "a", "b")
    try:
        fill(small_disk)
        assert house.ok("POST", "/api/panic", {"why": "test"})["left"] == []
        assert house.runtime.panic.exists()
        code, answer = house.call("POST", "/api/strategies/a/start", {})
        assert (code, answer["error_code"]) == (409, "PANIC")
        first = house.answers()["pid"]
        house.kill(first)
        wait_for(lambda: house.answers()["pid"] != first, 20, "a new supervisor")
        assert house.answers()["hold"] == "panic"
        assert {house.reach(id, "stopped")["pid"] for id in ("a", "b")} == {None}
    finally:
        house.close()


@pytest.mark.parametrize("word", [("panic",), ("stop", "a", "b"), ("down",)])
def test_the_command_line_ends_everything_on_a_full_disk_with_nothing_of_ours_alive(
    small_disk: Path, word: tuple[str, ...]
) -> None:
    house = a_house(small_disk, "a", "b")
    try:
        leaders = [house.status(id)["pid"] for id in ("a", "b")]
        runners = [house.status(id)["runner_pid"] for id in ("a", "b")]
        house.away()
        for pid in runners:
            house.kill(pid)
        fill(small_disk)
        done = Workbench(house.workspace).cli(*word, check=False)
        assert not [pid for pid in leaders if pid_alive(pid)], done.stderr
        assert "Traceback" not in done.stderr
    finally:
        house.close()


def test_down_on_a_full_disk_goes_down(small_disk: Path) -> None:
    house = a_house(small_disk, "a")
    try:
        leader, here = house.status("a")["pid"], house.answers()
        fill(small_disk)
        house.ok("POST", "/api/down", {"keep": False})
        wait_for(lambda: not any(map(pid_alive, (leader, here["pid"], here["launcher_pid"]))), 20, "the end of us")
    finally:
        house.close()


async def test_panic_where_nothing_can_be_written_stops_all_the_same(tmp_path: Path) -> None:
    bench = await Bench(tmp_path).open()
    unit = await bench.add()
    await bench.started(unit)
    bench.runtime.panic.mkdir()  # refuses every writer, as a file system gone read-only does
    bench.runtime.panic.rmdir()
    bench.core.holds._runtime.panic = bench.runtime.root / "nowhere" / "panic"  # type: ignore[misc]
    answer = await bench.core.actions.panic(by="anna")
    assert answer["stopped"] == ["ema"]
    assert "cannot be kept" in answer["warnings"][0]
    assert not bench.core.may_start(unit)
    await bench.close()


def test_panic_and_stop_pass_a_supervisor_that_hangs(house: House) -> None:
    house.up()
    for id in ("a", "b"):
        house.add(id)
        house.ok("POST", f"/api/strategies/{id}/start", {})
    leaders = [house.status(id)["pid"] for id in ("a", "b")]
    supervisor = house.answers()["pid"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        bench = Workbench(house.workspace)
        bench.cli("stop", "a")
        assert not pid_alive(leaders[0])
        assert pid_alive(leaders[1])
    finally:
        os.kill(supervisor, signal.SIGCONT)
    wait_for(lambda: house.status("a")["hold"] == "stopped", 10, "the hold")
    assert house.reach("a", "stopped")["pid"] is None
    assert len(house.ok("GET", "/api/strategies/a/runs")["runs"]) == 1, "it was not started again in between"
    os.kill(supervisor, signal.SIGSTOP)
    try:
        bench.cli("panic")
        assert not pid_alive(leaders[1])
    finally:
        os.kill(supervisor, signal.SIGCONT)
    assert house.reach("b", "stopped")["pid"] is None
