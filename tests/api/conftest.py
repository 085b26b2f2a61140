"""A served API over a fake core, on a loop of its own in a thread, and a plain HTTP caller for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stratpanel.supervisor.api.server import ApiServer, serve_api
from tests.api.fake_core import FakeCore


class Reply(NamedTuple):
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


class Served:
    """An API on the air. Everything that touches the core goes through `on_loop`."""

    def __init__(self, workspace: Path, ids: list[str]) -> None:
        self.workspace = workspace
        self.ids = ids
        self.connection_path = workspace / ".stratpanel" / "connection.json"
        self.connection_path.parent.mkdir(exist_ok=True)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="api under test", daemon=True)
        self._thread.start()
        self.core: FakeCore
        self.api: ApiServer
        self.start()

    def start(self, core: FakeCore | None = None) -> None:
        """Go on the air (again), as a supervisor that was just started."""

        async def begin() -> None:
            self.core = core or FakeCore(self.workspace, self.ids)
            self.api = await serve_api(self.core, self.connection_path)

        self.wait(begin())

    def stop(self) -> None:
        """Go off the air; connection.json stays."""
        self.wait(self.api.close())

    def close(self) -> None:
        """End the loop too."""
        self.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()

    def wait(self, doing: Any, timeout: float = 20) -> Any:
        """Run a coroutine on the API's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result(timeout)

    def on_loop(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call on the API's loop and return the result."""

        async def run() -> Any:
            return call(*args, **kwargs)

        return self.wait(run())

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.api.endpoint.port

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: dict[str, str] | None = None,
        timeout: float = 20,
    ) -> Reply:
        """One request by hand; a dict is sent as JSON, token "" is the right one, None sends none."""
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.api.token}")
        if isinstance(body, dict | list):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        if isinstance(body, str):
            body = body.encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty workspace."""
    (tmp_path / "stratpanel.toml").write_text("")
    return tmp_path


@pytest.fixture
def served(workspace: Path) -> Iterator[Served]:
    """The API with two strategies, ema and rsi."""
    served = Served(workspace, ["ema", "rsi"])
    yield served
    served.close()
