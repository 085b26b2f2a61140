"""What a person may do from a page: each action checks the role, calls the API in a worker thread, and answers or
fails in words.

Pages get this object and never the API itself. The API checks again; `X-Stratpanel-By` says who asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import quote

from stratpanel.dashboard.roles import Person
from stratpanel.dashboard.source import Calls
from stratpanel.model.errors import InvalidValue

VERBS = frozenset({"start", "stop", "kill", "restart", "reset", "pause", "resume", "deploy", "rollback", "promote"})

# Actions wait for processes to end, so many may be under way; they only wait, which costs no processor time.
WORKERS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="stratpanel-call")


class Actions:
    """The calls of one person on one workspace."""

    def __init__(self, calls: Calls, person: Person) -> None:
        self.calls = calls
        self.person = person

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        action: str = "look",
    ) -> Any:
        """One API call; `action` is what the role is asked for. Raises StratpanelError."""
        self.person.require(action)
        said = {
            "X-Stratpanel-By": self.person.name or "dashboard",
            "X-Stratpanel-Role": self.person.role,
            **(headers or {}),
        }
        call = partial(self.calls.call, method, path, query=query, body=body, headers=said)
        return await asyncio.get_running_loop().run_in_executor(WORKERS, call)

    async def get(self, path: str, **query: Any) -> Any:
        """Read something."""
        return await self.ask("GET", path, query={key: value for key, value in query.items() if value is not None})

    async def act(self, verb: str, id_: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One of VERBS on one strategy; answers when it is done."""
        if verb not in VERBS:
            raise InvalidValue(f"unknown action {verb!r}; known: {', '.join(sorted(VERBS))}")
        answer = await self.ask("POST", f"{strategy_path(id_)}/{verb}", body=dict(body or {}), action=verb)
        return dict(answer or {})

    async def workspace(self, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`panic`, `pause` or `resume` for the whole workspace."""
        if verb not in ("panic", "pause", "resume", "reload"):
            raise InvalidValue(f"unknown action {verb!r} on the workspace")
        answer = await self.ask(
            "POST", f"/api/{verb}", body=dict(body or {}), action="resume" if verb == "reload" else verb
        )
        return dict(answer or {})

    async def override(self, calendar: str, day: str, word: Mapping[str, Any] | None, about: str = "day") -> None:
        """A person's own word about a market (None takes back what was said `about` that day); counts at once."""
        path = f"/api/calendars/{quote(calendar, safe='')}/overrides/{quote(day, safe='')}"
        if word is None:
            await self.ask("DELETE", path, query={"about": about}, action="change a calendar")
        else:
            await self.ask("PUT", path, body=dict(word), action="change a calendar")


def strategy_path(id_: str) -> str:
    """The API path of a strategy; the id is a path segment whatever it contains."""
    return f"/api/strategies/{quote(id_, safe='')}"
