"""The engine of a market calendar: effective-dated regular hours, closed days, partial and special sessions.

Built by `CalendarStore` from shipped TOML, the user's overrides and compiled tables; asked by `decide` and by
`calendar show`. A calendar is immutable, answers from a table it fills once per day asked for, and never invents a
session: past its data it says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from stratpanel.market.clock import MINUTES_A_DAY, instant, local, utc
from stratpanel.market.errors import CannotAnswer

SessionKind = Literal["regular", "early_close", "special"]
RowKind = Literal["regular", "closed", "partial", "special"]
Origin = Literal["shipped", "override", "compiled"]
Parts = tuple[tuple[int, int], ...]
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Session:
    """One uninterrupted stretch of trading, in UTC; a date with a break has several."""

    date: date
    open: datetime
    close: datetime
    kind: SessionKind
    why: str


@dataclass(frozen=True, slots=True)
class Hours:
    """Regular hours from `since` on: weekdays (0 = Monday) and parts in minutes after local midnight of the session's
    date (negative = the day before, over 1440 = the day after)."""

    since: date
    days: frozenset[int]
    parts: Parts
    source: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What differs from the regular hours on one date. `instants` (epoch seconds) replaces `parts` where given.

    `partial` is a regular day that lost part of its session: every schedule follows it. `special` is a session at an
    unusual time or on an unusual day: schedules by the clock take part only when told. `regular` occurs in compiled
    tables only.
    """

    kind: RowKind
    why: str
    parts: Parts = ()
    instants: Parts = ()
    source: str = ""
    origin: Origin = "shipped"


@dataclass(frozen=True, slots=True)
class Day:
    """What a calendar says of one date. Epoch seconds; `parts` is empty on a closed or unknown day.

    `usual_open` and `usual_close` are those of the regular hours in force, also on days that are not regular: the
    measure from which clock times keep their distance. None only where no regular hours are known at all.
    """

    date: date
    known: bool
    kind: Literal["regular", "partial", "special", "closed", "unknown"]
    why: str
    parts: Parts = ()
    usual_open: int | None = None
    usual_close: int | None = None
    regular_weekday: bool = False
    settlement: str = ""
    source: str = ""
    origin: Origin = "shipped"

    @property
    def open(self) -> int:
        return self.parts[0][0]

    @property
    def close(self) -> int:
        return self.parts[-1][1]

    @property
    def session_kind(self) -> SessionKind:
        """The kind the API shows: `early_close` only where the open is the usual one and the close is earlier."""
        if self.kind == "regular":
            return "regular"
        early = self.usual_open == self.open and self.usual_close is not None and self.close < self.usual_close
        return "early_close" if self.kind == "partial" and early else "special"


