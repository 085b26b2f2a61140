"""The user's own word about days: read with precision, obeyed at once, written without touching anything else."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from stratpanel.market import NO_HOLD, CalendarUnknown, InvalidCalendar, decide
from stratpanel.market.overrides import read_overrides
from stratpanel.market.overrides_file import overrides_of, put_override, remove_override
from stratpanel.market.store import CalendarStore
from tests.market.support import at, day, plan

EMA = plan("09:20-15:15")

MINE = """\
# my own calendar notes
[[closed]]  # strike
calendar = "NSE"
date = 2026-11-25
reason = "strike"

# the exchange moved its hours
[[hours]]
calendar = ["NFO", "BFO"]
from = 2026-12-01
sessions = ["09:15-15:50"]
reason = "circular 99"

[[open]]
calendar = "india"
date = 2027-02-06
sessions = ["09:15-12:00", "13:00-15:30"]
reason = "budget Saturday"

[[valid]]
calendar = "NSE"
through = 2027-03-31
reason = "entered by hand"

[[calendar]]
name = "NCDEX"
timezone = "Asia/Kolkata"
reason = "agricultural commodities"

[[hours]]
calendar = "NCDEX"
from = 2026-01-01
sessions = ["10:00-17:00"]
reason = "exchange site"
# the end
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "calendar_overrides.toml"


def store(file: Path, text: str | None = None) -> CalendarStore:
    if text is not None:
        file.write_text(text, encoding="utf-8")
    return CalendarStore(overrides_file=file)


def test_every_kind_of_row_is_obeyed(file: Path) -> None:
    found = store(file, MINE)
    assert found.problem is None
    assert found.get("NSE").day(day("2026-11-25")).why == "strike"
    assert found.get("NFO").sessions(day("2026-12-01"), day("2026-12-01"))[0].close == at("2026-12-01 15:50")
    assert found.get("NFO").sessions(day("2026-11-30"), day("2026-11-30"))[0].close == at("2026-11-30 15:40")
    assert [s.kind for s in found.get("MCX").sessions(day("2027-02-06"), day("2027-02-06"))] == ["special", "special"]
    assert found.get("NSE").valid_through == date(2027, 3, 31)
    assert found.get("BSE").valid_through == date(2026, 12, 31)
    assert found.get("NSE").day(day("2027-02-01")).kind == "regular"
    assert found.get("ncdex").day(day("2026-11-25")).kind == "unknown"  # nobody said that its list is complete


@pytest.mark.parametrize(
    ("day_", "hours", "kind"),
    [
        ("2026-11-23", "09:15-12:00", "partial"),  # a Monday that loses its afternoon: every window follows
        ("2026-11-23", "10:15-15:30", "partial"),
        ("2026-11-23", "18:00-19:00", "special"),  # at an hour when it never trades
        ("2026-11-24", "13:45-14:45", "special"),  # Guru Nanak Jayanti: there was nothing to shorten
        ("2026-11-28", "09:15-15:30", "special"),  # a Saturday
        ("2027-02-01", "09:15-12:00", "partial"),  # a Monday past the data
    ],
)
def test_an_open_day_without_a_kind_is_what_it_would_have_been(file: Path, day_: str, hours: str, kind: str) -> None:
    row = f'[[open]]\ncalendar = "NSE"\ndate = {day_}\nsessions = ["{hours}"]\nreason = "x"\n'
    assert store(file, row).get("NSE").day(day(day_)).kind == kind
    other = "special" if kind == "partial" else "partial"
    assert store(file, f'{row}kind = "{other}"\n').get("NSE").day(day(day_)).kind == other


