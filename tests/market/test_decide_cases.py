"""A table of named situations and what must be decided in them. Times are Indian unless a case names a zone."""

# ruff: noqa: E501  (one situation a line is easier to read than any wrapping of it)

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stratpanel.market import NO_HOLD, DayException, Hold, Plan, decide, end_of_next_window, next_start, next_stop
from tests.market.support import EVERY_DAY, IST, at, calendar, day, plan

DAILY = " ".join(EVERY_DAY)
STOPPED = Hold("stopped", "anna", at("2026-11-23 14:02"), "wrong symbol")
STARTED = Hold("started", "anna", at("2026-11-20 20:00"))
PAUSED = Hold("paused", "anna", at("2026-11-23 09:00"))
PAUSED_OVER = Hold("paused", "anna", at("2026-11-25 16:30"), start_at=at("2026-11-25 16:00"))
PANIC = Hold("panic", "anna", at("2026-11-25 10:00"), "runaway orders")
NOT_CHRISTMAS_EVE = (DayException(day("2026-12-24"), "closed", why="family"),)
SATURDAY = (DayException(day("2027-02-06"), "also", "09:15", "15:30", "budget day"),)


@dataclass(frozen=True)
class Case:
    name: str
    plan: Plan
    at: str
    run: bool | None
    until: str | None = None
    why: str = ""
    hold: Hold = NO_HOLD
    workspace: Hold = NO_HOLD
    zone: str = "Asia/Kolkata"
    alert: bool = False


EMA = plan("09:20-15:15")
SESSION = plan("open+5m to close-15m")
MCX = "MCX"
NIGHT = plan("22:00-02:00", cal=None, zone="Asia/Kolkata")
ALWAYS = plan("00:00-00:00", cal="24x7", days=DAILY)
NEW_YORK = "America/New_York"

