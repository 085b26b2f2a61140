"""A plan's stretches joined into spans and kept for bisecting: what makes `decide` cheap.

Used by decide only. Windows that touch or overlap become one span, so 00:00–00:00 on every day never stops at
midnight. Built lazily around the instants asked for; looks at most `HORIZON_DAYS` ahead.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

from stratpanel.market.calendar import Calendar
from stratpanel.market.clock import DAY_SECONDS, utc
from stratpanel.market.plan import Plan
from stratpanel.market.runs import Placement, Run

HORIZON_DAYS = 400
_REACH = timedelta(days=3)  # a window of day d lies within d-3 … d+3 whatever its zone, offsets and length
_BEFORE = 2 * _REACH
_FIRST_LOOK_DAYS = 12
_KEEP_DAYS = 100
_EPOCH = date(1970, 1, 1).toordinal()


class Span(NamedTuple):
    """Stretches that touch: one start, one stop. `stop` None = it goes on past the horizon."""

    start: int
    stop: int | None
    runs: tuple[Run, ...]

    def run_at(self, at: float) -> Run:
        """The stretch that covers this instant, a confirmed one first, the longest first."""
        covering = [run for run in self.runs if run.start <= at < run.stop] or [self.runs[0]]
        return min(covering, key=lambda run: (run.assumed, -run.stop))


class _Table:
    """Days placed from `first` to before `end`; spans complete between the epoch seconds `low` and `high`."""

    __slots__ = ("end", "first", "high", "low", "spans", "starts")

    def __init__(self, first: date, end: date, low: int, high: int, spans: list[Span]) -> None:
        self.first, self.end, self.low, self.high, self.spans = first, end, low, high, spans
        self.starts = [span.start for span in spans]


class Timeline:
    """The spans of one plan. Not for several threads to extend at once without harm to speed, but never wrong."""

    def __init__(self, plan: Plan, calendar: Calendar | None) -> None:
        self.placement = Placement(plan, calendar)
        self._exceptions = [e.date for e in plan.exceptions]
        self._table = _Table(date.min, date.min, 0, 0, [])

    def at(self, moment: float) -> tuple[Span | None, Span | None]:
        """The span that covers the instant, and the first that starts after it (within the horizon)."""
        days = _FIRST_LOOK_DAYS
        while True:
            table = self._cover(moment, days)
            index = bisect_right(table.starts, moment)
            inside = table.spans[index - 1] if index and (table.spans[index - 1].stop or 0) > moment else None
            after = table.spans[index] if index < len(table.spans) and table.starts[index] < table.high else None
            open_end = inside is not None and (inside.stop or 0) >= table.high
            if not open_end and (after is not None or inside is not None):
                return inside, after
            if days >= self._horizon(moment):
                return (inside._replace(stop=None) if inside and open_end else inside), after
            days = 4 * _FIRST_LOOK_DAYS if days == _FIRST_LOOK_DAYS else self._horizon(moment)

    def spans(self, start: float, end: float) -> list[Span]:
        """All spans that overlap [start, end)."""
        found = join(self._placed(_day(start) - _BEFORE, _day(end) + _BEFORE))
        return [span for span in found if span.start < end and (span.stop or 0) > start]

    def _horizon(self, moment: float) -> int:
        latest = max(self._exceptions, default=date.min)
        return max(HORIZON_DAYS, (latest - _day(moment)).days + _BEFORE.days)

    def _cover(self, moment: float, days: int) -> _Table:
        """A table complete from before `moment` until at least `days` - 1 days after it."""
        table = self._table
        if table.low <= moment and table.high >= moment + (days - 1) * DAY_SECONDS:
            return table
        first, end = _day(moment) - _BEFORE, _day(moment) + timedelta(days=days) + _BEFORE
        if table.first < end and first < table.end:  # near the old one: cover both, so that looking back is no waste
            wide_first, wide_end = min(first, table.first), max(end, table.end)
            if (wide_end - wide_first).days <= max(_KEEP_DAYS, (end - first).days):
                first, end = wide_first, wide_end
        found = join(self._placed(first, end))
        self._table = table = _Table(first, end, _midnight(first + _REACH), _midnight(end - _REACH), found)
        return table

    def _placed(self, first: date, end: date) -> Iterator[Run]:
        for n in range((end - first).days):
            yield from self.placement.on(first + timedelta(days=n))


def join(runs: Iterator[Run]) -> list[Span]:
    """Sort stretches and join those that touch or overlap."""
    found: list[Span] = []
    pending: list[Run] = []
    stop = 0
    for run in sorted(runs, key=lambda one: (one.start, one.stop)):
        if pending and run.start <= stop:
            pending.append(run)
            stop = max(stop, run.stop)
            continue
        if pending:
            found.append(Span(pending[0].start, stop, tuple(pending)))
        pending, stop = [run], run.stop
    if pending:
        found.append(Span(pending[0].start, stop, tuple(pending)))
    return found


def _day(moment: float) -> date:
    return utc(moment).date()


def _midnight(day: date) -> int:
    return (day.toordinal() - _EPOCH) * DAY_SECONDS


@lru_cache(maxsize=4096)
def timeline(plan: Plan, calendar: Calendar | None) -> Timeline:
    """The kept timeline of a plan; raises InvalidTime where the plan cannot be read."""
    return Timeline(plan, calendar)
