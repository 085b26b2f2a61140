"""The pump outlives what people, disks and limits do to its files, and marks lines of its own."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stratpanel.process import logfiles, logpump
from stratpanel.process.logpump import LogPump
from stratpanel.supervisor.logs.reader import LogReader
from tests.logs.support import Clock, at, content, files, follow_all, numbered_lines, piped, times
from tests.support import wait_for

ROOT = Path(__file__).resolve().parents[2]


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
        with log.open("ab") as file:
            file.write(b"another\n")
        pipe.pump.mark("of\nours")
    assert log.read_bytes() == b"one\na note by hand\ntwo\nanother\n[stratpanel] of ours\n"


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


@pytest.mark.skipif(not logpump.HAS_SPLICE, reason="lines are looked at before they are moved where splice is")
@pytest.mark.parametrize("waiting", [b"", b"000000000 half"])
def test_what_is_printed_between_the_look_and_the_move_is_not_cut_inside_a_line(
    waiting: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The pump is put off between the two, and the strategy prints more than the file may take."""
    log = tmp_path / "ema.log"
    bursts = [numbered_lines(n, 35).replace(b"x\n", b"\n") for n in range(0, 350, 35)]  # 99 bytes, 2000 is no multiple
    if waiting:
        bursts[0] = bursts[0].replace(waiting[:9], b"", 1)
        waiting = waiting[:9]
    expected = waiting + b"".join(bursts)
    real = os.splice

    with piped(log, max_bytes=500, keep=1000) as pipe:
        os.write(pipe.write_fd, waiting)

        def late(*arguments: Any, **named: Any) -> int:
            if bursts:
                os.write(pipe.write_fd, bursts.pop(0))
            return real(*arguments, **named)

        monkeypatch.setattr(logpump.os, "splice", late)
        while bursts:
            if pipe.pump.drain() == 0 and bursts:
                os.write(pipe.write_fd, bursts.pop(0))
        monkeypatch.setattr(logpump.os, "splice", real)
        pipe.pump.drain()
    assert content(log) == expected
    assert {path.read_bytes()[-1:] for path in files(log)} <= {b"\n", b""}  # the current one has just begun


def test_a_rotated_log_that_cannot_be_begun_anew_drops_counts_and_goes_on(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The disk took the renames and then no new file. The limit is small beside what the pipe holds, and the file had
    grown past all limits: how much room was left was then a negative number, and asking for it ended the pump."""

    def fail(name: str) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    def full(log_path: str, now_ns: int) -> logfiles.OpenLog:
        raise OSError(errno.ENOSPC, "no space")

    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000) as pipe:
        pipe.say(numbered_lines(0, 9))
        with monkeypatch.context() as patched:
            patched.setattr(logfiles, "on_step", fail)
            pipe.say(numbered_lines(9, 100))
        clock.now += 1
        with monkeypatch.context() as patched:
            patched.setattr(logfiles, "open_current", full)
            pipe.say(numbered_lines(109, 1))
        assert pipe.pump.dropped_bytes == 100
        clock.now += 1
        pipe.say(numbered_lines(110, 1))
    mark = b"[stratpanel] dropped 100 bytes of output here: no space left on the disk\n"
    assert content(log) == numbered_lines(0, 109) + mark + numbered_lines(110, 1)


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
