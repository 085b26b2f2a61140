"""The history survives what disks, kills and people do to its file; what it was told is always part of its answers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from stratpanel.supervisor.history import database as historydb
from stratpanel.supervisor.history import file as historyfile
from stratpanel.supervisor.history import usage
from stratpanel.supervisor.history.history import History
from stratpanel.supervisor.history.pending import Batch
from tests.support import wait_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "stratpanel.db"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    opened = History(path)
    yield opened
    opened.close()


def test_runs_merge_what_is_known_and_none_never_erases(history: History, path: Path) -> None:
    history.record_run(
        {"run_id": "ema~1", "id": "ema", "started": 100.0, "version": 3, "mode": "live", "config": {"a": 1}}
    )
    assert history.runs("ema")[0]["ended"] is None
    history.record_run(
        {"v": 1, "run_id": "ema~1", "id": "ema", "ended": 103.5, "exit_code": 0, "signal": None, "version": None}
    )
    expected = {"version": 3, "mode": "live", "exit_code": 0, "signal": None, "duration_s": 3.5}
    for _ in ("pending", "on disk"):
        (run,) = history.runs("ema")
        assert expected.items() <= run.items()
        assert run["started"] == "1970-01-01T00:01:40.000+00:00"
        assert "config" not in run
        assert (history.run("ema~1") or {})["config"] == {"a": 1}
        assert history.flush()
    assert history.run("nobody") is None


def test_runs_page_backwards_without_gap_or_double(history: History) -> None:
    for number in range(25):
        history.record_run({"run_id": f"r{number:02}", "id": ("ema", "rsi")[number % 2], "started": float(number // 3)})
        if number == 12:
            assert history.flush()
    seen: list[object] = []
    before = None
    while page := history.runs(limit=4, before=before):
        seen += [run["run_id"] for run in page]
        before = str(page[-1]["run_id"])
    assert seen == [f"r{number:02}" for number in reversed(range(25))]
    assert [run["run_id"] for run in history.runs("rsi", since=7.0)] == ["r23", "r21"]
    assert history.runs(before="nobody") == []


def test_success_since_is_what_a_login_script_is_asked_for(history: History) -> None:
    history.record_run({"run_id": "a", "id": "login", "started": 1.0, "ended": 50.0, "exit_code": 0})
    history.record_run({"run_id": "b", "id": "login", "started": 60.0, "ended": 61.0, "exit_code": 1})
    for _ in ("pending", "on disk"):
        assert history.succeeded_since("login", 40)
        assert not history.succeeded_since("login", 51)
        assert not history.succeeded_since("other", 0)
        history.flush()


def test_events_keep_their_order_number_and_own_fields(history: History) -> None:
    first = history.append_event(
        {"type": "crash", "id": "ema", "message": "died", "exit_code": 3, "strategy": {"id": "ema", "log_path": "x"}}
    )
    history.append_event({"type": "started", "id": "rsi", "time": "2026-11-22T09:20:00+05:30"})
    for _ in ("pending", "on disk"):
        events = history.events()
        assert [event["seq"] for event in events] == [1, 2]
        assert events[0]["exit_code"] == 3
        assert events[1]["time"] == "2026-11-22T09:20:00+05:30"
        assert history.events(since=1) == events[1:]
        assert history.events(id="ema") == events[:1]
        assert history.events(types=["started"]) == events[1:]
        assert history.events(limit=1, newest=True) == events[1:]
        assert history.event_bounds() == (1, 2)
        assert history.flush()
    assert datetime.fromisoformat(str(first["time"])).tzinfo is not None


def test_times_are_told_in_the_zone_asked_for(path: Path) -> None:
    history = History(path, zone=timezone(timedelta(hours=5, minutes=30)), now=lambda: 0.0)
    assert history.append_event({"type": "x"})["time"] == "1970-01-01T05:30:00.000+05:30"
    history.record_run({"run_id": "a", "id": "ema", "started": datetime(2026, 1, 1, tzinfo=UTC)})
    assert history.runs()[0]["started"] == "2026-01-01T05:30:00.000+05:30"
    history.close()


def test_numbers_go_on_after_a_clean_end(path: Path) -> None:
    for expected in (1, 2, 3):
        history = History(path)
        assert history.append_event({"type": "x"})["seq"] == expected
        history.close()


def test_numbers_of_the_caller_are_kept(history: History) -> None:
    assert history.append_event({"type": "x", "seq": 1_795_000_000_000})["seq"] == 1_795_000_000_000
    assert history.append_event({"type": "x"})["seq"] == 1_795_000_000_001
    assert history.flush()
    assert history.last_seq == 1_795_000_000_001


def test_a_number_given_out_before_a_kill_is_never_given_again(path: Path) -> None:
    program = f"""
        import sys, time
        from pathlib import Path
        from stratpanel.supervisor.history.history import History
        history = History(Path({str(path)!r}))
        for _ in range(300):
            seq = history.append_event({{"type": "x"}})["seq"]
        print(seq, flush=True)
        time.sleep(60)
    """
    highest = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert told > highest
        highest = told
    history = History(path)
    assert history.append_event({"type": "y"})["seq"] > highest  # type: ignore[operator]
    history.close()


def test_what_was_handed_over_survives_the_end(path: Path) -> None:
    history = History(path)
    history.append_event({"type": "down"})
    history.record_run({"run_id": "a", "id": "ema", "started": 5.0})
    history.add_usage(time.time(), {"ema": (1.0, 2.0, 3, 4)})
    history.close()
    again = History(path)
    assert [event["type"] for event in again.events()] == ["down"]
    assert again.run("a")
    assert [c for c in again.usage("ema")["cpu_percent"] if c is not None] == [1.0]  # type: ignore[union-attr]
    again.close()


DAMAGE = {
    "garbage": lambda path: path.write_bytes(os.urandom(20_000)),
    "text": lambda path: path.write_text("not a database at all\n" * 100),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "header gone": lambda path: path.write_bytes(b"\0" * 100 + path.read_bytes()[100:]),
    "pages gone": lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_set_aside_and_never_fatal(path: Path, kind: str) -> None:
    history = History(path)
    for number in range(500):
        history.append_event({"type": "x", "message": f"{number}" * 20})
    history.close()
    DAMAGE[kind](path)
    bad = path.read_bytes()
    history = History(path)
    assert history.damaged is not None
    assert history.damaged.read_bytes() == bad
    assert history.problem is None
    event = history.append_event({"type": "y"})
    assert event["seq"] > 500  # type: ignore[operator]
    assert history.flush()
    assert [e["type"] for e in history.events()] == ["y"]
    history.close()


def test_damage_that_shows_while_running_is_answered_from_memory_and_set_aside(path: Path) -> None:
    history = History(path)
    for number in range(3000):
        history.append_event({"type": "x", "message": "m" * 100, "n": number})
    assert history.flush()
    history._file.ask(lambda file, view: None)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    for suffix in ("-wal",):
        os.truncate(f"{path}{suffix}", 0)
    history.append_event({"type": "after"})
    assert history.events(types=["after"])  # whatever the disk holds, what we know is told
    wait_for(lambda: (history.events(), history.flush(), history.damaged)[2], what="setting the damaged file aside")
    history.append_event({"type": "new"})
    wait_for(lambda: history.flush(), what="writing into the new file")
    assert [event["type"] for event in history.events()][-1] == "new"
    history.close()


def test_a_file_of_a_newer_version_is_left_untouched(path: Path) -> None:
    path.parent.mkdir()
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE future (x)")
    file.execute("PRAGMA user_version=99")
    file.commit()
    file.close()
    before = path.read_bytes()
    history = History(path)
    assert "newer stratpanel" in str(history.problem)
    history.append_event({"type": "x"})
    assert [event["type"] for event in history.events()] == ["x"]
    assert not history.flush(2)
    history.close()
    assert path.read_bytes() == before


def test_an_older_schema_is_migrated_with_its_data(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(path)
    history.append_event({"type": "kept"})
    history.close()
    monkeypatch.setattr(historydb, "MIGRATIONS", (*historydb.MIGRATIONS, "ALTER TABLE runs ADD COLUMN note TEXT"))
    history = History(path)
    assert [event["type"] for event in history.events()] == ["kept"]
    columns = history._file.ask(lambda file, view: file.execute("PRAGMA table_info(runs)").fetchall())  # type: ignore[union-attr]
    assert "note" in [column[1] for column in columns]
    assert history.problem is None
    history.close()


def test_a_failed_migration_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(path)
    history.append_event({"type": "kept"})
    history.close()
    with monkeypatch.context() as patch:
        patch.setattr(historydb, "MIGRATIONS", (*historydb.MIGRATIONS, "ALTER TABLE runs ADD COLUMN a TEXT; nonsense"))
        with pytest.raises(sqlite3.OperationalError):
            historydb.open_or_create(path)
    history = History(path)
    assert [event["type"] for event in history.events()] == ["kept"]
    history.close()


def test_a_full_disk_keeps_history_in_memory_says_so_and_catches_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(historyfile, "RETRY_S", 0.05)
    said: list[str | None] = []
    history = History(path, on_problem=said.append)
    assert history.flush()
    pages = history._file._writer.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[union-attr]
    history._file._writer.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[union-attr]  # SQLITE_FULL from here on
    monkeypatch.setattr(
        historydb, "open_or_create", full := lambda _path: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    now = time.time()
    for number in range(2000):
        history.append_event({"type": "x", "message": "m" * 200, "n": number})
    history.record_run({"run_id": "a", "id": "ema", "started": 1.0})
    history.add_usage(now, {"ema": (1.0, 2.0, None, None)})
    assert not history.flush()
    assert "full" in str(history.problem)
    assert len(history.events(limit=5000)) == 2000
    assert history.runs()[0]["run_id"] == "a"
    assert 1.0 in history.usage("ema")["cpu_percent"]  # type: ignore[operator]
    assert full is historydb.open_or_create
    monkeypatch.undo()
    wait_for(lambda: history.flush(), what="catching up")
    assert history.problem is None
    assert said[0] is not None
    assert said[-1] is None
    history.close()
    again = History(path)
    assert len(again.events(limit=5000)) == 2000
    assert again.run("a")
    assert 1.0 in again.usage("ema", since=now - 60)["cpu_percent"]  # type: ignore[operator]
    again.close()


def test_a_write_limit_of_the_system_is_survived_by_a_real_process(path: Path) -> None:
    """RLIMIT_FSIZE makes the kernel refuse writes with EFBIG, much like a full disk."""
    program = f"""
        import resource, signal
        from pathlib import Path
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        from stratpanel.supervisor.history.history import History
        history = History(Path({str(path)!r}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
        for n in range(3000):
            history.append_event({{"type": "x", "message": "m" * 300}})
        assert not history.flush(), "the limit did not count"
        assert history.problem, history.problem
        assert len(history.events(limit=9999)) == 3000
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert history.flush(), history.problem
        assert history.problem is None
        history.close()
        print(len(History(Path({str(path)!r})).events(limit=9999)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "3000", done.stderr


def test_a_place_that_cannot_be_written_is_said_and_memory_serves(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    history = History(tmp_path / "log" / "stratpanel.db")
    assert "history is kept in memory" in str(history.problem)
    history.append_event({"type": "x"})
    assert history.events()[0]["type"] == "x"
    (tmp_path / "log").unlink()
    wait_for(lambda: history.flush(), what="the folder's return")
    assert history.problem is None
    assert history.events()[0]["type"] == "x"
    history.close()


def test_a_removed_file_begins_anew(path: Path, history: History) -> None:
    history.append_event({"type": "old"})
    assert history.flush()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    new = history.append_event({"type": "new"})
    assert history.flush()
    assert [event["type"] for event in history.events()] == ["new"]
    assert new["seq"] == 2
    assert path.exists()


def test_memory_is_bounded_when_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stratpanel.supervisor.history import pending as historypending

    monkeypatch.setattr(historypending, "MOST_EVENTS", 100)
    monkeypatch.setattr(historypending, "MOST_RUNS", 50)
    monkeypatch.setattr(historypending, "MOST_SAMPLES", 120)
    (tmp_path / "log").write_text("")
    history = History(tmp_path / "log" / "x.db")
    for number in range(500):
        history.append_event({"type": "x"})
        history.record_run({"run_id": f"r{number:03}", "id": "ema", "started": float(number)})
        history.add_usage(number, {"ema": (1.0, 1.0, None, None)})
    assert [event["seq"] for event in history.events()][-1] == history.last_seq
    assert len(history.events()) == 100
    assert len(history.runs(limit=500)) == 50
    assert len(history._pending.view("ema").samples[0]) <= 120 * usage.WIDTH
    assert history._pending.dropped > 700
    history.close()


def test_every_fact_is_seen_once_while_it_moves_to_disk(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader in the moment of a commit must find a sample on disk or in memory, never in both or in neither."""
    given = [0, 0]  # begun, done
    over = threading.Event()

    def hand_over() -> None:
        t = int(time.time())
        while not over.wait(0.0002):  # slower than what may wait is bounded
            given[0] += 1
            history.add_usage(t, {"ema": (1.0, 1.0, None, None)})
            given[1] += 1

    def count(file: sqlite3.Connection | None, view: object) -> int:
        stored = file.execute("SELECT coalesce(sum(cpu_n), 0) FROM usage_60").fetchone()[0] if file else 0
        return int(stored) + sum(len(samples) // usage.WIDTH for samples in view.samples)  # type: ignore[attr-defined]

    stored = history._pending.stored

    def stored_late(batch: Batch) -> None:
        """Hold the moment open in which the facts are on disk and still pending."""
        over.wait(0.005)
        stored(batch)

    def flush() -> None:
        while not over.is_set():
            assert history.flush()

    monkeypatch.setattr(history._pending, "stored", stored_late)
    workers = [threading.Thread(target=hand_over), threading.Thread(target=flush)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(300):
            least = given[1]
            seen = history._file.ask(count, usage_of="ema")
            assert least <= seen <= given[0]
    finally:
        over.set()
        for worker in workers:
            worker.join()


def test_handing_over_never_waits_for_the_disk(history: History) -> None:
    history.flush()
    with history._file._commit_lock:  # a commit that hangs in the kernel
        started = time.monotonic()
        for _ in range(200):
            history.append_event({"type": "x"})
            history.record_run({"run_id": "a", "id": "ema", "started": 1.0})
            history.add_usage(time.time(), {"ema": (1.0, 1.0, None, None)})
        assert time.monotonic() - started < 1


def test_the_file_is_the_users_alone(history: History, path: Path) -> None:
    """Runs carry their configuration, environment included."""
    history.append_event({"type": "x"})
    assert history.flush()
    for suffix in ("", "-wal", "-shm"):
        assert os.stat(f"{path}{suffix}").st_mode & 0o077 == 0


def test_a_run_without_its_name_is_refused(history: History) -> None:
    with pytest.raises(ValueError, match="run_id"):
        history.record_run({"id": "ema"})


def test_old_history_is_trimmed_in_portions(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historydb, "DELETE_ROWS", 10)
    monkeypatch.setattr(historyfile, "TRIM_S", 0.0)
    clock = [1_000_000_000.0]
    history = History(path, now=lambda: clock[0], events_days=10, runs_days=None)
    for _ in range(35):
        history.append_event({"type": "old"})
    history.record_run({"run_id": "a", "id": "ema", "started": clock[0]})
    assert history.flush()
    clock[0] += 11 * 86_400
    history.append_event({"type": "new"})
    wait_for(lambda: (history.flush(), [e["type"] for e in history.events()] == ["new"])[1], what="trimming")
    assert history.run("a")  # runs are kept for ever here
    history.close()
