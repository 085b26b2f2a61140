"""Following a log: every line once, in order, soon, whatever happens to its files meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from stratpanel.process import logfiles
from stratpanel.supervisor import logfollow, logs
from stratpanel.supervisor.logblocks import LogFile, LogSet
from stratpanel.supervisor.logfollow import LogFollower, LogFollows
from stratpanel.supervisor.logs import LogReader
from stratpanel.supervisor.logwatch import LogWatch
from tests.logs.support import content, faults_of_numbered, files, follow_all, numbered_lines, piped

ROOT = Path(__file__).resolve().parents[2]
STUMBLER = Path(__file__).with_name("stumbler.py")
DEADLINE_S = 20.0


@pytest_asyncio.fixture(params=["told by the kernel", "polling"])
async def follows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LogFollows]:
    if request.param == "polling":
        monkeypatch.setattr(LogWatch, "_add", lambda *_: False)
    elif sys.platform != "linux":
        pytest.skip("inotify is Linux's")
    made = LogFollows()
    yield made
    made.close()


async def read_lines(follower: LogFollower, count: int) -> list[str]:
    """The texts of the next `count` lines or more."""
    found: list[str] = []
    while len(found) < count:
        batch = await follower.read(DEADLINE_S)
        assert batch is not None, f"only {found} came"
        found += [line.text for line in batch.lines]
    return found


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine: an unfinished line stays held back, for an hour instead of a second."""
    monkeypatch.setattr(logs, "HOLD_PARTIAL_S", 3600.0)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.usefixtures("held_back")
def test_every_line_comes_once_however_writing_rotating_and_reading_interleave(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("follow") / "ema.log"
    followed: list[str] = []
    cursor: str | None = None
    reader = LogReader(log)
    number = 0
    with piped(log, max_bytes=data.draw(st.sampled_from([50, 500])), keep=1000) as pipe:
        for step in data.draw(st.lists(st.integers(0, 9), max_size=60)):
            if step < 5:
                # An unfinished line now and then.
                text = b"".join(b"line %d\n" % n for n in range(number, number + 1 + 4 * step))
                number += 1 + 4 * step
                cut = len(text) - (3 if step == 2 else 0)
                pipe.say(text[:cut])
                if step == 2 and data.draw(st.booleans()):
                    batch = reader.read_after(cursor)
                    followed += [line.text for line in batch.lines]
                    cursor = batch.cursor
                if cut < len(text):
                    pipe.say(text[cut:])
            elif step == 9:
                reader.close()  # a client that comes back with what it last saw
            elif step == 8:
                pipe.succeed()
            else:
                batch = reader.read_after(cursor, limit=step)
                assert not batch.reset
                followed += [line.text for line in batch.lines]
                # By the stream's place or by the last line's own cursor: the same.
                cursor = batch.lines[-1].cursor if batch.lines and step == 7 else batch.cursor
    lines, _, reset = follow_all(reader, cursor)
    reader.close()
    assert not reset
    assert followed + [line.text for line in lines] == [f"line {n}" for n in range(number)]


def test_several_rotations_between_two_reads_lose_nothing(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000, keep=20) as pipe, LogReader(log) as reader:
        pipe.say(numbered_lines(0, 5))
        cursor = follow_all(reader, None)[1]
        pipe.say(numbered_lines(5, 10))
        for first in range(15, 95, 10):
            pipe.say(numbered_lines(first, 10))
        lines, _, reset = follow_all(reader, cursor)
    assert not reset
    assert [int(line.text[:9]) for line in lines] == list(range(5, 95))


def test_what_is_written_between_a_look_and_the_rotation_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000, keep=20) as pipe, LogReader(log) as reader:
        pipe.say(numbered_lines(0, 5))
        cursor = follow_all(reader, None)[1]
        pipe.say(numbered_lines(5, 1))
        real = LogSet.is_current

        def too_late(self: LogSet, file: LogFile) -> bool:
            monkeypatch.setattr(LogSet, "is_current", real)
            pipe.say(numbered_lines(6, 10))
            pipe.say(numbered_lines(16, 10))
            return real(self, file)

        monkeypatch.setattr(LogSet, "is_current", too_late)
        lines, _, reset = follow_all(reader, cursor)
    assert not reset
    assert [int(line.text[:9]) for line in lines] == list(range(5, 26))