def test_an_absent_file_says_nothing(file: Path) -> None:
    assert store(file).problem is None
    assert read_overrides(None).rows == []


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ('[[closed]]\ncalendar = "NSE"\ndate = "soon"\nreason = "x"', 3, "closed[0].date", "must be a date"),
        ('[[closed]]\ncalendar = "NSE"\nreason = "x"', 1, "closed[0].date", "is missing"),
        ('[[closed]]\ncalendar = "NSE"\ndate = 2026-11-25', 1, "closed[0].reason", "is missing"),
        ('[[closed]]\ncalendar = "NSE"\ndate = 2026-11-25\nreason = "  "', 4, "closed[0].reason", "quotes"),
        ('\n[[closed]]\ncalendar = 5\ndate = 2026-11-25\nreason = "x"', 3, "closed[0].calendar", "must name a"),
        ('[[open]]\ncalendar = "NSE"\ndate = 2026-11-25\nreason = "x"', 1, "open[0].sessions", "must list"),
        (
            '[[closed]]\ncalendar = "NSE"\ndate = 2026-11-24\nreason = "x"\n\n'
            '[[open]]\ncalendar = "NSE"\ndate = 2026-11-25\nsessions = ["9-15"]\nreason = "x"',
            9, "open[0].sessions", '"9-15" is not HH:MM-HH:MM',
        ),
        (
            '[[open]]\ncalendar = "NSE"\ndate = 2026-11-25\nreason = "x"\nsessions = ["25:00-26:00"]',
            5, "open[0].sessions", "is not HH:MM",
        ),
        (
            '[[open]]\ncalendar = "NSE"\ndate = 2026-11-25\nreason = "x"\nsessions = ["12:00-13:00", "09:00-10:00"]',
            5, "open[0].sessions", "in order",
        ),
        (
            '[[open]]\ncalendar = "NSE"\ndate = 2026-11-25\nreason = "x"\nkind = "odd"\nsessions = ["09:00-10:00"]',
            5, "open[0].kind", "special or partial",
        ),
        ('[[closed]]\ncalendar = "NSE"\ndate = 2026-11-25\nreason = "x"\nwhy = "y"', 5, "closed[0].why", "not known"),
        (
            '[[hours]]\ncalendar = "NSE"\nfrom = 2027-01-01\nsessions = ["09:00-10:00"]\n'
            'days = ["friday"]\nreason = "x"',
            5, "hours[0].days", "must list days",
        ),
        ('[[calendar]]\nname = "X"\ntimezone = "Mars/One"\nreason = "x"', 3, "calendar[0].timezone", "IANA"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_file_line_and_field(
    file: Path, text: str, line: int, field: str, words: str
) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidCalendar) as error:
        read_overrides(file)
    assert error.value.message.startswith(f"calendar_overrides.toml, line {line}, {field}: ")
    assert words in error.value.message
    assert field in error.value.fields


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[closed]\n", "is not TOML"),
        ("[[holiday]]\ndate = 2026-11-25\n", "[[holiday]] is not known"),
        ("closed = 3\n", "must be written as [[closed]] rows"),
    ],
)
def test_a_file_that_is_no_list_of_rows_is_refused(file: Path, text: str, words: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidCalendar) as error:
        read_overrides(file)
    assert words in error.value.message
    assert "calendar_overrides.toml" in error.value.message


def test_a_row_about_a_calendar_that_does_not_exist_is_reported_and_harms_no_other(file: Path) -> None:
    found = store(file, '[[closed]]\ncalendar = ["NES", "BSE"]\ndate = 2026-11-25\nreason = "typo"\n')
    assert found.problem is not None
    assert 'line 2, closed[0].calendar: there is no calendar "NES"' in found.problem
    assert found.get("BSE").day(day("2026-11-25")).kind == "closed"
    assert found.warnings(at("2026-06-01 10:00"))[0].red


def test_a_file_broken_later_leaves_the_last_good_rows_in_force(file: Path) -> None:
    found = store(file, MINE)
    before = found.get("NSE")
    file.write_text(MINE + "[[closed]\n", encoding="utf-8")
    assert found.changed()
    assert found.reload()
    assert "not TOML" in str(found.problem)
    assert found.get("NSE") is before
    assert found.get("NSE").day(day("2026-11-25")).why == "strike"
    file.write_text(MINE, encoding="utf-8")
    found.reload()
    assert found.problem is None


