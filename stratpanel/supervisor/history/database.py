"""The SQLite file behind the history: its schema, its migrations, and what its errors mean.

Only `history.py` calls this, the writing parts from its one writer thread. A file that is damaged is set aside with its
name changed, never deleted; a file of a newer stratpanel is left untouched.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from stratpanel.supervisor.history.usage import KEEP_S, LEVELS, Bucket, Row

QUICK_CHECK_BYTES = 32 * 1024 * 1024  # above it the check would delay a start by over 0.1 s; damage then shows in use
WAL_BYTES = 4 * 1024 * 1024
BUSY_S = 2.0
DELETE_ROWS = 5000  # per pass of retention, so that it never holds the file for long

_USAGE = "\n".join(
    f"""CREATE TABLE usage_{level} (
        sid INTEGER NOT NULL, t INTEGER NOT NULL, cpu_n INTEGER NOT NULL, cpu_sum INTEGER NOT NULL,
        cpu_max INTEGER NOT NULL, memory_n INTEGER NOT NULL, memory_sum INTEGER NOT NULL, memory_max INTEGER NOT NULL,
        threads INTEGER NOT NULL, files INTEGER NOT NULL, PRIMARY KEY (sid, t)) WITHOUT ROWID;"""
    for level in LEVELS
)
# One script per schema version, applied in order, each in a transaction with its number. Only append to it.
MIGRATIONS: tuple[str, ...] = (
    f"""
    CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE events (seq INTEGER PRIMARY KEY, t REAL NOT NULL, type TEXT NOT NULL, id TEXT, data TEXT NOT NULL);
    CREATE INDEX events_of_id ON events (id, seq);
    CREATE INDEX events_of_type ON events (type, seq);
    CREATE INDEX events_by_time ON events (t);
    CREATE TABLE runs (run_id TEXT PRIMARY KEY, id TEXT NOT NULL, started REAL, ended REAL, exit_code INTEGER,
                       data TEXT NOT NULL);
    CREATE INDEX runs_of_id ON runs (id, started, run_id);
    CREATE INDEX runs_by_time ON runs (started, run_id);
    CREATE TABLE series (sid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
    {_USAGE}
    """,
)


class TooNew(Exception):
    """The file was written by a newer stratpanel."""


def is_damage(error: sqlite3.Error) -> bool:
    """True when the file itself is bad, False for a full disk, a lock or a lost permission."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (
        code == sqlite3.SQLITE_ERROR and "no such" in str(error)  # our version number, but not our tables
    )


def in_words(error: Exception, path: Path) -> str:
    """Why history is kept in memory, and what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, TooNew):
        return f"{path} was written by a newer stratpanel; history is kept in memory: upgrade, or move that file away"
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == 28:
        return f"the disk of {path} is full; history is kept in memory meanwhile: make room"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM) or isinstance(error, OSError):
        return f"cannot write {path} ({error}); history is kept in memory meanwhile: make {path.parent} writable"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{path} is locked by another program; history is kept in memory meanwhile: close that program"
    return f"cannot write {path} ({error}); history is kept in memory meanwhile"


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there, without automatic transactions, for any one thread at a time."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA busy_timeout=2000")
    return connection


def open_or_create(path: Path) -> sqlite3.Connection:
    """The writer's connection, migrated. Raises sqlite3.Error, OSError or TooNew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # runs carry their configuration, and so what somebody put into a strategy's environment
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = connect(path)
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise TooNew(f"schema {version}, ours is {len(MIGRATIONS)}")
        if path.stat().st_size <= QUICK_CHECK_BYTES:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                damage = sqlite3.DatabaseError(verdict)
                damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise damage
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may lose the last second, never the file
        connection.execute("PRAGMA wal_autocheckpoint=0")  # done by the writer between transactions
        connection.execute(f"PRAGMA journal_size_limit={2 * WAL_BYTES}")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version={number}; COMMIT;")
        connection.execute("SELECT name, value FROM facts").fetchall()
        connection.execute("SELECT max(seq) FROM events").fetchone()
        return connection
    except BaseException:
        connection.close()
        raise


def set_aside(path: Path) -> Path:
    """Rename a damaged file and its companions; returns the new name."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    os.rename(path, target)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):  # a file without companions was closed cleanly
            os.rename(f"{path}{suffix}", f"{target}{suffix}")
    return target


def fact(connection: sqlite3.Connection, name: str) -> int | None:
    """One of our own remembered numbers."""
    row = connection.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
    return None if row is None else int(row[0])


def set_fact(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Remember a number, inside the caller's transaction."""
    connection.execute(
        "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value=excluded.value", (name, value)
    )


