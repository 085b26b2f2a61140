"""A small event loop: descriptors, timers, and nothing that could run at the wrong moment.

The launcher, each runner and the command line's own endings have one. Single-threaded; callbacks run one after the
other and must not block. Delays are monotonic: wall-clock deadlines are looked at by whoever has one.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from itertools import count

READ = select.POLLIN
WRITE = select.POLLOUT
# poll() takes milliseconds in an int
LONGEST_WAIT_S = 3600.0


class Timer:
    """One call in the future. `cancel` may be called at any time."""

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callable[[], None] | None) -> None:
        self.at = at
        self.callback = callback

    def cancel(self) -> None:
        """Do not call back; harmless when it already did."""
        self.callback = None


class Loop:
    """Waits for descriptors and timers. `many` chooses epoll, for a process with hundreds of descriptors."""

    def __init__(self, *, many: bool = False) -> None:
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._epoll = select.epoll() if many and hasattr(select, "epoll") else None
        self._poll = None if self._epoll else select.poll()
        self._wake: tuple[int, int] | None = None
        self.running = False
        self.turned_at = 0.0

    # -- descriptors --------------------------------------------------------------------------------------------------

    def watch(self, fd: int, callback: Callable[[int], None], events: int = READ) -> None:
        """Call back with the events whenever `fd` is ready; watching it again changes both."""
        poller = self._epoll or self._poll
        assert poller is not None
        if fd in self._callbacks:
            poller.modify(fd, events)
        else:
            poller.register(fd, events)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Stop watching, before the descriptor is closed."""
        if self._callbacks.pop(fd, None) is not None:
            poller = self._epoll or self._poll
            assert poller is not None
            poller.unregister(fd)

    # -- timers -------------------------------------------------------------------------------------------------------

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back once after `delay_s` seconds of monotonic time."""
        timer = Timer(time.monotonic() + max(delay_s, 0.0), callback)
        heapq.heappush(self._timers, (timer.at, next(self._numbers), timer))
        return timer

    # -- signals ------------------------------------------------------------------------------------------------------

    def on_signal(self, numbers: set[int], callback: Callable[[], None], wake: tuple[int, int] | None = None) -> None:
        """Call back on the loop when one of these arrived. `wake` is a `wake_pair` that the loop then owns."""
        self._wake = wake or wake_pair()
        reader, writer = self._wake
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def woken(_events: int) -> None:
            try:
                while len(os.read(reader, 4096)) == 4096:
                    pass
            except BlockingIOError:  # the last full read was all there was
                pass
            callback()

        for number in numbers:
            signal.signal(number, _noted)
        self.watch(reader, woken)

    # -- running ------------------------------------------------------------------------------------------------------

    def run_once(self, longest_s: float = LONGEST_WAIT_S) -> None:
        """Wait for the next thing, at most `longest_s`, and do all that is due."""
        wait = min(longest_s, LONGEST_WAIT_S)
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if self._timers:
            wait = min(wait, max(self._timers[0][0] - time.monotonic(), 0.0))
        if self._epoll is not None:
            ready = self._epoll.poll(wait)
        else:
            assert self._poll is not None
            # rounded up: rounding down would spin through the last millisecond
            ready = self._poll.poll(-int(-wait * 1000 // 1))
        self.turned_at = time.monotonic()
        for fd, events in ready:
            callback = self._callbacks.get(fd)
            if callback is not None:  # an earlier callback of this turn may have closed it
                callback(events)
        self._run_timers()

    def run(self) -> None:
        """Run until `stop`."""
        self.running = True
        while self.running:
            self.run_once()

    def stop(self) -> None:
        """Leave `run` after the present turn."""
        self.running = False

    def close(self) -> None:
        """Let go of our own descriptors; the watched ones belong to others."""
        if self._wake is not None:
            signal.set_wakeup_fd(-1)
            for fd in self._wake:
                os.close(fd)
            self._wake = None
        if self._epoll is not None:
            self._epoll.close()

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()


def wake_pair() -> tuple[int, int]:
    """Descriptors for a loop's signals. A socket pair, since a pipe would count against the user's limit."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    return reader.detach(), writer.detach()


def _noted(_number: int, _frame: object) -> None:
    """The wakeup descriptor tells the loop; a handler must exist for it to be written."""


def random_between(low: float, high: float) -> float:
    """A random delay, without the memory that the module `random` costs in each runner."""
    return low + (high - low) * int.from_bytes(os.urandom(2), "big") / 65535
