"""Where a plan's windows fall on real days: the one place that knows what clock and session times mean.

Called by the timeline, by explain and by the check of schedules. `Placement.on(day)` gives the stretches that start on
a day as UTC seconds; `why_not(day)` says in words why a window does not take place. Pure; never asks the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple

from stratpanel.market.calendar import Calendar, Day
from stratpanel.market.clock import MINUTES_A_DAY, Mark, instant, local, parse_day, parse_mark, zone
from stratpanel.market.plan import DayException, Plan, Window

How = Literal["written", "distance", "session", "kept", "also", "presumed"]


class Run(NamedTuple):
    """One stretch from `start` to `stop` (epoch seconds). `assumed`: the calendar could not confirm it."""

    start: int
    stop: int
    assumed: bool
    date: date
    window: int
    how: How
    day: Day | None


class Blocked(NamedTuple):
    """Why a window does not take place on a day. The lowest rank is what a trader wants to hear first."""

    rank: int
    why: str


@dataclass(frozen=True, slots=True)
class _Marks:
    window: Window
    start: Mark
    stop: Mark
    days: frozenset[int]


class Placement:
    """A plan read once, with its calendar and zone. Raises InvalidTime where the plan cannot be read."""

    def __init__(self, plan: Plan, calendar: Calendar | None) -> None:
        self.plan = plan
        self.calendar = calendar
        self.always = calendar is not None and calendar.always_open
        self.missing = calendar is None and bool(plan.calendar)
        self.zoneless = self.missing and not plan.timezone  # its zone was the calendar's: nothing can be placed
        self.zone = zone(plan.timezone or (calendar.timezone.key if calendar else "UTC"))
        self.windows = tuple(
            _Marks(w, parse_mark(w.start), parse_mark(w.stop), frozenset(map(parse_day, w.days))) for w in plan.windows
        )
        self.closed: dict[date, DayException] = {}
        self.also: dict[date, list[DayException]] = {}
        for exception in plan.exceptions:
            if exception.kind == "closed":
                self.closed[exception.date] = exception
            else:
                self.also.setdefault(exception.date, []).append(exception)

    def on(self, day: date) -> list[Run]:
        """The stretches that belong to this day, in order of their start; touching ones are not joined."""
        found = [one for one in self._windows(day) if isinstance(one, Run)]
        for exception in self.also.get(day, ()):
            found += self._also(exception)
        return sorted(found) if len(found) > 1 else found

    def why_not(self, day: date) -> str | None:
        """The best reason why no window takes place on this day; None when one does, or there are none."""
        answers = list(self._windows(day))
        if day in self.also or any(isinstance(one, Run) for one in answers):
            return None
        blocked = sorted(one for one in answers if isinstance(one, Blocked))
        return blocked[0].why if blocked else None

    def unplaceable(self, day: date) -> bool:
        """Whether a window cannot be placed at all on this day, because its calendar with its sessions is gone."""
        if self.plan.calendar is None or self.always:
            return False
        follows = any(marks.start.relative or marks.stop.relative for marks in self.windows)
        return follows and (self.calendar is None or (not self.calendar.hours and not self.calendar.day(day).known))

    def _windows(self, day: date) -> Iterator[Run | Blocked]:
        exception = self.closed.get(day)
        for index, marks in enumerate(self.windows):
            if exception is not None:
                yield Blocked(0, f"not on {day}" + (f": {exception.why}" if exception.why else ""))
            elif marks.start.relative:
                yield self._by_session(index, marks, day)
            else:
                yield self._by_clock(index, marks, day)

    # -- windows that start by the clock

    def _by_clock(self, index: int, marks: _Marks, day: date) -> Run | Blocked:
        start = instant(day, marks.start.minutes, self.zone)
        if self.calendar is None or self.always:
            if day.weekday() not in marks.days:
                return Blocked(4, f"not on its days ({_short(day.weekday())})")
            if marks.stop.relative:
                return Blocked(2, f"{marks.stop} needs a calendar that can answer")
            stop = self._clock_stop(marks, day)
            return self._run(start, stop, index, day, "presumed" if self.missing else "written", None)
        date_ = self.calendar.session_date(start)
        if not self.calendar.hours and not self.calendar.day(date_).known and not marks.stop.relative:
            if day.weekday() not in marks.days:
                return Blocked(4, f"not on its days ({_short(day.weekday())})")
            return self._run(start, self._clock_stop(marks, day), index, day, "presumed", self.calendar.day(date_))
        session = self._session(marks, date_, day.weekday())
        if isinstance(session, Blocked):
            return session
        stop = self._at(marks.stop, session) if marks.stop.relative else self._clock_stop(marks, day)
        if session.kind == "regular" or session.usual_open is None or session.usual_close is None:
            return self._run(start, stop, index, day, "written", session)
        later, earlier = session.open - session.usual_open, session.close - session.usual_close
        if marks.stop.relative:
            return self._fit((start + later, stop), (start, stop), index, day, session)
        if start + later >= stop + earlier:  # keeping both distances leaves nothing
            if stop <= session.usual_open:  # wholly before the open: it moves with the open
                return self._run(start + later, stop + later, index, day, "distance", session)
            if start >= session.usual_close:  # wholly after the close
                return self._run(start + earlier, stop + earlier, index, day, "distance", session)
        return self._fit((start + later, stop + earlier), (start, stop), index, day, session)

    def _clock_stop(self, marks: _Marks, day: date) -> int:
        overnight = marks.stop.minutes <= marks.start.minutes
        return instant(day, marks.stop.minutes + (MINUTES_A_DAY if overnight else 0), self.zone)

    def _fit(
        self, moved: tuple[int, int], written: tuple[int, int], index: int, day: date, session: Day
    ) -> Run | Blocked:
        """Clock times on a shortened or moved session: a start keeps its distance to the open, a stop to the close.

        A start that would come after the real close that way stands as written, or begins with the session. Where
        nothing is left, a time as written that lies inside the real session stands (09:30–11:00 on a half day); what
        then still is empty is left out.
        """
        start, stop = moved
        if start >= session.close and session.usual_close is not None and written[0] < session.usual_close:
            start = max(written[0], session.open)  # MCX 17:00–23:30 on a day with an evening session only
        if start < stop:
            return self._run(start, stop, index, day, "distance", session)
        if session.open <= written[0] < session.close:
            start = written[0]
        if session.open < written[1] <= session.close:
            stop = written[1]
        return self._run(start, stop, index, day, "kept", session) if start < stop else self._too_short(session)

    # -- windows that start with the session

    def _by_session(self, index: int, marks: _Marks, day: date) -> Run | Blocked:
        if self.calendar is None or self.always:
            return Blocked(2, f"{marks.start} needs a calendar with sessions that can answer")
        session = self._session(marks, day, day.weekday())
        if isinstance(session, Blocked):
            return session
        start = self._at(marks.start, session)
        if marks.stop.relative:
            return self._run(start, self._at(marks.stop, session), index, day, "session", session)
        stop = self._stop_after(marks, session)
        if session.kind == "regular" or session.usual_close is None:
            return self._run(start, stop, index, day, "session", session)
        return self._fit((start, stop + session.close - session.usual_close), (start, stop), index, day, session)

    def _stop_after(self, marks: _Marks, session: Day) -> int:
        """The first time the clock shows the stop after the usual start of this date."""
        base = session.usual_open if marks.start.anchor == "open" else session.usual_close
        usual = (session.open if base is None else base) + marks.start.minutes * 60
        day = local(usual, self.zone).date()
        stop = instant(day, marks.stop.minutes, self.zone)
        return stop if stop > usual else instant(day, marks.stop.minutes + MINUTES_A_DAY, self.zone)

    @staticmethod
    def _at(mark: Mark, session: Day) -> int:
        return (session.open if mark.anchor == "open" else session.close) + mark.minutes * 60

    # -- what both share

    def _session(self, marks: _Marks, date_: date, weekday: int) -> Day | Blocked:
        """The session a window goes by on this date, or why it takes no part. Unknown days give a presumed one."""
        assert self.calendar is not None
        day = self.calendar.day(date_)
        if day.kind == "special":
            return day if self._follows(marks, day, weekday) else Blocked(1, self._not_told(day))
        if day.kind == "closed":
            return Blocked(1 if day.regular_weekday or day.origin == "override" else 3, f"closed: {day.why}")
        if weekday not in marks.days:
            return Blocked(4, f"not on its days ({_short(weekday)})")
        if day.kind == "unknown":
            return self.calendar.presumed(date_) or Blocked(2, day.why)
        return day

    def _follows(self, marks: _Marks, day: Day, weekday: int) -> bool:
        """Whether a window takes part in a special session. One that follows sessions does, unless it was meant for
        certain weekdays only (an expiry-day strategy has no business on a Sunday)."""
        if marks.window.on_special:
            return True
        assert self.calendar is not None
        return marks.start.relative and (
            weekday in marks.days or self.calendar.trading_weekdays(day.date) <= marks.days
        )

    def _not_told(self, day: Day) -> str:
        assert self.calendar is not None
        tz = self.calendar.timezone
        hours = f"{local(day.open, tz):%H:%M}–{local(day.close, tz):%H:%M %Z}"
        return f"only a special session ({day.why}, {hours}); set on_special to take part"

    def _too_short(self, session: Day) -> Blocked:
        assert self.calendar is not None
        tz = self.calendar.timezone
        hours = f"{local(session.open, tz):%H:%M}–{local(session.close, tz):%H:%M %Z}"
        return Blocked(1, f"the session is too short for this window ({session.why}, {hours})")

    def _run(self, start: int, stop: int, index: int, day: date, how: How, session: Day | None) -> Run | Blocked:
        if start >= stop:
            if session is not None and session.kind != "regular":
                return self._too_short(session)
            return Blocked(2, "the clock jumps over the whole window")
        assumed = how == "presumed" or (session is not None and not session.known)
        return Run(start, stop, assumed, day, index, "presumed" if assumed else how, session)

    def _also(self, exception: DayException) -> Iterator[Run]:
        """The stretches of an `also`; without times of its own it uses the plan's windows."""
        pairs = [(marks.start, marks.stop) for marks in self.windows]
        if exception.start and exception.stop:
            pairs = [(parse_mark(exception.start), parse_mark(exception.stop))]
        day = exception.date
        for start_mark, stop_mark in pairs:
            start, stop = self._also_at(start_mark, day), self._also_at(stop_mark, day)
            if start is None or stop is None:
                continue
            if stop <= start and not stop_mark.relative:
                stop = instant(day, stop_mark.minutes + MINUTES_A_DAY, self.zone)
            if start < stop:
                yield Run(start, stop, False, day, -1, "also", None)

    def _also_at(self, mark: Mark, day: date) -> int | None:
        if not mark.relative:
            return instant(day, mark.minutes, self.zone)
        if self.calendar is None or self.always:
            return None
        known = self.calendar.day(day)
        if known.parts:
            return self._at(mark, known)
        usual = known.usual_open if mark.anchor == "open" else known.usual_close
        return None if usual is None else usual + mark.minutes * 60


def _short(weekday: int) -> str:
    return ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[weekday]
