"""The mirror's reader: a thread that keeps one stream open, parses it, and hands messages on.

It knows its mirror only weakly, so a forgotten mirror ends it. It never touches the mirror's state itself.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import weakref
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from stratpanel.client.connection import Api, EventStream, NoSupervisor, runtime_of
from stratpanel.client.starting import revive
from stratpanel.model.errors import StratpanelError

if TYPE_CHECKING:
    from stratpanel.client.mirror import Mirror

log = logging.getLogger("stratpanel.client")

READ_TIMEOUT_S = 12.0  # the stream says something every 5 s at least
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 2.0
DOWN_AFTER_S = 5.0  # a restart takes less


class Link(Enum):
    """How the stream stands: not yet there, in step, lost a moment ago, or nobody answers."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"
    DOWN = "down"


class Message(NamedTuple):
    """What the applier is handed: a snapshot, delta or tick of the stream, or "link" with a Link."""

    kind: str
    data: Any


class Reader:
    """One thread, one stream; `close` it from anywhere."""

    def __init__(self, api: Api, mirror: Mirror) -> None:
        self._api = api
        self._mirror = weakref.ref(mirror)
        self._stream: EventStream | None = None
        self.runtime = runtime_of(api.workspace)
        self._closing = threading.Event()
        self._heard: float | None = None
        self.arrived = threading.Event()
        """Set at each message; whoever waits clears it."""
        self.problem = "not connected yet"
        self._thread = threading.Thread(target=_run, args=(self,), name="stratpanel mirror", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def closed(self) -> bool:
        """True when it was told to end."""
        return self._closing.is_set()

    @property
    def is_current_thread(self) -> bool:
        """True when called by the reader's own thread."""
        return self._thread is threading.current_thread()

    @property
    def age_s(self) -> float:
        """Seconds since the last byte."""
        stream = self._stream
        heard = stream.heard if stream is not None else self._heard
        return time.monotonic() - heard if heard is not None else float("inf")

    def resync(self) -> None:
        """Numbers were skipped: read a new snapshot."""
        stream = self._stream
        if stream is not None:
            stream.close()

    def close(self) -> None:
        """End the thread; waits for it a moment unless called by it."""
        self._closing.set()
        self.arrived.set()
        stream = self._stream
        if stream is not None:
            stream.close()
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join(2.0)

    def _send(self, message: Message) -> bool:
        """Hand a message to the mirror; False when there is none any more."""
        mirror = self._mirror()
        if mirror is None:
            return False
        mirror.deliver(message)
        self.arrived.set()
        return True

    def follow(self) -> bool:
        """Read one stream to its end; True when it had begun. Raises StratpanelError when it cannot be opened."""
        stream = self._stream = self._api.stream("/api/mirror/stream", timeout=READ_TIMEOUT_S, revive=False)
        began = False
        try:
            if self._closing.is_set():
                return False
            for event in stream:
                if event.event not in ("snapshot", "delta", "tick"):
                    continue
                if not self._send(Message(event.event, event.data)):
                    self._closing.set()
                if not began:
                    began = True
                    self._send(Message("link", Link.LIVE))
                if self._closing.is_set():
                    return began
        finally:
            self._heard = stream.heard
            self._stream = None
            stream.close()
        return began


def _run(reader: Reader) -> None:
    """Keep a stream open until closed; after a cut come back soon, then at growing intervals."""
    wait, lost = FIRST_RETRY_S, time.monotonic()
    link = Link.CONNECTING
    while not reader.closed:
        try:
            if reader.follow():
                wait, lost, link = FIRST_RETRY_S, time.monotonic(), Link.LOST
                reader.problem = "the supervisor went away; waiting for it to come back"
            elif link is not Link.DOWN:
                link = Link.LOST
        except NoSupervisor as error:
            reader.problem = error.message
            revive(reader.runtime)
            link = (
                Link.DOWN
                if link in (Link.CONNECTING, Link.DOWN) or time.monotonic() - lost > DOWN_AFTER_S
                else Link.LOST
            )
        except StratpanelError as error:  # another version, a token of somebody else: say so, and try again
            reader.problem = error.message
            link = Link.DOWN
        except Exception:  # a fault of ours must not end the mirror silently: logged, shown as problem, tried again
            log.exception("the mirror's reader failed; it starts again")
            reader.problem = "the mirror's reader failed; see the log"
            link = Link.LOST
        if reader.closed or not reader._send(Message("link", link)):
            return
        reader._closing.wait(wait * random.uniform(0.8, 1.2))
        wait = min(wait * 1.6, LAST_RETRY_S)
