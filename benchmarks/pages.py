"""What measurements of the dashboard share: a served workspace, a plain Panel page, Chromium, and thin pages.

A thin page is a session without a browser: it asks for the page, takes the document over the websocket and says that
its components are ready, as Chromium does, and throws away what then comes. The server cannot tell the difference, and
five hundred of them need no gigabytes. Everything ends with its `with` block, also when a measurement fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.browser import CHROMIUM, FLAGS
from tests.support import wait_for

SLOW_MS = 60_000
PLAIN = Path(__file__).with_name("plainpage.py")
READY = ("Wire", "LogView")  # the components that say `ready` to the server


class Served:
    """A running page server: its address and its process."""

    def __init__(self, base: str, pid: int) -> None:
        self.base, self.pid = base, pid


@contextmanager
def _serving(command: list[str], cwd: Path) -> Iterator[Served]:
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
        try:

            def address() -> str:
                text = os.pread(said.fileno(), 1 << 16, 0).decode(errors="replace")
                assert process.poll() is None, f"{command} left: {text}"
                found = re.search(r"https?://\S+", text)
                return found[0] if found else ""

            parts = urlsplit(wait_for(address, 60, "the server's address", every=0.02))
            yield Served(f"{parts.scheme}://{parts.netloc}", process.pid)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def dashboard(folder: Path) -> Iterator[Served]:
    """`stratpanel serve` of a workspace."""
    command = [sys.executable, "-m", "stratpanel.dashboard.serve", "--workspace", str(folder), "--port", "0"]
    with _serving([*command, "--no-open", "--no-token"], folder) as served:
        yield served


@contextmanager
def plain(rows: int) -> Iterator[Served]:
    """A page made of Panel's own parts, as most would write it first: a Tabulator and a periodic callback."""
    with _serving([sys.executable, str(PLAIN), str(rows)], PLAIN.parent) as served:
        yield served


@contextmanager
def chromium() -> Iterator[Browser]:
    """A fresh browser; every context of it is a fresh cache."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Browser, served: Served, path: str, ready: str) -> Page:
    """A page in a context of its own, shown as far as `ready`."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(SLOW_MS)
    page = context.new_page()
    page.goto(served.base + path, wait_until="commit")
    page.wait_for_selector(ready)
    return page


class Thin:
    """Sessions without a browser, on a loop in a thread of its own; they look at `chosen`, if it is a page of ours."""

    def __init__(self, served: Served, chosen: str = "") -> None:
        self._served, self._chosen = served, chosen
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._open: list[WebSocketClientConnection] = []
        self._readers: set[asyncio.Task[None]] = set()
        self.received = 0
        """Bytes that came after the pages were ready."""

    def open(self, count: int) -> None:
        """Open so many more, one after the other."""
        for _ in range(count):
            self._run(self._one())

    def close(self) -> None:
        """Close those that are open."""
        self._run(self._leave())

    def __enter__(self) -> Thin:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _one(self) -> None:
        page = (await AsyncHTTPClient().fetch(self._served.base + "/", request_timeout=60)).body.decode()
        found = re.search(r'"token":\s*"([^"]+)"', page)
        assert found, "the page bears no session token"
        url = self._served.base.replace("http", "ws") + "/ws"
        request = HTTPRequest(url, headers={"Origin": self._served.base})
        connection = await websocket_connect(request, subprotocols=["bokeh", found[1]], max_message_size=1 << 27)
        self._open.append(connection)
        await _heard(connection, '"ACK"')  # what comes before it is lost
        for part in ('{"msgid": "1", "msgtype": "PULL-DOC-REQ"}', "{}", "{}"):
            await connection.write_message(part)
        message = await _heard(connection, '"roots"')
        known = {item["attributes"].get("class_name"): item["id"] for item in _models(json.loads(message))}
        await _say(connection, "document_ready")
        if self._chosen:
            for name in READY:
                await _say(connection, "data_event", known[name], do="ready")
            await _say(connection, "data_event", known["Wire"], do="select", n=1, id=self._chosen)
        task = asyncio.ensure_future(self._read(connection))
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def _read(self, connection: WebSocketClientConnection) -> None:
        while (message := await connection.read_message()) is not None:
            self.received += len(message)

    async def _leave(self) -> None:
        readers = list(self._readers)
        for connection in self._open:
            connection.close()
        self._open.clear()
        if readers:
            await asyncio.wait(readers, timeout=30)


def _models(document: Any) -> Iterator[dict[str, Any]]:
    """Every model of a serialised document that has attributes."""
    waiting = [document]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if item.get("type") == "object" and isinstance(item.get("attributes"), dict):
                yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


async def _heard(connection: WebSocketClientConnection, word: str) -> str:
    """The next frame that has this word in it."""
    while (message := await connection.read_message()) is not None:
        if word in message:
            return str(message)
    raise AssertionError(f"the server closed the page before it said {word}")


async def _say(connection: WebSocketClientConnection, event: str, model: str = "", **data: Any) -> None:
    """An event of the browser, in Bokeh's frames."""
    entries: list[Any] = [["model", {"id": model}]] if model else []
    entries += [["data", {"type": "map", "entries": [[key, value] for key, value in data.items()]}]] if data else []
    said = {"type": "event", "name": event, "values": {"type": "map", "entries": entries}}
    events = [{"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": said}]
    for part in ({"msgid": secrets.token_hex(16), "msgtype": "PATCH-DOC"}, {}, {"events": events}):
        await connection.write_message(json.dumps(part))