def write_events(connection: sqlite3.Connection, events: Iterable[tuple[int, float, str, str | None, str]]) -> None:
    """Insert (seq, epoch s, type, id, JSON) rows."""
    connection.executemany("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?)", events)


def write_run(connection: sqlite3.Connection, run: Mapping[str, object]) -> None:
    """Merge what is known now into the run's row; None never erases."""
    row = connection.execute("SELECT data FROM runs WHERE run_id=?", (run["run_id"],)).fetchone()
    known: dict[str, object] = json.loads(row[0]) if row else {}
    known.update((key, value) for key, value in run.items() if value is not None)
    connection.execute(
        "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)",
        (
            known["run_id"],
            known["id"],
            known.get("started", 0.0),  # pages of runs are cut by it, and NULL has no order
            known.get("ended"),
            known.get("exit_code"),
            json.dumps(known, separators=(",", ":")),
        ),
    )


def newest_event(connection: sqlite3.Connection) -> int:
    """The highest event number stored, 0 when there is none."""
    return int(connection.execute("SELECT max(seq) FROM events").fetchone()[0] or 0)


def series_number(connection: sqlite3.Connection, id: str) -> int:
    """The number that stands for a strategy's id in the usage tables, made if need be."""
    connection.execute("INSERT INTO series (id) VALUES (?) ON CONFLICT (id) DO NOTHING", (id,))
    return int(connection.execute("SELECT sid FROM series WHERE id=?", (id,)).fetchone()[0])


def forget_usage(connection: sqlite3.Connection, id: str) -> None:
    """Drop all usage of a strategy."""
    sid = series_number(connection, id)
    for level in LEVELS:
        connection.execute(f"DELETE FROM usage_{level} WHERE sid=?", (sid,))


def write_usage(connection: sqlite3.Connection, sid: int, level: int, buckets: Mapping[int, Bucket]) -> None:
    """Add buckets to those of the same time: sums add, maxima stay maxima."""
    connection.executemany(
        f"""INSERT INTO usage_{level} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (sid, t) DO UPDATE SET
            cpu_n=cpu_n+excluded.cpu_n, cpu_sum=cpu_sum+excluded.cpu_sum, cpu_max=max(cpu_max, excluded.cpu_max),
            memory_n=memory_n+excluded.memory_n, memory_sum=memory_sum+excluded.memory_sum,
            memory_max=max(memory_max, excluded.memory_max), threads=max(threads, excluded.threads),
            files=max(files, excluded.files)""",
        [(sid, t, *bucket) for t, bucket in buckets.items()],
    )


def read_usage(connection: sqlite3.Connection, id: str, level: int, step: int, first: int, last: int) -> list[Row]:
    """Buckets of `step` seconds with first <= t <= last, from the table of `level`, by time; plain rows, not Bucket
    objects: making those takes as long as SQLite."""
    where = f"FROM usage_{level} WHERE sid=(SELECT sid FROM series WHERE id=?) AND t BETWEEN ? AND ?"
    columns = "cpu_n, cpu_sum, cpu_max, memory_n, memory_sum, memory_max, threads, files"
    if step == level:
        query = f"SELECT t, {columns} {where}"
    else:
        query = f"""SELECT t - t % {int(step)} AS at, sum(cpu_n), sum(cpu_sum), max(cpu_max), sum(memory_n),
                    sum(memory_sum), max(memory_max), max(threads), max(files) {where} GROUP BY at"""
    return connection.execute(query, (id, first, last + step - 1)).fetchall()


def trim_usage(connection: sqlite3.Connection, sid: int, now: float) -> None:
    """Drop one strategy's buckets that are older than their level keeps."""
    for level in LEVELS:
        connection.execute(f"DELETE FROM usage_{level} WHERE sid=? AND t<?", (sid, int(now) - KEEP_S[level] - 60))


def trim_all_usage(connection: sqlite3.Connection, now: float) -> None:
    """The same for every strategy, also those that no longer run."""
    for (sid,) in connection.execute("SELECT sid FROM series").fetchall():
        trim_usage(connection, sid, now)


def trim(connection: sqlite3.Connection, table: str, before: float) -> int:
    """Drop the oldest rows of `runs` or `events` from before that time, a portion at once; returns how many went."""
    key, column = ("run_id", "started") if table == "runs" else ("seq", "t")
    return connection.execute(
        f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {column}<? LIMIT {DELETE_ROWS})",
        (before,),
    ).rowcount
