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
_MARGIN_DAYS = 3  # a window of day d lies within d-3 … d+3 whatever its zone, offsets and length
_FIRST_LOOK_DAYS = 12


class Span(NamedTuple):
    """Stretches that touch: one start, one stop. `stop` None = it goes on past the horizon."""

    start: int
    stop: int | None
    runs: tuple[Run, ...]

    def assumed_at(self, at: float) -> bool:
        """True where nothing but an unknown calendar's presumed window covers this instant."""
        covering = [run.assumed for run in self.runs if run.start <= at < run.stop]
        return bool(covering) and all(covering)

    def run_at(self, at: float) -> Run:
        """The stretch that covers this instant, a confirmed one first, the longest first."""
        covering = [run for run in self.runs if run.start <= at < run.stop] or [self.runs[0]]
        return min(covering, key=lambda run: (run.assumed, -run.stop))


class Timeline:
    """The spans of one plan. Not for several threads to extend at once without harm to speed, but never wrong."""

    def __init__(self, plan: Plan, calendar: Calendar | None) -> None:
        self.placement = Placement(plan, calendar)
        self._exceptions = [e.date for e in plan.exceptions]
        self._table: tuple[int, int, list[int], list[Span]] = (0, 0, [], [])  # complete from, to; starts; spans

    def at(self, moment: float) -> tuple[Span | None, Span | None]:
        """The span that covers the instant, and the first that starts after it (within the horizon)."""
        days = _FIRST_LOOK_DAYS
        while True:
            _low, high, starts, spans = self._cover(moment, days)
            index = bisect_right(starts, moment)
            inside = spans[index - 1] if index and (spans[index - 1].stop or 0) > moment else None
            after = spans[index] if index < len(spans) and spans[index].start < high else None
            open_end = inside is not None and (inside.stop or 0) >= high
            if not open_end and (after is not None or inside is not None):
                return inside, after
            if days >= self._horizon(moment):
                return (inside._replace(stop=None) if inside and open_end else inside), after
            days = self._horizon(moment) if days > _FIRST_LOOK_DAYS else 4 * _FIRST_LOOK_DAYS

    def after(self, span: Span) -> Span | None:
        """The span that follows this one."""
        return None if span.stop is None else self.at(span.stop)[1]

    def spans(self, start: float, end: float) -> list[Span]:
        """All spans that overlap [start, end)."""
        first = _day(start) - timedelta(days=_MARGIN_DAYS)
        count = (_day(end) - first).days + _MARGIN_DAYS + 1
        found = join(run for n in range(count) for run in self.placement.on(first + timedelta(days=n)))
        return [span for span in found if span.start < end and (span.stop or 0) > start]

    def _horizon(self, moment: float) -> int:
        latest = max(self._exceptions, default=date.min)
        return max(HORIZON_DAYS, (latest - _day(moment)).days + 2 * _MARGIN_DAYS)

    def _cover(self, moment: float, days: int) -> tuple[int, int, list[int], list[Span]]:
        """A table complete from before `moment` until at least `days` after it."""
        table = self._table
        if table[0] <= moment and table[1] >= moment + days * DAY_SECONDS - 2 * DAY_SECONDS:
            return table
        first = _day(moment) - timedelta(days=2 * _MARGIN_DAYS)
        count = days + 4 * _MARGIN_DAYS
        spans = join(run for n in range(count) for run in self.placement.on(first + timedelta(days=n)))
        low = int(moment) - _MARGIN_DAYS * DAY_SECONDS
        high = int(moment) + (days + 1) * DAY_SECONDS  # the first day not placed cannot reach back this far
        self._table = table = (low, high, [span.start for span in spans], spans)
        return table


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


@lru_cache(maxsize=4096)
def timeline(plan: Plan, calendar: Calendar | None) -> Timeline:
    """The kept timeline of a plan; raises InvalidTime where the plan cannot be read."""
    return Timeline(plan, calendar)
