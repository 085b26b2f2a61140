"""What holds for any schedule on any shipped calendar, at any moment."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from stratpanel.market import (
    NO_HOLD,
    DayException,
    Hold,
    Plan,
    Window,
    boundaries,
    decide,
    flips,
    next_start,
    next_stop,
)
from stratpanel.market.clock import instant
from stratpanel.market.week import Planned, week_text
from tests.market.support import EVERY_DAY, calendar

NAMES = [None, "NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX", "NCO", "24x7"]
DST_ZONES = ["America/New_York", "Europe/London", "America/Chicago", "Australia/Sydney"]
FIRST, LAST = datetime(2024, 1, 10, tzinfo=UTC), datetime(2027, 1, 20, tzinfo=UTC)

clocks = st.builds(lambda h, m: f"{h:02d}:{m:02d}", st.integers(0, 23), st.sampled_from([0, 1, 15, 20, 30, 55, 59]))
relatives = st.builds(
    lambda anchor, minutes: f"{anchor}{minutes:+d}m", st.sampled_from(["open", "close"]), st.integers(-90, 90)
)
day_sets = st.one_of(
    st.just(EVERY_DAY[:5]), st.just(EVERY_DAY), st.lists(st.sampled_from(EVERY_DAY), min_size=1, unique=True).map(tuple)
)
moments = st.integers(int(FIRST.timestamp()), int(LAST.timestamp())).map(lambda s: datetime.fromtimestamp(s, UTC))
dates = st.dates(FIRST.date(), LAST.date())


@st.composite
def plans(draw: st.DrawFn, *, exceptions: bool = True) -> Plan:
    name = draw(st.sampled_from(NAMES))
    marks = clocks if name in (None, "24x7") else st.one_of(clocks, relatives)
    windows = draw(st.lists(st.builds(Window, marks, marks, day_sets, st.booleans()), min_size=1, max_size=3))
    zone = draw(st.sampled_from(["", "Asia/Kolkata", *DST_ZONES]))
    days: list[DayException] = []
    if exceptions:
        days = draw(
            st.lists(
                st.one_of(
                    st.builds(DayException, dates, st.just("closed")),
                    st.builds(DayException, dates, st.just("also"), clocks, clocks),
                ),
                max_size=2,
            )
        )
    return Plan(True, tuple(windows), name, zone, tuple(days), draw(st.booleans()))


@st.composite
def holds(draw: st.DrawFn) -> Hold:
    kind = draw(st.sampled_from(["none", "none", "stopped", "started", "paused", "panic"]))
    at, until, start_at, start_until = (draw(st.one_of(st.none(), moments)) for _ in range(4))
    if kind != "paused":
        start_at = start_until = None
    return Hold(kind, "anna", at, "", until, start_at, start_until)


@settings(max_examples=80, deadline=None)
@given(
    plan=plans(), hold=holds(), moment=moments, steps=st.lists(st.integers(0, 40 * 24 * 3600), min_size=4, max_size=12)
)
def test_the_decision_flips_only_at_announced_instants(
    plan: Plan, hold: Hold, moment: datetime, steps: list[int]
) -> None:
    market = calendar(plan.calendar)
    announced = flips(plan, market, hold, moment, 8)
    assert announced == sorted(announced)
    assert all(one > moment for one in announced)
    edges = [moment, *announced]
    known_until = announced[-1] if len(announced) == 8 else moment + timedelta(days=40)
    for step in [*steps, *(int((one - moment).total_seconds()) - 1 for one in announced)]:
        later = moment + timedelta(seconds=max(step, 0))
        if later >= known_until:
            continue
        since = max(one for one in edges if one <= later)
        assert decide(plan, market, hold, later).run is decide(plan, market, hold, since).run, (since, later)


@settings(max_examples=80, deadline=None)
@given(plan=plans(), moment=moments)
def test_each_window_has_one_start_and_one_stop(plan: Plan, moment: datetime) -> None:
    market = calendar(plan.calendar)
    edges = boundaries(plan, market, moment, 9)
    actions = [edge.action for edge in edges]
    assert actions == [("start", "stop")[(n + (actions[:1] == ["stop"])) % 2] for n in range(len(actions))]
    assert [edge.at for edge in edges] == sorted({edge.at for edge in edges})
    second = timedelta(seconds=1)
    for edge in edges:
        assert edge.rule
        before = decide(plan, market, NO_HOLD, edge.at - second)
        then = decide(plan, market, NO_HOLD, edge.at)
        if edge.action == "start":
            assert before.run is False
            assert then.run is (None if edge.assumed else True)
        else:
            assert before.run is not False
            assert before.until == edge.at
            assert then.run is False


MARKETS = [name for name in NAMES if name not in (None, "24x7")]


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(MARKETS),
    windows=st.lists(st.builds(Window, st.one_of(clocks, relatives), relatives, day_sets, st.booleans()), min_size=1),
    clock_windows=st.lists(st.builds(Window, clocks, clocks, day_sets), max_size=2),
    moment=moments,
)
def test_on_a_day_without_a_session_nothing_with_a_calendar_starts(
    name: str, windows: list[Window], clock_windows: list[Window], moment: datetime
) -> None:
    """Windows that follow the session lie within 90 minutes of it; clock windows start on a day that has one."""
    market = calendar(name)
    assert market is not None
    for edge in boundaries(Plan(True, tuple(windows), name), market, moment, 8):
        if edge.action == "start" and not edge.assumed:
            around = [
                market.day((edge.at + timedelta(minutes=n)).astimezone(market.timezone).date()) for n in (-90, 0, 90)
            ]
            assert any(one.parts for one in around), edge
    for window in clock_windows:
        for edge in boundaries(Plan(True, (window,), name), market, moment, 8):
            if edge.action == "start" and not edge.assumed:
                one = market.day(edge.at.astimezone(market.timezone).date())
                assert one.parts, edge
                assert one.kind != "special", edge  # it was not told to take part
                assert EVERY_DAY[one.date.weekday()] in window.days, edge


@settings(max_examples=80, deadline=None)
@given(plan=plans(), hold=holds(), moment=moments)
def test_until_is_in_the_future_and_next_edges_agree_with_the_decision(
    plan: Plan, hold: Hold, moment: datetime
) -> None:
    market = calendar(plan.calendar)
    decision = decide(plan, market, hold, moment)
    assert decision.why
    assert decision.until is None or decision.until > moment
    start, stop = next_start(plan, market, hold, moment), next_stop(plan, market, hold, moment)
    if start is not None:
        assert start > moment
        assert decide(plan, market, hold, start).run is True
    if decision.run is True and decision.until is not None:
        assert stop == decision.until
        assert decide(plan, market, hold, decision.until).run is not True
    if hold.kind == "none" and decision.run is False and start is not None:
        assert decision.until == start


@settings(max_examples=80, deadline=None)
@given(
    zone=st.sampled_from(DST_ZONES),
    year=st.integers(2024, 2027),
    start=clocks,
    stop=clocks,
    data=st.data(),
)
def test_wall_clock_meaning_is_kept_around_clock_changes(
    zone: str, year: int, start: str, stop: str, data: st.DataObject
) -> None:
    tz = ZoneInfo(zone)
    change = data.draw(st.sampled_from(_changes(tz, year)))
    plan = Plan(True, (Window(start, stop, EVERY_DAY),), None, zone)
    for n in (-1, 0, 1):
        on = change + timedelta(days=n)
        begin = instant(on, int(start[:2]) * 60 + int(start[3:]), tz)
        overnight = 1440 if stop <= start else 0
        end = instant(on, int(stop[:2]) * 60 + int(stop[3:]) + overnight, tz)
        inside, last = datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end - 1, UTC)
        if begin < end:
            assert decide(plan, None, NO_HOLD, inside).run is True
            assert decide(plan, None, NO_HOLD, last).run is True
        if begin < end and start != stop:
            shown = datetime.fromtimestamp(begin, tz)
            exists = datetime.combine(on, shown.time()).strftime("%H:%M") == start
            assert exists or shown.strftime("%H:%M") > start  # in the gap: the jump
            assert decide(plan, None, NO_HOLD, datetime.fromtimestamp(end, UTC)).run is False


def _changes(tz: ZoneInfo, year: int) -> list[date]:
    """The days of a year on which the zone's clocks change."""
    days = [date(year, 1, 1) + timedelta(days=n) for n in range(365)]
    noon = [datetime(day.year, day.month, day.day, 12, tzinfo=tz).utcoffset() for day in days]
    found = [after for before, after, a, b in zip(days, days[1:], noon, noon[1:], strict=False) if a != b]
    assert len(found) == 2
    return found


