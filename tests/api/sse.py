"""A plain reader of server-sent events over a raw socket, for tests that must see every byte and every pause."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, NamedTuple

from tests.api.conftest import Served


class Frame(NamedTuple):
    """One event as it stood on the wire; a comment has the event "comment"."""

    event: str
    id: str | None
    data: Any


class RawStream:
    """An open stream; `next` waits for a frame, `status` is the answer's."""

    def __init__(self, served: Served, path: str, *, buffer: int | None = None, **headers: str) -> None:
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect(("127.0.0.1", served.port))
        lines = [f"GET {path} HTTP/1.0", "Host: localhost", f"Authorization: Bearer {served.api.token}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._pending = b""
        self.status = 0

    def head(self) -> int:
        """Read the answer's head; returns its status."""
        self.socket.settimeout(10)
        while b"\r\n\r\n" not in self._pending:
            self._more()
        head, _, self._pending = self._pending.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])
        return self.status

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self._pending += data

    def next(self, timeout: float = 10) -> Frame:
        """The next event or comment; raises TimeoutError, or EOFError at the end."""
        if not self.status:
            self.head()
        deadline = time.monotonic() + timeout
        while True:
            while b"\n\n" not in self._pending:
                self.socket.settimeout(max(0.001, deadline - time.monotonic()))
                self._more()
            part, _, self._pending = self._pending.partition(b"\n\n")
            found = parsed(part.decode())
            if found is not None:
                return found

    def event(self, timeout: float = 10) -> Frame:
        """The next event that is no comment."""
        while True:
            found = self.next(timeout)
            if found.event != "comment":
                return found

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def parsed(part: str) -> Frame | None:
    """One frame; None for `retry:` alone."""
    event, id, data = "message", None, []
    for line in part.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "":
            return Frame("comment", None, value)
        if name == "event":
            event = value
        elif name == "id":
            id = value
        elif name == "data":
            data.append(value)
    return Frame(event, id, json.loads("\n".join(data))) if data else None
