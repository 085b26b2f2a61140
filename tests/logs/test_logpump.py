"""The pump keeps exactly what was printed, rotates between lines, and knows when each line came."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratpanel.process import logfiles
from stratpanel.process.logpump import LogPump
from stratpanel.supervisor.logs.reader import LogReader
from tests.logs.support import Clock, at, content, files, numbered_lines, page_all, piped, times

ROOT = Path(__file__).resolve().parents[2]


def test_every_byte_is_kept_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "er" / "ema.log"
    data = random.Random(1).randbytes(300_000)
    with piped(log) as pipe:
        assert pipe.say(data) == len(data)
    assert log.read_bytes() == data


def test_an_empty_pipe_moves_nothing_and_its_end_is_told(tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    pump = LogPump(read_fd, tmp_path / "ema.log")
    assert pump.pump() == 0
    assert not pump.eof
    os.write(write_fd, b"bye")
    os.close(write_fd)
    assert pump.pump() == 3
    assert not pump.eof
    assert pump.pump() == 0
    assert pump.eof
    pump.close()
    os.close(read_fd)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_printed_whenever_it_is_killed_the_files_are_the_output(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("any") / "ema.log"
    max_bytes = data.draw(st.sampled_from([1, 7, 100, 1000, 50_000]))
    printed = b""
    words = [b"a\n", b"line\n", b"", b"\n\n", b"no end", b"x" * 150 + b"\n", b"y" * 9000]
    alphabet = st.sampled_from(words if max_bytes >= 1000 else words[:5])
    with piped(log, max_bytes=max_bytes, keep=100_000) as pipe:
        for chunk in data.draw(st.lists(st.tuples(alphabet, st.integers(1, 3), st.booleans()), max_size=30)):
            piece = chunk[0] * chunk[1]
            if piece:
                os.write(pipe.write_fd, piece)
                printed += piece
            if chunk[2]:
                pipe.pump.pump()
            elif len(printed) % 3 == 0:
                pipe.succeed()
            if len(piece) > 1000:
                pipe.pump.drain()
        pipe.pump.drain()
    assert content(log) == printed
    for path in files(log)[:-1]:
        kept = path.read_bytes()
        assert len(kept) >= max_bytes
        assert kept.endswith(b"\n") or len(kept) >= 4 * max_bytes
    assert all(path.stat().st_size <= max(4 * max_bytes, max_bytes + 65536) for path in files(log))


def test_it_rotates_between_lines_even_when_chunks_never_end_with_one(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    text = numbered_lines(0, 2000)
    with piped(log, max_bytes=10_000, keep=1000) as pipe:
        for start in range(0, len(text), 777):
            os.write(pipe.write_fd, text[start : start + 777])
            pipe.pump.pump()
        pipe.pump.drain()
    assert content(log) == text
    assert len(files(log)) >= 15
    for path in files(log):
        assert path.read_bytes().endswith(b"\n")
        assert path.stat().st_size <= 10_000 + 2 * 777


def test_a_line_longer_than_the_pipe_goes_on_in_its_file(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=100_000) as pipe:
        pipe.say(b"z" * 300_000 + b"\n")
        pipe.say(b"next\n")
    assert [path.stat().st_size for path in files(log)] == [300_001, 5]


def test_a_line_without_end_is_cut_at_four_times_the_limit(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=100_000) as pipe:
        pipe.say(b"z" * 1_000_000)
    assert [path.stat().st_size for path in files(log)] == [400_000, 400_000, 200_000]


def test_only_so_many_rotated_files_stay(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000, keep=2) as pipe:
        for number in range(0, 100, 10):
            pipe.say(numbered_lines(number, 10))
        pipe.say(b"end\n")
    assert content(log) == numbered_lines(80, 20) + b"end\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"ema.log{number}{times}" for number in ("", ".1", ".2") for times in ("", ".times")
    )


def test_keeping_none_starts_anew(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000, keep=0) as pipe:
        pipe.say(numbered_lines(0, 10))
        pipe.say(b"end\n")
    assert content(log) == b"end\n"


def test_a_rotation_is_not_due_in_a_quiet_log_until_its_line_ends(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=10) as pipe:
        os.write(pipe.write_fd, b"longer than ten, unfinished")
        pipe.pump.pump()
        assert not pipe.pump.rotate_if_due()
        os.write(pipe.write_fd, b"\n")
        pipe.pump.pump()
        assert pipe.pump.rotate_if_due()
        assert not pipe.pump.rotate_if_due()
    assert [path.stat().st_size for path in files(log)] == [28, 0]


# -- times --------------------------------------------------------------------------------------------------------


def test_a_line_has_the_time_it_came_not_that_of_the_line_before(clock: Clock, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    start = clock.now
    with piped(log) as pipe:
        clock.now += 5
        pipe.say(b"at five\n")
        clock.now += 7200
        pipe.say(b"two hours later, begun ")
        clock.now += 1
        pipe.say(b"and ended\n")
        clock.now += 1
        pipe.say(b"last\n")
    assert times(log) == [
        ("at five", at(start + 5)),
        ("two hours later, begun and ended", at(start + 7205)),
        ("last", at(start + 7207)),
    ]


def test_a_time_recorded_for_bytes_that_never_came_is_replaced(clock: Clock, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        pipe.say(b"first\n")
        clock.now += 60
        for _ in range(100):
            clock.now += 1
            pipe.pump.pump()  # stamps, finds nothing
        assert Path(f"{log}.times").stat().st_size == 3 * 16
        clock.now += 3600
        pipe.say(b"an hour later\n")
        clock.now += 60
        pipe.pump.pump()
        clock.now += 3600
        pipe.succeed()  # as if killed just before the splice
        pipe.say(b"two hours later\n")
        assert times(log)[1:] == [
            ("an hour later", at(clock.now - 3660)),
            ("two hours later", at(clock.now)),
        ]


def test_times_cost_at_most_a_record_in_ten_milliseconds(clock: Clock, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        for _ in range(1000):
            clock.now += 0.001
            pipe.say(b"tick\n")
    assert 90 <= Path(f"{log}.times").stat().st_size / 16 <= 102


def test_a_machine_that_slept_does_not_put_the_next_line_before_its_sleep(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        pipe.say(b"evening\n")
        # The monotonic clock did not move.
        monkeypatch.setattr(clock, "time_ns", lambda: int(clock.now + 36_000) * 10**9)
        pipe.say(b"morning\n")
        monkeypatch.setattr(clock, "time_ns", lambda: int(clock.now + 35_000) * 10**9)
        pipe.say(b"clock set back\n")
    assert times(log) == [
        ("evening", at(clock.now)),
        ("morning", at(clock.now + 36_000)),
        ("clock set back", at(clock.now + 35_000)),
    ]


def test_every_file_begins_with_a_record(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=100, keep=50) as pipe:
        for number in range(40):
            pipe.say(numbered_lines(number, 1))
    births = []
    for path in files(log):
        data = Path(f"{path}.times").read_bytes()
        offset, ns = logfiles.RECORD.unpack(data[:16])
        assert offset == 0
        births.append(ns)
    assert births == sorted(set(births))
    assert len(births) == 41
    assert all(line.time is not None for line in page_all(LogReader(log), 9))


def test_a_log_that_had_no_times_gets_them_from_now_on(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    log.write_text("old\n")
    with piped(log) as pipe:
        pipe.say(b"new\n")
    (old, none), (new, some) = times(log)
    assert (old, none, new) == ("old", None, "new")
    assert some is not None
