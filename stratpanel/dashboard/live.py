"""The real source and calls behind the views: the client's live mirror and its API client.

Only the office makes them. They translate names and nothing else; no view imports them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stratpanel.client.connection import Api
from stratpanel.client.mirror import Mirror
from stratpanel.dashboard.source import Changed, Row, Stream

LONGEST_AGE_S = 10_000_000.0


class MirrorSource:
    """The live mirror as pages read it."""

    def __init__(self, calls: SupervisorCalls, loop: asyncio.AbstractEventLoop) -> None:
        self._mirror = Mirror(calls.api, loop)

    @property
    def rows(self) -> Mapping[str, Row]:
        """See Source."""
        return self._mirror.rows

    @property
    def supervisor(self) -> Row:
        """See Source; with the workspace's path, which the header shows."""
        return {"workspace": str(self._mirror.api.workspace), **self._mirror.supervisor}

    @property
    def usage(self) -> Mapping[str, tuple[float | None, float | None]]:
        """See Source."""
        return self._mirror.usage

    @property
    def host(self) -> Row:
        """See Source."""
        return self._mirror.host

    @property
    def link(self) -> str:
        """See Source."""
        return self._mirror.state

    @property
    def age_s(self) -> float:
        """See Source; before the first word a very long time, since JSON has no infinity."""
        return min(self._mirror.age_s, LONGEST_AGE_S)

    def subscribe(self, changed: Changed) -> Callable[[], None]:
        """See Source."""
        return self._mirror.subscribe(changed)

    def close(self) -> None:
        """End the mirror's reader."""
        self._mirror.close()


class SupervisorCalls:
    """The API of one workspace's supervisor, started if none runs."""

    def __init__(self, workspace: Path) -> None:
        self.api = Api(workspace, by="dashboard")
        self.api.ensure()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """See Calls."""
        return self.api.call(method, path, query=query, body=body, headers=headers)

    def stream(self, path: str, last_id: str = "") -> Stream:
        """See Calls."""
        return self.api.stream(path, last_event_id=last_id or None)
