"""Streams of logs, events and the mirror: what they carry, how they resume, what a slow reader costs."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stratpanel.supervisor.api import logs as api_logs
from stratpanel.supervisor.api import mirror as api_mirror
from stratpanel.supervisor.api import streams
from tests.api.conftest import Served
from tests.api.sse import RawStream
from tests.support import wait_for


def resident_mb() -> float:
    """Resident memory of this process, where the API under test runs too."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 1024 / 1024


# -- logs


def test_log_stream_carries_lines_with_cursors_and_resumes(served: Served) -> None:
    served.core.print_line("ema", "before")
    stream = RawStream(served, "/api/strategies/ema/logs/stream")
    assert stream.head() == 200
    wait_for(lambda: served.on_loop(lambda: served.api._site.logs.readers) == 1)
    for number in range(3):
        served.core.print_line("ema", f"line {number}")
    frames = [stream.event() for _ in range(3)]
    assert [frame.data["log"] for frame in frames] == ["line 0", "line 1", "line 2"], "from now on, not before"
    assert all(frame.event == "line" and frame.id for frame in frames)
    assert frames[0].data.keys() == {"log", "time", "run_id"}
    stream.close()
    served.core.print_line("ema", "while away")
    again = RawStream(served, "/api/strategies/ema/logs/stream", Last_Event_ID=frames[1].id or "")
    assert [again.event().data["log"] for _ in range(2)] == ["line 2", "while away"]
    again.close()


def test_log_stream_can_begin_with_the_last_lines(served: Served) -> None:
    for number in range(10):
        served.core.print_line("ema", f"line {number}")
    stream = RawStream(served, "/api/strategies/ema/logs/stream?lines=2")
    assert [stream.event().data["log"] for _ in range(2)] == ["line 8", "line 9"]
    served.core.print_line("ema", "new")
    assert stream.event().data["log"] == "new"
    stream.close()


def test_log_stream_of_a_strategy_that_never_printed(served: Served) -> None:
    stream = RawStream(served, "/api/strategies/ema/logs/stream")
    assert stream.head() == 200
    served.core.print_line("ema", "first words")
    assert stream.event().data["log"] == "first words"
    stream.close()


@pytest.mark.parametrize("cursor", ["nonsense", "i1-1", "x" * 500, "\u00e4", "i99999999999999999999-1"])
def test_a_resume_point_that_is_gone_is_a_reset(served: Served, cursor: str) -> None:
    served.core.print_line("ema", "old")
    stream = RawStream(served, "/api/strategies/ema/logs/stream", Last_Event_ID=cursor)
    assert stream.event().event == "reset"
    stream.close()


def test_no_more_than_20_log_streams(served: Served) -> None:
    open_ones = [RawStream(served, f"/api/strategies/{id}/logs/stream") for id in ("ema", "rsi") for _ in range(10)]
    assert all(stream.head() == 200 for stream in open_ones)
    reply = served.call("GET", "/api/strategies/ema/logs/stream")
    assert reply.status == 429
    assert reply.json["error_code"] == "TOO_MANY_STREAMS"
    open_ones[0].close()
    assert served.call("GET", "/api/strategies/ema/logs").status == 200
    wait_for(lambda: served.on_loop(lambda: served.api._site.logs.readers) == 19)
    replacement = RawStream(served, "/api/strategies/ema/logs/stream")
    assert replacement.head() == 200
    for stream in (*open_ones, replacement):
        stream.close()
    wait_for(lambda: served.on_loop(lambda: served.api._site.logs.readers) == 0)
    assert not served.api._site.logs._feeds, "nothing is looked at when nobody follows"


def test_a_removed_strategy_ends_its_log_streams(served: Served) -> None:
    stream = RawStream(served, "/api/strategies/ema/logs/stream")
    assert stream.head() == 200
    assert served.call("DELETE", "/api/strategies/ema").status == 200
    assert stream.event().event == "end"
    with pytest.raises(EOFError):
        stream.next()


