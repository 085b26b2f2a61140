"""Foreign exchanges: compiled in a child process, equal to their source, and what schedules mean on them.

All tests of this file share one compilation, so they stay on one worker.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from stratpanel.market import NO_HOLD, CannotAnswer, boundaries, decide
from stratpanel.market.store import CalendarStore
from tests.market.support import at, compile_into, day, library_schedule, plan, shipped

pytestmark = pytest.mark.xdist_group("market-foreign")
pytest.importorskip("pandas_market_calendars", reason="needs the extra `calendars`")

NEW_YORK, CHICAGO = "America/New_York", "America/Chicago"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CalendarStore:
    return compile_into(
        tmp_path_factory.mktemp("calendars"), "XNYS", "XNAS", "XLON", "XTKS", "XHKG", "CME_Equity", "XBOM"
    )


def outer(store: CalendarStore, name: str, first: date, last: date) -> dict[str, list[int]]:
    """Open and close of each session's day, in epoch seconds."""
    found: dict[str, list[int]] = {}
    for one in store.get(name).sessions(first, last):
        ends = found.setdefault(str(one.date), [int(one.open.timestamp()), 0])
        ends[1] = int(one.close.timestamp())
    return found


@pytest.mark.parametrize("name", ["XNYS", "XLON"])
def test_three_years_of_sessions_equal_the_library(store: CalendarStore, name: str) -> None:
    theirs = library_schedule(name, "2024-01-01", "2026-12-31")
    assert outer(store, name, date(2024, 1, 1), date(2026, 12, 31)) == theirs
    assert len(theirs) == {"XNYS": 753, "XLON": 760}[name]


def test_weekdays_of_nse_equal_the_library_and_weekend_sessions_are_better() -> None:
    theirs = library_schedule("NSE", "2024-01-01", "2026-12-31")
    ours = outer(shipped(), "NSE", date(2024, 1, 1), date(2026, 12, 31))
    assert {on: times for on, times in ours.items() if day(on).weekday() < 5} == theirs
    weekends = {on for on in ours if day(on).weekday() >= 5}
    assert weekends == {
        "2024-01-20", "2024-03-02", "2024-05-18", "2025-02-01", "2026-02-01", "2026-11-08",
    }  # fmt: skip
    assert not weekends & theirs.keys()


def test_weekdays_of_bse_equal_the_library_except_muhurat() -> None:
    theirs = library_schedule("BSE", "2024-01-01", "2026-12-31")
    ours = {on for on in outer(shipped(), "BSE", date(2024, 1, 1), date(2026, 12, 31)) if day(on).weekday() < 5}
    assert ours - theirs.keys() == {"2024-11-01", "2025-10-21"}
    assert theirs.keys() <= ours


def test_early_closes_keep_their_reason_and_a_stop_its_distance(store: CalendarStore) -> None:
    rows = store.get("XNYS").sessions(day("2026-11-27"), day("2026-11-27"))
    assert [(row.kind, row.close) for row in rows] == [("early_close", at("2026-11-27 13:00", NEW_YORK))]
    assert rows[0].why == "Black Friday"
    one = plan("09:35-15:50", cal="XNYS")
    decision = decide(one, store.get("XNYS"), NO_HOLD, at("2026-11-27 12:49", NEW_YORK))
    assert decision.run is True
    assert decision.until == at("2026-11-27 12:50", NEW_YORK)
    assert decision.why.startswith("in its window (XNYS closes early: ")
    assert decision.why.endswith("09:30–13:00); stops 12:50 EST")


@pytest.mark.parametrize(
    ("times", "start", "stop"),
    [
        ("open+5m to close-10m", "09:35", "12:50"),
        ("09:35-15:50", "09:35", "12:50"),
        ("09:35-11:00", "09:35", "11:00"),  # a morning strategy keeps its hours
        ("08:00-09:00", "08:00", "09:00"),  # so does one before the open
        ("16:05-16:30", "13:05", "13:30"),  # one after the close moves with it
        ("13:30-15:50", None, None),  # an afternoon strategy has no afternoon
        ("14:00-02:00", "14:00", "23:00"),
    ],
)
def test_half_day(store: CalendarStore, times: str, start: str | None, stop: str | None) -> None:
    edges = boundaries(plan(times, cal="XNYS"), store.get("XNYS"), at("2026-11-27 03:00", NEW_YORK), 2)
    shown = [f"{edge.at.astimezone(store.get('XNYS').timezone):%Y-%m-%d %H:%M}" for edge in edges]
    if start is None:
        assert shown[0].startswith("2026-11-30")
    else:
        assert shown == [f"2026-11-27 {start}", f"2026-11-27 {stop}"]


@pytest.mark.parametrize(
    ("moment", "run"),
    [
        ("2026-03-06 09:35", True),  # the Friday before clocks change
        ("2026-03-09 09:34", False),
        ("2026-03-09 09:35", True),  # and the Monday after: the same wall clock
        ("2026-03-09 15:49", True),
        ("2026-03-09 15:50", False),
        ("2026-11-02 09:35", True),
        ("2026-11-02 09:34", False),
        ("2026-11-26 10:00", False),  # Thanksgiving
        ("2026-07-03 10:00", False),  # Independence Day, observed
    ],
)
def test_new_york_keeps_its_wall_clock(store: CalendarStore, moment: str, run: bool) -> None:
    assert decide(plan("09:35-15:50", cal="XNYS"), store.get("XNYS"), NO_HOLD, at(moment, NEW_YORK)).run is run


