"""A stream that one thread reads and any other may end, also in the moment in which it is being opened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from stratpanel.dashboard.source import Stream


class Reading:
    """What a reader's thread reads, one stream after another, until `close`."""

    def __init__(self) -> None:
        self._closing = threading.Event()
        self._stream: Stream | None = None

    @property
    def closed(self) -> bool:
        """True from `close` on."""
        return self._closing.is_set()

    def wait(self, seconds: float) -> None:
        """Wait in the reader's thread; `close` ends it early."""
        self._closing.wait(seconds)

    def items(self, opened: Callable[[], Stream]) -> Iterator[Any]:
        """Open a stream and yield its events until it ends or `close` is called; it is closed however this ends.

        The stream is named before the look at `closed`, and `close` sets that before it looks for a stream: whichever
        comes first, one of the two ends it. A stream left open would be read for ever when nothing is written to it.
        """
        stream = self._stream = opened()
        try:
            if self.closed:
                return
            for item in stream:
                if self.closed:
                    return
                yield item
        finally:
            self._stream = None
            stream.close()

    def close(self) -> None:
        """End the reading; from any thread."""
        self._closing.set()
        stream = self._stream
        if stream is not None:
            stream.close()
