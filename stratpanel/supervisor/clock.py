"""The supervisor's two clocks and its timers behind one seam, so that tests can own time.

Market decisions use the wall clock; delays, grace and backoff use the monotonic one, which no NTP step can bend.
Nothing in the supervisor may call `time.time()` or `loop.call_later` by itself where a test would want to turn the
hands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None:
        """Do not call back any more; a timer that already fired ignores it."""


class Clock:
    """The real clocks; timers run on the event loop that is running when they are made."""

    def time(self) -> float:
        """Seconds since the epoch, by the wall clock."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that only go forward; stands still while the machine is suspended."""
        return time.monotonic()

    def now(self) -> datetime:
        """The wall clock as an aware datetime in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call back once after `delay_s` monotonic seconds, on the loop."""
        return asyncio.get_running_loop().call_later(delay_s, callback)


class TimeWatch:
    """Compares wall and monotonic time between looks, and tells a suspend or a clock step apart from passing time.

    `look()` is called about once a second; it answers the seconds by which the wall clock ran ahead (positive: suspend
    or a step forward; negative: a step back) when they exceed `TOLERANCE_S`, else 0.
    """

    TOLERANCE_S = 2.0  # NTP slews far slower than this; a suspend shorter than this harms no schedule

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall = clock.time()
        self._monotonic = clock.monotonic()

    @property
    def last_wall(self) -> float:
        """The wall clock at the previous look (epoch seconds): where a gap began."""
        return self._wall

    def look(self) -> float:
        """The jump of the wall clock since the previous look, in seconds; 0 when there was none worth a word."""
        wall, monotonic = self._clock.time(), self._clock.monotonic()
        jump = (wall - self._wall) - (monotonic - self._monotonic)
        self._wall, self._monotonic = wall, monotonic
        return jump if abs(jump) > self.TOLERANCE_S else 0.0
