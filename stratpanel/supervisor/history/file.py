"""The history's file while the supervisor lives: opened, written by one thread, replaced when damaged, read by many.

Belongs to `history.py`. Every trouble of the disk ends here as a sentence in `problem`; nothing is raised to whoever
hands facts over or asks, and a full or read-only disk is tried again every few seconds.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from stratpanel.supervisor.history import database, usage
from stratpanel.supervisor.history.pending import Batch, Json, Pending, View

log = logging.getLogger("stratpanel.history")

BATCH_S = 0.25  # events and runs wait this long for company before a transaction
RETRY_S = 5.0  # between tries while the disk refuses
LOOK_S = 10.0  # how often we look whether somebody removed the file
TRIM_S = 3600.0
SEQ_BLOCK = 1000  # event numbers reserved ahead on disk: one given out and lost in a kill is never given again
IDLE_READERS = 4
# what is worth keeping of the status fields that an event carries; the rest is in the run
_STRATEGY_KEPT = ("id", "name", "state", "why", "run_id", "version", "mode", "hold", "restarts")

T = TypeVar("T")


class HistoryFile:
    """Owns the connections. `seq` is a callable that gives the newest event number handed out."""

    def __init__(
        self,
        path: Path,
        pending: Pending,
        *,
        seq: Callable[[], int],
        on_problem: Callable[[str | None], None] | None,
        now: Callable[[], float],
        keep_days: dict[str, int | None],
    ) -> None:
        self.path = path
        self.problem: str | None = None
        self.damaged: Path | None = None  # where a damaged file was put
        self.first_seq = 0  # no event numbered up to this may be given out again
        self._pending = pending
        self._seq = seq
        self._on_problem = on_problem
        self._now = now
        self._keep_days = keep_days
        self._writer: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._reserved = 0
        self._commit_lock = threading.Lock()  # so that a reader sees each fact once: on disk or pending
        self._readers: list[sqlite3.Connection] = []
        self._generation = 0  # of the file; readers of an older one are closed
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._closing = False
        self._turns = 0
        self._turned = threading.Condition()
        self._damage: sqlite3.DatabaseError | None = None
        self._tried_at = self._looked_at = self._trimmed_at = time.monotonic()
        self._open()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to write."""
        self._wake.set()

    def flush(self, timeout: float) -> bool:
        """Wait until what was handed over before is on disk, or the disk refused it (False)."""
        with self._turned:
            target = self._turns + 2  # the turn under way may have taken its batch already
            while self._turns < target and self._thread.is_alive():
                self._urgent.set()
                self._wake.set()
                if not self._turned.wait(timeout):
                    return False
        return self.problem is None

    def close(self) -> None:
        """Write what is left, end the thread, close the file."""
        self._closing = True
        self._urgent.set()
        self._wake.set()
        self._thread.join(timeout=10)
        with self._commit_lock:
            self._drop_readers()

    def ask(self, question: Callable[[sqlite3.Connection | None, View], T], usage_of: str | None = None) -> T:
        """Put a question to one moment of disk and memory; a damaged file is answered from memory alone."""
        with self._commit_lock:
            generation = self._generation
            file = self._take_reader()
            view = self._pending.view(usage_of)
        if file is None:
            return question(None, view)
        try:
            return question(file, view)
        except sqlite3.Error as error:
            self._cannot_read(error)
            return question(None, view)
        finally:
            self._put_reader(file, generation)

    # -- the writer thread

    def _run(self) -> None:
        while not self._closing:
            if self._wake.wait(timeout=1.0):
                self._urgent.wait(timeout=BATCH_S)
            self._wake.clear()
            self._turn()
        self._turn()
        self._close_file()
        with self._turned:
            self._turned.notify_all()

    def _turn(self) -> None:
        """One look at what there is to do; whatever the disk does, the next turn comes."""
        urgent = self._urgent.is_set()
        self._urgent.clear()
        if urgent or self._closing:
            self._pending.everything_is_due()
        try:
            if self._damage is not None:
                raise self._damage
            if self._writer is None and (urgent or time.monotonic() - self._tried_at >= RETRY_S):
                self._open()
            if self._writer is not None:
                self._look_at_file(urgent)
                self._write_pending()
                self._trim()
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
        with self._turned:
            self._turns += 1
            self._turned.notify_all()

    def _write_pending(self) -> None:
        if self._writer is None:
            return
        batch = self._pending.take(time.monotonic())
        if not batch:
            return
        try:
            self._store(self._writer, batch)
            with self._commit_lock:
                self._writer.execute("COMMIT")
                self._pending.stored(batch)
        except BaseException:
            self._pending.give_back(batch)
            raise
        self._say(None)
        if self._wal_bytes() > database.WAL_BYTES:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _store(self, file: sqlite3.Connection, batch: Batch) -> None:
        """Everything of the batch into one transaction, left open."""
        file.execute("BEGIN IMMEDIATE")
        database.write_events(
            file,
            (
                (seq, at, str(event.get("type")), _text_or_none(event.get("id")), _as_json(event))
                for seq, at, event in batch.events
            ),
        )
        for run in batch.runs.values():
            database.write_run(file, run)
        for id in batch.forgotten:
            database.forget_usage(file, id)
        for id, samples in batch.usage.items():
            buckets = usage.seconds(samples)
            sid = database.series_number(file, id)
            for level in usage.LEVELS:
                buckets = usage.roll(buckets, level)
                database.write_usage(file, sid, level, buckets)
            database.trim_usage(file, sid, self._now())
        if self._seq() > self._reserved - SEQ_BLOCK // 2:
            self._reserve(file, self._seq())

    def _reserve(self, file: sqlite3.Connection, newest: int) -> None:
        self._reserved = newest + SEQ_BLOCK
        database.set_fact(file, "event_seq", self._reserved)

    # -- the file

    def _open(self) -> None:
        """Open the file, setting a damaged one aside; afterwards `_writer` is there, or `problem` says why not."""
        self._tried_at = time.monotonic()
        try:
            try:
                writer = database.open_or_create(self.path)
            except sqlite3.DatabaseError as error:
                if not database.is_damage(error):
                    raise
                self._set_aside(error)
                writer = database.open_or_create(self.path)
            known = max(database.fact(writer, "event_seq") or 0, database.newest_event(writer))
            if self.damaged and not known:
                known = int(self._now())  # above whatever the damaged file had given out
            self.first_seq = max(self.first_seq, known)
            writer.execute("BEGIN IMMEDIATE")
            self._reserve(writer, max(known, self._seq()))
            writer.execute("COMMIT")
            stat = self.path.stat()
            self._inode = (stat.st_dev, stat.st_ino)
            self._writer = writer
            self._say(None)
        except (sqlite3.Error, OSError, database.TooNew) as error:
            self.first_seq = max(self.first_seq, int(self._now()))
            self._say(database.in_words(error, self.path))

    def _set_aside(self, error: sqlite3.Error) -> None:
        self.damaged = database.set_aside(self.path)
        log.error(
            "%s is damaged (%s) and was set aside as %s; a new history begins, strategies are not touched",
            self.path,
            error,
            self.damaged.name,
        )

    def _failed(self, error: sqlite3.Error | OSError) -> None:
        """A damaged file is replaced at once; anything else is tried again later, everything kept in memory."""
        self._damage = None
        self._close_file()
        self._tried_at = time.monotonic()
        if isinstance(error, sqlite3.DatabaseError) and database.is_damage(error):
            try:
                self._set_aside(error)
                self._open()
                self._wake.set()
                return
            except OSError as other:
                error = other
        self._say(database.in_words(error, self.path))

    def _close_file(self) -> None:
        writer, self._writer = self._writer, None
        with self._commit_lock:
            self._generation += 1
            self._drop_readers()
        if writer is None:
            return
        try:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            if self._closing:
                database.set_fact(writer, "event_seq", self._seq())
        except sqlite3.Error as error:  # the reason for closing has been said already
            log.debug("closing %s: %s", self.path, error)
        finally:
            writer.close()

    def _look_at_file(self, urgent: bool) -> None:
        """Somebody may remove or replace the file: SQLite would go on writing into what has no name."""
        if time.monotonic() - self._looked_at < LOOK_S and not urgent:
            return
        self._looked_at = time.monotonic()
        try:
            stat = self.path.stat()
            here: tuple[int, int] | None = (stat.st_dev, stat.st_ino)
        except FileNotFoundError:
            here = None
        if here != self._inode:
            log.warning("%s was removed or replaced; a new history begins", self.path)
            self._close_file()
            self._open()

    def _trim(self) -> None:
        """Once an hour drop what is older than it is kept, a portion a turn."""
        if self._writer is None or time.monotonic() - self._trimmed_at < TRIM_S:
            return
        for table, days in self._keep_days.items():
            if days and database.trim(self._writer, table, self._now() - days * 86_400) == database.DELETE_ROWS:
                return  # more at the next turn
        database.trim_all_usage(self._writer, self._now())
        self._trimmed_at = time.monotonic()

    def _wal_bytes(self) -> int:
        try:
            return Path(f"{self.path}-wal").stat().st_size
        except FileNotFoundError:  # just checkpointed and removed
            return 0

    def _say(self, problem: str | None) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        if problem:
            log.error("%s", problem)
        else:
            log.info("history is written to %s again (%d facts were dropped)", self.path, self._pending.dropped)
        if self._on_problem:
            self._on_problem(problem)

    # -- readers

    def _take_reader(self) -> sqlite3.Connection | None:
        """A connection with its snapshot taken; under the commit lock."""
        if self._writer is None:
            return None
        file = None
        try:
            file = self._readers.pop() if self._readers else database.connect(self.path)
            file.execute("BEGIN")
            file.execute("SELECT 1 FROM facts LIMIT 1").fetchone()  # SQLite takes the snapshot at the first read
            return file
        except sqlite3.Error as error:
            self._cannot_read(error)
            if file is not None:
                file.close()
            return None

    def _cannot_read(self, error: sqlite3.Error) -> None:
        """Say so, and have the writer set a damaged file aside: its own pages may still be whole in its cache."""
        log.warning("cannot read %s: %s", self.path, error)
        if isinstance(error, sqlite3.DatabaseError) and database.is_damage(error):
            self._damage = error
            self._wake.set()

    def _put_reader(self, file: sqlite3.Connection, generation: int) -> None:
        try:
            if file.in_transaction:
                file.execute("ROLLBACK")
            with self._commit_lock:
                if generation == self._generation and len(self._readers) < IDLE_READERS and not self._closing:
                    self._readers.append(file)
                    return
        except sqlite3.Error as error:
            log.debug("a reader of %s ends: %s", self.path, error)
        file.close()

    def _drop_readers(self) -> None:
        while self._readers:
            self._readers.pop().close()


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


def _as_json(event: Json) -> str:
    strategy = event.get("strategy")
    if isinstance(strategy, dict):
        event = {**event, "strategy": {name: strategy[name] for name in _STRATEGY_KEPT if name in strategy}}
    return json.dumps(event, separators=(",", ":"), default=str)
