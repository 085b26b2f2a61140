"""A pump killed anywhere loses, doubles and tears nothing, and its successor goes on where it was."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stratpanel.process import logfiles
from stratpanel.process.logpump import LogPump
from stratpanel.supervisor.logs.reader import LogReader
from tests.logs.support import content, faults_of_numbered, files, follow_all, numbered_lines, page_all, piped

KILLER = Path(__file__).with_name("killer.py")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.chaos
@pytest.mark.parametrize(("kind", "max_bytes"), [("flood", 1 << 20), ("flood", 1 << 30), ("lines", 500)])
def test_killed_at_random_it_keeps_every_line_once(kind: str, max_bytes: int, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    log = tmp_path / "ema.log"
    done = subprocess.run(
        [sys.executable, str(KILLER), str(log), str(max_bytes), "60", str(seed), kind],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    printed = int(words[1])
    assert printed > 10
    assert faults_of_numbered(content(log), printed) == [], f"seed {seed}"
    if max_bytes < 1 << 30:
        assert len(files(log)) > 1
        # Between lines, always; a full one is put aside before the pipe's end is seen, and the next is still empty.
        *rotated, current = [path.read_bytes()[-1:] for path in files(log)]
        assert set(rotated) == {b"\n"}
        assert current in (b"\n", b"")
    lines, _, reset = follow_all(LogReader(log), None)
    assert not reset
    assert [int(line.text[:9]) for line in lines] == list(range(printed))
    times = [line.time for line in lines if line.time is not None]
    assert len(times) == printed
    assert times == sorted(times)


def rotation_steps(log: Path, keep: int) -> list[str]:
    """The names of the steps of one rotation of a log in its present state."""
    steps: list[str] = []
    logfiles.on_step = steps.append
    try:
        logfiles.rotate(str(log), keep)
    finally:
        logfiles.on_step = None
    return steps


def full_log(log: Path, rotated: int, keep: int) -> list[bytes]:
    """A log with so many rotated files, and one over its limit; returns the contents, oldest first."""
    with piped(log, max_bytes=1000, keep=keep) as pipe:
        for number in range(rotated):
            pipe.say(numbered_lines(number * 10, 10))
        os.write(pipe.write_fd, numbered_lines(rotated * 10, 10))
        pipe.pump.pump()
    return [path.read_bytes() for path in files(log)]


STEPS = [
    "deleted 3",
    *(f"renamed {number}{times}" for number in (2, 1, 0) for times in (" times", "")),
]


def test_the_steps_are_all_that_there_are(tmp_path: Path) -> None:
    full_log(tmp_path / "ema.log", 3, 3)
    assert sorted(set(rotation_steps(tmp_path / "ema.log", 3))) == sorted(STEPS)


DIES = """
import os, signal, sys
from stratpanel.process import logfiles
from stratpanel.process.logpump import LogPump
log, read_fd, step, occurrence = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
seen = 0
def die(name):
    global seen
    seen += name == step
    if seen == occurrence:
        os.kill(os.getpid(), signal.SIGKILL)
logfiles.on_step = die
LogPump(read_fd, log, 1000, 3).pump()
"""


@pytest.mark.parametrize("occurrence", [1, 2])
@pytest.mark.parametrize("step", STEPS)
def test_killed_between_two_renames_the_successor_finishes(step: str, occurrence: int, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    before = full_log(log, 3, 3)
    assert len(before) == 4
    reader = LogReader(log)
    cursor = reader.tail(1, None).lines[0].cursor
    read_fd, write_fd = os.pipe()
    os.write(write_fd, numbered_lines(40, 1))
    died = subprocess.run(
        [sys.executable, "-c", DIES, str(log), str(read_fd), step, str(occurrence)],
        pass_fds=(read_fd,),
        cwd=ROOT,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL or (occurrence == 2 and died.returncode == 0), f"{step} was not reached"
    # A reader in that very state sees all that is left, with its times.
    torn = page_all(reader, 7)
    kept = b"".join(line.text.encode() + b"\n" for line in torn)
    assert kept == content(log)
    assert b"".join(before[1:]) in kept
    assert all(line.time is not None for line in torn)

    successor = LogPump(read_fd, log, 1000, 3)
    successor.drain()
    successor.mark("back")
    successor.close()
    os.close(read_fd)
    os.close(write_fd)
    after = content(log)
    # Only the oldest may be gone, whole, and only because the rotation came to delete it.
    assert after.startswith((b"".join(before[1:]), b"".join(before)))
    assert after.endswith(numbered_lines(40, 1) + b"[stratpanel] back\n")
    assert len(files(log)) <= 4
    assert all(Path(str(path) + ".times").exists() for path in files(log))
    assert not [path for path in tmp_path.glob("*.times") if not path.with_suffix("").exists()]
    lines, _, reset = follow_all(reader, cursor)
    assert not reset
    assert [line.text[:9] for line in lines] == ["000000040", "[stratpan"]
    assert all(line.time is not None for line in page_all(LogReader(log), 7))


@pytest.mark.parametrize("extra", [b"\x01", b"\x00" * 15, b"\x00" * 16, b"\xff" * 16])
def test_a_torn_or_senseless_times_record_is_repaired(extra: bytes, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log) as pipe:
        pipe.say(b"one\n")
    times = Path(f"{log}.times")
    with times.open("ab") as file:
        file.write(extra)
    assert LogReader(log).tail(1).lines[0].time is not None
    with piped(log) as pipe:
        pipe.say(b"two\n")
    assert times.stat().st_size % 16 == 0
    lines = LogReader(log).tail(5).lines
    assert [line.text for line in lines] == ["one", "two"]
    first, second = (line.time for line in lines)
    assert first is not None
    assert second is not None
    assert first < second
