"""Fifty strategies over all of 2026 on a fake clock, every start and stop compared with an independent oracle.

Between the announced instants nobody looks; the supervisor is down for random times, in which the runners' deadlines
are all there is; then it comes back and decides from nothing.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime

import pytest

from stratpanel.market import NO_HOLD, DayException, Plan, Window, decide, flips
from tests.market import oracle
from tests.market.oracle import NAMES, Wanted
from tests.market.support import calendar

SEED = 20261122
BEGIN = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
END = int(datetime(2026, 12, 31, tzinfo=UTC).timestamp())  # before the data end
MARKETS = ["NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX", "NCO"]


def fleet(count: int = 50) -> list[Wanted]:
    """Named shapes that matter, then random ones."""
    pick = random.Random(SEED)
    found = [
        Wanted("09:20", "15:15", "NSE", "Asia/Kolkata"),
        Wanted("09:00", "15:45", "BSE", "Asia/Kolkata", on_special=True),
        Wanted("open+5m", "close-15m", "NFO", "Asia/Kolkata"),
        Wanted("open-10m", "close+10m", "BFO", "Asia/Kolkata", days=NAMES),
        Wanted("open", "close", "NSE", "Asia/Kolkata", days=["tue"]),
        Wanted("17:00", "23:55", "MCX", "Asia/Kolkata"),
        Wanted("09:05", "23:25", "MCX", "Asia/Kolkata", on_special=True),
        Wanted("18:00", "02:00", "NCO", "Asia/Kolkata"),
        Wanted("16:00", "00:00", "MCX", "Asia/Kolkata", on_special=True),
        Wanted("13:00", "15:15", "NSE", "Asia/Kolkata", on_special=True),
        Wanted("08:00", "09:00", "NSE", "Asia/Kolkata", on_special=True),
        Wanted("15:35", "16:00", "NSE", "Asia/Kolkata", on_special=True),
        Wanted("22:00", "02:00", None, "America/New_York"),
        Wanted("02:30", "06:00", None, "America/New_York", days=NAMES),
        Wanted("01:15", "01:45", None, "Europe/London", days=NAMES),
        Wanted("00:00", "00:00", None, "Australia/Sydney", days=NAMES),
        Wanted("00:00", "00:00", None, "America/Chicago"),
        Wanted("17:00", "16:00", None, "America/Chicago", days=["sun", "mon", "tue", "wed", "thu"]),
        Wanted(
            "09:20", "15:15", "NSE", "Asia/Kolkata",
            closed=[date(2026, 12, 24)],
            also={date(2026, 3, 7): ("09:15", "15:30"), date(2026, 1, 26): ("10:00", "11:00")},
        ),
    ]  # fmt: skip
    while len(found) < count:
        start, stop = (f"{pick.randrange(24):02d}:{pick.randrange(0, 60, 5):02d}" for _ in range(2))
        days = pick.choice([NAMES[:5], NAMES, pick.sample(NAMES, 3)])
        if pick.random() < 0.3:
            found.append(
                Wanted(start, stop, None, pick.choice(["America/New_York", "Europe/London", "Asia/Tokyo"]), days)
            )
        elif pick.random() < 0.4:
            start, stop = f"open{pick.randrange(-60, 65, 5):+d}m", f"close{pick.randrange(-60, 65, 5):+d}m"
            found.append(Wanted(start, stop, pick.choice(MARKETS), "Asia/Kolkata", days))
        else:
            found.append(Wanted(start, stop, pick.choice(MARKETS), "Asia/Kolkata", days, pick.random() < 0.4))
    return found


def plan_of(wanted: Wanted) -> Plan:
    exceptions = [DayException(day, "closed") for day in wanted.closed]
    exceptions += [DayException(day, "also", *times) for day, times in wanted.also.items()]
    window = Window(wanted.start, wanted.stop, tuple(wanted.days), wanted.on_special)
    return Plan(True, (window,), wanted.market, wanted.zone, tuple(exceptions))


@dataclass
class Process:
    """What the simulation knows of one strategy: running since, and the deadline its runner was given."""

    since: int | None = None
    deadline: int | None = None


def simulate(wanted: Wanted, down: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(start, stop) of each run, deciding only at announced instants and on coming back, never while down."""
    plan, market = plan_of(wanted), calendar(wanted.market)
    process, runs = Process(), []
    looks = [BEGIN, *(back for _, back in down)]
    heapq.heapify(looks)

    def end(at: int) -> None:
        if process.since is not None:
            runs.append((process.since, at))
        process.since = process.deadline = None

    while looks and looks[0] <= END:
        now = heapq.heappop(looks)
        if process.deadline is not None and process.deadline <= now:
            end(process.deadline)  # the runner stops it, whether anybody looks or not
        if any(gone <= now < back for gone, back in down):
            continue
        moment = datetime.fromtimestamp(now, UTC)
        decision = decide(plan, market, NO_HOLD, moment)
        if decision.run:
            process.since = now if process.since is None else process.since
            process.deadline = int(decision.until.timestamp()) if decision.until else None
        else:
            end(now)
        for one in flips(plan, market, NO_HOLD, moment, 1):
            if int(one.timestamp()) not in looks:
                heapq.heappush(looks, int(one.timestamp()))
    if process.deadline is not None and process.deadline <= END:
        end(process.deadline)
    end(END)
    return runs


def expected(wanted: Wanted, down: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The oracle's year, where a start in a downtime happens when it is over, if the window is not over by then."""
    found = []
    for begin, stop in oracle.year(wanted):
        begin, stop = max(begin, BEGIN), min(stop, END)
        for gone, back in down:
            if gone <= begin < back:
                begin = back
        if begin < stop:
            found.append((begin, stop))
    return found


def downtimes(seed: int, count: int = 40) -> list[tuple[int, int]]:
    """Random times without a supervisor, from minutes to two days, none touching another."""
    pick = random.Random(seed)
    found: list[tuple[int, int]] = []
    for _ in range(count):
        gone = pick.randrange(BEGIN + 86_400, END - 4 * 86_400)
        back = gone + pick.choice([60, 3_600, 6 * 3_600, 48 * 3_600])
        if all(back < a or gone > b for a, b in found):
            found.append((gone, back))
    return sorted(found)


@pytest.mark.parametrize("wanted", fleet(), ids=lambda w: f"{w.market} {w.start}-{w.stop} {w.zone}")
def test_a_year_agrees_with_the_oracle_with_and_without_restarts(wanted: Wanted) -> None:
    assert simulate(wanted, []) == expected(wanted, [])
    down = downtimes(SEED + len(wanted.start + wanted.stop))
    assert simulate(wanted, down) == expected(wanted, down)


def test_the_oracle_is_not_blind() -> None:
    """It knows the year's peculiar days by itself."""
    runs = {datetime.fromtimestamp(a, UTC).date().isoformat(): (b - a) // 60 for a, b in oracle.year(fleet()[2])}
    assert runs["2026-11-08"] == 40  # Muhurat: 18:05-18:45
    assert runs["2026-02-01"] == 355
    assert runs["2026-07-31"] + 10 == runs["2026-08-03"]
    assert "2026-11-24" not in runs
    assert len([on for on in runs if on.startswith("2026")]) == 261 - 16 + 2
