"""Shorthand of the market room's tests: plans in one line, instants as text, the shipped calendars once per process."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from stratpanel.market import Calendar, DayException, Plan, Window
from stratpanel.market.plan import WEEK
from stratpanel.market.store import CalendarStore

IST = ZoneInfo("Asia/Kolkata")
EVERY_DAY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@lru_cache(maxsize=1)
def shipped() -> CalendarStore:
    return CalendarStore()


def calendar(name: str | None) -> Calendar | None:
    return shipped().find(name)


def plan(
    *times: str,
    cal: str | None = "NSE",
    days: str = " ".join(WEEK),
    special: bool = False,
    zone: str = "",
    exceptions: tuple[DayException, ...] = (),
    live: bool = False,
    enabled: bool = True,
) -> Plan:
    """plan("09:20-15:15") = the plain Monday-to-Friday plan on NSE; an end may be open+5m or close-10m."""
    windows = []
    for one in times:
        start, stop = one.split(" to ") if " to " in one else one.split("-", 1)
        windows.append(Window(start, stop, tuple(days.split()), special))
    return Plan(enabled, tuple(windows), cal, zone, exceptions, live)


def at(text: str, zone: str | ZoneInfo = IST) -> datetime:
    """An aware datetime of "2026-11-24 09:20"."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone) if isinstance(zone, str) else zone)


def day(text: str) -> date:
    return date.fromisoformat(text)


def compile_into(folder: Path, *names: str) -> CalendarStore:
    """Compile foreign calendars in a child process, as `calendar sync` does, and open them."""
    command = [sys.executable, "-m", "stratpanel.market.compile", "--into", str(folder), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return CalendarStore(compiled_dir=folder)


def library_schedule(name: str, start: str, end: str) -> dict[str, list[int]]:
    """What pandas_market_calendars says, asked in a child so that no test process imports pandas: epoch seconds of
    open and close by date."""
    program = """
import json, sys
import pandas_market_calendars as library
schedule = library.get_calendar(sys.argv[1]).schedule(sys.argv[2], sys.argv[3])
rows = zip(schedule.index, schedule["market_open"], schedule["market_close"])
print(json.dumps({str(day.date()): [int(a.timestamp()), int(b.timestamp())] for day, a, b in rows}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, name, start, end], capture_output=True, text=True, timeout=120, check=True
    )
    found: dict[str, list[int]] = json.loads(done.stdout)
    return found