CASES = [
    # -- an ordinary day
    Case("second before the start", EMA, "2026-11-25 09:19:59", False, "2026-11-25 09:20", "before its window; starts 09:20 IST"),
    Case("the start itself", EMA, "2026-11-25 09:20", True, "2026-11-25 15:15", "in its window (NSE); stops 15:15 IST"),
    Case("middle of the window", EMA, "2026-11-25 12:00", True, "2026-11-25 15:15"),
    Case("second before the stop", EMA, "2026-11-25 15:14:59", True, "2026-11-25 15:15"),
    Case("the stop itself", EMA, "2026-11-25 15:15", False, "2026-11-26 09:20", "after its window; starts Thu 09:20 IST"),
    Case("start before the open is kept", plan("09:00-15:15"), "2026-11-25 09:00", True, "2026-11-25 15:15"),
    Case("stop after the close is kept", plan("09:20-15:45"), "2026-11-25 15:40", True, "2026-11-25 15:45"),
    Case("between two windows", plan("09:20-11:00", "13:00-15:15"), "2026-11-25 12:00", False, "2026-11-25 13:00", "between its windows"),
    Case("second window", plan("09:20-11:00", "13:00-15:15"), "2026-11-25 13:00", True, "2026-11-25 15:15"),
    Case("windows that touch are one", plan("09:20-11:00", "11:00-15:15"), "2026-11-25 10:59", True, "2026-11-25 15:15"),
    Case("windows that overlap are one", plan("09:20-12:00", "11:00-15:15"), "2026-11-25 10:00", True, "2026-11-25 15:15"),
    Case("only on its days", plan("09:20-15:15", days="tue thu"), "2026-11-25 10:00", False, "2026-11-26 09:20", "not on its days (Wed)"),
    Case("session start", SESSION, "2026-11-25 09:20", True, "2026-11-25 15:15"),
    Case("before the session's open", plan("open-10m to close"), "2026-11-25 09:05", True, "2026-11-25 15:30"),
    Case("session start with clock stop", plan("open+5m to 15:00"), "2026-11-25 10:00", True, "2026-11-25 15:00"),
    Case("clock start with session stop", plan("10:00 to close-30m"), "2026-11-25 14:59", True, "2026-11-25 15:00"),
    Case("derivatives close later since August", plan("open to close", cal="NFO"), "2026-11-25 15:35", True, "2026-11-25 15:40"),
    Case("and did not before", plan("open to close", cal="NFO"), "2026-07-31 15:35", False, "2026-08-03 09:15"),
    # -- weekends and holidays
    Case("saturday", EMA, "2026-11-28 10:00", False, "2026-11-30 09:20", "closed: weekend; starts Mon 09:20 IST"),
    Case("holiday", EMA, "2026-11-24 12:00", False, "2026-11-25 09:20", "closed: Guru Nanak Jayanti; starts Wed 09:20 IST"),
    Case("holiday declared three days ahead", EMA, "2026-01-15 10:00", False, "2026-01-16 09:20", "municipal elections"),
    Case("clearing holiday is a trading day", EMA, "2026-08-26 10:00", True, "2026-08-26 15:15"),
    Case("but not for currencies", plan("09:20-15:15", cal="CDS"), "2026-08-26 10:00", False, "2026-08-27 09:20", "Id-E-Milad"),
    Case("evening before a holiday names the day after it", EMA, "2026-11-23 20:00", False, "2026-11-25 09:20"),
    Case("weekend, holiday and year end in one gap", EMA, "2026-12-24 16:00", False, "2026-12-28 09:20", "starts Mon 09:20 IST"),
    # -- special and short sessions
    Case("Muhurat Sunday, following the session", SESSION, "2026-11-08 18:05", True, "2026-11-08 18:45", "special session: Muhurat"),
    Case("Muhurat Sunday, before it", SESSION, "2026-11-08 18:04", False, "2026-11-08 18:05"),
    Case("Muhurat Sunday, by the clock", EMA, "2026-11-08 18:10", False, "2026-11-09 09:20", "set on_special to take part"),
    Case("by the clock with Sunday ticked", plan("09:20-15:15", days=DAILY), "2026-11-08 10:00", False, "2026-11-09 09:20"),
    Case("by the clock when told", plan("09:20-15:15", special=True), "2026-11-08 18:05", True, "2026-11-08 18:45"),
    Case("told, a morning window has no place in the evening", plan("09:20-11:00", special=True), "2026-11-08 18:10", False, None, "too short"),
    Case("only for certain weekdays: not on Sunday", plan("open to close", days="tue"), "2026-11-08 18:10", False, "2026-11-17 09:15", "set on_special"),
    Case("Muhurat on a Tuesday afternoon", SESSION, "2025-10-21 13:50", True, "2025-10-21 14:30"),
    Case("Muhurat on a Tuesday, by the clock", EMA, "2025-10-21 10:00", False, "2025-10-23 09:20"),
    Case("budget Sunday, following the session", SESSION, "2026-02-01 10:00", True, "2026-02-01 15:15"),
    Case("budget Sunday, by the clock", EMA, "2026-02-01 10:00", False, "2026-02-02 09:20"),
    Case("budget Sunday, by the clock when told", plan("09:20-15:15", special=True), "2026-02-01 10:00", True, "2026-02-01 15:15"),
    Case("budget Saturday 2025", SESSION, "2025-02-01 10:00", True, "2025-02-01 15:15"),
    Case("Saturday in place of Monday, 2024", SESSION, "2024-01-20 10:00", True, "2024-01-20 15:15"),
    Case("drill with a pause: one start, one stop", SESSION, "2024-03-02 10:30", True, "2024-03-02 12:15"),
    Case("MCX evening, following the session", plan("open+5m to close-10m", cal=MCX), "2026-11-24 17:05", True, "2026-11-24 23:45"),
    Case("MCX evening, a day strategy starts as far from the open", plan("09:05-23:25", cal=MCX), "2026-11-24 17:05", True, "2026-11-24 23:25", "short session"),
    Case("MCX evening, an evening strategy as always", plan("17:00-23:55", cal=MCX), "2026-11-24 17:00", True, "2026-11-24 23:55"),
    Case("MCX evening, a morning strategy rests", plan("09:30-16:00", cal=MCX), "2026-11-24 18:00", False, "2026-11-25 09:30", "too short"),
    Case("MCX evening, a start that would come after the close begins with the session", plan("16:00-00:01", cal=MCX), "2026-11-24 17:00", True, "2026-11-25 00:01"),
    Case("and not at midnight", plan("16:00-23:55", cal=MCX), "2026-11-25 00:00", False, "2026-11-25 16:00"),
    Case("the same with a session stop", plan("16:00 to close-10m", cal=MCX), "2026-11-24 17:00", True, "2026-11-24 23:45"),
    Case("told, an afternoon window takes the whole Muhurat but its last quarter", plan("13:00-15:15", special=True), "2026-11-08 18:00", True, "2026-11-08 18:45"),
    Case("MCX evening past midnight", plan("18:00-02:00", cal=MCX), "2026-11-25 01:59", True, "2026-11-25 02:00"),
    Case("MCX new year, stop as far from the close", plan("09:05-23:45", cal=MCX), "2026-01-01 16:00", True, "2026-01-01 16:50", "closes early"),
    Case("MCX in US summer: clock as written", plan("17:00-23:55", cal=MCX), "2026-10-30 23:40", True, "2026-10-30 23:55"),
    Case("MCX in US summer: session close", plan("17:00 to close-10m", cal=MCX), "2026-10-30 23:20", False, "2026-11-02 17:00"),
    # -- overnight
    Case("overnight, evening", NIGHT, "2026-11-25 22:00", True, "2026-11-26 02:00"),
    Case("overnight, after midnight", NIGHT, "2026-11-26 01:59", True, "2026-11-26 02:00"),
    Case("overnight, over", NIGHT, "2026-11-26 02:00", False, "2026-11-26 22:00"),
    Case("overnight belongs to its start day: Friday into Saturday", NIGHT, "2026-11-28 01:00", True, "2026-11-28 02:00"),
    Case("and not Sunday into Monday", NIGHT, "2026-11-30 01:00", False, "2026-11-30 22:00"),
    Case("overnight across into a holiday", plan("22:00-02:00"), "2026-11-24 01:00", True, "2026-11-24 02:00"),
    Case("overnight of the holiday itself", plan("22:00-02:00"), "2026-11-24 23:00", False, "2026-11-25 22:00"),
    Case("overnight across the year end", NIGHT, "2027-01-01 01:00", True, "2027-01-01 02:00"),
    # -- plain clock and 24x7
    Case("no calendar knows no holiday", plan("09:20-15:15", cal=None, zone="Asia/Kolkata"), "2026-11-24 10:00", True, "2026-11-24 15:15"),
    Case("24x7 never stops", ALWAYS, "2026-11-28 03:00", True, None, "never stops by itself"),
    Case("24x7 at midnight", ALWAYS, "2026-11-29 00:00", True, None),
    Case("24x7 with hours, in its own zone", plan("20:00-04:00", cal="24x7", days=DAILY, zone="Asia/Kolkata"), "2026-11-29 03:59", True, "2026-11-29 04:00"),
    Case("00:00 to 00:00 on weekdays lasts from Monday to Saturday", plan("00:00-00:00", cal=None, zone="Asia/Kolkata"), "2026-11-25 12:00", True, "2026-11-28 00:00"),
    # -- another zone than the exchange's
    Case("NSE from London in winter", plan("03:50-09:45", zone="Europe/London"), "2026-11-25 03:50", True, "2026-11-25 09:45", "GMT", zone="Europe/London"),
    Case("NSE from New York: Sunday evening is Monday's session", plan("22:50-04:45", zone=NEW_YORK, days="sun mon tue wed thu"), "2026-11-29 23:00", True, "2026-11-30 04:45", zone=NEW_YORK),
    Case("NSE from New York on the eve of a holiday there", plan("22:50-04:45", zone=NEW_YORK, days="sun mon tue wed thu"), "2026-11-23 23:00", False, "2026-11-24 22:50", "Guru Nanak Jayanti", zone=NEW_YORK),
    Case("session times need no thought of zones", plan("open to close", zone=NEW_YORK), "2026-11-24 23:00", True, "2026-11-25 05:00", zone=NEW_YORK),
    # -- clocks that change
    Case("02:30 in the spring gap means the jump", plan("02:30-06:00", cal=None, days=DAILY, zone=NEW_YORK), "2026-03-08 03:00", True, "2026-03-08 06:00", zone=NEW_YORK),
    Case("a window inside the gap is left out", plan("02:10-02:50", cal=None, days=DAILY, zone=NEW_YORK), "2026-03-08 03:00", False, "2026-03-09 02:10", "jumps over", zone=NEW_YORK),
    # -- exceptions
    Case("not on that day", plan("09:20-15:15", exceptions=NOT_CHRISTMAS_EVE), "2026-12-24 10:00", False, "2026-12-28 09:20", "not on 2026-12-24: family"),
    Case("also on that Saturday, past the calendar's end", plan("09:20-15:15", exceptions=SATURDAY), "2027-02-06 10:00", True, "2027-02-06 15:30", "also on 2027-02-06: budget day"),
    Case("closed and also: other hours for one day", plan("09:20-15:15", exceptions=(DayException(day("2026-12-24"), "closed"), DayException(day("2026-12-24"), "also", "09:20", "12:00"))), "2026-12-24 12:30", False, "2026-12-28 09:20"),
    # -- holds
    Case("stopped by hand stays stopped", EMA, "2026-11-25 10:00", False, None, "stopped by anna Mon 23 Nov 14:02 IST: wrong symbol", hold=STOPPED),
    Case("stopped by hand over midnight and holiday", EMA, "2026-11-26 09:20", False, None, "starts when a person starts it", hold=STOPPED),
    Case("started outside the window runs to the end of the next", EMA, "2026-11-21 03:00", True, "2026-11-23 15:15", "end of its next window, Mon 15:15 IST", hold=STARTED),
    Case("and is over then", EMA, "2026-11-23 15:15", False, "2026-11-25 09:20", hold=STARTED),
    Case("and the schedule goes on as usual", EMA, "2026-11-25 10:00", True, "2026-11-25 15:15", "in its window", hold=STARTED),
    Case("a window wholly before the open moves with it", plan("08:00-09:00", special=True), "2026-11-08 16:45", True, "2026-11-08 17:45"),
    Case("never longer than the person was told", plan("09:20-15:15", exceptions=(DayException(day("2026-11-23"), "closed"),)), "2026-11-23 10:00", True, "2026-11-23 15:15", hold=Hold("started", "anna", at("2026-11-20 20:00"), until=at("2026-11-23 15:15"))),
    Case("and over when that is over", plan("09:20-15:15", exceptions=(DayException(day("2026-11-23"), "closed"),)), "2026-11-23 15:15", False, "2026-11-25 09:20", hold=Hold("started", "anna", at("2026-11-20 20:00"), until=at("2026-11-23 15:15"))),
    Case("a manual start that ends inside a window goes on to its stop", EMA, "2026-11-25 09:00", True, "2026-11-25 15:15", hold=Hold("started", "anna", until=at("2026-11-25 12:00"))),
    Case("a manual start that ends where a window begins goes on to its stop", EMA, "2026-11-25 09:00", True, "2026-11-25 15:15", hold=Hold("started", "anna", until=at("2026-11-25 09:20"))),
    Case("unscheduled and not started", plan(enabled=False), "2026-11-25 10:00", False, None, "not scheduled; start it by hand"),
    Case("unscheduled and started runs on", plan(enabled=False), "2027-06-01 10:00", True, None, "until a person stops it", hold=STARTED),
    Case("paused: would start", EMA, "2026-11-25 10:00", None, "2026-11-25 15:15", "paused by anna", hold=PAUSED),
    Case("paused: would stop, and does", EMA, "2026-11-25 16:00", False, "2026-11-26 09:20", hold=PAUSED),
    Case("paused and unscheduled is left as it is", plan(enabled=False), "2026-11-25 10:00", None, None, hold=PAUSED),
    Case("paused over a start outside the window: left as it is", EMA, "2026-11-25 17:00", None, "2026-11-26 15:15", "paused by anna", hold=PAUSED_OVER),
    Case("paused over a start outside the window: stops at its end", EMA, "2026-11-26 15:15", False, "2026-11-27 09:20", hold=PAUSED_OVER),
    Case("paused over a start of an unscheduled one", plan(enabled=False), "2026-11-25 10:00", None, None, hold=PAUSED_OVER),
    Case("the workspace paused over a manual start", plan(enabled=False), "2026-11-25 10:00", None, None, hold=STARTED, workspace=PAUSED),
    Case("the workspace paused over a manual stop", EMA, "2026-11-25 10:00", False, None, "stopped by anna", hold=STOPPED, workspace=PAUSED),
    Case("panic stops everything", ALWAYS, "2026-11-25 10:00", False, None, "runaway orders", workspace=PANIC),
    Case("panic of one over its manual start", EMA, "2026-11-25 10:00", False, None, "resume", hold=PANIC),
    Case("a hold that ended by itself is no hold", EMA, "2026-11-25 10:00", True, "2026-11-25 15:15", hold=Hold("paused", "anna", until=at("2026-11-25 09:00"))),
    # -- a calendar that cannot answer
    Case("past the data: not started", plan("09:20-15:15", live=True), "2027-01-04 10:00", None, "2027-01-04 15:15", "live is never started on a guess", alert=True),
    Case("past the data: the clock stop stands", plan("09:20-15:15", live=True), "2027-01-04 15:15", False, "2027-01-05 09:20", "no data after 2026-12-31", alert=True),
    Case("past the data: a session stop falls back to the last known hours", SESSION, "2027-01-04 15:14", None, "2027-01-04 15:15", "what runs stops 15:15 IST", alert=True),
    Case("past the data: derivatives keep their latest hours", plan("open to close", cal="NFO"), "2027-01-04 15:35", None, "2027-01-04 15:40", alert=True),
    Case("past the data: a weekend is a weekend", EMA, "2027-01-02 10:00", False, "2027-01-04 09:20", alert=True),
    Case("past the data: a holiday known already", EMA, "2027-01-26 10:00", False, "2027-01-27 09:20", "Republic Day", alert=True),
    Case("last evening of the data says what comes", EMA, "2026-12-31 16:00", False, "2027-01-01 09:20", "will not start Fri 09:20 IST by itself", alert=True),
    Case("a person may start it all the same", EMA, "2027-01-04 10:00", True, "2027-01-04 15:15", hold=Hold("started", "anna", at("2027-01-04 09:40"))),
    Case("unknown calendar with a zone: the clock stop stands", plan("09:20-15:15", cal="NOPE", zone="Asia/Kolkata"), "2026-11-25 15:15", False, "2026-11-26 09:20", "cannot be found", alert=True),
    Case("unknown calendar with a zone: not started", plan("09:20-15:15", cal="NOPE", zone="Asia/Kolkata"), "2026-11-25 10:00", None, "2026-11-25 15:15", alert=True),
    Case("unknown calendar without zone: left as it is", plan("09:20-15:15", cal="NOPE"), "2026-11-25 18:00", None, None, alert=True),
    Case("unknown calendar, session times: left as it is", plan("open to close", cal="NOPE", zone="Asia/Kolkata"), "2026-11-25 18:00", None, None, alert=True),
    Case("a plan that cannot be read: left as it is", plan("25:99-15:15"), "2026-11-25 10:00", None, None, '"25:99" is not HH:MM', alert=True),
    Case("a plan that cannot be read is stopped by a person all the same", plan("25:99-15:15"), "2026-11-25 10:00", False, None, hold=STOPPED),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_decision(case: Case) -> None:
    decision = decide(case.plan, calendar(case.plan.calendar), case.hold, at(case.at, case.zone), case.workspace)
    assert decision.run is case.run, decision.why
    assert case.why in decision.why
    assert decision.alert is case.alert, decision.why
    if case.until is not None:
        assert decision.until == at(case.until, case.zone), decision.why
    elif not case.why or case.run is not False:
        assert decision.until is None, decision.why


def test_there_are_enough_cases_and_each_has_a_name_of_its_own() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_end_of_the_next_window_names_the_day_the_confirmation_shows() -> None:
    """Friday 20:00 means Monday 15:15; before a holiday it means the day after."""
    assert end_of_next_window(EMA, calendar("NSE"), at("2026-11-20 20:00")) == at("2026-11-23 15:15")
    assert end_of_next_window(EMA, calendar("NSE"), at("2026-11-23 20:00")) == at("2026-11-25 15:15")
    assert end_of_next_window(EMA, calendar("NSE"), at("2026-11-25 10:00")) == at("2026-11-25 15:15")
    assert end_of_next_window(ALWAYS, calendar("24x7"), at("2026-11-25 10:00")) is None
    assert end_of_next_window(plan(enabled=False), None, at("2026-11-25 10:00")) is None


def test_a_manual_start_ends_with_a_session_that_was_shortened_meanwhile() -> None:
    """The person was told 15:15; on an MCX day cut short since, the earlier end counts."""
    told = Hold("started", "anna", at("2025-12-31 23:58"), until=at("2026-01-01 23:45"))
    held = decide(plan("09:05-23:45", cal="MCX"), calendar("MCX"), told, at("2026-01-01 10:00"))
    assert held.until == at("2026-01-01 16:50")


@pytest.mark.parametrize(
    ("hold", "workspace", "start", "stop"),
    [
        (NO_HOLD, NO_HOLD, "2026-11-25 09:20", "2026-11-25 15:15"),
        (STOPPED, NO_HOLD, None, None),
        (PAUSED, NO_HOLD, None, "2026-11-25 15:15"),
        (NO_HOLD, PAUSED, None, "2026-11-25 15:15"),
        (Hold("started", "anna", at("2026-11-24 12:00")), NO_HOLD, "2026-11-26 09:20", "2026-11-25 15:15"),
        (NO_HOLD, PANIC, None, "2026-11-25 15:15"),
    ],
)
def test_next_start_and_stop_on_a_holiday(hold: Hold, workspace: Hold, start: str | None, stop: str | None) -> None:
    now = at("2026-11-24 13:00")
    assert next_start(EMA, calendar("NSE"), hold, now, workspace) == (at(start) if start else None)
    assert next_stop(EMA, calendar("NSE"), hold, now, workspace) == (at(stop) if stop else None)


def test_no_start_is_promised_that_the_calendar_cannot_confirm() -> None:
    assert next_start(EMA, calendar("NSE"), NO_HOLD, at("2026-12-31 16:00")) is None
    assert next_stop(EMA, calendar("NSE"), NO_HOLD, at("2027-01-04 10:00")) == at("2027-01-04 15:15")


def test_the_answer_carries_utc_and_a_naive_time_is_refused() -> None:
    decision = decide(EMA, calendar("NSE"), NO_HOLD, at("2026-11-25 10:00"))
    assert decision.until is not None
    assert decision.until.utcoffset() is not None
    assert decision.until.utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="aware"):
        decide(EMA, calendar("NSE"), NO_HOLD, at("2026-11-25 10:00").replace(tzinfo=None))


def test_the_same_question_later_and_earlier_gets_its_own_answer() -> None:
    """Kept answers are kept only as long as they are true, forwards and backwards."""
    nse = calendar("NSE")
    for text, run in [
        ("10:00", True),
        ("16:00", False),
        ("09:00", False),
        ("15:14", True),
        ("09:19", False),
        ("09:20", True),
    ]:
        assert decide(EMA, nse, NO_HOLD, at(f"2026-11-25 {text}", IST)).run is run, text
