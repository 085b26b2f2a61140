"""A reverse proxy with TLS, as small as one can be: bytes both ways, and in each request its scheme and address.

It stands for nginx in tests of the page: another port, another scheme, `X-Forwarded-Proto`, the websocket passed on.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType


def certificate(folder: Path) -> Path:
    """A self-signed certificate for localhost with its key, in one file."""
    pem = folder / "proxy.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", str(pem), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_text(pem.read_text() + (folder / "cert.pem").read_text())
    return pem


class Proxy:
    """https://localhost:port → http://127.0.0.1:behind."""

    def __init__(self, port: int, behind: int, pem: Path) -> None:
        self.url = f"https://localhost:{port}"
        self._behind = behind
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._listener = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = []

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for line in self._open:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:  # closed: the test is done
                return
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError):  # a browser closes lines as it likes
            front = self._context.wrap_socket(plain, server_side=True)
            back = socket.create_connection(("127.0.0.1", self._behind))
            self._open += [front, back]
            threading.Thread(target=self._answers, args=(back, front), daemon=True).start()
            self._requests(front, back)
            back.shutdown(socket.SHUT_WR)

    @staticmethod
    def _answers(back: socket.socket, front: socket.socket) -> None:
        with suppress(OSError):
            while data := back.recv(65536):
                front.sendall(data)
            front.close()

    @staticmethod
    def _requests(front: socket.socket, back: socket.socket) -> None:
        """Put the scheme into every request's head; after an upgrade bytes pass as they are."""
        upgraded, waiting = False, b""
        while data := front.recv(65536):
            if upgraded:
                back.sendall(data)
                continue
            waiting += data
            while not upgraded and b"\r\n\r\n" in waiting:  # the page's own requests have no bodies
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                back.sendall(head + b"\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
                upgraded = b"upgrade: websocket" in head.lower()
            if upgraded and waiting:
                back.sendall(waiting)
                waiting = b""
