"""The compiler of foreign calendars: a program of its own that turns pandas_market_calendars into a small UTC table.

Run as `python -m stratpanel.market.compile --workspace DIR NAME…` by `calendar sync`; nothing that supervises imports
it, because pandas costs 80 MB and a second. It checks each table against its source before it writes it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from stratpanel.market.calendar import Calendar, Hours
from stratpanel.market.clock import MINUTES_A_DAY, instant, zone
from stratpanel.market.errors import MarketError
from stratpanel.market.store import SHIPPED
from stratpanel.market.tables import FORMAT, read_compiled

ALIASES = {"XNAS": "NASDAQ", "XCME": "CME_Equity", "XJPX": "JPX"}  # names people use that the library does not know
YEARS_BACK = 2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,60}")


class CannotCompile(MarketError):
    """The library has no such calendar, or its data contradict themselves."""

    default_code = "CALENDAR_CANNOT_COMPILE"


Schedule = dict[date, list[list[int]]]  # per date its parts in epoch minutes


def compile_calendar(name: str, today: date) -> tuple[dict[str, Any], Schedule]:
    """The table of one calendar, from two years back to the end of the last year whose holidays are plausibly known,
    and the library's schedule it was made of."""
    import pandas_market_calendars as library

    if not _NAME.fullmatch(name):
        raise CannotCompile(f'"{name}" is not a name of a calendar; see pandas_market_calendars.get_calendar_names()')
    known = set(library.get_calendar_names())
    source = name if name in known else ALIASES.get(name.upper(), name)
    if source not in known:
        near = sorted(one for one in known if one.lower().startswith(name[:3].lower()))[:8]
        raise CannotCompile(f'there is no calendar "{name}"; near it: {", ".join(near) or "none"}')
    market = library.get_calendar(source)
    start = date(today.year - YEARS_BACK, 1, 1)
    schedule = _schedule(market, start, date(today.year + 1, 12, 31))
    hours = _hours(market, start)
    through = _known_through(schedule, hours, start, today)
    tz = zone(str(market.tz))
    frame = Calendar(name, timezone=tz, hours=[_read_hours(row) for row in hours])
    closed, special = _named(market, "regular_holidays", start, through), _early(market, start, through)
    rows = []
    day = start
    while day <= through:
        row = _row(day, schedule.get(day), frame, closed.get(day, ""), special.get(day, ""))
        if row is not None:
            rows.append(row)
        day += timedelta(days=1)
    table = {
        "v": FORMAT,
        "name": name,
        "title": str(getattr(market, "full_name", "") or market.name),
        "timezone": tz.key,
        "source": f"pandas_market_calendars {library.__version__} {source}",
        "compiled_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "valid_from": start.isoformat(),
        "valid_through": through.isoformat(),
        "hours": hours,
        "rows": rows,
    }
    return table, schedule


def _schedule(market: Any, start: date, end: date) -> Schedule:
    frame = market.schedule(start_date=start.isoformat(), end_date=end.isoformat())
    columns = [[_minute(one) for one in frame[name]] for name in ("market_open", "market_close")]
    breaks = [[_minute(one) for one in frame[name]] for name in ("break_start", "break_end") if name in frame]
    found = {}
    for n, stamp in enumerate(frame.index):
        opens, closes = columns[0][n], columns[1][n]
        if opens is None or closes is None or opens >= closes:
            continue
        parts = [[opens, closes]]
        pause, resume = (breaks[0][n], breaks[1][n]) if breaks else (None, None)
        if pause is not None and resume is not None and opens < pause < resume < closes:
            parts = [[opens, pause], [resume, closes]]
        found[stamp.date()] = parts
    return found


def _minute(stamp: Any) -> int | None:
    return None if stamp is None or stamp != stamp else int(stamp.timestamp()) // 60


def _hours(market: Any, start: date) -> list[list[Any]]:
    """Regular hours as [since, weekdays, parts in local minutes], one row per change."""
    times = market.regular_market_times
    names = [name for name in ("market_open", "market_close", "break_start", "break_end") if name in times]
    changes = sorted({start} | {at for name in names for entry in times[name] if (at := _since(entry)) > start})
    weekdays = sorted(
        n for n, day in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")) if day in market.weekmask
    )
    found = []
    for since in changes:
        mark = {name: _local_minute(max((e for e in times[name] if _since(e) <= since), key=_since)) for name in names}
        parts = [[mark["market_open"], mark["market_close"]]]
        if (
            "break_start" in mark
            and mark["market_open"] < mark["break_start"] < mark["break_end"] < mark["market_close"]
        ):
            parts = [[mark["market_open"], mark["break_start"]], [mark["break_end"], mark["market_close"]]]
        found.append([since.isoformat(), weekdays, parts])
    return found


def _since(entry: Any) -> date:
    return date.min if entry[0] is None else date.fromisoformat(str(entry[0])[:10])


def _local_minute(entry: Any) -> int:
    at: time = entry[1]
    return at.hour * 60 + at.minute + (int(entry[2]) * MINUTES_A_DAY if len(entry) > 2 else 0)


def _read_hours(row: list[Any]) -> Hours:
    return Hours(date.fromisoformat(row[0]), frozenset(row[1]), tuple((a, b) for a, b in row[2]))