texts = st.text(max_size=12)
wild_windows = st.builds(Window, st.one_of(texts, clocks), st.one_of(texts, relatives), st.lists(texts).map(tuple))
wild_exceptions = st.builds(DayException, dates, st.sampled_from(["closed", "also"]), st.one_of(st.none(), texts))


@settings(max_examples=80, deadline=None)
@given(
    plan=st.builds(
        Plan,
        st.booleans(),
        st.lists(wild_windows, max_size=2).map(tuple),
        st.one_of(st.none(), texts, st.sampled_from(["NSE", "24x7", "NOPE"])),
        st.one_of(texts, st.just("Asia/Kolkata")),
        st.lists(wild_exceptions, max_size=2).map(tuple),
    ),
    hold=holds(),
    workspace=holds(),
    moment=moments,
)  # fmt: skip
def test_there_is_an_answer_for_everything(plan: Plan, hold: Hold, workspace: Hold, moment: datetime) -> None:
    market = calendar(plan.calendar)
    decision = decide(plan, market, hold, moment, workspace)
    assert decision.run in (True, False, None)
    assert decision.why
    assert decision == decide(plan, market, hold, moment, workspace)
    flips(plan, market, hold, moment, 3, workspace)
    next_start(plan, market, hold, moment, workspace)
    next_stop(plan, market, hold, moment, workspace)
    week_text([Planned("x", plan, market, hold, workspace)], moment, UTC)