def test_a_slow_log_reader_loses_nothing_and_costs_nothing(served: Served) -> None:
    slow = RawStream(served, "/api/strategies/ema/logs/stream", buffer=4096)
    assert slow.head() == 200
    fast = RawStream(served, "/api/strategies/ema/logs/stream")
    assert fast.head() == 200
    count, text = 30_000, "x" * 200
    before = resident_mb()
    with open(served.core.rows["ema"]["log_path"], "a", encoding="utf-8") as file:
        for number in range(count):
            file.write(f"{number} {text}\n")
    for number in range(count):
        assert fast.event().data["log"] == f"{number} {text}"
    assert resident_mb() - before < 30, "6 MB of lines wait in the file, not in memory"
    for number in range(count):
        assert slow.event().data["log"] == f"{number} {text}"
    slow.close()
    fast.close()


# -- events


def test_event_stream_carries_numbers_and_resumes(served: Served) -> None:
    stream = RawStream(served, "/api/events/stream")
    stream.head()
    wait_for(lambda: served.api._site.events.readers == 1)
    served.call("POST", "/api/strategies/ema/start")
    first = stream.event()
    assert first.data.keys() >= {"time", "type", "id", "by", "message", "status", "exit_code", "strategy"}
    assert (first.data["type"], first.data["id"], first.data["status"]) == ("started", "ema", "running")
    stream.close()
    served.call("POST", "/api/strategies/ema/stop")
    served.call("POST", "/api/strategies/rsi/start")
    again = RawStream(served, "/api/events/stream", Last_Event_ID=first.id or "")
    assert [again.event().data["type"] for _ in range(2)] == ["stopped", "started"]
    served.call("POST", "/api/strategies/rsi/stop")
    assert again.event().data["id"] == "rsi"
    again.close()


@pytest.mark.parametrize("last", ["1", "99999999999999999999", "x", "-5"])
def test_event_resume_point_that_is_gone_is_a_reset(served: Served, last: str) -> None:
    served.call("POST", "/api/strategies/ema/start")
    stream = RawStream(served, "/api/events/stream", Last_Event_ID=last)
    assert stream.event().event == "reset"
    stream.close()


