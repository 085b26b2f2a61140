"""Reading on from a cursor: every line once, in order, whatever happens to the files meanwhile."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stratpanel.supervisor.logs import reader as logs
from stratpanel.supervisor.logs.blocks import LogFile, LogSet
from stratpanel.supervisor.logs.reader import LogReader
from tests.logs.support import content, follow_all, numbered_lines, piped

ROOT = Path(__file__).resolve().parents[2]
STUMBLER = Path(__file__).with_name("stumbler.py")
DEADLINE_S = 20.0


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