def test_a_trader_in_sydney_trades_new_york_by_his_own_clock(store: CalendarStore) -> None:
    """00:35 on Wednesday in Sydney is Tuesday's session in New York; Friday's half day ends on his Saturday."""
    one = plan("01:35-07:50", cal="XNYS", zone="Australia/Sydney", days="tue wed thu fri sat")
    edges = boundaries(one, store.get("XNYS"), at("2026-11-24 12:00", "Australia/Sydney"), 6)
    shown = [f"{edge.at.astimezone(at('2026-11-24 12:00', 'Australia/Sydney').tzinfo):%a %d %H:%M}" for edge in edges]
    assert shown == ["Wed 25 01:35", "Wed 25 07:50", "Thu 26 01:35", "Thu 26 07:50", "Sat 28 01:35", "Sat 28 04:50"]
    thanksgiving = decide(one, store.get("XNYS"), NO_HOLD, at("2026-11-27 02:00", "Australia/Sydney"))
    assert thanksgiving.run is False
    assert "Thanksgiving" in thanksgiving.why


def test_the_lunch_break_is_shown_and_does_not_stop_a_strategy(store: CalendarStore) -> None:
    rows = store.get("XHKG").sessions(day("2026-11-25"), day("2026-11-25"))
    assert [(row.open.hour, row.close.hour) for row in rows] == [(1, 4), (5, 8)]
    one = plan("open+5m to close-10m", cal="XHKG")
    edges = boundaries(one, store.get("XHKG"), datetime(2026, 11, 25, tzinfo=UTC), 2)
    assert [(edge.at.hour, edge.at.minute) for edge in edges] == [(1, 35), (7, 50)]


def test_tokyo_closes_half_an_hour_later_since_november_2024(store: CalendarStore) -> None:
    before, after = (store.get("XTKS").sessions(on, on)[-1] for on in (day("2024-11-01"), day("2024-11-05")))
    assert (before.close.hour, before.close.minute) == (6, 0)
    assert (after.close.hour, after.close.minute) == (6, 30)
    assert before.kind == after.kind == "regular"


def test_globex_runs_from_sunday_17_to_friday_16_with_its_daily_break(store: CalendarStore) -> None:
    cme = store.get("CME_Equity")
    one = plan("open to close", cal="CME_Equity")
    edges = boundaries(one, cme, at("2026-11-15 12:00", CHICAGO), 11)
    shown = [f"{edge.at.astimezone(cme.timezone):%a %H:%M} {edge.action}" for edge in edges]
    assert shown == [
        "Sun 17:00 start", "Mon 16:00 stop", "Mon 17:00 start", "Tue 16:00 stop", "Tue 17:00 start", "Wed 16:00 stop",
        "Wed 17:00 start", "Thu 16:00 stop", "Thu 17:00 start", "Fri 16:00 stop", "Sun 17:00 start",
    ]  # fmt: skip
    clock = plan("17:00-16:00", cal="CME_Equity", days="sun mon tue wed thu")
    assert [edge.at for edge in boundaries(clock, cme, at("2026-11-15 12:00", CHICAGO), 11)] == [
        edge.at for edge in edges
    ]
    weekend = decide(one, cme, NO_HOLD, at("2026-11-21 12:00", CHICAGO))
    assert (weekend.run, weekend.why) == (False, "closed: weekend; starts Sun 17:00 CST")


def test_globex_on_thanksgiving_stops_at_noon(store: CalendarStore) -> None:
    clock = plan("17:00-16:00", cal="CME_Equity", days="sun mon tue wed thu")
    decision = decide(clock, store.get("CME_Equity"), NO_HOLD, at("2026-11-26 10:00", CHICAGO))
    assert decision.run is True
    assert decision.until == at("2026-11-26 12:00", CHICAGO)


def test_data_end_where_the_library_knows_no_holidays_any_more(store: CalendarStore) -> None:
    assert store.get("XBOM").valid_through == date(2026, 12, 31)  # the library goes on, trading every holiday
    with pytest.raises(CannotAnswer, match="calendar sync XBOM"):
        store.get("XBOM").sessions(date(2027, 1, 26), date(2027, 1, 26))
    assert store.get("XNYS").valid_through == date(2027, 12, 31)
    assert [one.calendar for one in store.warnings(datetime(2026, 12, 1, tzinfo=UTC), {"XBOM", "XNYS"})] == ["XBOM"]


def test_shipped_data_win_over_compiled_ones(store: CalendarStore, tmp_path: Path) -> None:
    table = json.loads((Path(str(store.compiled_dir)) / "XBOM.json").read_text(encoding="utf-8"))
    table["name"] = "NSE"
    (tmp_path / "NSE.json").write_text(json.dumps(table), encoding="utf-8")
    assert CalendarStore(compiled_dir=tmp_path).get("NSE").day(day("2026-11-08")).parts


def test_what_cannot_be_compiled_says_why_and_writes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stratpanel.market.compile", "--workspace", str(tmp_path), "NOPE", "NSE", "../x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert 'there is no calendar "NOPE"' in done.stderr
    assert "NSE is shipped with its own data" in done.stderr
    assert '"../x" is not a name of a calendar' in done.stderr
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("name", ["XNYS", "XLON", "CME_Equity"])
def test_no_start_outside_a_session_day_in_three_years(store: CalendarStore, name: str) -> None:
    market = store.get(name)
    known = {one.date for one in market.sessions(date(2024, 1, 1), date(2026, 12, 31))}
    edges = boundaries(plan("open+5m to close-5m", cal=name), market, datetime(2024, 1, 1, tzinfo=UTC), 2 * len(known))
    starts = [edge for edge in edges if edge.action == "start"]
    assert len(starts) == len(known)
    assert {market.session_date(int(edge.at.timestamp())) for edge in starts} == known
    longest = max(b.at - a.at for a, b in zip(edges[::2], edges[1::2], strict=True))
    assert longest < timedelta(hours=24)
