"""Calendars and decide(): when should a strategy run, and why. Standard library only."""

from stratpanel.market.calendar import Calendar, Session
from stratpanel.market.decide import boundaries, decide, end_of_next_window, flips, next_start, next_stop, window_began
from stratpanel.market.errors import CalendarUnknown, CannotAnswer, InvalidCalendar, InvalidTime, MarketError
from stratpanel.market.plan import NO_HOLD, Boundary, DayException, Decision, Hold, Plan, Window

__all__ = [
    "NO_HOLD", "Boundary", "Calendar", "CalendarUnknown", "CannotAnswer", "DayException", "Decision", "Hold",
    "InvalidCalendar", "InvalidTime", "MarketError", "Plan", "Session", "Window",
    "boundaries", "decide", "end_of_next_window", "flips", "next_start", "next_stop", "window_began",
]  # fmt: skip
