"""A second opinion on when strategies run in a year, by other means than the code it judges.

It reads the shipped TOML by itself, walks the year in five-minute steps of a zone's wall clock and notes when the clock
first shows a time; nothing of stratpanel.market is imported. Only what the year's plans need: clock and session times
on multiples of five minutes, one zone per plan, overrides and exceptions.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from zoneinfo import ZoneInfo

STEP = 300
DATA = Path(__file__).resolve().parents[2] / "stratpanel" / "market" / "data"
BEGIN = int(datetime(2025, 12, 28, tzinfo=UTC).timestamp())
STEPS = 375 * 288
NAMES = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


@dataclass
class Wanted:
    """One strategy's schedule in the oracle's own terms; `market` None = plain clock."""

    start: str
    stop: str
    market: str | None
    zone: str
    days: list[str] = field(default_factory=lambda: NAMES[:5])
    on_special: bool = False
    closed: list[date] = field(default_factory=list)
    also: dict[date, tuple[str, str]] = field(default_factory=dict)


@lru_cache
def ticks(zone: str) -> list[int]:
    """For each step of the year the latest wall clock the zone has shown so far, in minutes since year 1."""
    tz = ZoneInfo(zone)
    shown = []
    for n in range(STEPS):
        wall = datetime.fromtimestamp(BEGIN + n * STEP, tz)
        shown.append(wall.toordinal() * 1440 + wall.hour * 60 + wall.minute)
    return list(accumulate(shown, max))


def first_shown(zone: str, on: date, minutes: int) -> int:
    """Epoch second at which the wall clock first shows this minute of this day, or one later where it is skipped."""
    return BEGIN + bisect_left(ticks(zone), on.toordinal() * 1440 + minutes) * STEP


@lru_cache
def market(name: str) -> dict[str, object]:
    """The file's tables, with those of the file it inherits from below them."""
    data = tomllib.loads((DATA / f"{name}.toml").read_text(encoding="utf-8"))
    below = market(str(data["inherits"])) if "inherits" in data else {"days": {}, "hours": []}
    days = dict(below["days"])  # type: ignore[call-overload]
    for row in data.get("closed", []):
        days[row["date"]] = ("closed", [])
    for row in data.get("session", []):
        days[row["date"]] = (row["kind"], [part.split("-") for part in row["sessions"]])
    return {"days": days, "hours": data.get("hours") or below["hours"]}


def usual(name: str, on: date) -> tuple[int, int]:
    """Regular open and close of a date, in minutes."""
    rows = [row for row in market(name)["hours"] if row["from"] <= on]  # type: ignore[attr-defined]
    opens, closes = rows[-1]["sessions"][0].split("-")
    return minute(opens), minute(closes)


def minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:5])


def place(wanted: Wanted, on: date) -> tuple[int, int] | None:
    """(start, stop) in minutes of the plan's wall clock on this day, or None when it does not run."""
    if on in wanted.closed:
        return None
    relative = wanted.start.startswith(("open", "close"))
    if wanted.market is None:
        if NAMES[on.weekday()] not in wanted.days:
            return None
        start, stop = minute(wanted.start), minute(wanted.stop)
        return start, stop + (1440 if stop <= start else 0)
    kind, parts = market(wanted.market)["days"].get(on, ("regular" if on.weekday() < 5 else "closed", None))  # type: ignore[attr-defined]
    if kind == "closed":
        return None
    opens, closes = usual(wanted.market, on)
    now_opens, now_closes = (minute(parts[0][0]), minute(parts[-1][1])) if parts else (opens, closes)
    if kind == "special":
        everyday = set(NAMES[:5]) <= set(wanted.days) or NAMES[on.weekday()] in wanted.days
        if not (wanted.on_special or (relative and everyday)):
            return None
    elif NAMES[on.weekday()] not in wanted.days:
        return None
    if relative:
        begin, end = offset(wanted.start, now_opens, now_closes), offset(wanted.stop, now_opens, now_closes)
        return (begin, end) if begin < end else None
    start, stop = minute(wanted.start), minute(wanted.stop)
    stop += 1440 if stop <= start else 0
    if kind == "regular":
        return start, stop
    begin, end = start + now_opens - opens, stop + now_closes - closes
    if begin >= end and stop <= opens:
        return start + now_opens - opens, stop + now_opens - opens
    if begin >= end and start >= closes:
        return start + now_closes - closes, stop + now_closes - closes
    if begin >= now_closes and start < closes:
        begin = max(start, now_opens)
    if begin >= end:
        begin = start if now_opens <= start < now_closes else begin
        end = stop if now_opens < stop <= now_closes else end
    return (begin, end) if begin < end else None


def offset(text: str, opens: int, closes: int) -> int:
    anchor, base = ("open", opens) if text.startswith("open") else ("close", closes)
    rest = text.removeprefix(anchor).removesuffix("m")
    return base + (int(rest) if rest else 0)


def year(wanted: Wanted) -> list[tuple[int, int]]:
    """All stretches that touch 2026, joined where they touch, as epoch seconds."""
    found = []
    on = date(2025, 12, 29)
    while on <= date(2027, 1, 1):
        placed = place(wanted, on) if on.year < 2027 or wanted.market is None else None
        for begin, end in ([placed] if placed else []) + [
            (minute(a), minute(b)) for day, (a, b) in wanted.also.items() if day == on
        ]:
            stretch = (first_shown(wanted.zone, on, begin), first_shown(wanted.zone, on, end))
            if stretch[0] < stretch[1]:
                found.append(stretch)
        on += timedelta(days=1)
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(found):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined
