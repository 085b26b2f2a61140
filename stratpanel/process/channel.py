"""One JSON object per line over a unix socket, with descriptors attached; never waits, in neither direction.

The same class serves the launcher's and the runners' loops and the supervisor's asyncio loop. A peer that is slow,
hung or hostile costs a bounded buffer and then its connection, never the process that serves it.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

LONGEST_MESSAGE = 8 << 20
LARGEST_BACKLOG = 16 << 20
CHUNK = 64 << 10
MOST_DESCRIPTORS = 16
_encode = json.JSONEncoder(separators=(",", ":")).encode
_CMSG_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ChannelClosed(ConnectionError):
    """The other side is gone, or broke the protocol; whatever it said before was delivered."""


class Channel:
    """A connected stream socket. Whoever makes it polls `fileno()` and calls `receive` and `flush`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._incoming = bytearray()
        self._outgoing: deque[tuple[bytes, list[int]]] = deque()
        self._backlog = 0
        self._descriptors: deque[int] = deque()
        self._ended = False

    def __repr__(self) -> str:
        return f"<Channel fd {self._socket.fileno()}, {self._backlog} bytes to write>"

    def fileno(self) -> int:
        """The socket's descriptor; -1 after `close`."""
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """True while something waits for room in the socket."""
        return bool(self._outgoing)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send, or keep until `flush`. `fds` stay the caller's and may be closed at once. Raises ChannelClosed."""
        if fds:
            message = {**message, "fds": len(fds)}
        data = _encode(message).encode() + b"\n"
        if self._backlog + len(data) > LARGEST_BACKLOG:
            raise ChannelClosed("the other side does not read")
        self._outgoing.append((data, [os.dup(fd) for fd in fds]))
        self._backlog += len(data)
        self.flush()

    def flush(self) -> None:
        """Write what the socket takes. Raises ChannelClosed."""
        while self._outgoing:
            data, fds = self._outgoing[0]
            try:
                sent = socket.send_fds(self._socket, [data], fds) if fds else self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # gone, or out of descriptors in flight: either way it will not get this
                raise ChannelClosed(error.strerror or str(error)) from error
            _close(fds)
            self._backlog -= sent
            if sent < len(data):
                self._outgoing[0] = (data[sent:], [])
            else:
                self._outgoing.popleft()

    def receive(self) -> list[Message]:
        """The messages that have arrived, perhaps none. Raises ChannelClosed once the other side is gone."""
        messages: list[Message] = []
        while not self._ended:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(
                    CHUNK, socket.CMSG_SPACE(4 * MOST_DESCRIPTORS), _CMSG_CLOEXEC
                )
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data, ancillary = b"", []
            self._keep(ancillary)
            self._ended = not data
            self._incoming += data
            self._split(messages)
            if len(self._incoming) > LONGEST_MESSAGE:
                self._ended = True
            if len(data) < CHUNK and not ancillary:
                break
        if self._ended and not messages:
            raise ChannelClosed("the other side is gone")
        return messages

    def take_fds(self, count: int | None = None) -> list[int]:
        """Descriptors that came with messages, oldest first; a message that carries some says how many in `fds`."""
        if count is None:
            count = len(self._descriptors)
        return [self._descriptors.popleft() for _ in range(min(count, len(self._descriptors)))]

    def close(self) -> None:
        """Close the socket and every descriptor nobody took."""
        self._socket.close()
        _close(self.take_fds())
        for _, fds in self._outgoing:
            _close(fds)
        self._outgoing.clear()
        self._backlog = 0

    def _keep(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._descriptors.extend(numbers)

    def _split(self, messages: list[Message]) -> None:
        while (end := self._incoming.find(b"\n")) >= 0:
            line = bytes(self._incoming[:end])
            del self._incoming[: end + 1]
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                self._ended = True  # not our protocol: nothing that follows can be trusted
                return
            messages.append(message)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
