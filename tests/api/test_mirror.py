"""The live mirror: in step in scripts, loops and kernels; through restarts; honest about its age; small deltas."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stratpanel.client import reading
from stratpanel.client.connect import Workspace
from stratpanel.client.connection import Api
from stratpanel.client.mirror import Mirror, shared_mirror
from tests.api.conftest import Served
from tests.api.sse import RawStream
from tests.support import wait_for


@pytest.fixture
def mirror(served: Served) -> Iterator[Mirror]:
    """A mirror in a plain script: applied on its reader's thread."""
    mirror = Mirror(Api(served.workspace))
    assert mirror.wait_ready()
    yield mirror
    mirror.close()


def mirror_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "stratpanel mirror"]


# -- in a plain script


def test_rows_follow_the_supervisor(served: Served, mirror: Mirror) -> None:
    assert mirror.state == "live"
    assert set(mirror.rows) == {"ema", "rsi"}
    served.on_loop(served.core.change, "ema", state="running", pid=7)
    wait_for(lambda: mirror.rows["ema"]["state"] == "running")
    served.call("POST", "/api/strategies", {"id": "new", "source": ""})
    wait_for(lambda: "new" in mirror.rows)
    served.call("DELETE", "/api/strategies/new")
    wait_for(lambda: "new" not in mirror.rows)
    served.call("POST", "/api/pause")
    wait_for(lambda: mirror.supervisor["state"] == "paused")


def test_figures_come_with_ticks(served: Served, mirror: Mirror) -> None:
    served.on_loop(served.core.tick, 123.0, {"ema": 2.5}, {"ema": 30.0})
    wait_for(lambda: mirror.tick_time == 123.0)
    assert mirror.usage == {"ema": (2.5, 30.0)}
    assert mirror.host["memory_total_mb"] == 1000.0
    served.on_loop(served.core.tick, 124.0, {}, {})
    wait_for(lambda: mirror.tick_time == 124.0)
    assert mirror.usage == {}


def test_who_joins_late_gets_the_last_tick_too(served: Served) -> None:
    served.on_loop(served.core.tick, 5.0, {"ema": 2.5}, {"ema": 30.0})
    mirror = Mirror(Api(served.workspace))
    wait_for(lambda: mirror.usage == {"ema": (2.5, 30.0)})
    mirror.close()


def test_a_row_that_was_handed_out_never_changes(served: Served, mirror: Mirror) -> None:
    held = mirror.rows["ema"]
    served.on_loop(served.core.change, "ema", state="running")
    wait_for(lambda: mirror.rows["ema"]["state"] == "running")
    assert held["state"] == "stopped"


def test_subscribers_hear_what_changed(served: Served, mirror: Mirror) -> None:
    heard: list[tuple[set[str], bool]] = []

    def listen(ids: set[str], supervisor: bool) -> None:
        heard.append((ids, supervisor))

    unsubscribe = mirror.subscribe(listen)
    served.on_loop(served.core.change, "ema", state="running")
    wait_for(lambda: ({"ema"}, False) in heard)
    served.on_loop(served.core.tick, 1.0, {"ema": 1.0}, {"ema": 1.0})
    wait_for(lambda: (set(), False) in heard)
    unsubscribe()
    count = len(heard)
    served.on_loop(served.core.change, "ema", state="stopped")
    wait_for(lambda: mirror.rows["ema"]["state"] == "stopped")
    assert len(heard) == count


