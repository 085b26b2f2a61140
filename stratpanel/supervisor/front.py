"""The core as the API sees it (api/ports.py): each route's one call, by id, in plain JSON.

Made by `__main__` for `serve_api`. It looks ids up, sends disk work to a thread, and adds no rule of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from stratpanel.market.decide import boundaries, decide
from stratpanel.market.errors import MarketError
from stratpanel.model.errors import InvalidValue, NotFound
from stratpanel.supervisor import uploads
from stratpanel.supervisor.actions import ActionResult
from stratpanel.supervisor.core import ChangeCallback, Core, TickCallback
from stratpanel.supervisor.events import EventLog
from stratpanel.supervisor.logs import LogReader
from stratpanel.supervisor.unit import Unit

Json = dict[str, Any]


class Front:
    """One method for each thing that can be asked or told over HTTP."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    def workspace(self) -> Path:
        """The workspace's folder."""
        return self._core.workspace

    @property
    def events(self) -> EventLog:
        """The numbered events."""
        return self._core.events

    # -- looking ------------------------------------------------------------------------------------------------------

    def status(self, id: str) -> Json:
        """One strategy's status fields."""
        return self._core.status_of(self._core.unit(id))

    def statuses(self) -> list[Json]:
        """All strategies' status fields, by id."""
        return [self._core.status_of(self._core.units[id]) for id in sorted(self._core.units)]

    def supervisor_status(self) -> Json:
        """The supervisor's own fields."""
        return self._core.supervisor_status()

    def config(self, id: str) -> Json:
        """One strategy's configuration."""
        return self._core.unit(id).config

    def etag(self, id: str) -> str:
        """The ETag of that configuration."""
        return self._core.unit(id).etag

    def on_change(self, callback: ChangeCallback) -> Callable[[], None]:
        """See Core.on_change."""
        return self._core.on_change(callback)

    def on_tick(self, callback: TickCallback) -> Callable[[], None]:
        """See Core.on_tick."""
        return self._core.on_tick(callback)

    def explain(self, id: str, at: datetime | None) -> Json:
        """What the schedule and the holds say at a moment (now for None), and the next boundaries after it."""
        core, unit = self._core, self._core.unit(id)
        moment = at or core.clock.now()
        calendar, zone = core.reconciler.calendar(unit), core.zone_of(unit)
        decision = decide(unit.plan, calendar, unit.hold, moment, core.holds.current)
        return {
            "run": decision.run,
            "why": decision.why,
            "until": decision.until.astimezone(zone).isoformat() if decision.until else None,
            "alert": decision.alert,
            "boundaries": [
                {"at": edge.at.astimezone(zone).isoformat(), "action": edge.action, "rule": edge.rule}
                for edge in boundaries(unit.plan, calendar, moment, 10)
            ],
        }

    def calendar(self, name: str, from_: date | None, to: date | None) -> list[Json]:
        """A calendar's sessions between two dates (today and 30 days on, by default); instants in UTC."""
        try:
            calendar = self._core.calendars.get(name)
            start = from_ or self._core.clock.now().date()
            sessions = calendar.sessions(start, to or start + timedelta(days=30))
        except MarketError as error:
            known = self._core.calendars.find(name) is not None
            raise (InvalidValue if known else NotFound)(error.message, code=error.code) from error
        return [
            {
                "date": session.date.isoformat(),
                "open": session.open.astimezone(UTC).isoformat(),
                "close": session.close.astimezone(UTC).isoformat(),
                "kind": session.kind,
                "why": session.why,
            }
            for session in sessions
        ]

    def calendars(self) -> Json:
        """All calendars and what is to be done about them."""
        core = self._core
        now = core.clock.now()
        warnings = core.calendars.warnings(now)
        by_name = {warning.calendar: warning.message for warning in warnings}
        rows = []
        for name in core.calendars.names():
            calendar = core.calendars.get(name)
            through = calendar.valid_through
            rows.append(
                {
                    "name": calendar.name,
                    "timezone": calendar.timezone.key,
                    "valid_through": through.isoformat() if through else None,
                    "warning": by_name.get(calendar.name),
                }
            )
        return {"calendars": rows, "warnings": [warning.message for warning in warnings]}

    def log_reader(self, id: str) -> LogReader:
        """A reader of one strategy's log."""
        return LogReader(self._core.log_path(self._core.unit(id).id))

    async def runs(self, id: str, limit: int = 100) -> list[Json]:
        """Its runs, newest first."""
        return await asyncio.to_thread(self._core.history.runs, self._core.unit(id).id, limit)

    async def usage(self, id: str, since: float | None, step: float | None) -> Json:
        """CPU, memory, threads and open files over time."""
        unit = self._core.unit(id)
        return await asyncio.to_thread(self._core.history.usage, unit.id, since, int(step) if step else None)

    async def past_events(self, since: int | None, limit: int) -> list[Json]:
        """The newest `limit` events after `since`, oldest first."""
        history = self._core.history
        return await asyncio.to_thread(lambda: history.events(since=since or 0, limit=limit, newest=True))  # type: ignore[call-arg]

    # -- acting -------------------------------------------------------------------------------------------------------

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
        core.fleet.reload(by)
        core.calendars.reload()
        core.reconciler.poke()
        return {"changed": True, "supervisor": core.supervisor_status()}

    # -- editing ------------------------------------------------------------------------------------------------------

    async def add(
        self,
        id: str | None,
        *,
        by: str,
        path: str | None = None,
        source: str | None = None,
        upload: tuple[str, bytes] | None = None,
    ) -> Json:
        """Register a strategy from a file inside the scripts folder, one elsewhere (copied), text, or an upload."""
        core = self._core
        core.fleet.require_editable()
        placed = await asyncio.to_thread(self._place, id, path, source, upload)
        name = id or (placed.name if placed.is_dir() else placed.stem)
        unit = await core.fleet.add(name, {"file_path": placed.relative_to(core.shelf.scripts).as_posix()}, by)
        return core.status_of(unit)

    def _place(self, id: str | None, path: str | None, source: str | None, upload: tuple[str, bytes] | None) -> Path:
        scripts = self._core.shelf.scripts
        scripts.mkdir(parents=True, exist_ok=True)
        if upload is not None:
            return uploads.place_upload(scripts, id, *upload)
        if source is not None:
            if id is None:
                raise InvalidValue("a strategy made of source needs an id", fields={"id": "is missing"})
            target = scripts / f"{id}.py"
            uploads.write_source(target, source)
            return target
        if path is None:
            raise InvalidValue("a strategy needs a path or a source", fields={"path": "is missing"})
        given = Path(path).expanduser()
        for place in (given if given.is_absolute() else self._core.workspace / given, scripts / given):
            if place.exists():
                inside = place.resolve().is_relative_to(scripts.resolve())
                return place if inside else uploads.place_copy(scripts, place, id)
        raise NotFound(f"{path} does not exist, seen from {self._core.workspace}", code="SCRIPT_MISSING")

    async def remove(self, id: str, *, by: str) -> None:
        await self._core.fleet.remove(self._core.unit(id), by)

    async def patch(self, id: str, merge: Json, if_match: str | None, *, by: str) -> Json:
        """Change its configuration; answers status, config and the new ETag."""
        unit = self._core.unit(id)
        await self._core.fleet.patch(unit, merge, if_match, by)
        return {**self._core.status_of(unit), "config": unit.config}

    def _source(self, unit: Unit) -> Path:
        path = self._core.shelf.working_copy(str(unit.config["file_path"]))
        return path / "main.py" if path.is_dir() else path

    def _copy(self, unit: Unit) -> Path:
        return self._core.shelf.working_copy(str(unit.config["file_path"]))

    async def source(self, id: str) -> str:
        """The working copy's text."""
        return await asyncio.to_thread(uploads.read_source, self._source(self._core.unit(id)))

    async def put_source(self, id: str, text: str, *, by: str) -> Json:
        """Replace the working copy; what runs goes on with its version."""
        unit = self._core.unit(id)
        await asyncio.to_thread(uploads.write_source, self._source(unit), text)
        self._core.happened("source", unit, by, "its working copy was edited")
        return self._core.status_of(unit)

    async def versions(self, id: str) -> list[Json]:
        unit = self._core.unit(id)
        found = await asyncio.to_thread(self._core.shelf.versions.list, unit.id)
        return [version.to_json() for version in found]

    async def version(self, id: str, n: int) -> Json:
        unit = self._core.unit(id)
        return (await asyncio.to_thread(self._core.shelf.versions.get, unit.id, n)).to_json()

    async def diff(self, id: str, from_: Any, to: Any) -> Json:
        unit = self._core.unit(id)
        return await asyncio.to_thread(self._core.shelf.diff, unit.id, from_, to, self._copy(unit))

    async def deploy(self, id: str, *, by: str) -> ActionResult:
        """Make a version of the working copy; what runs goes on with its own."""
        unit = self._core.unit(id)
        done = await asyncio.to_thread(lambda: self._core.shelf.versions.deploy(unit.id, self._copy(unit), by=by))
        if done.created:
            self._core.version_is(unit, done.version.n)
            self._core.happened("deployed", unit, by, f"version {done.version.n} deployed")
        return ActionResult(done.created, self._core.status_of(unit), list(done.warnings))

    async def rollback(self, id: str, n: int, *, by: str) -> ActionResult:
        unit = self._core.unit(id)
        version = await asyncio.to_thread(lambda: self._core.shelf.versions.rollback(unit.id, n, by=by))
        changed = unit.version != version.n
        self._core.version_is(unit, version.n)
        self._core.happened("deployed", unit, by, f"rolled back to version {version.n}")
        return ActionResult(changed, self._core.status_of(unit))

    async def promote(self, id: str, *, by: str, mode: str = "live", version: int | None = None) -> ActionResult:
        """Let live starts run a version (the current one by default), or put the strategy back to paper."""
        core, unit = self._core, self._core.unit(id)
        if mode == "live":
            promoted = await asyncio.to_thread(lambda: core.shelf.versions.promote(unit.id, by=by, n=version))
            core.happened("promoted", unit, by, f"version {promoted.n} is promoted to live")
        await core.fleet.patch(unit, {"mode": mode}, None, by)
        return ActionResult(True, core.status_of(unit))
