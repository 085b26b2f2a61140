"""The nested parts of a strategy's configuration: schedule, limits, restart policy, log policy, hold.

Each is a value: equal by content, never edited in place but replaced whole, since Param cannot see a change inside.
Rules between fields live in `check()`; what a window means on a given day is the market room's affair, not ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, ClassVar

import param

from stratpanel.model.kinds import Clock, Day, Days, Instant, Text, ZoneName

_MONTH_S = 31 * 86400.0


class Model(param.Parameterized):
    """Base of every class of the model: shows what differs from the defaults, and checks rules between fields."""

    def check(self) -> dict[str, str]:
        """Return what is wrong between the fields, by path; empty if nothing is."""
        return {}

    def __repr__(self) -> str:
        shown = [
            f"{name}={value!r}"
            for name, value in self.param.values().items()
            if name != "name" and value != self.param.objects("existing")[name].default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __str__(self) -> str:
        return repr(self)


class Value(Model):
    """A part that is replaced whole; two are equal when their contents are."""

    def _content(self) -> dict[str, Any]:
        return {name: value for name, value in self.param.values().items() if name != "name"}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Value) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(type(self))  # contents may change before it is handed over, so they cannot take part


class Values(param.List):
    """A list of values of one class; at most `most` of them."""

    __slots__ = ["most"]
    _slot_defaults: ClassVar[dict[str, Any]] = dict(param.List._slot_defaults, most=100)

    def __init__(
        self, default: Any = param.Undefined, *, item_type: type[Model], most: Any = param.Undefined, **others: Any
    ) -> None:
        self.most = most
        super().__init__(default=default, item_type=item_type, **others)


class ScheduleWindow(Value):
    """One stretch of a day in which the strategy should run; `stop` not after `start` means the next day."""

    start: str = Clock("09:20", doc="HH:MM, or open±Nm / close±Nm relative to the session")
    stop: str = Clock("15:15", doc="HH:MM, or open±Nm / close±Nm; not after start means the next day")
    days: list[str] = Days(["mon", "tue", "wed", "thu", "fri"], doc="days on which the window starts")
    on_special: bool = param.Boolean(False, doc="whether clock times also count on special sessions")


class ScheduleException(Value):
    """A date on which the schedule differs: closed, or a window of its own."""

    date: date = Day(date(2000, 1, 1), doc="the date, in the schedule's time zone")
    kind: str = param.Selector(default="closed", objects=["closed", "also"], doc="closed, or also: a window of its own")
    start: str | None = Clock(None, allow_None=True, doc="for also: start of that date's window")
    stop: str | None = Clock(None, allow_None=True, doc="for also: stop of that date's window")
    why: str = Text("", longest=500, doc="reason shown wherever the decision is explained")

    def check(self) -> dict[str, str]:
        """An extra window needs its times; a closed date has none."""
        wrong = {}
        for field in ("start", "stop"):
            if self.kind == "also" and getattr(self, field) is None:
                wrong[field] = 'is missing; an exception of kind "also" needs start and stop'
            if self.kind == "closed" and getattr(self, field) is not None:
                wrong[field] = 'must be null on a closed date; use kind "also" for a window'
        return wrong


class Schedule(Value):
    """When a strategy should run: windows, the calendar that says which days exist, and dates that differ."""

    enabled: bool = param.Boolean(False, doc="whether the schedule starts and stops the strategy")
    windows: list[ScheduleWindow] = Values([], item_type=ScheduleWindow, most=50, doc="windows, in any order")
    calendar: str | None = Text(
        None,
        allow_None=True,
        pattern=r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}",
        says="the name of a calendar",
        longest=64,
        doc="exchange calendar, such as NSE or 24x7; null is a plain clock",
    )
    timezone: str | None = ZoneName(None, allow_None=True, doc="null is the calendar's zone, else the workspace's")
    exceptions: list[ScheduleException] = Values([], item_type=ScheduleException, most=1000, doc="dates that differ")

    def check(self) -> dict[str, str]:
        """Two exceptions that contradict each other on one date, or a schedule that never starts anything."""
        wrong = {}
        if self.enabled and not self.windows and not any(rule.kind == "also" for rule in self.exceptions):
            wrong["windows"] = "is empty, so nothing would ever start; give a window or set enabled to false"
        closed = {rule.date for rule in self.exceptions if rule.kind == "closed"}
        for index, rule in enumerate(self.exceptions):
            if rule.kind == "also" and rule.date in closed:
                wrong[f"exceptions[{index}].date"] = f"{rule.date} is named closed as well"
        return wrong


def memory_limit_default(environ: Mapping[str, str] = os.environ) -> tuple[float, str | None]:
    """Return the default memory limit in MiB (STRATEGY_MEMORY_LIMIT_MB, else the seed's 1024) and what is wrong.

    A bad value is reported, not raised: a supervisor that cannot come up over it could not stop anything either.
    """
    raw = environ.get("STRATEGY_MEMORY_LIMIT_MB", "")
    if not raw.strip():
        return 1024, None
    try:
        limit = float(raw)
        if not 1 <= limit <= 16_777_216:
            raise ValueError(raw)
    except ValueError:
        return 1024, f'STRATEGY_MEMORY_LIMIT_MB="{raw}" is not a number of MiB; 1024 is used instead'
    return (int(limit) if limit.is_integer() else limit), None


DEFAULT_MEMORY_MB, DEFAULT_MEMORY_PROBLEM = memory_limit_default()


class Limits(Value):
    """What a strategy's whole tree may use."""

    memory_mb: float = param.Number(
        DEFAULT_MEMORY_MB, bounds=(1, 16_777_216), doc="MiB of the whole tree; three samples above it stop the strategy"
    )
    nofile: int = param.Integer(1024, bounds=(32, 1_048_576), doc="open files of each process (RLIMIT_NOFILE)")
    nice: int | None = param.Integer(None, bounds=(-20, 19), allow_None=True, doc="nice level; null leaves it")


class RestartPolicy(Value):
    """Whether and how often a strategy that ended by itself is started again."""

    policy: str = param.Selector(default="never", objects=["never", "on-failure", "always"], doc="when to restart")
    max_restarts: int = param.Integer(5, bounds=(0, 100_000), doc="restarts within window_s before giving up")
    window_s: float = param.Number(600, bounds=(1, _MONTH_S), doc="seconds over which restarts are counted")
    backoff_s: float = param.Number(5, bounds=(0, 86400), doc="seconds before the first restart; doubles each time")
    backoff_max_s: float = param.Number(300, bounds=(0, 86400), doc="longest wait before a restart, in seconds")
    stable_s: float = param.Number(60, bounds=(0, _MONTH_S), doc="seconds alive after which the count starts anew")

    def check(self) -> dict[str, str]:
        """The longest wait is no shorter than the first."""
        if self.backoff_max_s < self.backoff_s:
            return {"backoff_max_s": f"{self.backoff_max_s:g} is less than backoff_s, {self.backoff_s:g}"}
        return {}


class LogPolicy(Value):
    """How much of a strategy's output is kept."""

    max_mb: float = param.Number(10, bounds=(0.001, 1_048_576), doc="MiB at which the log is rotated, between lines")
    keep: int = param.Integer(5, bounds=(0, 1000), doc="rotated files kept")
    keep_days: float | None = param.Number(None, bounds=(0, 36_500), allow_None=True, doc="days kept; null: no limit")


class Hold(Value):
    """What a person or panic decided over the schedule: who, when, why, until when."""

    kind: str = param.Selector(
        default="none", objects=["none", "stopped", "started", "paused", "panic"], doc="what was decided"
    )
    by: str = Text("", longest=200, doc="who")
    at: datetime | None = Instant(None, allow_None=True, doc="when")
    why: str = Text("", longest=2000, doc="the reason given")
    until: datetime | None = Instant(None, allow_None=True, doc="when the hold ends by itself; null: when lifted")
    start_at: datetime | None = Instant(None, allow_None=True, doc="of a pause: since when a person kept it running")
    start_until: datetime | None = Instant(None, allow_None=True, doc="until when that start holds; null: no end")

    def __bool__(self) -> bool:
        return self.kind != "none"
