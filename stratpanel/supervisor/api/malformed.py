"""What tornado cannot read as HTTP is answered in our words: the error body of CONTRACTS instead of a bare status line.

tornado writes its own 400 straight to the stream, and closes without a word when headers are too long. So the server
here puts a stream of ours under each connection that knows both moments. It parses nothing itself.
"""

from __future__ import annotations

import socket
import sys
from asyncio import Future
from http import HTTPStatus
from typing import Any, Final

from tornado import httputil, iostream
from tornado.httpserver import HTTPServer

from stratpanel.model.errors import Malformed, StratpanelError
from stratpanel.supervisor.api import wire

TORNADOS: Final = b"HTTP/1.1 400 Bad Request\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 (Continue)\r\n\r\n"
DRAINED_BYTES: Final = 256 * 1024  # read and thrown away: closing over unread bytes resets, and the answer is lost
REASON_SHOWN: Final = 120  # characters of tornado's reason, which quotes the request


class HeadersTooLarge(StratpanelError):
    """The request line and headers are longer than any honest client's."""

    status = 431
    default_code = "HEADERS_TOO_LARGE"


def answer(error: StratpanelError) -> bytes:
    """A whole response with an error's body; the connection ends with it."""
    body = wire.encode(error.to_json())
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


class AnsweringStream(iostream.IOStream):
    """A connection's stream that says why before it closes over a request that cannot be read."""

    limit = 0  # bytes of request line and headers
    answered = True  # nothing is owed before a request has begun

    def write(self, data: bytes | memoryview) -> Future[None]:
        """tornado's bare 400 becomes ours, with its reason; after an answer that has begun it is left away."""
        if data == TORNADOS:
            reason = sys.exc_info()[1]  # tornado writes it where it has caught what is wrong
            data = b"" if self.answered else answer(_malformed(reason))
        elif data != CONTINUE:
            self.answered = True
        return super().write(data)

    def close(self, exc_info: Any = False) -> None:
        """Also when the headers grow past the limit."""
        if not self.closed() and not self.answered:
            if isinstance(exc_info, iostream.UnsatisfiableReadError):
                self._say(
                    answer(HeadersTooLarge(f"the request's headers are over {self.limit // 1024} KB; send fewer"))
                )
            self._drain()
        super().close(exc_info)

    def _say(self, data: bytes) -> None:
        try:
            self.socket.send(data)
        except OSError:
            pass  # the caller is gone, or takes nothing: it was the last word anyway

    def _drain(self) -> None:
        left = DRAINED_BYTES
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while left > 0 and (data := self.socket.recv(65_536)):
                left -= len(data)
        except OSError:
            pass  # nothing more has come yet, or nobody is there


def _malformed(reason: BaseException | None) -> Malformed:
    told = str(reason)[:REASON_SHOWN] if isinstance(reason, httputil.HTTPInputError) else "it is not HTTP/1.1"
    return Malformed(f"the request cannot be read: {told[:1].lower()}{told[1:]}")


class AnsweringServer(HTTPServer):
    """tornado's server on streams of ours."""

    def handle_stream(self, stream: iostream.IOStream, address: tuple[Any, ...]) -> None:
        """Take the accepted socket over; the stream made for it has not touched it yet."""
        ours = AnsweringStream(
            stream.socket, max_buffer_size=stream.max_buffer_size, read_chunk_size=stream.read_chunk_size
        )
        ours.limit = self.conn_params.max_header_size or 0
        super().handle_stream(ours, address)

    def start_request(self, server_conn: Any, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        """Called by tornado before each request of a connection is read."""
        server_conn.stream.answered = False
        return super().start_request(server_conn, request_conn)