def test_heartbeats(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert streams.HEARTBEAT_S == 15.0
    monkeypatch.setattr(streams.Stream, "heartbeat_s", 0.1)
    monkeypatch.setattr(api_mirror.MirrorStream, "heartbeat_s", 0.1)
    for path in ("/api/events/stream", "/api/mirror/stream", "/api/strategies/ema/logs/stream"):
        stream = RawStream(served, path)
        began = time.monotonic()
        found = stream.next()
        while found.event != "comment":
            found = stream.next()
        assert time.monotonic() - began < 5
        stream.close()


def seqs(stream: RawStream, upto: int) -> list[int]:
    """Numbers of the events of a stream until `upto` came."""
    found: list[int] = []
    while not found or found[-1] < upto:
        frame = stream.event()
        assert frame.event == "event", frame
        assert int(frame.id or 0) == frame.data["seq"]
        found.append(frame.data["seq"])
    return found


def test_what_memory_has_forgotten_comes_from_the_history(served: Served) -> None:
    core = served.core

    def long_ago() -> tuple[int, int]:
        core.events.forward_to(core.kept_events.append)  # the history keeps all, the ring the last 1000
        first = core.events.append("first", "ema")["seq"]
        for number in range(3000):
            core.events.append("note", "ema", message=str(number))
        return first, core.events.last_seq

    first, last = served.on_loop(long_ago)
    assert served.on_loop(core.events.since, first) is None, "memory does not reach back so far"
    stream = RawStream(served, "/api/events/stream", Last_Event_ID=str(first))
    assert seqs(stream, last) == list(range(first + 1, last + 1)), "none missing, none twice"
    served.on_loop(core.events.append, "live", "ema")
    assert stream.event().data["type"] == "live"
    stream.close()


def test_events_that_happen_while_the_past_is_read_follow_it(served: Served) -> None:
    core = served.core
    core.kept_events = [event_row(number) for number in range(1, 2001)]
    core.events._seq = 2500  # numbers up to 2500 were given out by a supervisor that was killed before it wrote them
    stream = RawStream(served, "/api/events/stream", Last_Event_ID="1")
    stream.head()
    for _ in range(50):
        served.on_loop(core.events.append, "note", "ema")
    assert seqs(stream, 2550) == [*range(2, 2001), *range(2501, 2551)]
    again = RawStream(served, "/api/events/stream", Last_Event_ID="2300")  # given out, and lost with that supervisor
    assert seqs(again, 2550) == list(range(2501, 2551))
    again.close()
    stream.close()


def event_row(seq: int) -> dict[str, Any]:
    return {"seq": seq, "time": "2026-11-20T09:00:00+05:30", "type": "note", "id": "ema", "by": "x", "message": ""}


def test_a_place_that_no_history_has_is_a_reset_and_then_goes_on(served: Served) -> None:
    core = served.core
    core.kept_events = [event_row(number) for number in range(1000, 1100)]
    core.events._seq = 1099
    for gone in ("5", "998", "1100"):
        stream = RawStream(served, "/api/events/stream", Last_Event_ID=gone)
        assert stream.event().event == "reset", gone
        served.on_loop(core.events.append, "next", "ema")
        assert stream.event().data["type"] == "next"
        core.events._ring.clear()
        core.events._seq = 1099
        stream.close()
    stream = RawStream(served, "/api/events/stream", Last_Event_ID="999")
    assert seqs(stream, 1099) == list(range(1000, 1100)), "nothing between 999 and 1000 is gone"
    stream.close()


def test_a_slow_event_reader_costs_nothing_and_misses_nothing(served: Served) -> None:
    core = served.core
    slow = RawStream(served, "/api/events/stream", buffer=4096)
    slow.head()
    wait_for(lambda: served.api._site.events.readers == 1)

    def flood() -> int:
        for number in range(100):
            core.kept_events.append(core.events.append("note", "ema", message=f"{number} " + "x" * 2000))
        return core.events.last_seq

    first = served.on_loop(flood) - 99
    before = resident_mb()
    for _ in range(49):
        last = served.on_loop(flood)
    assert resident_mb() - before < 30, "10 MB of events are kept by this test itself"
    assert seqs(slow, last) == list(range(first, last + 1))
    slow.close()


def test_a_slow_event_reader_whose_place_is_gone_is_told_to_start_afresh(served: Served) -> None:
    slow = RawStream(served, "/api/events/stream", buffer=4096)
    slow.head()
    wait_for(lambda: served.api._site.events.readers == 1)
    before = resident_mb()

    def flood() -> None:
        for number in range(100):
            served.core.events.append("note", "ema", message=f"{number} " + "x" * 20_000)

    for _ in range(100):
        served.on_loop(flood)
    assert resident_mb() - before < 80, "200 MB of events passed"
    while slow.event().event != "reset":
        pass
    served.on_loop(served.core.events.append, "last", "ema")
    assert slow.event().data["type"] == "last"
    slow.close()


def test_a_reader_that_stopped_reading_is_disconnected(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STALL_S", 0.3)
    stopped = RawStream(served, "/api/events/stream", buffer=4096)
    stopped.head()
    wait_for(lambda: served.api._site.events.readers == 1)

    def flood() -> bool:
        for _ in range(50):
            served.core.events.append("note", "ema", message="x" * 20_000)
        return served.api._site.events.readers == 0

    wait_for(lambda: served.on_loop(flood), 30, "the disconnection")
    stopped.close()


# -- the mirror


def test_mirror_snapshot_delta_and_tick(served: Served) -> None:
    stream = RawStream(served, "/api/mirror/stream")
    snapshot = stream.event()
    assert snapshot.event == "snapshot"
    assert snapshot.data.keys() == {"seq", "supervisor", "strategies"}
    row = snapshot.data["strategies"][0]
    assert row.keys() >= {"id", "state", "etag", "name", "tags", "memory_limit_mb", "scheduled", "started"}
    assert not row.keys() & {"uptime_s", "cpu_percent", "memory_mb"}, "these come with ticks"
    served.on_loop(served.core.change, "ema", state="running", pid=5)
    delta = stream.event()
    assert delta.event == "delta"
    assert delta.data == {
        "seq": snapshot.data["seq"] + 1,
        "changed": {"ema": {"state": "running", "pid": 5}},
        "removed": [],
        "supervisor": {},
    }
    served.on_loop(served.core.tick, 1.0, {"ema": 2.5}, {"ema": 30.0})
    tick = stream.event()
    assert tick.event == "tick"
    assert tick.data.keys() == {"t", "cpu", "mem", "host"}
    assert tick.data["cpu"] == {"ema": 2.5}
    served.call("PATCH", "/api/strategies/rsi", {"name": "Relative strength"})
    assert stream.event().data["changed"]["rsi"].keys() == {"name", "etag"}
    served.call("DELETE", "/api/strategies/rsi")
    assert stream.event().data["removed"] == ["rsi"]
    served.call("POST", "/api/pause")
    assert stream.event().data["supervisor"] == {"state": "paused"}
    stream.close()


def test_changes_of_one_loop_turn_are_one_delta(served: Served) -> None:
    stream = RawStream(served, "/api/mirror/stream")
    stream.event()

    def many() -> None:
        for number in range(50):
            served.core.change("ema", restarts=number)
            served.core.change("rsi", restarts=number)

    served.on_loop(many)
    assert stream.event().data["changed"] == {"ema": {"restarts": 49}, "rsi": {"restarts": 49}}
    served.on_loop(served.core.change, "ema", restarts=49)
    served.on_loop(served.core.change, "ema", restarts=50)
    delta = stream.event().data
    assert delta["changed"] == {"ema": {"restarts": 50}}, "what did not change is not sent"
    stream.close()


def test_frames_are_encoded_once_for_all_readers(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    readers = [RawStream(served, "/api/mirror/stream") for _ in range(20)]
    snapshots = [reader.event() for reader in readers]
    assert all(snapshot == snapshots[0] for snapshot in snapshots)
    encoded = []
    original = api_mirror.wire.encode
    monkeypatch.setattr(api_mirror.wire, "encode", lambda value: encoded.append(value) or original(value))
    served.on_loop(served.core.change, "ema", state="running")
    assert all(reader.event().event == "delta" for reader in readers)
    assert len(encoded) == 1
    for reader in readers:
        reader.close()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/strategies/ema/start", None),
        ("PATCH", "/api/strategies/ema", {"name": "other"}),
        ("DELETE", "/api/strategies/ema", None),
        ("POST", "/api/strategies", {"id": "new", "source": ""}),
        ("POST", "/api/pause", None),
        ("POST", "/api/strategies/ema/rename", {"id": "emma"}),
        ("POST", "/api/strategies/ema/deploy", None),
    ],
)
def test_a_change_says_which_number_includes_it(served: Served, method: str, path: str, body: Any) -> None:
    stream = RawStream(served, "/api/mirror/stream")
    stream.event()
    reply = served.call(method, path, body)
    delta = stream.event()
    assert delta.event == "delta"
    assert int(reply.headers["x-stratpanel-seq"]) == delta.data["seq"] == 1
    stream.close()


def test_a_slow_mirror_gets_a_new_snapshot(served: Served) -> None:
    slow = RawStream(served, "/api/mirror/stream", buffer=4096)
    slow.event()
    before = resident_mb()
    for number in range(3000):
        served.on_loop(served.core.change, "ema", why=f"{number} " + "x" * 20_000)
    assert resident_mb() - before < 60
    served.on_loop(served.core.change, "ema", why="done")
    seq, seen = 0, []
    while not seen or seen[-1] != "done":
        frame = slow.event()
        if frame.event == "snapshot":
            seq = frame.data["seq"]
            seen.append(frame.data["strategies"][0]["why"])
        else:
            seq = seq or frame.data["seq"] - 1
            assert frame.data["seq"] == seq + 1, "no number is missing between two snapshots"
            seq = frame.data["seq"]
            seen.append(frame.data["changed"]["ema"]["why"])
    assert len(seen) < 2500, "it was told what is, not all that was"
    slow.close()


def test_closing_the_server_ends_its_streams(served: Served) -> None:
    open_ones = [RawStream(served, path) for path in ("/api/mirror/stream", "/api/events/stream")]
    open_ones.append(RawStream(served, "/api/strategies/ema/logs/stream"))
    for stream in open_ones:
        stream.head()
    began = time.monotonic()
    served.stop()
    assert time.monotonic() - began < 2
    for stream in open_ones:
        with pytest.raises((EOFError, ConnectionResetError)):
            drain(stream)
        stream.close()
    served.start()


def drain(stream: RawStream) -> None:
    """Read until the other side closes."""
    while True:
        stream.next(2)


def test_the_log_limit_is_that_of_the_contract() -> None:
    assert api_logs.MAX_STREAMS == 20
    assert api_logs.MAX_LINES == 10_000
    assert api_logs.DEFAULT_LINES == 200
