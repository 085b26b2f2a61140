"""Where the API listens, and the file that says so: port and token outlive the supervisor.

Called by server.py. A port that a stranger has taken is left to it, and then the token changes too: whoever listens
there has been shown the old one by our own clients.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import logging
import os
import secrets
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from stratpanel import PROTOCOL, __version__
from stratpanel.process.identity import boot_id, this_host
from stratpanel.process.records import RecordError, read_json, write_json
from stratpanel.supervisor.api.access import new_token

ADDRESS: Final = "127.0.0.1"
FIRST_PORT: Final = 18200  # below the ports that the kernel hands to outgoing connections (32768 and up)
PORTS: Final = 8000
RETAKE_S: Final = 0.5  # a predecessor that was just killed may still be giving up its socket
BACKLOG: Final = 512
FULL: Final = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger("stratpanel.api")


@dataclass
class Endpoint:
    """The listening socket, its port and the token that opens it."""

    path: Path
    workspace: Path
    socket: socket.socket
    token: str
    started: datetime

    @property
    def port(self) -> int:
        """The port we listen on."""
        return int(self.socket.getsockname()[1])

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{ADDRESS}:{self.port}"

    def write(self) -> None:
        """Write connection.json, readable by its owner only."""
        record = {
            "url": self.url,
            "token": self.token,
            "pid": os.getpid(),
            "host": this_host(),
            "boot_id": boot_id(),
            "version": __version__,
            "protocol": PROTOCOL,
            "started": self.started.isoformat(timespec="milliseconds"),
            "workspace": str(self.workspace),
        }
        try:
            write_json(self.path, record, mode=0o600)
        except OSError as error:
            if error.errno not in FULL:
                raise
            _overwrite(self.path, json.dumps(record).encode(), error)

    def rotate(self) -> str:
        """Make a new token and write it down. Raises OSError, and then the old one stays in force."""
        old, self.token = self.token, new_token()
        try:
            self.write()
        except OSError:
            self.token = old
            raise
        return self.token


def _overwrite(path: Path, data: bytes, error: OSError) -> None:
    """On a full disk: into the blocks that the old record has, which a reader may see half done; better than no API.

    Raises the error that led here when there is no old record, or not enough room in it.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        raise error from None
    try:
        room = os.fstat(fd).st_blocks * 512
        if len(data) > room:
            raise error
        size = os.fstat(fd).st_size
        os.pwrite(fd, data.ljust(size), 0)
        log.warning("%s: %s; written over the old one", path, error.strerror)
    finally:
        os.close(fd)


async def bind(path: Path, workspace: Path) -> Endpoint:
    """Listen on the remembered port, else on a new one; `path` is connection.json, which is not written yet."""
    remembered = _remembered(path, workspace)
    listener: socket.socket | None = None
    token = ""
    if remembered is not None:
        port, token = remembered
        listener = await _retaken(port)
    if listener is None:
        listener, token = _somewhere(workspace), new_token()
    listener.setblocking(False)
    return Endpoint(path, workspace, listener, token, datetime.now(UTC))


def _remembered(path: Path, workspace: Path) -> tuple[int, str] | None:
    """Port and token of the last supervisor of this very workspace; a copied folder shares neither."""
    try:
        record: dict[str, Any] | None = read_json(path)
    except RecordError:
        return None
    if not record or record.get("workspace") != str(workspace):
        return None
    token = record.get("token")
    try:
        port = urlsplit(str(record.get("url"))).port
    except ValueError:
        return None
    if not port or not isinstance(token, str) or len(token) < 32:
        return None
    return port, token


async def _retaken(port: int) -> socket.socket | None:
    """The port, waiting a moment for a dying predecessor; None when somebody else has it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RETAKE_S
    while True:
        listener = _listen(port)
        if listener is not None or loop.time() > deadline:
            return listener
        await asyncio.sleep(0.02)


def _somewhere(workspace: Path) -> socket.socket:
    """A free port: first the one that belongs to this folder's name, then any."""
    wished = FIRST_PORT + int.from_bytes(hashlib.sha256(os.fsencode(workspace)).digest()[:4], "big") % PORTS
    for port in (wished, *(FIRST_PORT + secrets.randbelow(PORTS) for _ in range(8)), 0):
        listener = _listen(port)
        if listener is not None:
            return listener
    raise OSError(errno.EADDRINUSE, f"no free port on {ADDRESS}")


def _listen(port: int) -> socket.socket | None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    return listener
