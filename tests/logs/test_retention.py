"""Old files go, and only those, while the strategy prints and rotates."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from stratpanel.process import logfiles
from tests.logs.support import content, files, numbered_lines, piped

ROOT = Path(__file__).resolve().parents[2]
STUMBLER = Path(__file__).with_name("stumbler.py")
DEADLINE_S = 20.0


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


@pytest.mark.parametrize("ahead", [False, True])
def test_what_retention_deletes_while_a_rotation_is_finished_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    """Between the last rename and the new file nobody can be locked out; a file gone by then cost lines."""
    log = tmp_path / "ema.log"

    def deleting(name: str) -> None:
        if name == "renamed 0":
            Path(f"{log}.4").unlink()

    def deleted(below: str, orphan: str) -> bool:
        Path(orphan).unlink()
        Path(below).unlink(missing_ok=True)
        return ahead

    with piped(log, max_bytes=1000, keep=20) as pipe:
        for first in range(0, 50, 10):
            pipe.say(numbered_lines(first, 10))
        monkeypatch.setattr(logfiles, "on_step", deleting)
        monkeypatch.setattr(logfiles, "_was_ahead", deleted)
        pipe.say(numbered_lines(50, 10))
        pipe.say(numbered_lines(60, 5))
        assert not Path(f"{log}.4.times").exists()
        assert pipe.pump.dropped_bytes == 0
    assert content(log).endswith(numbered_lines(50, 15))


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