def _known_through(schedule: Schedule, hours: list[list[Any]], start: date, today: date) -> date:
    """The end of the last year with about as many closed weekdays as the years before: the library goes on for ever,
    and trades every holiday of the years it has no list for."""
    weekdays = set(hours[-1][1])

    def closed(year: int) -> int:
        days = (date(year, 1, 1) + timedelta(days=n) for n in range(366))
        return sum(day.year == year and day.weekday() in weekdays and day not in schedule for day in days)

    usual = median(closed(year) for year in range(start.year, today.year))
    good = [year for year in (today.year - 1, today.year, today.year + 1) if closed(year) >= 0.75 * usual - 1]
    through = today.year - 1
    for year in (today.year, today.year + 1):
        if year not in good:
            break
        through = year
    return date(through, 12, 31)


def _row(day: date, parts: list[list[int]] | None, frame: Calendar, closed: str, special: str) -> list[Any] | None:
    """[date, kind, why, parts in epoch minutes], or None for a day that needs no row."""
    hours = frame.hours_on(day)
    assert hours is not None
    regular = day.weekday() in hours.days
    usual = [[instant(day, a, frame.timezone) // 60, instant(day, b, frame.timezone) // 60] for a, b in hours.parts]
    if parts is None:
        return [day.isoformat(), "closed", closed or "holiday", []] if regular else None
    if regular and parts == usual:
        return [day.isoformat(), "regular", "", parts]
    overlaps = parts[0][0] < usual[-1][1] and parts[-1][1] > usual[0][0]
    if regular and overlaps:
        return [
            day.isoformat(),
            "partial",
            special or ("early close" if parts[-1][1] < usual[-1][1] else "moved"),
            parts,
        ]
    return [day.isoformat(), "special", special or "special session", parts]


def _named(market: Any, attribute: str, start: date, end: date) -> dict[date, str]:
    """Names of holidays by date, where the library has any."""
    rules = getattr(market, attribute, None)
    if rules is None or not hasattr(rules, "holidays"):
        return {}
    names = rules.holidays(start.isoformat(), end.isoformat(), return_name=True)
    return {stamp.date(): str(name) for stamp, name in names.items()} if hasattr(names, "items") else {}


def _early(market: Any, start: date, end: date) -> dict[date, str]:
    """Reasons of early closes and late opens by date, where the library has any."""
    found: dict[date, str] = {}
    for attribute in ("special_closes", "special_opens"):
        for entry in getattr(market, attribute, ()):
            rules = entry[1]
            if hasattr(rules, "holidays"):
                names = rules.holidays(start.isoformat(), end.isoformat(), return_name=True)
                if hasattr(names, "items"):
                    found |= {stamp.date(): str(name) for stamp, name in names.items()}
    return found


def verify(path: Path, schedule: Schedule) -> int:
    """Read the written table with our own engine and compare every session; returns their number."""
    calendar = read_compiled(path).calendar()
    ours: Schedule = {}
    for one in calendar.sessions(calendar.valid_from, calendar.valid_through):
        ours.setdefault(one.date, []).append([int(one.open.timestamp()) // 60, int(one.close.timestamp()) // 60])
    theirs = {day: parts for day, parts in schedule.items() if day <= calendar.valid_through}
    if ours != theirs:
        first = min(day for day in ours.keys() | theirs.keys() if ours.get(day) != theirs.get(day))
        raise CannotCompile(f"{calendar.name}: our table differs from the library on {first}; nothing was written")
    return len(ours)


def write_calendar(name: str, into: Path, today: date) -> tuple[Path, int, str]:
    """Compile, check and put one table in place; returns its path, the number of sessions and the day its data end."""
    if name.upper() in {path.stem.upper() for path in SHIPPED.glob("*.toml")}:
        raise CannotCompile(
            f"{name} is shipped with its own data, which wins; correct single days in calendar_overrides.toml"
        )
    table, schedule = compile_calendar(name, today)
    target = into / f"{name.replace('/', '-')}.json"
    into.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=into, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(table, file, separators=(",", ":"), ensure_ascii=False)
        count = verify(Path(temporary), schedule)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target, count, table["valid_through"]


def main(arguments: list[str] | None = None) -> int:
    """Compile the calendars named; exit 0 when all were, 1 when one was not, 3 without the library."""
    parser = argparse.ArgumentParser(prog="stratpanel calendar sync", description="compile foreign market calendars")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--workspace", type=Path, help="write to .stratpanel/calendars of this workspace")
    where.add_argument("--into", type=Path, help="write to this folder")
    parser.add_argument("names", nargs="+", metavar="NAME", help="XNYS, XLON, XHKG, CME_Equity …")
    options = parser.parse_args(arguments)
    into = options.into or options.workspace / ".stratpanel" / "calendars"
    try:
        import pandas_market_calendars  # noqa: F401
    except ImportError:
        print("pandas_market_calendars is not installed; run `pip install 'stratpanel[calendars]'`", file=sys.stderr)
        return 3
    failed = 0
    for name in options.names:
        try:
            path, count, through = write_calendar(name, into, datetime.now(UTC).date())
            print(f"{name}: {count} sessions, data until {through}, {path}")
        except (MarketError, OSError) as error:
            failed = 1
            print(f"{name}: {error}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
