"""A browser per worker, and servers whose pages the tests look at: over a fake supervisor, or over a real one."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.browser import CHROMIUM, FLAGS
from tests.support import wait_for
from tests.workbench import Workbench

SLOW_MS = 30_000  # two cores for the whole suite: a page may take long, it must not fail for that

# the tabs of a strategy's page, and what is there when one is drawn
TABS = {
    "logs": ".sp.log.full .line",
    "live": ".strategy",
    "resources": ".bk-Figure",
    "schedule": ".days .day.regular",
    "runs": ".sp.runs tbody tr",
    "source": ".code[data-ready]",
    "settings": "text=Limits of its whole process tree",
}


class Server:
    """A dashboard's server process: its lines, its address, and orders to the fake behind it."""

    def __init__(self, command: list[str], cwd: Path, ready: str = "") -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self.cwd = cwd
        self.lines: list[str] = []
        self._answers: queue.Queue[Any] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for(lambda: self._said(ready) if ready else self._address(), 60, "the server's address")
        self.url = "" if ready else self._address()
        parts = urlsplit(self.url)
        self.base = f"{parts.scheme}://{parts.netloc}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("=> "):
                self._answers.put(json.loads(line[3:]))
            else:
                self.lines.append(line.rstrip("\n"))

    def _said(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    def _address(self) -> str:
        if self._process.poll() is not None:
            raise AssertionError("the server left: " + "\n".join(self.lines))
        found = [match[0] for line in self.lines if (match := re.search(r"https?://\S+", line))]
        return found[0] if found else ""

    def order(self, method: str, *args: Any, **fields: Any) -> Any:
        """Have the fake do something; answers what it returned."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, *args, *([fields] if fields else [])]) + "\n")
        self._process.stdin.flush()
        return self._answers.get(timeout=30)

    def calls(self, path: str) -> list[Any]:
        """Bodies of the calls the pages made to a path, POST only."""
        return [body for method, made, body in self.order("calls") if made == path and method != "GET"]

    def interrupt(self) -> list[str]:
        """Ctrl-C; answers everything it printed."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
        self._reader.join(5)
        return self.lines

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            self._reader.join(5)
            stream.close()


Serve = Callable[..., Server]
T = TypeVar("T")


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end beside Playwright's loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(60)


def fake_server(
    workspace: Path,
    count: int = 11,
    *options: str,
    toml: str = "",
    token: bool = False,
    users: dict[str, str] | None = None,
    ready: str = "",
) -> Server:
    """The real server and pages over `count` fake strategies, in a new folder."""
    workspace.mkdir()
    (workspace / "stratpanel.toml").write_text(toml, encoding="utf-8")
    if users:
        (workspace / "users.json").write_text(json.dumps(users), encoding="utf-8")
    command = [sys.executable, "-m", "tests.dashboard.fake_serve", str(count), "--workspace", str(workspace)]
    command += ["--port", "0", "--no-open", *([] if token else ["--no-token"]), *options]
    return Server(command, workspace, ready)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """`serve(count, *options)`: a `fake_server` of the test's own."""
    servers: list[Server] = []

    def start(*args: Any, **fields: Any) -> Server:
        servers.append(fake_server(tmp_path / f"desk{len(servers)}", *args, **fields))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    """A real workspace, up."""
    with Workbench.up(tmp_path / "w") as bench:
        yield bench


@pytest.fixture
def real(bench: Workbench) -> Iterator[Server]:
    """The dashboard of a real workspace."""
    command = [sys.executable, "-m", "stratpanel.dashboard.serve", "--workspace", str(bench.folder), "--port", "0"]
    server = Server([*command, "--no-open", "--no-token"], bench.folder)
    yield server
    server.close()


# Not for the whole session: Playwright keeps a loop running in the main thread, and no asyncio test of another module
# could run in this worker any more.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


class Watched:
    """What went wrong, or outside, in the pages of one context."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.outside: list[str] = []

    def follow(self, page: Page, base: str) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda asked: self._asked(asked.url, base))

    def _asked(self, url: str, base: str) -> None:
        if not url.startswith((base, base.replace("http", "ws"), "data:", "blob:", "about:")):
            self.outside.append(url)


Visit = Callable[..., Page]


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    """`visit(server, "/?…", width=, height=, dark=)`: a page that must show no error and ask nobody else."""
    contexts: list[BrowserContext] = []
    watched = Watched()

    def open_page(
        server: Server,
        path: str = "/",
        *,
        width: int = 1440,
        height: int = 900,
        dark: bool = False,
        ready: str = ".board .count",
        **options: Any,
    ) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(SLOW_MS)
        contexts.append(context)
        if dark:
            context.add_cookies([{"name": "stratpanel_scheme", "value": "dark", "url": server.base}])
        page = context.new_page()
        watched.follow(page, server.base)
        page.goto(server.base + path)
        if ready:
            page.wait_for_selector(ready, state="attached")
            page.wait_for_function(
                "() => [...window.stratpanelStores.values()].some(s => s.seq >= 0 && s.seq !== null)"
            )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert watched.outside == []
    assert watched.errors == []
