"""Server-sent events of an open response, parsed.

Used by `Api.stream`, so by the mirror, the command line and whoever follows logs or events. An end of the stream, by
whoever, is the end of the iteration and never an exception.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

LONGEST_FRAME = 256 * 1024 * 1024


class ServerEvent(NamedTuple):
    """One server-sent event; data is decoded JSON."""

    event: str
    id: str
    data: Any


class EventStream:
    """Server-sent events of an open response, parsed; iterate in one thread, `close` from any."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self._socket = connection.sock
        self.heard = time.monotonic()
        """When the last byte came (monotonic seconds), comments included."""
        self.last_id = ""
        """Where to resume; known before the first event."""

    def __iter__(self) -> Iterator[ServerEvent]:
        """Yield events until the stream ends; an end by the other side just ends the iteration."""
        pending = b""
        try:
            while True:
                data = self._response.read1(1 << 18)
                if not data:
                    return
                self.heard = time.monotonic()
                *frames, pending = (pending + data).split(b"\n\n") if b"\n\n" in data or pending else [data]
                for part in frames:
                    id, event = _parsed(part)
                    self.last_id = id or self.last_id
                    if event is not None:
                        yield event
                if len(pending) > LONGEST_FRAME:
                    return
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            return  # cut off, timed out, or closed by another thread: for a stream each is its end
        finally:
            self.close()

    def close(self) -> None:
        """End the iteration soon, also while it waits in another thread."""
        try:
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already
        self._connection.close()


def _parsed(frame: bytes) -> tuple[str, ServerEvent | None]:
    """The id and the event of one frame; no event for comments and for fields we do not use."""
    event, id, data = "message", "", []
    for line in frame.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode()
        elif name == b"id":
            id = value.decode()
    return id, ServerEvent(event, id, json.loads(b"\n".join(data))) if data else None
