"""What the history has been told and has not yet on disk: bounded, and part of every answer.

Written by whoever hands facts over, emptied by the one writer thread. A refusing disk makes these grow to their bounds
and no further: the oldest go first, counted. Holds its lock for microseconds and never touches the disk.
"""

from __future__ import annotations

import threading
import zlib
from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from stratpanel.supervisor.history import usage

MOST_EVENTS = 10_000
MOST_RUNS = 5_000
MOST_SAMPLES = 3_600  # per strategy: an hour
# Every strategy's samples go to another page of the file: a write of 60 seconds costs as much as one of a second.
SHORTEST_WAIT_S = 10.0
LONGEST_WAIT_S = 60.0
STRATEGIES_PER_SECOND = 5

Json = dict[str, object]
Event = tuple[int, float, Json]  # number, epoch seconds, the row


@dataclass
class Batch:
    """What one transaction writes."""

    events: list[Event] = field(default_factory=list)
    runs: dict[str, Json] = field(default_factory=dict)
    usage: dict[str, array[int]] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.events or self.runs or self.usage or self.forgotten)


@dataclass(frozen=True)
class View:
    """A copy for one answer; `samples` are those of the strategy asked for."""

    events: list[Event]
    runs: dict[str, Json]
    samples: list[array[int]]


class Pending:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._runs: dict[str, Json] = {}
        self._usage: dict[str, array[int]] = {}
        self._taken: dict[str, array[int]] = {}  # samples in the transaction that is being written
        self._due: dict[str, float] = {}
        self._forgotten: set[str] = set()
        self.dropped = 0

    def add_event(self, seq: int, at: float, row: Json) -> None:
        """Keep an event; the oldest goes when there are MOST_EVENTS."""
        with self._lock:
            if len(self._events) >= MOST_EVENTS:
                self._events.popleft()
                self.dropped += 1
            self._events.append((seq, at, row))

    def add_run(self, row: Json) -> None:
        """Merge what is known of a run into what was."""
        run_id = str(row["run_id"])
        with self._lock:
            known = self._runs.get(run_id)
            if known is None and len(self._runs) >= MOST_RUNS:
                del self._runs[next(iter(self._runs))]
                self.dropped += 1
            self._runs[run_id] = {**known, **row} if known else row  # a new object: one being written stays as it is

    def add_usage(self, t: float, figures: Mapping[str, usage.Figures]) -> None:
        """Append one sample per strategy."""
        with self._lock:
            for id, values in figures.items():
                samples = self._usage.get(id)
                if samples is None:
                    samples = self._usage[id] = array("q")
                elif len(samples) >= MOST_SAMPLES * usage.WIDTH:
                    del samples[: 60 * usage.WIDTH]
                    self.dropped += 60
                usage.add_sample(samples, t, values)

    def forget(self, id: str) -> None:
        """Drop a strategy's samples, here and at the next transaction on disk."""
        with self._lock:
            self._usage.pop(id, None)
            self._due.pop(id, None)
            self._forgotten.add(id)

    def everything_is_due(self) -> None:
        """The next `take` has all samples, not only those whose turn it is."""
        with self._lock:
            self._due = dict.fromkeys(self._usage, 0.0)

    def take(self, now: float) -> Batch:
        """What to write now (`now` monotonic). Stays part of `view` until `stored` or `give_back`."""
        with self._lock:
            batch = Batch(list(self._events), dict(self._runs), {}, set(self._forgotten))
            wait = min(max(len(self._usage) / STRATEGIES_PER_SECOND, SHORTEST_WAIT_S), LONGEST_WAIT_S)
            for id in list(self._usage):
                due = self._due.get(id)
                if due is None:  # the first turn is spread, so that strategies started together take turns
                    self._due[id] = now + wait * (zlib.crc32(id.encode("utf-8", "surrogateescape")) % 100) / 100
                elif due <= now:
                    self._due[id] = now + wait
                    batch.usage[id] = self._taken[id] = self._usage.pop(id)
            return batch

    def stored(self, batch: Batch) -> None:
        """The batch is on disk."""
        with self._lock:
            if batch.events:
                newest = batch.events[-1][0]
                while self._events and self._events[0][0] <= newest:
                    self._events.popleft()
            for run_id, row in batch.runs.items():
                if self._runs.get(run_id) is row:
                    del self._runs[run_id]
            self._taken.clear()
            self._forgotten -= batch.forgotten

    def give_back(self, batch: Batch) -> None:
        """The batch could not be written."""
        with self._lock:
            for id, samples in batch.usage.items():
                samples.extend(self._usage.get(id, ()))
                self._usage[id] = samples
            self._taken.clear()

    def view(self, id: str | None = None) -> View:
        """A copy of events and runs, and of the samples of strategy `id`."""
        with self._lock:
            samples = [array("q", held[id]) for held in (self._taken, self._usage) if id is not None and id in held]
            return View(list(self._events), dict(self._runs), samples)
