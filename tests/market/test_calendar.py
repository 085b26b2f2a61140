"""The engine of calendars and the facts that are shipped."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from stratpanel.market import CannotAnswer
from stratpanel.market.calendar import Calendar, Hours, Row
from stratpanel.market.store import SHIPPED
from tests.market.support import IST, at, calendar, day, shipped

INDIAN = ["NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX", "NCO"]


def sessions(name: str, first: str, last: str | None = None) -> list[tuple[str, str, str, str]]:
    """(date, open, close, kind) in the calendar's own zone."""
    found = calendar(name)
    assert found is not None
    return [
        (
            str(s.date),
            f"{s.open.astimezone(found.timezone):%H:%M}",
            f"{s.close.astimezone(found.timezone):%H:%M}",
            s.kind,
        )
        for s in found.sessions(day(first), day(last or first))
    ]


def test_all_of_the_contract_are_shipped() -> None:
    assert set(INDIAN) | {"24x7"} == set(shipped().names())
    assert shipped().problem is None


@pytest.mark.parametrize(
    ("name", "on", "opens", "closes"),
    [
        ("NSE", "2026-11-25", "09:15", "15:30"),
        ("BSE", "2024-07-01", "09:15", "15:30"),
        ("NFO", "2026-07-31", "09:15", "15:30"),
        ("NFO", "2026-08-03", "09:15", "15:40"),
        ("BFO", "2026-07-31", "09:15", "15:30"),
        ("BFO", "2026-08-03", "09:15", "15:40"),
        ("CDS", "2026-11-25", "09:00", "17:00"),
        ("BCD", "2025-06-02", "09:00", "17:00"),
        ("MCX", "2026-11-25", "09:00", "23:55"),
        ("MCX", "2026-10-30", "09:00", "23:30"),  # US daylight saving time: NSE circular COM72699
        ("MCX", "2026-03-06", "09:00", "23:55"),
        ("MCX", "2026-03-09", "09:00", "23:30"),
        ("NCO", "2026-11-25", "09:00", "23:55"),
    ],
)
def test_regular_hours_by_effective_date(name: str, on: str, opens: str, closes: str) -> None:
    assert sessions(name, on) == [(on, opens, closes, "regular")]


@pytest.mark.parametrize(
    ("name", "on", "expected"),
    [
        ("NSE", "2024-01-20", [("09:15", "15:30")]),
        ("NSE", "2024-03-02", [("09:15", "10:00"), ("11:30", "12:30")]),
        ("NSE", "2024-05-18", [("09:15", "10:00"), ("11:30", "12:30")]),
        ("NSE", "2024-11-01", [("18:00", "19:00")]),
        ("NSE", "2025-02-01", [("09:15", "15:30")]),
        ("NSE", "2025-10-21", [("13:45", "14:45")]),
        ("NSE", "2026-02-01", [("09:15", "15:30")]),
        ("NSE", "2026-11-08", [("18:00", "19:00")]),
        ("NFO", "2026-11-08", [("18:00", "19:00")]),
        ("BFO", "2025-10-21", [("13:45", "14:45")]),
        ("CDS", "2025-10-21", [("13:45", "14:45")]),
        ("MCX", "2025-02-01", [("09:00", "17:00")]),
        ("MCX", "2026-02-01", [("09:00", "17:00")]),
        ("MCX", "2026-11-08", [("18:00", "19:00")]),
        ("MCX", "2026-11-24", [("17:00", "23:55")]),
        ("MCX", "2026-06-26", [("17:00", "23:30")]),
        ("NCO", "2026-01-15", [("17:00", "23:55")]),
    ],
)
def test_special_and_evening_sessions(name: str, on: str, expected: list[tuple[str, str]]) -> None:
    assert sessions(name, on) == [(on, opens, closes, "special") for opens, closes in expected]


@pytest.mark.parametrize(
    ("name", "days"),
    [
        ("NSE", "2026-01-15 2026-11-24 2025-10-22 2024-01-22 2026-11-22"),
        ("CDS", "2026-08-26 2026-04-01 2026-02-01 2025-09-08"),
        ("BCD", "2024-09-18"),
        ("MCX", "2026-01-26 2026-04-03 2026-12-25 2025-10-02"),
        ("NCO", "2026-10-02"),
    ],
)
def test_days_without_a_session(name: str, days: str) -> None:
    for on in days.split():
        assert sessions(name, on) == [], on


@pytest.mark.parametrize("on", ["2026-02-19", "2026-03-19", "2026-04-01", "2026-08-26", "2025-09-05", "2025-09-08"])
def test_on_a_clearing_holiday_shares_trade_and_it_is_said(on: str) -> None:
    assert sessions("NSE", on) == [(on, "09:15", "15:30", "regular")]
    found = calendar("NSE")
    assert found is not None
    assert found.day(day(on)).settlement
    assert on != "2025-09-05" or sessions("CDS", on)  # moved from the 5th to the 8th for currencies


def test_new_years_day_has_no_evening_session_on_mcx() -> None:
    assert sessions("MCX", "2026-01-01") == [("2026-01-01", "09:00", "17:00", "early_close")]


def test_every_row_names_its_source_and_lies_where_the_data_say() -> None:
    for path in SHIPPED.glob("*.toml"):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        for table in ("hours", "closed", "session", "settlement"):
            for row in data.get(table, []):
                assert row["source"].strip(), (path.name, row)
                assert row.get("date", data.get("valid_from")) >= data["valid_from"], (path.name, row)