def test_a_subscriber_that_fails_harms_nobody(served: Served, mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[set[str]] = []
    mirror.subscribe(lambda ids, _: 1 / 0)  # type: ignore[arg-type, return-value]
    mirror.subscribe(lambda ids, _: heard.append(ids))
    served.on_loop(served.core.change, "ema", state="running")
    wait_for(lambda: {"ema"} in heard)
    assert "ZeroDivisionError" in caplog.text


def test_a_forgotten_view_is_not_kept_alive(served: Served, mirror: Mirror) -> None:
    class View:
        def changed(self, ids: set[str], supervisor: bool) -> None:
            raise AssertionError("called after its death")

    view = View()
    mirror.subscribe(view.changed)
    gone = weakref.ref(view)
    del view
    gc.collect()
    assert gone() is None
    served.on_loop(served.core.change, "ema", state="running")
    wait_for(lambda: mirror.rows["ema"]["state"] == "running")
    assert not mirror._subscribers


def test_a_skipped_number_is_mended_by_a_new_snapshot(served: Served, mirror: Mirror) -> None:
    generation = mirror.generation
    mirror.rows["ema"]["state"] = "wrong"
    served.on_loop(setattr, served.api._site.mirror, "_seq", 1000)
    served.on_loop(served.core.change, "rsi", state="running")
    wait_for(lambda: mirror.generation > generation)
    wait_for(lambda: mirror.state == "live")
    assert mirror.rows["ema"]["state"] == "stopped"
    assert mirror.rows["rsi"]["state"] == "running"


def test_a_param_object_follows_its_strategy(served: Served, mirror: Mirror) -> None:
    model = mirror.model("ema")
    assert mirror.model("ema") is model
    assert (model.id, model.state, model.why) == ("ema", "stopped", "never started")
    heard: list[dict[str, Any]] = []
    model.param.watch(
        lambda *events: heard.append({event.name: event.new for event in events}), ["state", "pid", "why"]
    )
    served.on_loop(served.core.change, "ema", state="running", pid=7, next_stop="2026-11-20T15:15:00+05:30")
    wait_for(lambda: heard)
    assert heard == [{"state": "running", "pid": 7}], "one update for all that changed"
    assert model.next_stop is not None
    assert model.next_stop.isoformat() == "2026-11-20T15:15:00+05:30"
    with pytest.raises(TypeError):
        model.state = "stopped"  # what is reported is not for others to set
    detail = {"kind": "stopped", "by": "asha", "at": "2026-11-20T15:15:00+05:30", "why": "", "until": None}
    served.on_loop(served.core.change, "ema", hold="stopped", hold_detail=detail)
    wait_for(lambda: model.hold.kind == "stopped")
    assert model.hold.by == "asha"
    with pytest.raises(KeyError):
        mirror.model("nobody")


def test_a_watcher_may_act_without_waiting_for_itself(served: Served) -> None:
    mirror = Mirror(Api(served.workspace))
    assert mirror.wait_ready()
    workspace = Workspace(Api(served.workspace), mirror)
    took: list[float] = []

    def act(ids: set[str], supervisor: bool) -> None:
        if ids == {"ema"} and not took:
            began = time.monotonic()
            workspace["rsi"].start()
            took.append(time.monotonic() - began)

    mirror.subscribe(act)
    served.on_loop(served.core.change, "ema", state="running")
    wait_for(lambda: took)
    assert took[0] < 2.5
    wait_for(lambda: mirror.rows["rsi"]["state"] == "running")
    workspace.close()


# -- restarts and silence


def test_it_survives_restarts_and_says_so_meanwhile(served: Served, mirror: Mirror) -> None:
    for _ in range(3):
        served.stop()
        wait_for(lambda: mirror.state != "live")
        assert mirror.state == "stale"
        assert mirror.rows.keys() == {"ema", "rsi"}, "what it knew stays readable"
        assert "went away" in mirror.problem or "no supervisor answers" in mirror.problem
        served.start()
        wait_for(lambda: mirror.state == "live")
        assert mirror.problem == ""
    served.on_loop(served.core.change, "ema", state="running")
    wait_for(lambda: mirror.rows["ema"]["state"] == "running")


def test_nobody_for_long_is_down(served: Served, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "DOWN_AFTER_S", 0.3)
    served.stop()
    wait_for(lambda: mirror.state == "down")
    assert mirror.age_s > 0.2
    served.start()
    wait_for(lambda: mirror.state == "live", 15)
    assert mirror.age_s < 5


def test_a_change_of_the_link_is_announced(served: Served, mirror: Mirror) -> None:
    states: list[str] = []
    mirror.subscribe(lambda ids, supervisor: states.append(mirror.state))
    served.stop()
    wait_for(lambda: "stale" in states)
    served.start()
    wait_for(lambda: states and states[-1] == "live")


def test_a_hung_supervisor_is_not_called_live(served: Served, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    import stratpanel.client.mirror as module

    monkeypatch.setattr(module, "SILENT_S", 0.3)
    wait_for(lambda: mirror.state == "stale")
    assert mirror.age_s > 0.3


def test_another_version_says_so_and_recovers(served: Served, mirror: Mirror) -> None:
    record = json.loads(served.connection_path.read_text())
    served.connection_path.write_text(json.dumps({**record, "protocol": 99}))
    served.stop()
    wait_for(lambda: "protocol 99" in mirror.problem)
    assert mirror.state == "down"
    served.start()
    wait_for(lambda: mirror.state == "live", 15)


# -- on a loop


async def test_on_a_loop_everything_happens_on_that_loop(served: Served) -> None:
    mirror = Mirror(Api(served.workspace))
    threads: set[int] = set()
    mirror.subscribe(lambda ids, supervisor: threads.add(threading.get_ident()))
    await until(lambda: mirror.generation > 0)
    await asyncio.to_thread(served.on_loop, served.core.change, "ema", state="running")
    await until(lambda: mirror.rows["ema"]["state"] == "running")
    assert threads == {threading.get_ident()}
    mirror.close()


async def until(predicate: Callable[[], Any]) -> None:
    """Let the loop turn until the predicate holds."""
    async with asyncio.timeout(10):
        while not predicate():  # noqa: ASYNC110 - any condition, told by nobody
            await asyncio.sleep(0.005)


async def test_code_that_blocks_its_loop_still_sees_what_arrives(served: Served) -> None:
    """A notebook cell: the kernel's loop does not turn while it runs."""
    mirror = Mirror(Api(served.workspace))
    assert mirror.wait_ready()
    served.on_loop(served.core.change, "ema", state="running")
    wait_for(lambda: mirror.strategies["ema"]["state"] == "running")
    with Workspace(Api(served.workspace), mirror) as workspace:
        for _ in range(20):
            assert workspace["ema"].stop().state == "stopped"
            assert workspace["ema"].start(fast=3).state == "running"


async def test_a_worker_thread_waits_for_the_loop_that_applies(served: Served) -> None:
    with Workspace(Api(served.workspace), Mirror(Api(served.workspace))) as workspace:
        for _ in range(10):
            await asyncio.to_thread(workspace["ema"].start)
            assert workspace.mirror.rows["ema"]["state"] == "running"
            await asyncio.to_thread(workspace["ema"].stop)
            assert workspace.mirror.rows["ema"]["state"] == "stopped"


def test_a_loop_that_ended_ends_the_mirror(served: Served) -> None:
    async def make() -> Mirror:
        mirror = Mirror(Api(served.workspace))
        await until(lambda: mirror.generation > 0)
        return mirror

    mirror = asyncio.run(make())
    served.on_loop(served.core.change, "ema", state="running")
    wait_for(lambda: mirror.closed)
    wait_for(lambda: not mirror_threads())


async def test_watchers_may_read_the_mirror(served: Served) -> None:
    mirror = Mirror(Api(served.workspace))
    seen: list[str] = []
    mirror.subscribe(lambda ids, supervisor: seen.append(mirror.strategies["ema"]["state"]))
    await until(lambda: mirror.generation > 0)
    served.on_loop(served.core.change, "ema", state="running")
    await until(lambda: "running" in seen)
    mirror.close()


# -- one reader, and none left


def test_connecting_again_shares_one_reader(served: Served) -> None:
    first = shared_mirror(Api(served.workspace))
    for _ in range(10):
        assert shared_mirror(Api(served.workspace)) is first
    assert len(mirror_threads()) == 1
    first.close()
    again = shared_mirror(Api(served.workspace))
    assert again is not first
    again.close()


def test_a_forgotten_mirror_ends_its_thread(served: Served) -> None:
    mirror = Mirror(Api(served.workspace))
    assert mirror.wait_ready()
    gone = weakref.ref(mirror)
    del mirror
    gc.collect()
    wait_for(lambda: gone() is None)
    wait_for(lambda: not mirror_threads())
    wait_for(lambda: served.api._site.mirror.readers == 0)


# -- size


def test_1000_strategies_with_small_deltas(workspace: Path) -> None:
    served = Served(workspace, [f"s{number:04}" for number in range(1000)])
    try:
        raw = RawStream(served, "/api/mirror/stream")
        mirror = Mirror(Api(workspace))
        assert mirror.wait_ready()
        assert len(mirror.rows) == 1000
        snapshot = raw.event()
        size = len(json.dumps(snapshot.data))
        assert size < 2_000_000
        for number in range(100):
            served.on_loop(served.core.change, f"s{number:04}", state="running", pid=number + 1)
        wait_for(lambda: sum(row["state"] == "running" for row in mirror.rows.values()) == 100)
        deltas = [raw.event() for _ in range(100)]
        assert all(len(json.dumps(delta.data)) < 150 for delta in deltas)

        def all_at_once() -> None:
            for number in range(1000):
                served.core.change(f"s{number:04}", state="stopped", pid=None)

        began = time.process_time()
        served.on_loop(all_at_once)
        wait_for(lambda: all(row["state"] == "stopped" for row in mirror.rows.values()))
        cpu = time.process_time() - began
        assert len(raw.event().data["changed"]) == 100, "a turn of the loop is one message, of what changed only"
        print(f"1,000 changes in a turn, 100 real ones: {cpu * 1000:.0f} ms CPU of both sides")
        print(f"snapshot of 1,000: {size / 1000:.0f} kB; one change: {len(json.dumps(deltas[0].data))} bytes")
        raw.close()
        mirror.close()
    finally:
        served.close()


def test_a_number_given_while_nobody_read_is_reached_by_whoever_comes(served: Served) -> None:
    """Rows are read late when no mirror is open; a client that acted and then opens one must not wait in vain."""
    numbers = []
    for n in range(3):
        reply = served.call("POST", "/api/strategies", {"id": f"new{n}", "source": ""})
        numbers.append(int(reply.headers["x-stratpanel-seq"]))
    assert numbers == sorted(set(numbers))
    mirror = Mirror(Api(served.workspace))
    assert mirror.wait_ready()
    assert mirror.seq >= numbers[-1]
    assert {"new0", "new1", "new2"} <= set(mirror.rows)
    served.on_loop(served.core.change, "new1", state="running")
    wait_for(lambda: mirror.rows["new1"]["state"] == "running")
    mirror.close()
