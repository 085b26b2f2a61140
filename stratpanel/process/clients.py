"""The runner's listeners: everybody who connected hears each change of the run, and may give commands.

A supervisor's socket arrives with the start; others connect to `runner.sock`. A client that hangs or talks nonsense
loses its connection; it never delays the run.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from stratpanel.process import platform
from stratpanel.process.channel import Channel, ChannelClosed, Message
from stratpanel.process.loop import READ, WRITE, Loop

Answer = Callable[[Message], Message]


class Clients:
    """`on_command` answers one command; `greeting` is what a newcomer hears first."""

    def __init__(self, loop: Loop, on_command: Answer, greeting: Callable[[], Message | None]) -> None:
        self._loop = loop
        self._on_command = on_command
        self._greeting = greeting
        self._channels: dict[int, Channel] = {}
        self._listener: socket.socket | None = None
        self._path = ""

    def listen(self, path: str) -> None:
        """Accept clients at this path, which only the holder of `runner.lock` may do. Raises OSError."""
        _remove(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        platform.bind_in_folder(listener, path)
        listener.listen(64)
        self._listener, self._path = listener, path
        self._loop.watch(listener.fileno(), self._accept)

    def add(self, sock: socket.socket, greeting: Message | None = None) -> None:
        """Serve a connection that exists already, greeted with this if it knows more than a newcomer."""
        channel = Channel(sock)
        fd = channel.fileno()
        self._channels[fd] = channel
        self._loop.watch(fd, lambda events: self._ready(fd, events))
        greeting = greeting or self._greeting()
        if greeting is not None:
            self._send(fd, greeting)

    def tell(self, message: Message) -> None:
        """Say it to everybody."""
        for fd in list(self._channels):
            self._send(fd, message)

    def stop_listening(self) -> None:
        """Take the socket away, while we still hold the lock that makes it ours."""
        if self._listener is not None:
            self._loop.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None
            _remove(self._path)

    @property
    def has_unsent(self) -> bool:
        """True while somebody has not been told everything."""
        return any(channel.wants_write for channel in self._channels.values())

    def close(self) -> None:
        """Hang up on everybody."""
        self.stop_listening()
        for fd in list(self._channels):
            self._drop(fd)

    def _accept(self, _events: int) -> None:
        if self._listener is None:
            return
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it left again, or descriptors are out: it may try again
            return
        self.add(sock)

    def _ready(self, fd: int, events: int) -> None:
        channel = self._channels[fd]
        if events & WRITE and not self._flush(fd, channel):
            return
        if not events & ~WRITE:
            return
        try:
            messages = channel.receive()
        except (ChannelClosed, OSError):
            self._drop(fd)
            return
        for message in messages:
            if fd not in self._channels:
                return
            answer = self._on_command(message)
            if "n" in message:
                answer = {"re": message["n"], **answer}
            self._send(fd, answer)
        for stray in channel.take_fds():  # no command brings descriptors
            os.close(stray)

    def _send(self, fd: int, message: Message) -> None:
        channel = self._channels.get(fd)
        if channel is None:
            return
        try:
            channel.send(message)
        except ChannelClosed:
            self._drop(fd)
            return
        self._flush(fd, channel)

    def _flush(self, fd: int, channel: Channel) -> bool:
        try:
            channel.flush()
        except ChannelClosed:
            self._drop(fd)
            return False
        self._loop.watch(fd, lambda events: self._ready(fd, events), READ | WRITE if channel.wants_write else READ)
        return True

    def _drop(self, fd: int) -> None:
        channel = self._channels.pop(fd, None)
        if channel is not None:
            self._loop.unwatch(fd)
            channel.close()


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:  # there was none
        pass
