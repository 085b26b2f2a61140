"""The core as the API sees it (api/ports.py): each route's one call, by id, in plain JSON.

Made by `__main__` for `serve_api`. It looks ids up and adds no rule of its own: reads are answers.py, changes of what
there is edits.py, and what makes things run or stop goes to actions.py.
"""

from __future__ import annotations

from typing import Any

from stratpanel.supervisor.actions import ActionResult
from stratpanel.supervisor.answers import Answers
from stratpanel.supervisor.edits import Edits

Json = dict[str, Any]


class Front(Answers, Edits):
    """One method for each thing that can be asked or told over HTTP."""

    async def start(
        self, id: str, *, by: str, params: Json | None = None, args: list[str] | None = None, deploy: bool | None = None
    ) -> ActionResult:
        """See Actions.start; so for the others."""
        return await self._core.actions.start(self._core.unit(id), by=by, params=params, args=args, deploy=deploy)

    async def stop(self, id: str, *, by: str, why: str = "") -> ActionResult:
        return await self._core.actions.stop(self._core.unit(id), by=by, why=why)

    async def kill(self, id: str, *, by: str) -> ActionResult:
        return await self._core.actions.stop(self._core.unit(id), by=by, kill=True)

    async def restart(self, id: str, *, by: str) -> ActionResult:
        return await self._core.actions.restart(self._core.unit(id), by=by)

    async def reset(self, id: str, *, by: str) -> ActionResult:
        return await self._core.actions.reset(self._core.unit(id), by=by)

    async def pause(self, id: str | None, *, by: str, why: str = "") -> Any:
        if id is None:
            return await self._core.actions.pause_all(by=by, why=why)
        return await self._core.actions.pause(self._core.unit(id), by=by, why=why)

    async def resume(self, id: str | None, *, by: str, dry_run: bool = False) -> Any:
        if id is None:
            return await self._core.actions.resume_all(by=by, dry_run=dry_run)
        return await self._core.actions.resume(self._core.unit(id), by=by, dry_run=dry_run)

    async def panic(self, *, by: str, why: str = "") -> Json:
        return await self._core.actions.panic(by=by, why=why)

    async def down(self, keep: bool, *, by: str) -> Json:
        """Begin to leave; answers at once."""
        self._core.do(self._down(keep, by))
        return {"changed": True}

    async def _down(self, keep: bool, by: str) -> None:
        await self._core.actions.down(keep=keep, by=by)

    async def reload(self, *, by: str) -> Json:
        """Read settings, registry and calendars again."""
        core = self._core
        core.reload_settings()
        await core.fleet.reload(by)
        core.fleet.settings_changed()
        core.calendars_changed()
        return {"changed": True, "supervisor": core.supervisor_status()}
