"""Wall clocks: what people may write, and what it means on days when clocks change."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratpanel.market.clock import Mark, epoch, instant, local, parse_day, parse_mark, say, zone
from stratpanel.market.errors import InvalidTime

ZONES = [
    "America/New_York",
    "Europe/London",
    "America/Chicago",
    "Australia/Sydney",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
]


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("09:20", Mark("clock", 560)),
        ("9:20", Mark("clock", 560)),
        (" 23:59 ", Mark("clock", 1439)),
        ("00:00", Mark("clock", 0)),
        ("open", Mark("open", 0)),
        ("open+5m", Mark("open", 5)),
        ("open-10m", Mark("open", -10)),
        ("CLOSE - 15m", Mark("close", -15)),
        ("close+1440m", Mark("close", 1440)),
    ],
)
def test_times_that_can_be_read(text: str, mark: Mark) -> None:
    assert parse_mark(text) == mark


@pytest.mark.parametrize(
    "text", ["25:99", "24:01", "9.20", "", "0920", "open+5", "open+5h", "close-1441m", "noon", "09:20:00", "-1:00"]
)
def test_times_that_cannot_be_read_name_the_text(text: str) -> None:
    with pytest.raises(InvalidTime) as error:
        parse_mark(text)
    assert f'"{text}"' in error.value.message


def test_the_contract_of_the_message() -> None:
    with pytest.raises(InvalidTime) as error:
        parse_mark("25:99")
    assert error.value.message == '"25:99" is not HH:MM'


def test_midnight_as_24_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidTime, match="write 00:00"):
        parse_mark("24:00")


@pytest.mark.parametrize("text", ["monday", "funday", "", "m"])
def test_days_are_three_letters(text: str) -> None:
    with pytest.raises(InvalidTime, match="use mon, tue"):
        parse_day(text)


@pytest.mark.parametrize("name", ["Mars/Phobos", "IST5", "../etc/passwd", "", "Asia"])
def test_unknown_zones_are_refused(name: str) -> None:
    with pytest.raises(InvalidTime, match="IANA"):
        zone(name)


def test_a_time_in_the_spring_gap_is_the_moment_the_clock_jumps() -> None:
    new_york = ZoneInfo("America/New_York")
    jump = datetime(2026, 3, 8, 3, 0, tzinfo=new_york)
    for minutes in (120, 135, 150, 179):
        assert instant(date(2026, 3, 8), minutes, new_york) == jump.timestamp()
    assert instant(date(2026, 3, 8), 119, new_york) == jump.timestamp() - 60
    assert instant(date(2026, 3, 8), 180, new_york) == jump.timestamp()


def test_a_time_that_happens_twice_is_its_first_occurrence() -> None:
    london = ZoneInfo("Europe/London")
    assert instant(date(2026, 10, 25), 90, london) == datetime(2026, 10, 25, 1, 30, tzinfo=london, fold=0).timestamp()


@given(
    name=st.sampled_from(ZONES),
    day=st.dates(date(2023, 1, 1), date(2028, 12, 31)),
    minutes=st.integers(0, 1439),
)
def test_every_wall_time_is_the_first_instant_that_shows_it_or_more(name: str, day: date, minutes: int) -> None:
    tz = ZoneInfo(name)
    found = instant(day, minutes, tz)
    shown = local(found, tz)
    wanted = (day, minutes)
    assert (shown.date(), shown.hour * 60 + shown.minute) >= wanted
    before = local(found - 1, tz)
    assert (before.date(), before.hour * 60 + before.minute) < wanted


def test_words_for_instants_carry_day_and_zone_as_needed() -> None:
    tz = ZoneInfo("Asia/Kolkata")
    moment = datetime(2026, 11, 25, 9, 20, tzinfo=tz).timestamp()
    assert say(moment, tz, date(2026, 11, 25)) == "09:20 IST"
    assert say(moment, tz, date(2026, 11, 24)) == "Wed 09:20 IST"
    assert say(moment, tz, date(2026, 11, 10)) == "Wed 25 Nov 09:20 IST"
    assert say(moment, tz, date(2025, 12, 31)) == "Wed 25 Nov 2026 09:20 IST"


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        epoch(datetime(2026, 1, 1))  # noqa: DTZ001
