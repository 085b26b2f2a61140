"""What the market room raises: each error has a code for scripts and a sentence for people.

Caught by the supervisor and the command line, which turn them into their own errors. The room knows nobody, so these
are not the model's errors; they carry the same parts (`code`, `message`, `fields`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class MarketError(Exception):
    """Base: `message` is lower case, names the thing, the cause and the next step."""

    default_code: ClassVar[str] = "MARKET"

    def __init__(self, message: str, *, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code
        self.fields: dict[str, str] = dict(fields or {})


class CalendarUnknown(MarketError):
    """No calendar of this name is shipped, compiled or defined by the user."""

    default_code = "CALENDAR_UNKNOWN"


class CannotAnswer(MarketError):
    """The calendar's data does not cover the day asked for; it never invents a session instead."""

    default_code = "CALENDAR_CANNOT_ANSWER"


class InvalidCalendar(MarketError):
    """A calendar file breaks the format; the message names file, line and field."""

    default_code = "CALENDAR_INVALID"


class InvalidTime(MarketError, ValueError):
    """A time, day or zone of a schedule cannot be read."""

    default_code = "INVALID_VALUE"