def test_a_file_broken_at_the_start_lets_no_calendar_answer_and_starts_nothing(file: Path) -> None:
    found = store(file, "[[closed]\n")
    assert found.get("NSE").day(day("2026-11-25")).kind == "unknown"
    decision = decide(EMA, found.get("NSE"), NO_HOLD, at("2026-11-25 10:00"))
    assert (decision.run, decision.alert) == (None, True)
    assert "not TOML" in decision.why
    stop = decide(EMA, found.get("NSE"), NO_HOLD, at("2026-11-25 15:15"))
    assert stop.run is False  # the clock stop stands
    assert found.get("24x7").always_open


def test_an_override_added_while_running_counts_at_once(file: Path) -> None:
    found = store(file)
    now = at("2026-11-25 10:00")
    assert decide(EMA, found.get("NSE"), NO_HOLD, now).run is True
    put_override(file, "NSE", day("2026-11-25"), "closed", "flood in Mumbai")
    assert found.changed()
    assert found.reload()
    after = decide(EMA, found.get("NSE"), NO_HOLD, now)
    assert after.run is False
    assert after.why == "closed: flood in Mumbai; starts Thu 09:20 IST"
    put_override(file, "NSE", day("2026-11-25"), "open", "it opens late", ["11:00-15:30"], partial=True)
    found.reload()
    late = decide(EMA, found.get("NSE"), NO_HOLD, now)
    assert late.until == at("2026-11-25 11:05")
    assert remove_override(file, "NSE", day("2026-11-25")) is True
    found.reload()
    assert decide(EMA, found.get("NSE"), NO_HOLD, now).run is True


def test_reloading_what_did_not_change_keeps_the_calendars(file: Path) -> None:
    found = store(file, MINE)
    mcx, nse = found.get("MCX"), found.get("NSE")
    assert found.reload() is False
    put_override(file, "NSE", day("2026-12-01"), "closed", "x")
    found.reload()
    assert found.get("MCX") is mcx
    assert found.get("NSE") is not nse


def test_a_name_beats_a_group_and_a_later_row_an_earlier_one(file: Path) -> None:
    def row(kind: str, name: str, reason: str) -> str:
        hours = 'sessions = ["10:00-12:00"]\n' if kind == "open" else ""
        return f'[[{kind}]]\ncalendar = "{name}"\ndate = 2026-11-25\n{hours}reason = "{reason}"\n\n'

    found = store(file, row("closed", "NSE", "by name") + row("open", "india", "group") + row("open", "BSE", "late"))
    assert found.problem is None
    whys = {name: found.get(name).day(day("2026-11-25")).why for name in ("NSE", "NFO", "BSE")}
    assert whys == {"NSE": "by name", "NFO": "group", "BSE": "late"}
    found = store(file, row("open", "NSE", "first") + row("closed", "NSE", "second"))
    assert found.get("NSE").day(day("2026-11-25")).kind == "closed"


def test_sessions_may_open_the_evening_before_their_date(file: Path) -> None:
    text = (
        '[[calendar]]\nname = "GLOBEX"\ntimezone = "America/Chicago"\nreason = "mine"\n'
        '[[hours]]\ncalendar = "GLOBEX"\nfrom = 2026-01-01\nsessions = ["17:00-16:00"]\nevening_before = true\n'
        'reason = "mine"\n[[valid]]\ncalendar = "GLOBEX"\nthrough = 2026-12-31\nreason = "mine"\n'
    )
    monday = store(file, text).get("globex").sessions(day("2026-11-23"), day("2026-11-23"))[0]
    assert monday.open == at("2026-11-22 17:00", "America/Chicago")
    assert monday.close == at("2026-11-23 16:00", "America/Chicago")