class Calendar:
    """One market's calendar. Compare and hash by identity: the store makes a new object when anything changed."""

    def __init__(
        self,
        name: str,
        *,
        timezone: ZoneInfo,
        title: str = "",
        hours: Sequence[Hours] = (),
        rows: Mapping[date, Row] | None = None,
        settlement: Mapping[date, str] | None = None,
        valid_from: date = date.min,
        valid_through: date = date.max,
        always_open: bool = False,
        compiled: bool = False,
        problem: str = "",
        remedy: str = "",
        origin: Origin = "shipped",
    ) -> None:
        self.name = name
        self.title = title or name
        self.timezone = timezone
        self.hours = tuple(sorted(hours, key=lambda row: row.since))
        self.rows = dict(rows or {})
        self.settlement = dict(settlement or {})
        self.valid_from = valid_from
        self.valid_through = valid_through
        self.always_open = always_open
        self.compiled = compiled
        self.problem = problem
        self.remedy = remedy
        self.origin: Origin = origin
        self._days: dict[date, Day] = {}

    def __repr__(self) -> str:
        return f"<Calendar {self.name} {self.timezone.key} through {self.valid_through}>"

    def hours_on(self, day: date) -> Hours | None:
        """The regular hours in force on a date (its weekday apart); before the first row, that first row."""
        found = self.hours[0] if self.hours else None
        weekday = day.weekday()
        for row in self.hours:
            if row.since > day:
                break
            if found is None or row.since > found.since or weekday in row.days:
                found = row
        return found

    def day(self, day: date) -> Day:
        """What is known of this date; never raises and never guesses."""
        found = self._days.get(day)
        if found is None:
            found = self._days[day] = self._resolve(day)
        return found

    def _resolve(self, day: date) -> Day:
        hours = self.hours_on(day)
        usual: Parts = ()
        if hours is not None:
            usual = tuple((instant(day, a, self.timezone), instant(day, b, self.timezone)) for a, b in hours.parts)
        opens, closes = (usual[0][0], usual[-1][1]) if usual else (None, None)
        weekday = hours is not None and day.weekday() in hours.days
        note = self.settlement.get(day, "")
        row = self.rows.get(day)
        if row is not None and (not self.problem or row.origin == "override"):
            parts = row.instants or tuple(
                (instant(day, a, self.timezone), instant(day, b, self.timezone)) for a, b in row.parts
            )
            why = row.why or ("" if row.kind == "regular" else f"{row.kind} session")
            return Day(day, True, row.kind, why, parts, opens, closes, weekday, note, row.source, row.origin)
        if self.problem or not self.valid_from <= day <= self.valid_through:
            return Day(day, False, "unknown", self.why_unknown(day), (), opens, closes, weekday, note)
        if weekday and hours is not None:
            return Day(day, True, "regular", "", usual, opens, closes, True, note, hours.source, self.origin)
        why = "weekend" if day.weekday() >= 5 else f"no session on {_WEEKDAYS[day.weekday()]}s"
        return Day(day, True, "closed", why, (), opens, closes, False, note, "", self.origin)

    def presumed(self, day: date) -> Day | None:
        """A regular day as if the data covered it, to place stops by on an unknown day; None on other weekdays."""
        hours = self.hours_on(day)
        if hours is None or day.weekday() not in hours.days:
            return None
        known = self.day(day)
        parts = tuple((instant(day, a, self.timezone), instant(day, b, self.timezone)) for a, b in hours.parts)
        return Day(day, False, "regular", known.why, parts, known.usual_open, known.usual_close, True)

    def why_unknown(self, day: date) -> str:
        """Why this date has no answer, and what to do."""
        remedy = self.remedy or (
            f"run `stratpanel calendar sync {self.name}`"
            if self.compiled
            else "add its days to calendar_overrides.toml"
        )
        if self.problem:
            return f"calendar {self.name} cannot answer: {self.problem}"
        if self.valid_through == date.min:
            remedy = f"enter its days, then `stratpanel calendar valid {self.name} DATE --why TEXT`"
            return f"calendar {self.name} has no complete list of days ({remedy})"
        if day > self.valid_through:
            return f"calendar {self.name} has no data after {self.valid_through} ({remedy})"
        return f"calendar {self.name} has no data before {self.valid_from} ({remedy})"

    def session_date(self, at: int, tz: ZoneInfo | None = None) -> date:
        """The session's date to which an instant belongs: the exchange's local date, except that where sessions cross
        midnight everything after the regular close belongs to the next one (CME: Sunday 17:00 is Monday's)."""
        moment = local(at, self.timezone)
        day = moment.date()
        hours = self.hours_on(day)
        if hours is None or not hours.parts:
            return day
        minute = moment.hour * 60 + moment.minute
        first, last = hours.parts[0][0], hours.parts[-1][1]
        if first < 0 and minute >= last:
            return day + timedelta(days=1)
        if last > MINUTES_A_DAY and minute < last - MINUTES_A_DAY:
            return day - timedelta(days=1)
        return day

    def trading_weekdays(self, day: date) -> frozenset[int]:
        """The weekdays on which this market regularly trades, by the hours in force on `day`."""
        current = self.hours_on(day)
        return (
            frozenset()
            if current is None
            else frozenset().union(*(row.days for row in self.hours if row.since == current.since))
        )

    def sessions(self, start: date, end: date) -> list[Session]:
        """All sessions dated from `start` to `end`, both included; raise CannotAnswer where any day is unknown."""
        if self.always_open:
            return [_always(start + timedelta(days=n), self) for n in range((end - start).days + 1)]
        found = []
        for n in range((end - start).days + 1):
            day = self.day(start + timedelta(days=n))
            if not day.known:
                raise CannotAnswer(day.why)
            kind = day.session_kind if day.parts else "regular"
            found += [Session(day.date, utc(a), utc(b), kind, day.why) for a, b in day.parts]
        return found


def _always(day: date, calendar: Calendar) -> Session:
    opens, closes = (utc(instant(day, minutes, calendar.timezone)) for minutes in (0, MINUTES_A_DAY))
    return Session(day, opens, closes, "regular", "never closes")
