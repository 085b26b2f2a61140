"""Followers on an event loop: lines as they are printed, cheaply, for many at once."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from stratpanel.supervisor.logs import follow as logfollow
from stratpanel.supervisor.logs.follow import LogFollower, LogFollows
from stratpanel.supervisor.logs.inotify import LogWatch
from stratpanel.supervisor.logs.reader import LogReader
from tests.logs.support import content, faults_of_numbered, files, numbered_lines, piped

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


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
async def test_lines_are_gathered_for_readers_that_are_content_with_that(tmp_path: Path) -> None:
    log, every_s = tmp_path / "ema.log", 0.2
    log.touch()
    follows = LogFollows()
    follows.every_s = every_s
    follower = follows.follow(str(log), str(LogReader(str(log)).end()))
    found, reads, begun = [], 0, time.monotonic()

    async def write() -> None:
        with log.open("a", encoding="utf-8", buffering=1) as file:
            for n in range(100):
                file.write(f"{n}\n")
                await asyncio.sleep(0.005)

    writing = asyncio.create_task(write())
    while len(found) < 100:
        batch = await follower.read(DEADLINE_S)
        assert batch is not None
        found += [line.text for line in batch.lines]
        reads += 1
    await writing
    took = time.monotonic() - begun
    follower.close()
    follows.close()
    assert found == [str(n) for n in range(100)]
    # Twice a second it looks anyway; the first lines come at once.
    assert reads <= 3 + took / every_s + took / logfollow.LOOK_EVERY_S
