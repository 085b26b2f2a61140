"""The configuration of one strategy as a form has read it: saved only if nobody else was first, and told when it ages.

A form holds the ETag of what it shows. The row's own ETag is always the newest, so saving with that one would overwrite
what another person saved a minute ago without anybody having seen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratpanel.dashboard.actions import strategy_path
from stratpanel.dashboard.screen import Screen


class Configuration:
    """What was read last, and its ETag."""

    def __init__(self, screen: Screen, id_: str) -> None:
        self._screen = screen
        self._path = strategy_path(id_)
        self._id = id_
        self._replaced = ""
        self.etag = ""

    async def read(self) -> dict[str, Any]:
        """The configuration now. Raises StratpanelError."""
        return self._taken(await self._screen.actions.get(self._path))

    async def save(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Merge these changes; the configuration then. Raises PreconditionFailed when another was first."""
        headers = {"If-Match": quoted(self.etag)} if self.etag else None
        replaced = self.etag
        answer = await self._screen.actions.ask(
            "PATCH", self._path, body=dict(changes), headers=headers, action="patch"
        )
        self._replaced = replaced
        return self._taken(answer)

    def _taken(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        self.etag = bare(answer.get("etag"))
        return dict(answer["config"])

    @property
    def behind(self) -> bool:
        """Somebody has saved since this was read."""
        now = bare(self._screen.source.rows.get(self._id, {}).get("etag"))
        return bool(now and self.etag) and now not in (self.etag, self._replaced)


def bare(etag: Any) -> str:
    """An ETag without its quotes; empty for none."""
    return str(etag or "").strip('"')


def quoted(etag: str) -> str:
    """An ETag as HTTP wants it."""
    return f'"{etag}"'
