"""Follows a stream of the supervisor for as long as the workspace is up, over its restarts and over new tokens.

For whoever waits in the foreground (`logs -f`, `events -f`); the mirror has a reader of its own. Never starts a
supervisor that nobody wants any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from stratpanel.client.connection import Api, Interrupted, NoSupervisor, runtime_of
from stratpanel.client.eventstream import ServerEvent

PAUSE_S = 0.2  # a supervisor that ends each stream at once must not be asked all the time


def follow(api: Api, path: str, last: str | None = None) -> Iterator[ServerEvent]:
    """Events of a stream after the one with id `last`, resumed where it was cut off; ends at `down` and at `end`.

    Raises StratpanelError when it cannot be opened, NoSupervisor when nobody answers though somebody should.
    """
    wanted = runtime_of(api.workspace).wanted
    while True:
        try:
            stream = api.stream(path, None, last)
            for event in stream:
                yield event
                if event.event == "end":  # there is no such strategy any more
                    return
            last = stream.last_id or last
        except Interrupted:
            pass  # it left while we asked: the next turn finds out whether it comes back
        except NoSupervisor:
            if wanted.exists():
                raise
        if not wanted.exists():
            return
        time.sleep(PAUSE_S)