def test_no_closed_day_falls_on_a_weekend_and_no_day_has_two_rows() -> None:
    for path in SHIPPED.glob("*.toml"):
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        rows = data.get("closed", []) + data.get("session", [])
        assert len({row["date"] for row in rows}) == len(rows), path.name
        assert all(row["date"].weekday() < 5 for row in data.get("closed", [])), path.name


def test_the_currency_segment_is_closed_on_20_weekdays_of_2026_and_shares_on_16() -> None:
    for name, expected in (("CDS", 20), ("BCD", 20), ("NSE", 16), ("NFO", 16)):
        found = calendar(name)
        assert found is not None
        closed = [d for d, row in found.rows.items() if d.year == 2026 and row.kind == "closed"]
        assert len(closed) == expected, name


@pytest.mark.parametrize("name", INDIAN)
def test_past_the_end_nothing_is_invented(name: str) -> None:
    found = calendar(name)
    assert found is not None
    with pytest.raises(CannotAnswer, match="2026-12-31"):
        found.sessions(date(2026, 12, 30), date(2027, 1, 4))
    assert found.day(date(2027, 2, 1)).kind == "unknown"
    assert found.day(date(2027, 1, 26)).why == "Republic Day"  # known already, and closed
    with pytest.raises(CannotAnswer, match="2024-01-01"):
        found.sessions(date(2023, 12, 29), date(2023, 12, 29))


def test_24x7_never_closes_and_never_ends() -> None:
    found = calendar("24x7")
    assert found is not None
    rows = found.sessions(date(2031, 1, 4), date(2031, 1, 5))
    assert [(row.close - row.open) for row in rows] == [timedelta(days=1)] * 2


# -- the engine itself, on calendars made here

CHICAGO = ZoneInfo("America/Chicago")


def globex(**more: object) -> Calendar:
    """Sunday 17:00 to Friday 16:00 with a daily break of an hour; a session is dated by the day it closes."""
    hours = [Hours(date(2020, 1, 1), frozenset(range(5)), ((-420, 960),), "test")]
    return Calendar("CME", timezone=CHICAGO, hours=hours, **more)  # type: ignore[arg-type]


def test_a_session_that_begins_the_evening_before_keeps_wall_clock_over_a_clock_change() -> None:
    found = globex().sessions(date(2026, 3, 9), date(2026, 3, 9))[0]  # clocks change on Sunday the 8th at 02:00
    assert found.open == datetime(2026, 3, 8, 17, tzinfo=CHICAGO)
    assert found.close == datetime(2026, 3, 9, 16, tzinfo=CHICAGO)
    monday_after_autumn = globex().sessions(date(2026, 11, 2), date(2026, 11, 2))[0]
    assert (monday_after_autumn.close - monday_after_autumn.open) == timedelta(hours=23)


@pytest.mark.parametrize(
    ("moment", "dated"),
    [
        ("2026-11-22 17:00", "2026-11-23"),  # Sunday evening is Monday's session
        ("2026-11-22 16:30", "2026-11-23"),  # so is the hour before it
        ("2026-11-23 15:59", "2026-11-23"),
        ("2026-11-23 16:00", "2026-11-24"),
        ("2026-11-27 16:00", "2026-11-28"),  # Friday after the close: Saturday, which has none
    ],
)
def test_which_session_an_instant_belongs_to(moment: str, dated: str) -> None:
    assert globex().session_date(int(at(moment, CHICAGO).timestamp())) == day(dated)


def test_hours_may_differ_by_weekday_and_change_on_a_date() -> None:
    found = Calendar(
        "X",
        timezone=IST,
        hours=[
            Hours(date(2026, 1, 1), frozenset({0, 1, 2, 3}), ((540, 1020),)),
            Hours(date(2026, 1, 1), frozenset({4}), ((540, 780),)),
            Hours(date(2026, 6, 1), frozenset(range(6)), ((600, 1020),)),
        ],
    )
    lengths = [
        (s.date.day, int((s.close - s.open).total_seconds() // 60))
        for s in found.sessions(day("2026-05-28"), day("2026-06-01"))
    ]
    assert lengths == [(28, 480), (29, 240), (1, 420)]
    assert found.trading_weekdays(day("2026-05-28")) == frozenset(range(5))
    assert found.sessions(day("2026-06-06"), day("2026-06-06"))[0].kind == "regular"  # Saturdays since June


def test_a_break_makes_two_sessions_of_a_day() -> None:
    found = Calendar(
        "HK",
        timezone=ZoneInfo("Asia/Hong_Kong"),
        hours=[Hours(date(2020, 1, 1), frozenset(range(5)), ((570, 720), (780, 960)))],
    )
    rows = found.sessions(date(2026, 11, 25), date(2026, 11, 25))
    assert [(row.open.hour, row.close.hour) for row in rows] == [(1, 4), (5, 8)]


def test_an_override_answers_past_the_end_and_through_a_broken_file() -> None:
    rows = {date(2027, 1, 26): Row("closed", "mine", origin="override"), date(2026, 11, 25): Row("closed", "shipped")}
    found = globex(rows=rows, valid_through=date(2026, 12, 31), problem="file is broken")
    assert found.day(date(2027, 1, 26)).why == "mine"
    assert found.day(date(2026, 11, 25)).kind == "unknown"
    assert "file is broken" in found.day(date(2026, 11, 25)).why
