"""What is refused, what is warned about, and how a schedule is explained and drawn."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stratpanel.market import NO_HOLD, DayException, Hold, Plan
from stratpanel.market.check import Problem, check
from stratpanel.market.explain import explain
from stratpanel.market.week import Planned, week_rows, week_text
from tests.market.support import EVERY_DAY, IST, at, calendar, day, plan

NOW = at("2026-11-22 10:00")
DAILY = " ".join(EVERY_DAY)


def problems(one: Plan) -> list[Problem]:
    return check(one, calendar(one.calendar), NOW)


@pytest.mark.parametrize(
    "one",
    [
        plan("09:20-15:15"),
        plan("open+5m to close-10m"),
        plan("22:00-02:00", cal=None, zone="America/New_York"),
        plan("00:00-00:00", cal="24x7", days=DAILY),
        plan("09:20-15:15", days="sat sun", special=False, cal=None),
        plan("17:00-23:55", cal="MCX"),
        plan("09:20-15:15", enabled=False),
        plan(enabled=False),
        plan(exceptions=(DayException(day("2027-02-06"), "also", "09:15", "15:30"),)),
    ],
)
def test_a_good_schedule_has_no_problem(one: Plan) -> None:
    assert problems(one) == []


@pytest.mark.parametrize(
    ("one", "field", "words"),
    [
        (plan("25:99-15:15"), "schedule.windows[0].start", '"25:99" is not HH:MM'),
        (plan("09:20-15:15", "09:20-close+5h"), "schedule.windows[1].stop", '"close+5h" is not HH:MM'),
        (plan("09:20-15:15", days=""), "schedule.windows[0].days", "names no day"),
        (plan("09:20-15:15", days="mon funday"), "schedule.windows[0].days", '"funday" is not a day'),
        (plan("09:20-15:15", zone="Mars/One"), "schedule.timezone", "IANA"),
        (plan("09:20-15:15", cal="XNYS"), "schedule.calendar", "calendar sync XNYS"),
        (plan(), "schedule.windows", "is empty"),
        (plan("open to close", cal=None), "schedule.windows[0].start", "choose a calendar"),
        (plan("09:00 to close", cal="24x7"), "schedule.windows[0].stop", "24x7 has none"),
        (plan("open+5m to open+1m"), "schedule.windows[0].stop", "choose a later stop"),
        (plan("open+5m to open+5m"), "schedule.windows[0].stop", "choose a later stop"),
        (plan("close-10m to open+10m"), "schedule.windows[0].stop", "choose a later stop"),
        (plan("open+300m to close-200m"), "schedule.windows[0].stop", "no session is long enough"),
        (plan("09:20-15:15", days="sat sun"), "schedule.windows[0].days", "NSE has no session on sat, sun"),
        (plan("09:20-15:15", "09:20-15:15", days="sun"), "schedule.windows[1].days", "choose of mon"),
        (
            plan("09:20-15:15", exceptions=(DayException(day("2026-12-01"), "also", "09:15"),)),
            "schedule.exceptions[0].stop", "give both",
        ),
        (
            plan("09:20-15:15", exceptions=(DayException(day("2026-12-01"), "closed", "09:15", "10:00"),)),
            "schedule.exceptions[0].start", "closed as a whole",
        ),
        (
            plan("09:20-15:15", exceptions=(DayException(day("2026-12-01"), "also", "09:15", "99:00"),)),
            "schedule.exceptions[0].stop", '"99:00" is not HH:MM',
        ),
        (plan(exceptions=(DayException(day("2026-12-01"), "also"),)), "schedule.exceptions[0].start", "no window"),
        (plan(exceptions=(DayException(day("2020-12-01"), "also", "09:15", "10:00"),)), "schedule.windows", "is empty"),
    ],
)  # fmt: skip
def test_what_can_never_run_is_refused_naming_field_and_remedy(one: Plan, field: str, words: str) -> None:
    found = [p for p in problems(one) if p.severity == "error"]
    assert field in [p.field for p in found]
    assert any(words in p.message for p in found if p.field == field)


@pytest.mark.parametrize(
    ("one", "field", "words"),
    [
        (plan("09:20-09:21"), "schedule.windows[0].stop", "runs for 60 s only"),
        (plan("open to open+1m"), "schedule.windows[0].stop", "runs for 60 s only"),
        (plan("09:20-09:20"), "schedule.windows[0].stop", "24 hours"),
        (plan("09:20-15:15", days="sun", special=True), "schedule.windows[0].on_special", "waits for one"),
    ],
)
def test_what_was_hardly_meant_is_warned_about(one: Plan, field: str, words: str) -> None:
    found = problems(one)
    assert [(p.severity, p.field) for p in found] == [("warning", field)]
    assert words in found[0].message


def test_a_plan_past_the_calendars_end_is_not_refused() -> None:
    assert check(plan("09:20-15:15"), calendar("NSE"), at("2027-03-01 10:00")) == []


def test_explain_gives_the_contract_with_the_rules_in_words() -> None:
    found = explain(plan("open+5m to close-15m"), calendar("NSE"), NO_HOLD, at("2026-11-07 10:00"), count=4)
    assert found == {
        "run": False,
        "why": "closed: weekend; starts Sun 18:05 IST",
        "until": "2026-11-08T18:05:00+05:30",
        "alert": False,
        "boundaries": [
            {
                "at": "2026-11-08T18:05:00+05:30",
                "action": "start",
                "rule": "open+5m of NSE 18:00–19:00, Muhurat trading on Diwali",
            },
            {
                "at": "2026-11-08T18:45:00+05:30",
                "action": "stop",
                "rule": "close-15m of NSE 18:00–19:00, Muhurat trading on Diwali",
            },
            {"at": "2026-11-09T09:20:00+05:30", "action": "start", "rule": "open+5m of NSE 09:15–15:30"},
            {"at": "2026-11-09T15:15:00+05:30", "action": "stop", "rule": "close-15m of NSE 09:15–15:30"},
        ],
    }


@pytest.mark.parametrize(
    ("one", "moment", "start", "stop"),
    [
        (plan("09:20-15:15"), "2026-11-25", "09:20 (NSE 09:15–15:30)", "15:15 (NSE 09:15–15:30)"),
        (
            plan("09:05-23:25", cal="MCX"), "2026-11-24",
            "09:05 keeps its usual distance to the open (MCX 17:00–23:55, Guru Nanak Jayanti, evening session only)",
            "23:25 (MCX 17:00–23:55, Guru Nanak Jayanti, evening session only)",
        ),
        (
            plan("09:20-15:15", special=True), "2026-11-08",
            "09:20 keeps its usual distance to the open (NSE 18:00–19:00, Muhurat trading on Diwali)",
            "15:15 keeps its usual distance to the close (NSE 18:00–19:00, Muhurat trading on Diwali)",
        ),
        (
            plan("16:00-00:01", cal="MCX"), "2026-11-24",
            "16:00 begins with the session (MCX 17:00–23:55, Guru Nanak Jayanti, evening session only)",
            "00:01 the next day (MCX 17:00–23:55, Guru Nanak Jayanti, evening session only)",
        ),
        (
            plan("15:35-16:00", special=True), "2026-11-08",
            "15:35 keeps its usual distance to the close (NSE 18:00–19:00, Muhurat trading on Diwali)",
            "16:00 keeps its usual distance to the close (NSE 18:00–19:00, Muhurat trading on Diwali)",
        ),
        (
            plan("22:00-02:00", cal=None, zone="Asia/Kolkata"), "2026-11-25",
            "22:00 (plain clock)", "02:00 the next day (plain clock)",
        ),
        (
            plan("09:20-15:15", exceptions=(DayException(day("2027-02-06"), "also", "09:15", "15:30", "budget"),)),
            "2027-02-06", "also on 2027-02-06: budget", "also on 2027-02-06: budget",
        ),
    ],
)  # fmt: skip
def test_rules_in_words(one: Plan, moment: str, start: str, stop: str) -> None:
    edges = explain(one, calendar(one.calendar), NO_HOLD, at(f"{moment} 05:00"), count=2)["boundaries"]
    assert [edge["rule"] for edge in edges] == [start, stop]


def test_the_rule_of_a_time_that_does_not_exist_says_so() -> None:
    one = plan("02:30-06:00", cal=None, days=DAILY, zone="America/New_York")
    edges = explain(one, None, NO_HOLD, at("2026-03-08 00:00", "America/New_York"), count=1)["boundaries"]
    assert edges[0]["rule"] == "02:30 does not exist on 2026-03-08, the clock jumps to 03:00 (plain clock)"
    assert edges[0]["at"] == "2026-03-08T03:00:00-04:00"


ITEMS = [
    Planned("ema", plan("09:20-15:15"), calendar("NSE")),
    Planned("gold", plan("17:00-23:30", cal="MCX"), calendar("MCX"), Hold("stopped", "anna", NOW)),
    Planned("btc", plan("00:00-00:00", cal="24x7", days=DAILY), calendar("24x7")),
    Planned("by hand", plan(enabled=False)),
]


def test_the_week_is_drawn_with_its_holidays() -> None:
    assert week_text(ITEMS, NOW, IST) == (
        "          Sun 22 Nov   Mon 23 Nov   Tue 24 Nov   Wed 25 Nov   Thu 26 Nov   Fri 27 Nov   Sat 28 Nov\n"
        "ema       ············ ····▪███···· ············ ····▪███···· ····▪███···· ····▪███···· ············"
        "  closed: weekend; starts Mon 09:20 IST\n"
        "gold      ············ ········░░░░ ········░░░░ ········░░░░ ········░░░░ ········░░░░ ············"
        "  stopped by anna 10:00 IST; it starts when a person starts it\n"
        "btc       ████████████ ████████████ ████████████ ████████████ ████████████ ████████████ ████████████"
        "  in its window; never stops by itself\n"
        "by hand   ············ ············ ············ ············ ············ ············ ············"
        "  not scheduled; start it by hand\n"
        "one mark = 2 h, IST; █ runs, ▪ less than half of it, ? calendar cannot confirm, ░ held by a person\n"
        "Tue 24 Nov  MCX 17:00–23:55: Guru Nanak Jayanti, evening session only\n"
        "Tue 24 Nov  NSE closed: Guru Nanak Jayanti\n"
    )


def test_the_week_shows_what_the_calendar_cannot_confirm() -> None:
    text = week_text(ITEMS[:1], at("2026-12-31 10:00"), IST)
    assert "ema       ····▪███···· ····????····" in text
    assert text.count("NSE has no data after 2026-12-31") == 1


def test_week_rows_for_a_timeline() -> None:
    rows = week_rows(ITEMS, at("2026-11-22 00:00"), 3)
    assert [(row["id"], row["start"], row["stop"], row["kind"], row["held"], row["goes_on"]) for row in rows] == [
        ("ema", "2026-11-23T09:20:00+05:30", "2026-11-23T15:15:00+05:30", "regular", False, False),
        ("gold", "2026-11-23T17:00:00+05:30", "2026-11-23T23:30:00+05:30", "regular", True, False),
        ("gold", "2026-11-24T17:00:00+05:30", "2026-11-24T23:30:00+05:30", "partial", True, False),
        ("btc", "2026-11-21T18:30:00+00:00", "2026-11-24T18:30:00+00:00", "plain", False, True),
    ]
    assert rows[3]["from_before"] is True
    assert rows[2]["why"].startswith("17:00 (MCX 17:00–23:55, Guru Nanak Jayanti")


def test_an_empty_week() -> None:
    assert "no strategies" in week_text([], NOW, IST)


def test_the_room_imports_the_standard_library_only() -> None:
    program = (
        "import sys; import stratpanel.market.store, stratpanel.market.week, stratpanel.market.check, "
        "stratpanel.market.explain, stratpanel.market.overrides_file; "
        "bad = {m.split('.')[0] for m in sys.modules} & "
        "{'pandas', 'numpy', 'param', 'pandas_market_calendars', 'apscheduler', 'tornado', 'psutil'}; "
        "sys.exit(str(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
