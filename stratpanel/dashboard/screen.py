"""What the views of one open page share: the wire to its browser, its person's actions, the feeds, and an end.

Made once per session (or notebook cell); nothing of a session outlives `close`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence

from stratpanel.dashboard.actions import Actions
from stratpanel.dashboard.delivery import Delivery
from stratpanel.dashboard.feed import Feed
from stratpanel.dashboard.logfeed import LogFeed
from stratpanel.dashboard.markets import Markets
from stratpanel.dashboard.news import News
from stratpanel.dashboard.roles import Person
from stratpanel.dashboard.source import Calls, Source
from stratpanel.dashboard.templates import Template
from stratpanel.dashboard.wire import Wire


class Office:
    """What all pages of one workspace share in this process: the mirror, its feed, the logs being watched."""

    def __init__(self, source: Source, calls: Calls, templates: Callable[[], Sequence[Template]] = tuple) -> None:
        self.source = source
        self.calls = calls
        self.templates = templates
        self.feed = Feed(source)
        self.logs = LogFeed(calls)
        loop = asyncio.get_event_loop()
        markets = Markets(calls, self.feed, loop)
        self._readers = (News(calls, self.feed, loop, markets.look), markets)

    def close(self) -> None:
        """End what was started for the pages."""
        for reader in self._readers:
            reader.close()
        self.feed.close()
        self.logs.close()
        close = getattr(self.source, "close", None)
        if close is not None:
            close()


class Screen:
    """One open page."""

    def __init__(self, office: Office, person: Person, scheme: str = "light") -> None:
        self.source = office.source
        self.feed = office.feed
        self.logs = office.logs
        self.templates = office.templates
        self.scheme = scheme
        self.actions = Actions(office.calls, person)
        self.delivery = Delivery()
        self.wire = Wire(office.feed, self.actions, self.delivery)
        self._closers: list[Callable[[], None]] = []
        self._schemes: list[Callable[[str], None]] = []

    @property
    def bus(self) -> str:
        """The name of the browser's store."""
        return str(self.wire.bus)

    def on_beat(self, callback: Callable[[float], None]) -> None:
        """Call once a second while this page is open; held weakly, so that a forgotten view goes."""
        method = weakref.WeakMethod(callback) if hasattr(callback, "__self__") else (lambda: callback)
        self._closers.append(self.feed.on_beat(method))

    def on_scheme(self, callback: Callable[[str], None]) -> None:
        """Call with `light` or `dark` when the person switches."""
        self._schemes.append(callback)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call when the page goes."""
        self._closers.append(callback)

    def switch(self, scheme: str) -> None:
        """The page is light or dark from now on; on the page's own turn, since figures change colour."""
        self.scheme = scheme
        for callback in self._schemes:
            callback(scheme)

    def close(self) -> None:
        """Leave the feeds; nothing of this page is kept."""
        closers, self._closers = self._closers, []
        for callback in closers:
            callback()
        self._schemes.clear()
        self.wire.close()
