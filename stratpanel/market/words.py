"""Why, in a trader's words: the sentences of decisions and the rules of boundaries.

Used by decide and explain. Decides nothing: it is given what was decided and where the plan's windows fall.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from stratpanel.market.calendar import Day
from stratpanel.market.clock import DAY_SECONDS, epoch, instant, local, say, say_day
from stratpanel.market.plan import Hold
from stratpanel.market.runs import Placement, Run
from stratpanel.market.timeline import Span


def running(placement: Placement, span: Span, run: Run, today: date) -> str:
    """Why it runs now and when it stops: "in its window (NSE); stops 15:15 IST"."""
    ends = "never stops by itself" if span.stop is None else f"stops {say(span.stop, placement.zone, today)}"
    return f"{_setting(placement, run)}; {ends}"


def waiting(placement: Placement, span: Span, run: Run, today: date) -> str:
    """Why a strategy is neither started nor stopped in a window that its calendar cannot confirm."""
    ends = "" if span.stop is None else f", what runs stops {say(span.stop, placement.zone, today)}"
    what = "live is never started" if placement.plan.live else "it is not started"
    return f"{unknown(placement, run)}; {what} on a guess{ends}"


def resting(placement: Placement, at: float, after: Span | None, today: date) -> str:
    """Why it does not run now and when it starts: "closed: Guru Nanak Jayanti; starts Wed 09:20 IST"."""
    return f"{_rest(placement, at, today)}; {_next(placement, after, today)}"


def _rest(placement: Placement, at: float, today: date) -> str:
    runs = placement.on(today)
    if runs:
        if at < runs[0].start:
            return "before its window"
        return "after its window" if at >= max(run.stop for run in runs) else "between its windows"
    return placement.why_not(today) or "outside its windows"


def _next(placement: Placement, after: Span | None, today: date) -> str:
    if after is None:
        return "no further start is scheduled"
    starts = say(after.start, placement.zone, today)
    if after.runs[0].assumed:
        return f"will not start {starts} by itself: {unknown(placement, after.runs[0])}"
    return f"starts {starts}"


def unplaceable(placement: Placement, today: date) -> str:
    """Why windows that follow sessions have no place at all; nothing is started and nothing stopped."""
    if placement.calendar is not None:
        return f"{placement.calendar.why_unknown(today)}; it is left as it is"
    return f"{_no_calendar(placement)}; it is left as it is"


def _no_calendar(placement: Placement) -> str:
    name = placement.plan.calendar
    return f"calendar {name} cannot be found (choose another, or run `stratpanel calendar sync {name}`)"


def unknown(placement: Placement, run: Run) -> str:
    """Why the calendar cannot confirm this stretch."""
    if run.day is not None:
        return run.day.why
    return _no_calendar(placement)


def _setting(placement: Placement, run: Run) -> str:
    if run.how == "also":
        return f"in its window, also on {run.date}" + _also_why(placement, run)
    name = placement.calendar.name if placement.calendar and not placement.always else ""
    if run.day is None or not name:
        return "in its window"
    if run.day.kind == "special":
        return f"in its window ({name}, special session: {run.day.why}{_hours(placement, run.day)})"
    if run.day.kind == "partial":
        early = run.day.session_kind == "early_close"
        what = "closes early" if early else "short session"
        return f"in its window ({name} {what}: {run.day.why}{_hours(placement, run.day)})"
    return f"in its window ({name})"


def rule(placement: Placement, run: Run, action: Literal["start", "stop"]) -> str:
    """The rule that put this edge where it is, in words."""
    if run.how == "also":
        return f"also on {run.date}{_also_why(placement, run)}"
    marks = placement.windows[run.window]
    mark = marks.start if action == "start" else marks.stop
    at = run.start if action == "start" else run.stop
    text = str(mark)
    name = placement.calendar.name if placement.calendar else placement.plan.calendar or "plain clock"
    if run.how == "presumed":
        return f"{text}, presumed: {unknown(placement, run)}"
    if placement.calendar is None or placement.always or run.day is None:
        return f"{text}{_clock_note(placement, run, mark.minutes, at)} ({name})"
    where = f"{name}{_hours(placement, run.day)}" + (f", {run.day.why}" if run.day.why else "")
    if mark.relative:
        return f"{text} of {where}"
    moment = local(at, placement.zone)
    if run.day.kind == "regular" or moment.hour * 60 + moment.minute == mark.minutes:
        return f"{text}{_clock_note(placement, run, mark.minutes, at)} ({where})"
    return f"{text} {_moved(placement, run, run.day, mark.minutes, at, action)} ({where})"


def _moved(placement: Placement, run: Run, day: Day, minutes: int, at: int, action: Literal["start", "stop"]) -> str:
    """How a clock time came to lie elsewhere on a day that is not regular."""
    usual = instant(run.date, minutes, placement.zone)
    ends = {
        "open": None if day.usual_open is None else day.open - day.usual_open,
        "close": None if day.usual_close is None else day.close - day.usual_close,
    }
    order = ("open", "close") if action == "start" else ("close", "open")
    for end in order:
        if ends[end] is not None and (at - usual - (ends[end] or 0)) % DAY_SECONDS == 0:  # overnight: a day later
            return f"keeps its usual distance to the {end}"
    return "begins with the session" if at == day.open else "follows the session"


def _clock_note(placement: Placement, run: Run, minutes: int, at: int) -> str:
    moment = local(at, placement.zone)
    if moment.hour * 60 + moment.minute != minutes:
        return f" does not exist on {run.date}, the clock jumps to {moment:%H:%M}"
    return " the next day" if moment.date() > run.date else ""


def _hours(placement: Placement, day: Day) -> str:
    if placement.calendar is None:
        return ""
    tz = placement.calendar.timezone
    return " " + " ".join(f"{local(a, tz):%H:%M}–{local(b, tz):%H:%M}" for a, b in day.parts)


def _also_why(placement: Placement, run: Run) -> str:
    reasons = [e.why for e in placement.also.get(run.date, ()) if e.why]
    return f": {', '.join(reasons)}" if reasons else ""


def held(hold: Hold, placement: Placement | None, today: date) -> str:
    """Who holds it, since when and why: "stopped by anna Mon 23 Nov 14:02 IST: wrong symbol"."""
    words = {"stopped": "stopped", "started": "started", "paused": "paused", "panic": "panic"}[hold.kind]
    by = f" by {hold.by}" if hold.by else ""
    since = ""
    if hold.at is not None:
        moment = hold.at.astimezone(placement.zone) if placement is not None else hold.at
        day = "" if moment.date() == today else f"{say_day(moment.date(), today)} "
        since = f" {day}{moment:%H:%M %Z}"
    return words + by + since + (f": {hold.why}" if hold.why else "")


def until(hold: Hold, placement: Placement | None, today: date) -> str:
    """ "until Mon 09:00 IST" where the hold ends by itself."""
    if hold.until is None:
        return ""
    if placement is None:
        return f" until {hold.until:%a %d %b %H:%M %Z}"
    return f" until {say(epoch(hold.until), placement.zone, today)}"
