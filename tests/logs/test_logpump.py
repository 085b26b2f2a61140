"""The pump keeps exactly what was printed, rotates between lines, and outlives what people do to its files."""

from __future__ import annotations

import errno
import os
import random
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratpanel.process import logfiles, logpump
from stratpanel.process.logpump import LogPump
from stratpanel.supervisor.logs import LogReader
from tests.logs.support import content, files, follow_all, numbered_lines, page_all, piped
from tests.support import wait_for

ROOT = Path(__file__).resolve().parents[2]


class Clock:
    """Stands in for the module `time` in the pump."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1000) * 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(logpump, "time", clock)
    return clock


def times(log: Path) -> list[tuple[str, datetime | None]]:
    return [(line.text, line.time) for line in LogReader(log).tail(100).lines]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


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


# -- what people do to logs ---------------------------------------------------------------------------------------


def test_a_deleted_log_begins_again(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        pipe.say(b"gone\n")
        log.unlink()
        wait_for(lambda: time.monotonic() - pipe.pump._looked > 2 * logpump.LOOK_EVERY_S)
        pipe.say(b"kept\n")
        assert log.read_bytes() == b"kept\n"
        assert [line.text for line in LogReader(log).tail(5).lines] == ["kept"]


def test_a_deleted_folder_is_made_again(clock: Clock, tmp_path: Path) -> None:
    log = tmp_path / "log" / "ema.log"
    with piped(log) as pipe:
        pipe.say(b"gone\n")
        for path in log.parent.iterdir():
            path.unlink()
        log.parent.rmdir()
        clock.now += 1
        pipe.say(b"kept\n")
        assert log.read_bytes() == b"kept\n"


def test_a_moved_log_keeps_its_lines_and_a_new_one_begins(clock: Clock, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        pipe.say(b"one\n")
        log.rename(tmp_path / "mine.txt")
        clock.now += 1
        pipe.say(b"two\n")
    assert (tmp_path / "mine.txt").read_bytes() == b"one\n"
    assert log.read_bytes() == b"two\n"


def test_a_log_saved_by_an_editor_is_gone_on_with(clock: Clock, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        pipe.say(b"one\n")
        (tmp_path / "edited").write_bytes(b"edited\n")
        (tmp_path / "edited").rename(log)
        clock.now += 1
        pipe.say(b"two\n")
    assert log.read_bytes() == b"edited\ntwo\n"


@pytest.mark.parametrize("size", [0, 4])
def test_a_log_truncated_under_us_has_no_hole_and_a_new_birth(clock: Clock, size: int, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        pipe.say(b"one\n")
        clock.now += 1
        pipe.say(b"two\n")
        reader = LogReader(log)
        _, cursor, _ = follow_all(reader, None)
        os.truncate(log, size)
        clock.now += 1
        pipe.say(b"three\n")
        assert log.read_bytes() == b"one\ntwo\n"[:size] + b"three\n"
        clock.now += 1
        pipe.say(b"and so on and on\n")
        for follower in reader, LogReader(log):  # one that has the file open, one that comes back
            batch = follower.read_after(cursor)
            assert batch.reset
            assert [line.text for line in batch.lines] == ["one"] * (size // 4) + ["three", "and so on and on"]
        assert [time for _, time in times(log)][-2:] == [at(clock.now - 1), at(clock.now)]
        if size:
            assert times(log)[0] == ("one", at(clock.now - 3))


def test_what_others_append_is_not_overwritten(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        pipe.say(b"one\n")
        with log.open("ab") as file:
            file.write(b"a note by hand\n")
        pipe.say(b"two\n")
    assert log.read_bytes() == b"one\na note by hand\ntwo\n"


# -- lines of ours ------------------------------------------------------------------------------------------------


def test_a_mark_stands_on_a_line_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        assert pipe.pump.mark("run begins")
        pipe.say(b"unfinished")
        assert pipe.pump.mark("run ends")
        pipe.say(b"next\n")
    assert log.read_text() == "[stratpanel] run begins\nunfinished\n[stratpanel] run ends\nnext\n"


def test_a_run_does_not_go_on_in_the_unfinished_line_of_the_one_before(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    for text in b"first\n", b"Enter price: ", b"third\n":
        with piped(log) as pipe:
            pipe.pump.begin_run()
            pipe.say(text)
    assert log.read_text() == (
        "first\nEnter price: \n[stratpanel] the line above was left unfinished by the run before\nthird\n"
    )


def test_clear_leaves_an_empty_log_and_nothing_of_the_old(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000) as pipe:
        pipe.say(numbered_lines(0, 25))
        cursor = LogReader(log).tail(1).after
        pipe.pump.clear()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ema.log", "ema.log.times"]
        assert log.stat().st_size == 0
        pipe.say(b"new\n")
    batch = LogReader(log).read_after(cursor)
    assert batch.reset
    assert [line.text for line in batch.lines] == ["new"]


# -- trouble ------------------------------------------------------------------------------------------------------


def test_where_splice_is_refused_it_copies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EINVAL, "invalid argument")

    monkeypatch.setattr(os, "splice", refuse)
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=10_000, keep=1000) as pipe:
        pipe.say(numbered_lines(0, 500))
        assert "copying" in repr(pipe.pump)
    assert content(log) == numbered_lines(0, 500)


def test_a_log_that_cannot_be_opened_refuses_a_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    read_fd, write_fd = os.pipe()
    with pytest.raises(OSError):
        LogPump(read_fd, tmp_path / "file" / "ema.log")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        LogPump(read_fd, tmp_path / "folder")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        LogPump(read_fd, tmp_path / "fifo")
    os.close(read_fd)
    os.close(write_fd)


def test_a_successor_without_a_log_drops_counts_and_says_so_when_it_can_write(clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    log = tmp_path / "log" / "ema.log"
    with piped(log, required=False) as pipe:
        assert pipe.say(numbered_lines(0, 3)) == 300
        assert pipe.pump.dropped_bytes == 300
        (tmp_path / "log").unlink()
        pipe.say(numbered_lines(3, 1))
        clock.now += 1
        pipe.say(numbered_lines(4, 1))
        assert pipe.pump.dropped_bytes == 400
    assert log.read_bytes() == b"[stratpanel] dropped 400 bytes of output here: not a directory\n" + numbered_lines(
        4, 1
    )


def test_a_rotation_that_fails_leaves_the_log_growing_and_is_tried_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(name: str) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000) as pipe:
        pipe.say(numbered_lines(0, 9))
        monkeypatch.setattr(logfiles, "on_step", fail)
        pipe.say(numbered_lines(9, 100))
        monkeypatch.setattr(logfiles, "on_step", None)
        assert log.stat().st_size == 10_900
        assert [line.time is None for line in LogReader(log).tail(200).lines] == [False] * 109
        clock.now += 1
        pipe.say(numbered_lines(109, 1))
    assert [path.stat().st_size for path in files(log)] == [10_900, 100]
    assert content(log) == numbered_lines(0, 110)


def test_a_limit_on_file_sizes_rotates_instead_of_dropping(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    code = f"""
import os, resource
from pathlib import Path
from tests.logs.support import piped, numbered_lines
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
with piped(Path({str(log)!r})) as pipe:
    assert pipe.say(numbered_lines(0, 120)) == 12000
    assert pipe.pump.dropped_bytes == 0, pipe.pump
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
    assert content(log) == numbered_lines(0, 120)
    assert [path.stat().st_size for path in files(log)] == [5000, 5000, 2000]