def test_writing_keeps_comments_and_all_other_rows(file: Path) -> None:
    file.write_text(MINE, encoding="utf-8")
    put_override(file, "MCX", day("2026-12-24"), "open", 'half "day"', ["09:00-13:00"])
    text = file.read_text(encoding="utf-8")
    assert text.startswith(MINE.rstrip("\n"))
    assert text.endswith(
        '[[open]]\ncalendar = "MCX"\ndate = 2026-12-24\nsessions = ["09:00-13:00"]\nreason = "half \\"day\\""\n'
    )
    assert remove_override(file, "MCX", day("2026-12-24"))
    assert file.read_text(encoding="utf-8").rstrip("\n") == MINE.rstrip("\n")


def test_removing_a_row_leaves_the_comment_of_the_next_one(file: Path) -> None:
    file.write_text(MINE, encoding="utf-8")
    assert remove_override(file, "nse", day("2026-11-25"))
    assert file.read_text(encoding="utf-8").startswith(
        "# my own calendar notes\n# the exchange moved its hours\n[[hours]]"
    )
    assert remove_override(file, "NSE", day("2026-11-25")) is False


def test_removing_one_calendar_of_a_list_keeps_the_others(file: Path) -> None:
    file.write_text(
        '[[closed]]\ncalendar = ["NSE", "BSE", "NFO"]  # all\ndate = 2026-11-25\nreason = "x"\n', encoding="utf-8"
    )
    assert remove_override(file, "BSE", day("2026-11-25"))
    assert overrides_of(file) == [
        {"kind": "closed", "calendars": ["NSE", "NFO"], "date": "2026-11-25", "reason": "x", "line": 1}
        | {"sessions": [], "partial": False, "days": []}
    ]
    assert "# all" in file.read_text(encoding="utf-8")
    assert overrides_of(file, "BSE") == []


def closes(found: CalendarStore, name: str, first: str, last: str) -> list[str]:
    """When its sessions close, on the exchange's clock."""
    ends = [session.close for session in found.get(name).sessions(day(first), day(last))]
    return [f"{end.astimezone(found.get(name).timezone):%Y-%m-%d %H:%M}" for end in ends]


def test_hours_from_a_day_on_and_how_far_days_are_entered_are_written_and_taken_back(file: Path) -> None:
    file.write_text(MINE, encoding="utf-8")
    assert closes(store(file), "NFO", "2026-12-15", "2026-12-16") == ["2026-12-15 15:50", "2026-12-16 15:50"]
    put_override(file, "NFO", day("2026-12-14"), "hours", "circular 45", ["09:15-15:45"], days=["mon", "tue"])
    put_override(file, "NFO", day("2026-12-14"), "hours", "circular 46", ["09:15-15:46"], days=["mon", "tue"])
    put_override(file, "NFO", day("2026-12-14"), "closed", "a day of the same date")
    assert closes(store(file), "NFO", "2026-12-11", "2026-12-18") == ["2026-12-11 15:50", "2026-12-15 15:46"]
    rows = [row for row in overrides_of(file, "NFO") if row["date"] == "2026-12-14"]
    assert [(row["kind"], row["days"], row["reason"]) for row in rows] == [
        ("hours", ["mon", "tue"], "circular 46"),
        ("closed", [], "a day of the same date"),
    ]
    assert remove_override(file, "nfo", day("2026-12-14"), "hours")
    assert not remove_override(file, "NFO", day("2026-12-14"), "hours")
    assert remove_override(file, "NFO", day("2026-12-14"))
    put_override(file, "NSE", day("2030-12-31"), "valid", "entered by hand")
    assert store(file).get("NSE").valid_through == day("2030-12-31")
    assert remove_override(file, "NSE", day("2030-12-31"), "valid")
    assert file.read_text(encoding="utf-8").rstrip("\n") == MINE.rstrip("\n")


