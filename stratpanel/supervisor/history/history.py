"""What happened in this workspace, kept in `log/stratpanel.db`: runs, events and usage.

The loop hands facts over without waiting; one writer thread puts them into SQLite in batches; worker threads ask.
What is not on disk yet is part of every answer, so a full or read-only disk only means that history lives in memory for
a while, and says so. Nothing of the supervisor depends on the file: a damaged one is set aside.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path

from stratpanel.supervisor.history import query
from stratpanel.supervisor.history.file import HistoryFile
from stratpanel.supervisor.history.pending import Json, Pending
from stratpanel.supervisor.history.usage import Figures


class History:
    """Opens at once, whatever the disk says. `on_problem` is called from the writer thread with a sentence or None."""

    def __init__(
        self,
        path: Path,
        *,
        zone: tzinfo = UTC,
        on_problem: Callable[[str | None], None] | None = None,
        now: Callable[[], float] = time.time,
        runs_days: int | None = 1095,
        events_days: int | None = 730,
    ) -> None:
        self._zone = zone
        self._now = now
        self._pending = Pending()
        self._seq_lock = threading.Lock()
        self._last_seq = 0
        self._file = HistoryFile(
            path,
            self._pending,
            seq=lambda: self._last_seq,
            on_problem=on_problem,
            now=now,
            keep_days={"runs": runs_days, "events": events_days},
        )
        self._last_seq = self._file.first_seq
        self._file.start()

    @property
    def problem(self) -> str | None:
        """Why history is only kept in memory, and what to do; None when all is well."""
        return self._file.problem

    @property
    def damaged(self) -> Path | None:
        """Where a damaged file was put, if one was found since the start."""
        return self._file.damaged

    @property
    def last_seq(self) -> int:
        """The newest event number given out, by this supervisor or an earlier one."""
        return self._last_seq

    # -- handing over: any thread, never waits for the disk

    def append_event(self, event: Mapping[str, object]) -> Json:
        """Keep an event; returns it with `seq` and `time` (RFC 3339), made where missing. A given `seq` must grow."""
        row = dict(event)
        with self._seq_lock:
            given = row.get("seq")
            seq = given if isinstance(given, int) else self._last_seq + 1
            self._last_seq = max(self._last_seq, seq)
            row["seq"] = seq
            at = query.epoch(row.get("time"))
            if at is None:
                at = self._now()
            if not isinstance(row.get("time"), str):
                row["time"] = query.time_text(at, self._zone)
            self._pending.add_event(seq, at, row)
        self._file.wake()
        return row

    def record_run(self, run: Mapping[str, object]) -> None:
        """Keep what is known of a run, by its `run_id`; later values win, None never erases.

        Exit records can be given as they are; `started` and `ended` may be epoch seconds, datetimes or RFC 3339.
        """
        if not isinstance(run.get("run_id"), str) or not isinstance(run.get("id"), str):
            raise ValueError(f"a run needs run_id and id, this one has only {sorted(run)}")
        row = {name: value for name, value in run.items() if value is not None and name != "v"}
        for name in ("started", "ended"):
            at = query.epoch(row.pop(name, None))
            if at is not None:
                row[name] = at
        self._pending.add_run(row)
        self._file.wake()

    def add_usage(self, t: float, figures: Mapping[str, Figures]) -> None:
        """Keep one sample for each strategy: CPU percent of one core, MiB, threads, open files; None is unknown."""
        self._pending.add_usage(t, figures)

    def forget(self, id: str) -> None:
        """Drop the usage of a removed strategy; its runs and events stay history."""
        self._pending.forget(id)
        self._file.wake()

    # -- asking: worker threads, a few milliseconds

    def runs(
        self, id: str | None = None, limit: int = 100, before: str | None = None, since: float | None = None
    ) -> list[Json]:
        """Newest first; `before` is the run_id of the last one seen, `since` the earliest start in epoch seconds."""
        found = self._file.ask(lambda file, view: query.runs(file, view, id, limit, before, since))
        return [query.shown_run(run, self._zone, brief=True) for run in found]

    def run(self, run_id: str) -> Json | None:
        """Everything kept of one run, its configuration too."""
        found = self._file.ask(lambda file, view: query.run(file, view, run_id))
        return query.shown_run(found, self._zone, brief=False) if found else None

    def succeeded_since(self, id: str, t: float) -> bool:
        """True when a run of this strategy ended with exit code 0 at or after the epoch time `t`."""
        return self._file.ask(lambda file, view: query.succeeded_since(file, view, id, t))

    def events(
        self,
        since: int = 0,
        limit: int = 1000,
        id: str | None = None,
        types: Sequence[str] | None = None,
        *,
        newest: bool = False,
    ) -> list[Json]:
        """Events numbered above `since`, oldest first: the first `limit` of them, or with `newest` the last."""
        return self._file.ask(lambda file, view: query.events(file, view, since, limit, id, types, newest))

    def event_bounds(self) -> tuple[int, int]:
        """(oldest, newest) event number; (newest + 1, newest) when none is kept."""
        oldest = self._file.ask(query.oldest_event)
        return (self._last_seq + 1 if oldest is None else oldest), self._last_seq

    def usage(self, id: str, since: float | None = None, step: int | None = None, until: float | None = None) -> Json:
        """The usage body of CONTRACTS from `since` (epoch s, default an hour ago), with maxima beside the means.

        Points are `step_s` apart, null where nothing was measured; a step finer than what is kept is raised.
        """
        question = partial(query.usage_series, id=id, since=since, step=step, until=until, now=self._now())
        return self._file.ask(question, usage_of=id)

    # -- life

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until what was handed over before is on disk; False when the disk refuses."""
        return self._file.flush(timeout)

    def close(self) -> None:
        """Write what is left and end the writer thread."""
        self._file.close()
