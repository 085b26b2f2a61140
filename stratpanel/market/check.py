"""Is this schedule one that can run? Refuses what never can, warns about what a person hardly meant.

Called before a schedule is accepted (API, command line, registry). Every message names the field and the remedy; it
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from stratpanel.market.calendar import Calendar
from stratpanel.market.clock import DAYS, epoch, local, parse_day, parse_mark, zone
from stratpanel.market.errors import InvalidTime
from stratpanel.market.plan import DayException, Plan, Window
from stratpanel.market.runs import Placement
from stratpanel.market.timeline import HORIZON_DAYS

SHORT_S = 60


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field ("schedule.windows[0].stop"); an error refuses the schedule, a warning does not."""

    field: str
    message: str
    severity: Literal["error", "warning"] = "error"


def check(plan: Plan, calendar: Calendar | None, now: datetime, prefix: str = "schedule.") -> list[Problem]:
    """All problems of a plan, errors first. `calendar` None although the plan names one = there is no such calendar."""
    found = list(_readable(plan, calendar, prefix))
    if not found and plan.enabled:
        found = list(_runs_at_all(plan, calendar, now, prefix))
    return sorted(found, key=lambda one: one.severity)


def _readable(plan: Plan, calendar: Calendar | None, prefix: str) -> Iterator[Problem]:
    if plan.calendar and calendar is None:
        yield Problem(
            f"{prefix}calendar",
            f'there is no calendar "{plan.calendar}"; see `stratpanel calendar list`, '
            f"or run `stratpanel calendar sync {plan.calendar}` for a foreign exchange",
        )
    if plan.timezone:
        yield from _refused(f"{prefix}timezone", zone, plan.timezone)
    for n, window in enumerate(plan.windows):
        where = f"{prefix}windows[{n}]"
        yield from _readable_times(window.start, window.stop, plan, calendar, where)
        if not window.days:
            yield Problem(f"{where}.days", "names no day; list some of " + ", ".join(DAYS))
        for day in window.days:
            yield from _refused(f"{where}.days", parse_day, day)
    for n, exception in enumerate(plan.exceptions):
        yield from _readable_exception(exception, plan, calendar, f"{prefix}exceptions[{n}]")


def _readable_exception(one: DayException, plan: Plan, calendar: Calendar | None, where: str) -> Iterator[Problem]:
    if one.kind not in ("closed", "also"):
        yield Problem(f"{where}.kind", f'"{one.kind}" is not known; write closed or also')
    elif one.kind == "closed" and (one.start or one.stop):
        yield Problem(f"{where}.start", "a closed day is closed as a whole; leave start and stop out")
    elif one.kind == "also" and bool(one.start) != bool(one.stop):
        missing = "stop" if one.start else "start"
        yield Problem(f"{where}.{missing}", "is missing; give both start and stop, or neither to use the windows")
    elif one.kind == "also" and not one.start and not plan.windows:
        yield Problem(f"{where}.start", "is missing, and there is no window to take it from; give start and stop")
    elif one.start and one.stop:
        yield from _readable_times(one.start, one.stop, plan, calendar, where)


def _readable_times(start: str, stop: str, plan: Plan, calendar: Calendar | None, where: str) -> Iterator[Problem]:
    for name, text in (("start", start), ("stop", stop)):
        problems = list(_refused(f"{where}.{name}", parse_mark, text))
        yield from problems
        if not problems and parse_mark(text).relative:
            if not plan.calendar:
                yield Problem(f"{where}.{name}", f'"{text}" needs sessions; choose a calendar or write a clock time')
            elif calendar is not None and calendar.always_open:
                yield Problem(
                    f"{where}.{name}", f'"{text}" needs sessions, {calendar.name} has none; write a clock time'
                )


def _refused(field: str, read: object, text: str) -> Iterator[Problem]:
    try:
        assert callable(read)
        read(text)
    except InvalidTime as error:
        yield Problem(field, error.message)


def _runs_at_all(plan: Plan, calendar: Calendar | None, now: datetime, prefix: str) -> Iterator[Problem]:
    placement = Placement(plan, calendar)
    today = local(epoch(now), placement.zone).date()
    coming = [one for one in plan.exceptions if one.kind == "also" and one.date >= today]
    if not plan.windows and not coming:
        yield Problem(f"{prefix}windows", "is empty, so it never runs; add a window or switch the schedule off")
    for n, window in enumerate(plan.windows):
        yield from _window_runs(replace(plan, windows=(window,)), calendar, now, f"{prefix}windows[{n}]")


def _window_runs(plan: Plan, calendar: Calendar | None, now: datetime, where: str) -> Iterator[Problem]:
    """Whether one window takes place within the coming 400 days, and for longer than a minute."""
    placement, window = Placement(plan, calendar), plan.windows[0]
    today = local(epoch(now), placement.zone).date()
    shortest: tuple[int, str] | None = None
    why = ""
    for n in range(HORIZON_DAYS):
        day = today + timedelta(days=n)
        runs = [run for run in placement.on(day) if run.how != "also"]
        why = why or placement.why_not(day) or ""
        for run in runs:
            length = run.stop - run.start
            if shortest is None or length < shortest[0]:
                shortest = (length, str(day))
        if runs and n > 60:
            break  # it runs; two months of days are enough to find the short ones
    if shortest is None and window.on_special and placement.calendar is not None:
        name = placement.calendar.name
        yield Problem(
            f"{where}.on_special", f"{name} has no such special session announced; it waits for one", "warning"
        )
    elif shortest is None:
        yield Problem(*_never(placement, window, where, why))
    elif shortest[0] <= SHORT_S:
        yield Problem(
            f"{where}.stop", f"on {shortest[1]} it runs for {shortest[0]} s only; choose a later stop", "warning"
        )
    start = parse_mark(window.start)
    if start == parse_mark(window.stop) and not start.relative and start.minutes:
        yield Problem(f"{where}.stop", "equals the start, so it runs for 24 hours; is that meant?", "warning")


def _never(placement: Placement, window: Window, where: str, why: str) -> tuple[str, str]:
    """The field to blame and the remedy for a window that never takes place."""
    start, stop = parse_mark(window.start), parse_mark(window.stop)
    if start.relative and stop.relative and (start.anchor == stop.anchor or start.anchor == "close"):
        same = start.anchor == stop.anchor
        if stop.minutes <= start.minutes or not same:
            return (
                f"{where}.stop",
                f'"{stop}" is not after "{start}" in any session, so it never runs; choose a later stop',
            )
    calendar = placement.calendar
    if calendar is not None and not placement.always:
        trading = {DAYS[n] for row in calendar.hours for n in row.days}
        if not trading & set(window.days):
            names = ", ".join(day for day in DAYS if day in trading)
            remedy = f"choose of {names}, or set on_special for special sessions"
            return (
                f"{where}.days",
                f"{calendar.name} has no session on {', '.join(window.days)}, so it never runs; {remedy}",
            )
    if start.relative or stop.relative:
        return (
            f"{where}.stop",
            f'no session is long enough for "{start}" to "{stop}", so it never runs; choose a later stop',
        )
    return (
        f"{where}.days",
        f"no day of the coming {HORIZON_DAYS} takes place ({why}); choose other days or another calendar",
    )