def test_it_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with piped(tmp_path / "ema.log", max_bytes=1000) as pipe:
        pipe.say(numbered_lines(0, 200))
        pipe.pump.clear()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_it_pauses_in_a_flood_only_and_never_long_enough_to_fill_the_pipe(clock: Clock, tmp_path: Path) -> None:
    with piped(tmp_path / "ema.log") as pipe:
        for _ in range(50):
            clock.now += 0.010
            os.write(pipe.write_fd, b"x" * 99 + b"\n")
            pipe.pump.pump()
            assert pipe.pump.suggest_pause() == 0
        for _ in range(100):
            clock.now += 0.0002
            os.write(pipe.write_fd, b"x" * 99 + b"\n")
            pipe.pump.pump()
        assert pipe.pump.suggest_pause() == logpump.PAUSE_S
        for _ in range(100):
            clock.now += 0.0005
            os.write(pipe.write_fd, b"x" * 20_000)
            pipe.pump.pump()
        assert 0 < pipe.pump.suggest_pause() * 20_000 / 0.0005 < 40_000
        clock.now += 1
        os.write(pipe.write_fd, b"quiet again\n")
        pipe.pump.pump()
        assert pipe.pump.suggest_pause() == 0


def test_memory_does_not_depend_on_the_line(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with piped(tmp_path / "ema.log", max_bytes=1 << 30) as pipe:
        chunk = b"z" * 60_000
        for _ in range(1700):
            os.write(pipe.write_fd, chunk)
            pipe.pump.drain()
    assert (tmp_path / "ema.log").stat().st_size > 100_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
