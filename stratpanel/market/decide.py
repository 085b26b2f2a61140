"""`decide`: should this strategy run now, and why. Everything that starts or stops by itself goes through it.

Called by the supervisor's reconciler on every edge, every event and every few seconds, by explain and by `week`. Pure
and total: same arguments, same answer, for any plan; it reads no clock, no file, and never raises for a bad plan.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal, NamedTuple

from stratpanel.market import words
from stratpanel.market.calendar import Calendar
from stratpanel.market.clock import epoch, instant, local, say, utc
from stratpanel.market.errors import InvalidTime
from stratpanel.market.plan import NO_HOLD, Boundary, Decision, Hold, Plan
from stratpanel.market.runs import Placement
from stratpanel.market.timeline import Span, timeline

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
    decision = _unheld(plan, calendar, own, at, placement, today)
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
                return Decision(True, f"{who}; runs until a person stops it", None)
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
    if not plan.enabled:
        return told
    end = end_of_next_window(plan, calendar, hold.at) if hold.at is not None else None
    if end is not None:
        return min(told, epoch(end))
    return None if told == _FOREVER else told


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
    if not plan.enabled:
        return []
    try:
        line = timeline(plan, calendar)
    except InvalidTime:
        return []
    if line.placement.zoneless:
        return []
    found: list[Boundary] = []
    inside, span = line.at(epoch(after))
    if inside is not None and inside.stop is not None:
        found.append(_boundary(line.placement, inside, "stop"))
    while span is not None and len(found) < count:
        found.append(_boundary(line.placement, span, "start"))
        whole = line.at(span.start)[0] or span  # seen from its own start it is complete
        if whole.stop is None:
            break
        found.append(_boundary(line.placement, whole, "stop"))
        span = line.at(whole.stop)[1]
    return found[:count]


def _boundary(placement: Placement, span: Span, action: Literal["start", "stop"]) -> Boundary:
    run = span.runs[0] if action == "start" else max(span.runs, key=lambda one: one.stop)
    at = span.start if action == "start" else span.stop
    assert at is not None
    return Boundary(utc(at), action, words.rule(placement, run, action), run.assumed)


def flips(
    plan: Plan, calendar: Calendar | None, hold: Hold, after: datetime, count: int, workspace: Hold = NO_HOLD
) -> list[datetime]:
    """The next instants (UTC) at which `decide` may answer differently: for the trigger that says when to look.

    Holds that end by themselves, starts, stops, and within a span the edges where a calendar stops or begins to know.
    """
    at = epoch(after)
    found = {epoch(one.until) for one in (hold, workspace) if one.until is not None}
    if hold.kind == "started" and (end := _started_until(plan, calendar, hold)) is not None and end != _FOREVER:
        found.add(end)
    edges = boundaries(plan, calendar, after, count)
    found |= {epoch(edge.at) for edge in edges}
    if edges:
        last = epoch(edges[-1].at)
        for span in timeline(plan, calendar).spans(at, last + 1):
            if len({run.assumed for run in span.runs}) == 2:
                found |= {float(edge) for run in span.runs for edge in (run.start, run.stop) if edge <= last}
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
    for edge in boundaries(plan, calendar, utc(at), 2):
        if edge.action == "start":
            return None if edge.assumed else edge.at
    return None


def next_stop(
    plan: Plan, calendar: Calendar | None, hold: Hold, now: datetime, workspace: Hold = NO_HOLD
) -> datetime | None:
    """When it will next be stopped by itself after `now`: of the run going on, or of the next one."""
    at = epoch(now)
    if hold.kind == "started" and not _over(hold, at):
        end = _started_until(plan, calendar, hold)
        if end is not None and at < end:
            return None if end == _FOREVER else utc(end)
    if hold.kind in ("stopped", "panic") and not _over(hold, at):
        return None
    for edge in boundaries(plan, calendar, now, 2):
        if edge.action == "stop":
            return edge.at
    return None


def _free(plan: Plan, hold: Hold, now: datetime, workspace: Hold) -> bool:
    at = epoch(now)
    held = any(one.kind in ("stopped", "paused", "panic") and not _over(one, at) for one in (hold, workspace))
    return plan.enabled and not held


def end_of_next_window(plan: Plan, calendar: Calendar | None, now: datetime) -> datetime | None:
    """The end of the window that covers `now`, else of the next one: until when a manual start runs.

    None where the schedule is off, cannot be read, has no further window, or never stops.
    """
    for edge in boundaries(plan, calendar, now, 2):
        if edge.action == "stop":
            return edge.at
    return None


def window_began(plan: Plan, calendar: Calendar | None, now: datetime) -> datetime | None:
    """When the window that covers `now` began (windows that touch count as one); None outside, and where it has no
    beginning within the last days (00:00–00:00 on every day)."""
    if not plan.enabled:
        return None
    try:
        line = timeline(plan, calendar)
    except InvalidTime:
        return None
    at = epoch(now)
    inside = line.at(at)[0]
    if inside is None:
        return None
    return utc(inside.start) if inside.start > at - _LOOK_BACK_S else None
