"""The values of this room: what a person wants (Plan, Hold) and what follows from it (Decision, Boundary).

Built by the supervisor from the model, passed to `decide`. Plain frozen records of the standard library: they can be
compared, hashed and sent to another thread, and hold no rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

WEEK = ("mon", "tue", "wed", "thu", "fri")


@dataclass(frozen=True)
class Window:
    """From `start` to `stop` on `days`; each end is `HH:MM` or `open±Nm` / `close±Nm`.

    A clock stop that is not after the start is on the next day. Days name the day the window starts, or, where its
    start follows the session, the session's own date (CME: the one that opens on Sunday evening is Monday's).
    """

    start: str
    stop: str
    days: tuple[str, ...] = WEEK
    on_special: bool = False


@dataclass(frozen=True)
class DayException:
    """`closed`: no window starts on `date`. `also`: additionally from `start` to `stop` on `date`, whatever the days
    and the calendar say; the person who wrote it knows."""

    date: date
    kind: Literal["closed", "also"]
    start: str | None = None
    stop: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """When one strategy should run. `timezone` empty = the calendar's, without a calendar UTC. `live` = real money."""

    enabled: bool
    windows: tuple[Window, ...] = ()
    calendar: str | None = None
    timezone: str = ""
    exceptions: tuple[DayException, ...] = ()
    live: bool = False

    def __hash__(self) -> int:
        kept = self.__dict__.get("_hash")
        if kept is None:
            kept = hash((self.enabled, self.windows, self.calendar, self.timezone, self.exceptions, self.live))
            object.__setattr__(self, "_hash", kept)
        return int(kept)


@dataclass(frozen=True)
class Hold:
    """What a person said last. `until` ends it by itself; None = until a person says otherwise.

    A pause leaves what runs, so it remembers the manual start that it lies over: since when, and until when that held.
    """

    kind: Literal["none", "stopped", "started", "paused", "panic"] = "none"
    by: str = ""
    at: datetime | None = None
    why: str = ""
    until: datetime | None = None
    start_at: datetime | None = None
    start_until: datetime | None = None

    @property
    def start(self) -> Hold:
        """The manual start in force: this hold itself, the one under a pause, or none."""
        if self.kind == "paused" and self.start_at is not None:
            return Hold("started", self.by, self.start_at, until=self.start_until)
        return self if self.kind == "started" else NO_HOLD


NO_HOLD = Hold()


@dataclass(frozen=True)
class Decision:
    """`run` None = leave it as it is. `until`: when this ends (for what runs: its stop). `alert` = show in red."""

    run: bool | None
    why: str
    until: datetime | None
    alert: bool = False


@dataclass(frozen=True)
class Boundary:
    """An instant (UTC) at which the plan starts or stops, and the rule that put it there, in words."""

    at: datetime
    action: Literal["start", "stop"]
    rule: str
    assumed: bool = False