def test_what_cannot_be_right_is_not_written(file: Path) -> None:
    file.write_text(MINE, encoding="utf-8")
    with pytest.raises(InvalidCalendar, match="HH:MM"):
        put_override(file, "NSE", day("2026-12-24"), "open", "x", ["soon"])
    with pytest.raises(InvalidCalendar, match="must list sessions"):
        put_override(file, "NSE", day("2026-12-24"), "open", "x")
    with pytest.raises(InvalidCalendar, match="reason"):
        put_override(file, "NSE", day("2026-12-24"), "closed", " ")
    assert file.read_text(encoding="utf-8") == MINE
    file.write_text("[[closed]\n", encoding="utf-8")
    with pytest.raises(InvalidCalendar, match="not TOML"):
        put_override(file, "NSE", day("2026-12-24"), "closed", "x")
    assert file.read_text(encoding="utf-8") == "[[closed]\n"
    assert list(file.parent.iterdir()) == [file]


def test_the_first_override_makes_a_file_that_explains_itself(file: Path) -> None:
    put_override(file, "NSE", day("2026-12-24"), "closed", "why not")
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# Holidays, sessions and hours that you know better")
    assert store(file).get("NSE").day(day("2026-12-24")).why == "why not"


# -- names and warnings


def test_an_unknown_name_says_what_is_known_and_what_to_do() -> None:
    with pytest.raises(CalendarUnknown) as error:
        CalendarStore().get("XNYS")
    assert "known are" in error.value.message
    assert "calendar sync XNYS" in error.value.message


def test_names_ignore_case_and_the_libraries_name_for_always_open_is_known() -> None:
    assert CalendarStore().get(" nse ").name == "NSE"
    assert CalendarStore().get("24/7").name == "24x7"
    assert CalendarStore().find(None) is None


@pytest.mark.parametrize(
    ("now", "warned", "red"),
    [
        ("2026-11-16 10:00", False, False),  # 45 days before the data end
        ("2026-11-17 10:00", True, False),
        ("2026-12-31 23:59", True, False),
        ("2027-01-01 00:01", True, True),
    ],
)
def test_the_end_of_the_data_is_announced_45_days_ahead(now: str, warned: bool, red: bool) -> None:
    found = CalendarStore().warnings(at(now), {"nse"})
    assert [one.calendar for one in found] == (["NSE"] if warned else [])
    if found:
        assert "2026-12-31" in found[0].message
        assert "stratpanel calendar valid NSE" in found[0].message, "the remedy is a command"
        assert found[0].red is red
        assert found[0].ends == date(2026, 12, 31)


def test_a_valid_row_of_the_user_silences_the_warning(file: Path) -> None:
    found = store(file, MINE)
    assert found.warnings(at("2026-12-30 10:00"), {"NSE"}) == []
    assert len(found.warnings(at("2026-12-30 10:00"), {"BSE", "24x7"})) == 1


def test_a_compiled_table_that_cannot_be_read_is_reported_and_the_last_good_one_stays(tmp_path: Path) -> None:
    folder = tmp_path / "calendars"
    folder.mkdir()
    good = (
        '{"v":1,"name":"XTST","title":"t","timezone":"UTC","source":"s","compiled_at":"2026-11-22","valid_from":"2026-01-01",'
        '"valid_through":"2026-12-31","hours":[["2026-01-01",[0,1,2,3,4],[[540,1020]]]],"rows":[]}'
    )
    (folder / "XTST.json").write_text(good, encoding="utf-8")
    found = CalendarStore(compiled_dir=folder)
    assert found.get("XTST").day(day("2026-11-25")).kind == "regular"
    (folder / "XTST.json").write_text(good[:-20], encoding="utf-8")
    found.reload()
    assert "calendar sync XTST" in str(found.problem)
    assert found.get("XTST").day(day("2026-11-25")).kind == "regular"
    fresh = CalendarStore(compiled_dir=folder)
    assert fresh.find("XTST") is None
    assert "calendar sync XTST" in str(fresh.problem)
