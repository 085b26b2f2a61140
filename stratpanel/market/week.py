"""The coming week of all strategies: rows for a timeline that somebody else draws, and a drawing for the terminal.

Called by the API for `stratpanel week` and the page. Pure: the same rows and text for the same plans and instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from stratpanel.market.calendar import Calendar
from stratpanel.market.clock import epoch, utc
from stratpanel.market.decide import decide
from stratpanel.market.errors import InvalidTime
from stratpanel.market.explain import zone_of
from stratpanel.market.plan import NO_HOLD, Hold, Plan
from stratpanel.market.timeline import Span, timeline
from stratpanel.market.words import rule

DAYS = 7
_HOURS_A_MARK = 2
_MARKS = 24 // _HOURS_A_MARK
_FULL, _PART, _REST, _DOUBT, _HELD = "█", "▪", "·", "?", "░"


@dataclass(frozen=True)
class Planned:
    """One strategy as `week` sees it."""

    id: str
    plan: Plan
    calendar: Calendar | None = None
    hold: Hold = NO_HOLD
    workspace: Hold = NO_HOLD


def week_rows(items: Sequence[Planned], start: datetime, days: int = DAYS) -> list[dict[str, Any]]:
    """One row per stretch from `start` (aware) for `days` days, cut at both ends: id, start, stop (RFC 3339 in the
    plan's zone), from_before and goes_on (it was cut), kind "regular|partial|special|also|plain", assumed (the calendar
    cannot confirm it), held, why (the rules of both edges)."""
    begin, end = int(epoch(start)), int(epoch(start + timedelta(days=days)))
    found = []
    for item in items:
        shown = zone_of(item.plan, item.calendar)
        for span in _spans(item, start, days):
            first, last = span.runs[0], max(span.runs, key=lambda one: one.stop)
            placement = timeline(item.plan, item.calendar).placement
            kind = "also" if first.how == "also" else first.day.kind if first.day is not None else "plain"
            found.append(
                {
                    "id": item.id,
                    "start": utc(max(span.start, begin)).astimezone(shown).isoformat(),
                    "stop": utc(min(last.stop, end)).astimezone(shown).isoformat(),
                    "from_before": span.start < begin,
                    "goes_on": last.stop > end,
                    "kind": kind,
                    "calendar": item.plan.calendar,
                    "assumed": first.assumed,
                    "held": _held(item),
                    "why": f"{rule(placement, first, 'start')}; {rule(placement, last, 'stop')}",
                }
            )
    return found


def week_text(items: Sequence[Planned], now: datetime, shown: tzinfo, days: int = DAYS) -> str:
    """The week drawn with characters, a line per strategy, days and hours in the zone `shown`; then what is special."""
    first = now.astimezone(shown).date()
    dates = [first + timedelta(days=n) for n in range(days)]
    midnight = datetime.combine(first, datetime.min.time(), shown)
    width = max([len(item.id) for item in items] + [8])
    zone_name = now.astimezone(shown).tzname() or ""
    lines = [f"{'':{width}}  " + " ".join(f"{day:%a %d %b}".ljust(_MARKS) for day in dates).rstrip()]
    for item in items:
        spans = _spans(item, midnight, days)
        cells = " ".join(_cell(spans, day, shown, _held(item)) for day in dates)
        lines.append(f"{item.id:{width}}  {cells}  {_next(item, now)}".rstrip())
    if not items:
        lines.append("no strategies")
    lines.append(
        f"one mark = {_HOURS_A_MARK} h, {zone_name}; {_FULL} runs, {_PART} less than half of it, "
        f"{_DOUBT} calendar cannot confirm, {_HELD} held by a person"
    )
    return "\n".join(lines + _notes(items, dates)) + "\n"


def _spans(item: Planned, start: datetime, days: int) -> list[Span]:
    if not item.plan.enabled:
        return []
    try:
        line = timeline(item.plan, item.calendar)
    except InvalidTime:
        return []
    if line.placement.zoneless:
        return []
    return line.spans(epoch(start), epoch(start + timedelta(days=days)))


def _held(item: Planned) -> bool:
    return item.hold.kind in ("stopped", "paused", "panic") or item.workspace.kind in ("paused", "panic")


def _cell(spans: Sequence[Span], day: date, shown: tzinfo, held: bool) -> str:
    marks = []
    for n in range(_MARKS):
        begin = epoch(datetime.combine(day, datetime.min.time(), shown) + timedelta(hours=n * _HOURS_A_MARK))
        end = begin + _HOURS_A_MARK * 3600
        covered, doubt = 0.0, False
        for span in spans:
            overlap = min(end, span.stop if span.stop is not None else end) - max(begin, span.start)
            if overlap > 0:
                covered += overlap
                doubt = doubt or span.runs[0].assumed
        full = _HELD if held else _FULL
        marks.append(_REST if not covered else _DOUBT if doubt else full if covered * 2 >= end - begin else _PART)
    return "".join(marks)


def _next(item: Planned, now: datetime) -> str:
    decision = decide(item.plan, item.calendar, item.hold, now, item.workspace)
    return decision.why


def _notes(items: Sequence[Planned], dates: Sequence[date]) -> list[str]:
    """Days on which a calendar in use is closed on a trading weekday, short, special or unknown."""
    calendars = {item.calendar.name: item.calendar for item in items if item.calendar and not item.calendar.always_open}
    found = []
    for name, calendar in sorted(calendars.items()):
        silent = False
        for one in dates:
            day = calendar.day(one)
            if day.kind == "closed" and (day.regular_weekday or day.origin == "override"):
                found.append(f"{one:%a %d %b}  {name} closed: {day.why}")
            elif day.kind in ("partial", "special"):
                hours = ", ".join(f"{_clock(a, calendar)}–{_clock(b, calendar)}" for a, b in day.parts)
                found.append(f"{one:%a %d %b}  {name} {hours}: {day.why}")
            elif day.kind == "unknown" and not silent:
                found.append(f"{one:%a %d %b}  {day.why}")
                silent = True  # one line says it for all days that follow
            if day.settlement:
                found.append(f"{one:%a %d %b}  {name} trades, no settlement: {day.settlement}")
    return found


def _clock(at: int, calendar: Calendar) -> str:
    return f"{utc(at).astimezone(calendar.timezone):%H:%M}"
