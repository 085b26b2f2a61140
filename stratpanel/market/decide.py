"""`decide`: should this strategy run now, and why. Everything that starts or stops by itself goes through it.

Called by the supervisor's reconciler on every edge, every event and every few seconds, by explain and by `week`. Pure
and total: same arguments, same answer, for any plan; it reads no clock, no file, and never raises for a bad plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from itertools import islice
from typing import Literal, NamedTuple

from stratpanel.market import words
from stratpanel.market.calendar import Calendar
from stratpanel.market.clock import epoch, instant, local, say, utc
from stratpanel.market.errors import InvalidTime
from stratpanel.market.plan import NO_HOLD, Boundary, Decision, Hold, Plan
from stratpanel.market.runs import Placement, Run
from stratpanel.market.timeline import Span, Timeline, timeline

NOT_SCHEDULED = "not scheduled; start it by hand"
_FOREVER = float("inf")
_LOOK_BACK_S = 3 * 86_400  # a timeline is complete at least that far back


class _Kept(NamedTuple):
    since: float
    till: float
    decision: Decision


_kept: dict[tuple[Plan, Calendar | None, Hold, Hold], _Kept] = {}
_KEEP = 8192


def decide(plan: Plan, calendar: Calendar | None, hold: Hold, now: datetime, workspace: Hold = NO_HOLD) -> Decision:
    """Should it run at `now` (aware)? `calendar` None although the plan names one = it cannot answer.

    `workspace` is the hold of the whole workspace (paused or panic), which lies over the strategy's own.
    """
    at = epoch(now)
    key = (plan, calendar, hold, workspace)
    kept = _kept.get(key)
    if kept is not None and kept.since <= at < kept.till:
        return kept.decision
    decision = _decide(plan, calendar, hold, at, workspace)
    if len(_kept) >= _KEEP:
        _kept.clear()
    _kept[key] = _Kept(at, _good_until(plan, calendar, hold, at, workspace), decision)
    return decision


def forget() -> None:
    """Drop all that was kept for speed, when calendars were made anew and the old ones need not live on."""
    _kept.clear()
    timeline.cache_clear()


def _decide(plan: Plan, calendar: Calendar | None, hold: Hold, at: float, workspace: Hold) -> Decision:
    placement = _placement(plan, calendar)
    today = _today(placement, at)
    for one in (workspace, hold):
        if one.kind == "panic" and not _over(one, at):
            return Decision(
                False, f"{words.held(one, placement, today)}; nothing starts until `stratpanel resume`", None
            )
    own = NO_HOLD if _over(hold, at) else hold
    if own.kind == "stopped":
        ends = words.until(own, placement, today) or "; it starts when a person starts it"
        return Decision(False, words.held(own, placement, today) + ends, own.until)
    decision = _unheld(plan, calendar, own.start, at, placement, today)
    for one in (own, workspace):
        if one.kind == "paused" and not _over(one, at):
            decision = _paused(decision, plan, own, words.held(one, placement, today))
    return decision


def _unheld(
    plan: Plan, calendar: Calendar | None, own: Hold, at: float, placement: Placement | None, today: date
) -> Decision:
    """The answer of schedule and manual start, before any pause."""
    if own.kind == "started":
        end = _started_until(plan, calendar, own)
        if end is not None and at < end:
            who = words.held(own, placement, today)
            if end == _FOREVER or placement is None:
                stops = "never stops by itself" if plan.enabled else "runs until a person stops it"
                return Decision(True, f"{who}; {stops}", None)
            ends = say(end, placement.zone, today)
            last = "the end of its next window, " if plan.enabled else ""
            return Decision(True, f"{who}; runs until {last}{ends}", utc(end))
    if not plan.enabled:
        return Decision(False, NOT_SCHEDULED, None)
    return _scheduled(plan, calendar, at)


def _scheduled(plan: Plan, calendar: Calendar | None, at: float) -> Decision:
    try:
        line = timeline(plan, calendar)
    except InvalidTime as error:
        return Decision(None, f"cannot read its schedule: {error.message}; nothing is started or stopped", None, True)
    placement = line.placement
    today = _today(placement, at)
    inside, after = line.at(at)
    if placement.zoneless or (inside is None and placement.unplaceable(today)):
        return Decision(None, words.unplaceable(placement, today), None, True)
    if inside is None:
        starts = utc(after.start) if after else None
        doubtful = after is not None and after.runs[0].assumed
        return Decision(False, words.resting(placement, at, after, today), starts, doubtful)
    run = inside.run_at(at)
    stops = None if inside.stop is None else utc(inside.stop)
    if run.assumed:
        return Decision(None, words.waiting(placement, inside, run, today), stops, True)
    return Decision(True, words.running(placement, inside, run, today), stops)


def _paused(decision: Decision, plan: Plan, own: Hold, who: str) -> Decision:
    """A pause starts nothing and stops nothing that has no stop of its own."""
    if decision.run is True:
        return Decision(None, f"{who}; nothing starts by itself ({decision.why})", decision.until, decision.alert)
    if not plan.enabled and own.kind != "stopped":
        return Decision(None, f"{who}; not scheduled, left as it is", None)
    return Decision(decision.run, f"{who}; {decision.why}", decision.until, decision.alert)


def _over(hold: Hold, at: float) -> bool:
    return hold.until is not None and at >= epoch(hold.until)


def _started_until(plan: Plan, calendar: Calendar | None, hold: Hold) -> float | None:
    """When a manual start ends: never for an unscheduled one, else at the end of the window it met or next meets.

    The end is looked up again from when it was started, so that a session shortened meanwhile is obeyed; never later
    than what the person was told. None where nothing says an end: then the schedule alone decides.
    """
    told = _FOREVER if hold.until is None else epoch(hold.until)
    line = _line(plan, calendar)
    if not plan.enabled or line is None:
        return None if plan.enabled and told == _FOREVER else told
    end = None if hold.at is None else _next_stop(line, epoch(hold.at))
    until = told if end is None else min(told, epoch(end))
    if until == _FOREVER:
        return None
    covering = line.at(until)[0]  # a window that covers the end of the hold carries it on to its own stop
    return until if covering is None else _FOREVER if covering.stop is None else covering.stop


def _placement(plan: Plan, calendar: Calendar | None) -> Placement | None:
    try:
        return timeline(plan, calendar).placement
    except InvalidTime:
        return None


def _today(placement: Placement | None, at: float) -> date:
    return (utc(at) if placement is None else local(at, placement.zone)).date()


def _good_until(plan: Plan, calendar: Calendar | None, hold: Hold, at: float, workspace: Hold) -> float:
    """Until when an answer may be kept: the next flip, or local midnight, after which its words change."""
    placement = _placement(plan, calendar)
    if placement is None:
        return at
    midnight = instant(_today(placement, at), 24 * 60, placement.zone)
    ends = flips(plan, calendar, hold, utc(at), 1, workspace)
    return min(midnight, epoch(ends[0])) if ends else midnight


# -- looking ahead


def boundaries(plan: Plan, calendar: Calendar | None, after: datetime, count: int) -> list[Boundary]:
    """The next `count` starts and stops of the schedule after an instant, holds apart, each with its rule."""
    line = _line(plan, calendar)
    if line is None:
        return []
    edges = islice(_edges(line, epoch(after)), count)
    return [
        Boundary(utc(edge.at), edge.action, words.rule(line.placement, edge.run, edge.action), edge.run.assumed)
        for edge in edges
    ]


class _Edge(NamedTuple):
    at: int
    action: Literal["start", "stop"]
    run: Run
    span: Span


def _line(plan: Plan, calendar: Calendar | None) -> Timeline | None:
    """The timeline of a plan that is on, can be read and has a place in time."""
    try:
        line = timeline(plan, calendar) if plan.enabled else None
    except InvalidTime:
        return None
    return None if line is None or line.placement.zoneless else line


def _edges(line: Timeline, at: float) -> Iterator[_Edge]:
    """Starts and stops after an instant, in order, as far as the timeline can see."""
    inside, span = line.at(at)
    if inside is not None and inside.stop is not None:
        yield _Edge(inside.stop, "stop", _last(inside), inside)
    while span is not None:
        whole = line.at(span.start)[0] or span  # seen from its own start it is complete
        yield _Edge(whole.start, "start", whole.runs[0], whole)
        if whole.stop is None:
            return
        yield _Edge(whole.stop, "stop", _last(whole), whole)
        span = line.at(whole.stop)[1]


def _last(span: Span) -> Run:
    return span.runs[0] if len(span.runs) == 1 else max(span.runs, key=lambda run: run.stop)


def flips(
    plan: Plan, calendar: Calendar | None, hold: Hold, after: datetime, count: int, workspace: Hold = NO_HOLD
) -> list[datetime]:
    """The next instants (UTC) at which `decide` may answer differently: for the trigger that says when to look.

    Holds that end by themselves, starts, stops, and within a span the edges where a calendar stops or begins to know.
    """
    at = epoch(after)
    found = {epoch(one.until) for one in (hold, workspace) if one.until is not None}
    start = hold.start
    if start.kind == "started" and (end := _started_until(plan, calendar, start)) is not None and end != _FOREVER:
        found.add(end)
    line = _line(plan, calendar)
    last = at
    for edge in islice(_edges(line, at), count) if line is not None else ():
        found.add(edge.at)
        last = edge.at
        if len(edge.span.runs) > 1 and len({run.assumed for run in edge.span.runs}) == 2:
            found |= {one for run in edge.span.runs for one in (run.start, run.stop) if one <= last}
    return [utc(one) for one in sorted(found) if one > at][:count]


def next_start(
    plan: Plan, calendar: Calendar | None, hold: Hold, now: datetime, workspace: Hold = NO_HOLD
) -> datetime | None:
    """When it will next start by itself after `now`; None while held, paused, not scheduled or not to be known."""
    if not _free(plan, hold, now, workspace):
        return None
    at = epoch(now)
    if hold.kind == "started" and not _over(hold, at):
        end = _started_until(plan, calendar, hold)
        if end == _FOREVER:
            return None
        at = max(at, end or at)
    line = _line(plan, calendar)
    for edge in islice(_edges(line, at), 2) if line is not None else ():
        if edge.action == "start":
            return None if edge.run.assumed else utc(edge.at)
    return None


def next_stop(
    plan: Plan, calendar: Calendar | None, hold: Hold, now: datetime, workspace: Hold = NO_HOLD
) -> datetime | None:
    """When it will next be stopped by itself after `now`: of the run going on, or of the next one."""
    at, start = epoch(now), hold.start
    if start.kind == "started" and not _over(start, at):
        end = _started_until(plan, calendar, start)
        if end is not None and at < end:
            return None if end == _FOREVER else utc(end)
    if hold.kind in ("stopped", "panic") and not _over(hold, at):
        return None
    return _next_stop(_line(plan, calendar), at)


def _free(plan: Plan, hold: Hold, now: datetime, workspace: Hold) -> bool:
    at = epoch(now)
    held = any(one.kind in ("stopped", "paused", "panic") and not _over(one, at) for one in (hold, workspace))
    return plan.enabled and not held


def end_of_next_window(plan: Plan, calendar: Calendar | None, now: datetime) -> datetime | None:
    """The end of the window that covers `now`, else of the next one: until when a manual start runs.

    None where the schedule is off, cannot be read, has no further window, or never stops.
    """
    return _next_stop(_line(plan, calendar), epoch(now))


def _next_stop(line: Timeline | None, at: float) -> datetime | None:
    for edge in islice(_edges(line, at), 2) if line is not None else ():
        if edge.action == "stop":
            return utc(edge.at)
    return None


def window_began(plan: Plan, calendar: Calendar | None, now: datetime) -> datetime | None:
    """When the window that covers `now` began (windows that touch count as one); None outside, and where it has no
    beginning within the last days (00:00–00:00 on every day)."""
    line, at = _line(plan, calendar), epoch(now)
    inside = None if line is None else line.at(at)[0]
    if inside is None:
        return None
    return utc(inside.start) if inside.start > at - _LOOK_BACK_S else None
