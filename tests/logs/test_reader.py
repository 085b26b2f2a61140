"""The reader's pages and searches say what a plain re-read of the files says, in bounded memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stratpanel.process import logfiles
from stratpanel.supervisor.logs import blocks as logblocks
from stratpanel.supervisor.logs import reader as logs
from stratpanel.supervisor.logs.reader import CUT_MARK, Line, LogReader, plain_text
from tests.logs.support import Clock, content, files, follow_all, numbered_lines, page_all, piped

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 11, 23, 3, 45, tzinfo=UTC)

BYTES = [b"buy", b"SELL", b" ", b"\n", b"\n", b"\r\n", b"\r", b"\x1b[31m", b"\x1b[0m", b"\x00", b"x" * 30, b"y" * 90]
NOT_ASCII = ["€".encode(), "straße".encode(), "İĞ".encode(), b"\xff", b"\xe2\x82", b"\xac"]
words = st.sampled_from(BYTES + NOT_ASCII)
texts = st.lists(words, max_size=40).map(b"".join)


@pytest.fixture(autouse=True)
def never_a_second_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine: an unfinished line stays held back."""
    monkeypatch.setattr(logs, "HOLD_PARTIAL_S", 3600.0)


@pytest.fixture(params=["small blocks", "real blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks put every boundary within reach of a short text."""
    if request.param == "small blocks":
        monkeypatch.setattr(logblocks, "BLOCK", 16)
        monkeypatch.setattr(logblocks, "CUT", 40)
        monkeypatch.setattr(logblocks, "FORWARD", 64)
        monkeypatch.setattr(logblocks, "WINDOW", 2)


def plain_lines(log: Path) -> list[tuple[bytes, bool]]:
    """Every line of every file, and whether a newline ends it; the slow and obvious way."""
    lines = []
    for path in files(log):
        parts = path.read_bytes().split(b"\n")
        last = parts.pop()
        lines += [(part, True) for part in parts]
        if last:
            lines.append((last, False))
    return lines


def shown(raw: bytes, ended: bool) -> str:
    """What an answer shows of a line that is not cut."""
    return raw.removesuffix(b"\r" if ended else b"").decode("utf-8", "replace")


def assert_shows(line: Line, raw: bytes, ended: bool) -> None:
    if len(raw) <= logblocks.CUT:
        assert not line.cut
        # A carriage return ends a line of a file that its writer cut, too.
        assert line.text in (shown(raw, ended), shown(raw, True))
        return
    assert line.cut
    text = line.text.removesuffix(CUT_MARK)
    assert len(text) < len(line.text)
    kept = len(text.encode())
    assert raw.decode("utf-8", "replace").startswith(text)
    assert kept >= (logblocks.CUT - 4 if raw.isascii() else 10)


def written(log: Path, chunks: list[bytes], max_bytes: int) -> None:
    with piped(log, max_bytes=max_bytes, keep=10_000) as pipe:
        for chunk in chunks:
            pipe.say(chunk)


@settings(max_examples=150, deadline=None)
@given(chunks=st.lists(texts, max_size=12), max_bytes=st.sampled_from([20, 300, 100_000]), n=st.integers(1, 7))
@pytest.mark.usefixtures("blocks")
def test_pages_backwards_and_forwards_are_the_plain_lines(
    chunks: list[bytes], max_bytes: int, n: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("page") / "ema.log"
    written(log, chunks, max_bytes)
    assert content(log) == b"".join(chunks)
    plain = plain_lines(log)
    with LogReader(log) as reader:
        pages = page_all(reader, n)
        assert len(pages) == len(plain)
        for line, (raw, ended) in zip(pages, plain, strict=True):
            assert_shows(line, raw, ended)
            assert line.time is not None
        followed, _, reset = follow_all(reader, None, limit=n)
        assert not reset
        unfinished = [line for line in pages if line.partial]
        assert [line.text for line in followed] == [line.text for line in pages if not line.partial]
        rest = files(log)[-1].read_bytes().rpartition(b"\n")[2]
        assert unfinished == (pages[-1:] if 0 < len(rest) <= logblocks.CUT else [])
        assert [line.text for line in follow_all(reader, reader.tail(1).after)[0]] == []
        # Every line's cursor leads to the lines before it and to those after it.
        for index, line in enumerate(pages):
            assert reader.tail(1000, before=line.cursor).lines == pages[:index] or line.partial
            after, _, _ = follow_all(reader, line.cursor)
            assert [after_line.cursor for after_line in after] == [
                later.cursor for later in pages[index + 1 :] if not later.partial
            ]


@settings(max_examples=100, deadline=None)
@given(
    chunks=st.lists(texts, max_size=12),
    max_bytes=st.sampled_from([20, 100_000]),
    n=st.integers(1, 5),
    needle=st.sampled_from(["buy", "Sell", "ß", "i̇", "SS", "yx", "€", "x" * 20]),
)
@pytest.mark.usefixtures("blocks")
def test_search_finds_what_a_plain_search_finds(
    chunks: list[bytes], max_bytes: int, n: int, needle: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("search") / "ema.log"
    written(log, chunks, max_bytes)
    with LogReader(log) as reader:
        everything = page_all(reader, 1000)
        found = page_all(reader, n, search=needle)
    expected = [
        line
        for line in everything
        if needle.lower() in line.text.replace("\x1b[31m", "").replace("\x1b[0m", "").removesuffix(CUT_MARK).lower()
    ]
    assert found == expected


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 5000), texts), min_size=1, max_size=25), n=st.integers(1, 5))
@example(steps=[(0, b"a line of some length, of which six make a file\n" * 30)], n=4)  # files begun in one millisecond
@pytest.mark.usefixtures("blocks")
def test_since_and_run_select_by_the_times_beside_the_log(
    steps: list[tuple[int, bytes]], n: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("since") / "ema.log"
    fake = Clock()
    with pytest.MonkeyPatch.context() as patch, piped(log, max_bytes=300, keep=1000) as pipe:
        patch.setattr("stratpanel.process.logpump.time", fake)
        pipe.pump._stamped = 0
        for ms, text in steps:
            fake.now += ms / 1000
            pipe.say(text)
    middle = datetime.fromtimestamp(1_800_000_000 + sum(ms for ms, _ in steps) / 2000, UTC)
    runs = [("r1", START, None), ("r2", middle, None), ("r3", middle + timedelta(hours=1), None)]
    with LogReader(log, runs) as reader:
        everything = page_all(reader, 1000)
        assert all(line.time is not None for line in everything)
        late = [line for line in everything if line.time is not None and line.time >= middle]
        assert page_all(reader, n, since=middle) == late
        assert page_all(reader, n, run="r2") == late
        assert page_all(reader, n, run="r1") == everything[: len(everything) - len(late)]
        assert page_all(reader, n, run="r3") == page_all(reader, n, run="unknown") == []
        assert {line.run_id for line in late} <= {"r2"}
        assert {line.run_id for line in everything[: len(everything) - len(late)]} <= {"r1"}


def test_a_line_is_of_the_run_it_was_printed_in(clock: Clock, tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    begun = datetime.fromtimestamp(clock.now, UTC)
    with piped(log) as pipe:
        pipe.say(b"before any run that is known\n")
        clock.now += 100
        pipe.succeed()
        pipe.say(b"first\n")
        # Its successor's first line has a time of its own though it comes at once.
        clock.now += 0.004
        pipe.succeed()
        pipe.say(b"second\n")
    first, second = begun + timedelta(seconds=100), begun + timedelta(seconds=100.002)
    lines = LogReader(log, [("b", second, None), ("a", first, second)]).tail(9).lines
    assert [line.run_id for line in lines] == [None, "a", "b"]


def test_no_log_is_an_empty_page(tmp_path: Path) -> None:
    reader = LogReader(tmp_path / "none" / "ema.log")
    assert reader.tail(5).lines == []
    assert reader.read_after(None).lines == []
    assert reader.end() is None
    assert reader.tail(5, before="123-456").lines == []


@pytest.mark.parametrize("cursor", ["", "x", "1", "1-", "-1", "1-2-3", "1-2~~", "1-" + "9" * 30, "٣-٣", "1-2\n"])
def test_a_malformed_cursor_is_refused(cursor: str, tmp_path: Path) -> None:
    reader = LogReader(tmp_path / "ema.log")
    with pytest.raises(ValueError, match="is not a log cursor"):
        reader.tail(5, before=cursor)
    with pytest.raises(ValueError, match="is not a log cursor"):
        reader.read_after(cursor)


def test_cursors_stay_good_while_the_log_rotates(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000, keep=50) as pipe:
        pipe.say(numbered_lines(0, 25))
        with LogReader(log) as reader:
            first = reader.tail(5)
            pipe.say(numbered_lines(25, 50))
            second = reader.tail(5, before=first.before)
            assert [int(line.text[:9]) for line in second.lines] == list(range(15, 20))
            after, _, _ = follow_all(reader, first.after)
            assert [int(line.text[:9]) for line in after] == list(range(25, 75))


def test_a_log_without_times_is_paged_by_its_inode_also_after_it_got_some(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    log.write_bytes(numbered_lines(0, 10))
    with LogReader(log) as reader:
        page = reader.tail(3)
        assert page.lines[0].time is None
        assert page.before is not None
        assert page.before.startswith("i")
        with piped(log, max_bytes=1000) as pipe:
            pipe.say(numbered_lines(10, 3))
        assert [int(line.text[:9]) for line in reader.tail(2, before=page.before).lines] == [5, 6]
        assert [int(line.text[:9]) for line in follow_all(reader, page.after)[0]] == [10, 11, 12]


def test_a_hundred_megabyte_line_is_cut_in_little_memory(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with log.open("wb") as file:
        file.write(b"before\n")
        for _ in range(100):
            file.write(b"z" * (1 << 20))
        file.write(b"\nafter\n")
    code = f"""
import resource
from stratpanel.supervisor.logs.reader import LogReader
from tests.logs.support import follow_all, page_all
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader = LogReader({str(log)!r})
for lines in page_all(reader, 1), follow_all(reader, None)[0], page_all(reader, 5, search="z" * 50 + "a"):
    print([(line.text[:6], len(line.text), line.cut) for line in lines])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    *lists, memory = done.stdout.splitlines()
    expected = [("before", 6, False), ("zzzzzz", 65536 + len(CUT_MARK), True), ("after", 5, False)]
    assert lists == [str(expected), str(expected), "[]"]
    assert int(memory) < 8_000


def test_a_large_page_of_a_large_log_takes_little_memory(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    log.write_bytes(numbered_lines(0, 300_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = LogReader(log).tail(10_000).lines
    assert [int(line.text[:9]) for line in lines] == list(range(290_000, 300_000))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def test_it_leaves_no_descriptor_open(tmp_path: Path) -> None:
    log = tmp_path / "ema.log"
    with piped(log, max_bytes=1000, keep=50) as pipe:
        pipe.say(numbered_lines(0, 100))
    before = len(os.listdir("/proc/self/fd"))
    with LogReader(log) as reader:
        cursor = reader.tail(1).lines[0].cursor
        page_all(reader, 7, search="000000012")
        follow_all(reader, None)
        reader.tail(3, before="123-456")
        reader.tail(0)
        reader.end()
        logfiles.clear(log)
        reader.read_after(cursor)
    assert len(os.listdir("/proc/self/fd")) == before


def test_plain_text_is_what_a_terminal_shows() -> None:
    assert plain_text("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x1b\\") == "red link"
    assert plain_text("10 %\r20 %\r30 %") == "30 %"
    assert plain_text("as it is: €") == "as it is: €"