def test_a_reader_overtaken_by_retention_is_told_and_gets_all_that_is_left_once(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000, keep=2) as pipe:
        pipe.say(numbered_lines(0, 5))
        with LogReader(log) as open_reader:
            cursor = follow_all(open_reader, None)[1]
            for first in range(5, 105, 10):
                pipe.say(numbered_lines(first, 10))
            kept = [int(line[:9]) for line in content(log).splitlines()]
            assert kept[0] > 60
            # It has its file open still and reads that to its end.
            lines, _, reset = follow_all(open_reader, cursor)
            assert reset
            assert [int(line.text[:9]) for line in lines] == [*range(5, 15), *kept]
        lines, after, reset = follow_all(LogReader(log), cursor)
        assert reset
        assert [int(line.text[:9]) for line in lines] == kept
        assert LogReader(log).read_after(after) == ([], after, False)


@pytest.mark.usefixtures("held_back")
def test_an_unfinished_line_is_held_back_and_its_rest_comes_after_it(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe, LogReader(log) as reader:
        pipe.say(b"done\nprompt> ")
        lines, cursor, _ = follow_all(reader, None)
        assert [(line.text, line.partial) for line in lines] == [("done", False)]
        hour_ago = time.time() - 3601
        os.utime(log, (hour_ago, hour_ago))
        lines, cursor, _ = follow_all(reader, cursor)
        assert [(line.text, line.partial) for line in lines] == [("prompt> ", True)]
        assert follow_all(reader, cursor)[0] == []
        pipe.say(b"answer\nnext\n")
        for place in cursor, lines[0].cursor:
            assert [line.text for line in follow_all(LogReader(log), place)[0]] == ["answer", "next"]
        assert [line.text for line in LogReader(log).tail(9).lines] == ["done", "prompt> answer", "next"]


def test_a_long_line_still_growing_is_shown_once_and_not_read_again_and_again(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1 << 30) as pipe, LogReader(log) as reader:
        shown = []
        cursor: str | None = None
        for _ in range(40):
            pipe.say(b"z" * 300_000)
            lines, cursor, _ = follow_all(reader, cursor)
            shown += lines
            assert cursor is not None
            assert int(cursor.partition("-")[2]) == log.stat().st_size
        pipe.say(b"end\nnext\n")
        shown += follow_all(reader, cursor)[0]
        assert [(line.text[:4], line.cut) for line in shown] == [("zzzz", True), ("next", False)]


def test_a_deleted_log_is_followed_into_the_new_one_without_the_rotated_ones_again(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000) as pipe, LogReader(log) as reader:
        pipe.say(numbered_lines(0, 25))
        cursor = follow_all(reader, None)[1]
        log.unlink()
        pipe.pump._looked = 0
        pipe.say(b"new\n")
        lines, _, reset = follow_all(reader, cursor)
        assert reset
        assert [line.text for line in lines] == ["new"]
        lines, _, reset = follow_all(LogReader(log), cursor)
        assert reset
        assert [line.text for line in lines] == ["new"]


def test_nothing_new_costs_no_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe, LogReader(log) as reader:
        pipe.say(numbered_lines(0, 25))
        cursor = follow_all(reader, None)[1]

        def read(*_: object) -> bytes:
            raise AssertionError("it read")

        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", read)
            patch.setattr(os, "open", read)
            assert reader.read_after(cursor) == ([], cursor, False)


@pytest.mark.chaos
async def test_fifty_megabytes_through_rotation_with_a_pump_that_dies_between_renames(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    log = tmp_path / "ema.log"
    count = 500_000
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(STUMBLER), str(log), str(1 << 20), "80", str(count), str(seed)),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    follows = LogFollows()
    follower = follows.follow(str(log))
    expected = 0
    while expected < count:
        batch = await follower.read(DEADLINE_S)
        assert batch is not None, f"nothing after line {expected}, seed {seed}"
        assert not batch.reset, f"seed {seed}"
        numbers = [int(line.text[:9]) for line in batch.lines]
        assert numbers == list(range(expected, expected + len(numbers))), f"seed {seed}"
        expected += len(numbers)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert int(out) > 10
    assert await follower.read(0) is None
    follower.close()
    follows.close()
    assert faults_of_numbered(content(log), count) == [], f"seed {seed}"
    assert len(files(log)) > 40
    assert all(path.read_bytes().endswith(b"\n") or not path.stat().st_size for path in files(log))


# -- on an event loop ---------------------------------------------------------------------------------------------


async def test_lines_come_as_they_are_printed_across_rotations(follows: LogFollows, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    follower = follows.follow(str(log))
    assert await follower.read(0.01) is None
    with piped(log, max_bytes=500, keep=50) as pipe:
        for number in range(60):
            pipe.say(numbered_lines(number, 1))
            assert [int(text[:9]) for text in await read_lines(follower, 1)] == [number]
    follower.close()


async def test_a_log_whose_folder_is_yet_to_be_made_is_followed(follows: LogFollows, tmp_path: Path) -> None:
    log = tmp_path / "log" / "strategies" / "ema.log"
    follower = follows.follow(str(log))
    assert await follower.read(0.01) is None
    with piped(log) as pipe:
        pipe.say(b"first\n")
        assert await read_lines(follower, 1) == ["first"]
        pipe.say(b"second\n")
        assert await read_lines(follower, 1) == ["second"]


async def test_a_cleared_and_a_deleted_log_go_on_after_a_reset(follows: LogFollows, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        pipe.say(b"old\n")
        follower = follows.follow(str(log))
        assert await read_lines(follower, 1) == ["old"]
        pipe.pump.clear()
        pipe.say(b"new\n")
        batch = await follower.read(DEADLINE_S)
        assert batch is not None
        assert batch.reset
        assert [line.text for line in batch.lines] == ["new"] or await read_lines(follower, 1) == ["new"]
        log.unlink()
        pipe.pump._looked = 0
        pipe.say(b"newer\n")
        assert await read_lines(follower, 1) == ["newer"]


async def test_an_unfinished_line_comes_by_itself(follows: LogFollows, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        started = time.time()
        pipe.say(b"prompt> ")
        follower = follows.follow(str(log))
        assert await read_lines(follower, 1) == ["prompt> "]
        assert 0.99 < time.time() - started < 10


async def test_three_hundred_followers_share_what_is_read(
    follows: LogFollows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "ema.log"
    reads = 0
    real = LogReader.read_after

    def counted(self: LogReader, cursor: str | None, limit: int = 1000) -> object:
        nonlocal reads
        batch = real(self, cursor, limit)
        reads += bool(batch.lines)
        return batch

    monkeypatch.setattr(LogReader, "read_after", counted)
    with piped(log) as pipe:
        followers = [follows.follow(str(log)) for _ in range(300)]
        tasks = [asyncio.create_task(read_lines(follower, 50)) for follower in followers]
        for number in range(50):
            pipe.say(numbered_lines(number, 1))
            await asyncio.sleep(0)
        found = await asyncio.gather(*tasks)
    assert all([int(text[:9]) for text in texts] == list(range(50)) for texts in found)
    assert reads <= 50
    for follower in followers:
        follower.close()
    assert not follows._sources


async def test_a_slow_follower_reads_later_and_holds_nobody_up(follows: LogFollows, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        pipe.say(numbered_lines(0, 1))
        slow, fast = follows.follow(str(log)), follows.follow(str(log))
        await read_lines(slow, 1)
        for start in range(1, 5001, 500):
            pipe.say(numbered_lines(start, 500))
        assert len(await read_lines(fast, 5001)) == 5001
        assert [int(text[:9]) for text in await read_lines(slow, 5000)] == list(range(1, 5001))


async def test_lines_are_of_the_runs_known_when_they_are_read(follows: LogFollows, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    runs = [("first", datetime.now(UTC), None)]
    with piped(log) as pipe:
        follower = follows.follow(str(log), runs=lambda: runs)
        pipe.say(b"one\n")
        batch = await follower.read(DEADLINE_S)
        assert batch is not None
        runs = [*runs, ("second", datetime.now(UTC), None)]
        pipe.succeed()
        pipe.say(b"two\n")
        later = await follower.read(DEADLINE_S)
        assert later is not None
        assert [line.run_id for line in batch.lines + later.lines] == ["first", "second"]


async def test_it_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    follows = LogFollows()
    with piped(tmp_path / "ema.log") as pipe:
        follower = follows.follow(str(tmp_path / "ema.log"))
        pipe.say(b"line\n")
        await read_lines(follower, 1)
        follower.close()
    follows.follow(str(tmp_path / "ema.log"))
    follows.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_no_looking_is_needed_where_the_kernel_tells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(logfollow, "POLL_EVERY_S", 3600.0)
    follows = LogFollows()
    if follows._watch.fd < 0:
        pytest.skip("no inotify here")
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=500) as pipe:
        follower = follows.follow(str(log))
        for number in range(50):
            waiting = asyncio.create_task(read_lines(follower, 1))
            await asyncio.sleep(0)  # it looks, finds nothing, waits
            pipe.say(numbered_lines(number, 1))
            assert await waiting == [numbered_lines(number, 1).decode().rstrip()]
    follows.close()


def test_the_watch_says_so_when_it_cannot_watch(tmp_path: Path) -> None:
    watch = LogWatch()
    assert not watch.watch(str(tmp_path / "none" / "ema.log"))
    watch.close()
    assert logfollow.POLL_EVERY_S < 0.1
    assert not watch.renew(str(tmp_path / "ema.log")) or not (tmp_path / "ema.log").exists()


def test_retention_while_running_and_not(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000, keep=20) as pipe:
        for first in range(0, 100, 10):
            pipe.say(numbered_lines(first, 10))
        pipe.say(b"current\n")
        assert len(files(log)) == 11
        assert logfiles.prune(log, 8) == [f"{log}.9", f"{log}.10"]
        assert logfiles.prune(log, 8, max_total_mb=4500 / (1 << 20)) == [f"{log}.{n}" for n in range(5, 9)]
        old = time.time() - 3 * 86400
        os.utime(f"{log}.4", (old, old))
        assert logfiles.prune(log, 8, max_age_days=2) == [f"{log}.4"]
        assert content(log) == numbered_lines(70, 30) + b"current\n"
        pipe.say(numbered_lines(100, 10))
        pipe.say(b"current\n")
    assert not list(tmp_path.glob("*.5*"))
    logfiles.prune(log, 0)
    assert content(log) == b"current\n"
    logfiles.clear(log)
    assert list(tmp_path.iterdir()) == []


def test_a_rotation_waits_for_retention_and_retention_for_a_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000, keep=20) as pipe:
        for first in range(0, 60, 10):
            pipe.say(numbered_lines(first, 10))
        pipe.say(numbered_lines(60, 9))
        old = time.time() - 3 * 86400
        for number in 6, 5, 4:
            os.utime(f"{log}.{number}", (old, old))
        printed = 69

        def print_more(_: str) -> None:
            nonlocal printed
            pipe.pump._rotate_at = 0
            pipe.say(numbered_lines(printed, 1))
            printed += 1

        monkeypatch.setattr(logfiles, "on_step", print_more)
        assert logfiles.prune(log, 20, max_age_days=2) == [f"{log}.{number}" for number in (4, 5, 6)]
        # By its numbers it would have deleted what had become .4 meanwhile.
        pruned: list[list[str]] = []

        def prune_all(name: str) -> None:
            if name != "renamed 0":  # the last rename: it is over
                pruned.append(logfiles.prune(log, 0))

        monkeypatch.setattr(logfiles, "on_step", prune_all)
        pipe.pump._rotate_at = 0
        pipe.say(numbered_lines(printed, 1))
        monkeypatch.setattr(logfiles, "on_step", None)
        assert pruned
        assert pruned == [[]] * len(pruned)
    assert content(log) == numbered_lines(30, printed + 1 - 30)


def test_pruning_while_it_rotates_deletes_only_the_oldest(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=2000, keep=1000) as pipe:
        stop = threading.Event()
        pruned: list[str] = []

        def prune_on() -> None:
            while not stop.is_set():
                pruned.extend(logfiles.prune(log, 3))

        pruner = threading.Thread(target=prune_on)
        pruner.start()
        deadline = time.monotonic() + DEADLINE_S
        count = 0
        try:
            while len(pruned) < 50 and time.monotonic() < deadline:
                pipe.say(numbered_lines(count, 10))
                count += 10
        finally:
            stop.set()
            pruner.join()
    assert len(pruned) >= 50
    logfiles.prune(log, 3)
    assert len(files(log)) == 4
    kept = [int(line[:9]) for line in content(log).splitlines()]
    assert kept == list(range(kept[0], count))
    assert not [path for path in tmp_path.glob("*.times") if not path.with_suffix("").exists()]
