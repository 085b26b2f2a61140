"""Wall clocks and instants: reading "09:20" and "close-10m", and what they mean on days when clocks change.

Used by everything in this room. Instants are whole epoch seconds inside the room, aware datetimes at its edges. A wall
time that does not exist (spring) means the moment the clock jumps over it; one that happens twice (autumn) means its
first occurrence. So every wall time is exactly one instant and a window never has two starts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stratpanel.market.errors import InvalidTime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_SECONDS = 86_400
MINUTES_A_DAY = 1_440
_EPOCH = date(1970, 1, 1).toordinal()
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
_RELATIVE = re.compile(r"(open|close)(?:\s*([+-])\s*(\d{1,4})\s*m)?")


@dataclass(frozen=True, slots=True)
class Mark:
    """One end of a window: minutes after local midnight (`anchor` "clock"), or after a session's open or close."""

    anchor: Literal["clock", "open", "close"]
    minutes: int

    @property
    def relative(self) -> bool:
        return self.anchor != "clock"

    def __str__(self) -> str:
        if self.anchor == "clock":
            return f"{self.minutes // 60:02d}:{self.minutes % 60:02d}"
        return f"{self.anchor}{self.minutes:+d}m" if self.minutes else self.anchor


@lru_cache(maxsize=4096)
def parse_mark(text: str) -> Mark:
    """Read `HH:MM`, `open`, `close`, `open+5m`, `close-10m`; raise InvalidTime with the remedy."""
    cleaned = text.strip().lower() if isinstance(text, str) else ""
    if found := _CLOCK.fullmatch(cleaned):
        hour, minute = int(found[1]), int(found[2])
        if hour < 24 and minute < 60:
            return Mark("clock", hour * 60 + minute)
        if (hour, minute) == (24, 0):
            raise InvalidTime(f'"{text}" is not HH:MM; write 00:00, which as a stop means the end of the day')
        raise InvalidTime(f'"{text}" is not HH:MM')
    if found := _RELATIVE.fullmatch(cleaned):
        minutes = int(found[3] or 0)
        if minutes > MINUTES_A_DAY:
            raise InvalidTime(f'"{text}" is more than a day away; at most {MINUTES_A_DAY}m')
        return Mark("open" if found[1] == "open" else "close", -minutes if found[2] == "-" else minutes)
    raise InvalidTime(f'"{text}" is not HH:MM; write 09:20, or open+5m / close-10m for times that follow the session')


def parse_day(text: str) -> int:
    """Weekday number (0 = Monday) of mon … sun."""
    try:
        return DAYS.index(text.strip().lower())
    except (ValueError, AttributeError):
        raise InvalidTime(f'"{text}" is not a day; use {", ".join(DAYS)}') from None


@lru_cache(maxsize=512)
def zone(name: str) -> ZoneInfo:
    """The time zone of this IANA name; raise InvalidTime when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # ValueError: "../x"; OSError: a folder such as "Asia"
        raise InvalidTime(f'"{name}" is not a time zone; use an IANA name such as Asia/Kolkata') from None


def instant(day: date, minutes: int, tz: ZoneInfo) -> int:
    """Epoch seconds at which the clock of `tz` shows `minutes` past midnight of `day` (a day before to 2 after)."""
    offset = _steady_offset(day, tz)
    if offset is not None:
        return (day.toordinal() - _EPOCH) * DAY_SECONDS + minutes * 60 - offset
    naive = datetime.combine(day, time()) + timedelta(minutes=minutes)
    first = naive.replace(tzinfo=tz, fold=0)
    at = int(first.timestamp())
    before = first.utcoffset()
    after = naive.replace(tzinfo=tz, fold=1).utcoffset()
    if before == after or before is None or after is None or before > after:
        return at  # an ordinary time, or one that happens twice: the first
    return _jump(at - int((after - before).total_seconds()), at, tz)


@lru_cache(maxsize=8192)
def _steady_offset(day: date, tz: ZoneInfo) -> int | None:
    """The offset of `tz` in seconds where it is the same for days around, else None. Asking a zone costs 10 µs."""
    noon = (day.toordinal() - _EPOCH) * DAY_SECONDS + DAY_SECONDS // 2
    before, after = (local(noon + n * DAY_SECONDS, tz).utcoffset() for n in (-3, 5))
    return int(after.total_seconds()) if before == after and after is not None else None


def _jump(low: int, high: int, tz: ZoneInfo) -> int:
    """The second in (low, high] at which the offset of `tz` changes."""
    offset = local(low, tz).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if local(middle, tz).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high


def local(at: float, tz: ZoneInfo) -> datetime:
    """The aware datetime of an epoch second."""
    return datetime.fromtimestamp(at, tz)


def utc(at: float) -> datetime:
    """The aware UTC datetime of an epoch second."""
    return datetime.fromtimestamp(at, UTC)


def epoch(moment: datetime) -> float:
    """Epoch seconds of an aware datetime; a naive one is refused, because nobody can say what it means."""
    if moment.tzinfo is None:
        raise ValueError("a time without zone cannot be judged; pass an aware datetime")
    return moment.timestamp()


def say(at: float, tz: ZoneInfo, today: date) -> str:
    """An instant in words: "15:15 IST" today, "Wed 09:20 IST" within a week, else "Wed 2 Dec 09:20 IST"."""
    moment = local(at, tz)
    hour = moment.strftime("%H:%M %Z")
    ahead = (moment.date() - today).days
    if ahead == 0:
        return hour
    if 0 < ahead < 7:
        return f"{moment:%a} {hour}"
    return f"{say_day(moment.date(), today)} {hour}"


def say_day(day: date, today: date) -> str:
    """A day in words, with the year where it is not today's: "Fri 25 Dec", "Mon 4 Jan 2027"."""
    words = f"{day:%a} {day.day} {day:%b}"
    return words if day.year == today.year else f"{words} {day.year}"
