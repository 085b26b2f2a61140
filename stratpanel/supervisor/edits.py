"""Changes of what there is: adding, removing, renaming, patching, deploying, overriding a calendar (api/ports.py).

One half of `Front`. Files are written in a worker thread; the registry and the records change on the loop.
"""

from __future__ import annotations

import asyncio
from datetime import date
from glob import escape as glob_escape
from pathlib import Path
from typing import Any, cast

from stratpanel.market.errors import MarketError
from stratpanel.market.overrides_file import Subject, put_override, remove_override
from stratpanel.model.errors import Conflict, InvalidValue, NotFound
from stratpanel.model.ids import check_id
from stratpanel.process import logfiles
from stratpanel.supervisor.actions import ActionResult
from stratpanel.supervisor.configuration.secrets import unmasked
from stratpanel.supervisor.core import Core
from stratpanel.supervisor.launch import LineClosed
from stratpanel.supervisor.unit import Unit
from stratpanel.supervisor.versions import uploads

Json = dict[str, Any]


class Edits:
    """Changes of the core, by id."""

    _core: Core

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
                if not place.is_dir() and place.suffix != ".py":
                    what = "is no .py file; a strategy is one, or a folder with a main.py"
                    raise InvalidValue(f"{place} {what}", code="NO_SCRIPT", fields={"path": what})
                inside = place.resolve().is_relative_to(scripts.resolve())
                return place if inside else uploads.place_copy(scripts, place)
        raise NotFound(f"{path} does not exist, seen from {self._core.workspace}", code="SCRIPT_MISSING")

    async def remove(self, id: str, *, by: str) -> None:
        await self._core.fleet.remove(self._core.unit(id), by)

    async def patch(self, id: str, merge: Json, if_match: str | None, *, by: str) -> Json:
        """Change its configuration; answers status, config and the new ETag."""
        unit = self._core.unit(id)
        given = unmasked(merge, unit.config, self._core.secrets.mask)
        warnings = await self._core.fleet.patch(unit, given, if_match, by)
        return {**self._core.status_of(unit), "warnings": warnings}

    async def rename(self, id: str, new: str, *, by: str) -> Json:
        """Give it another id: its state, log and versions move along; its history stays under the old one."""
        core, unit = self._core, self._core.unit(id)
        check_id(new)
        if unit.is_live:
            raise Conflict(f"cannot rename {id}: it is {unit.state.value}; stop it first", code="STRATEGY_RUNNING")
        config = {**unit.config, "name": new if unit.config.get("name") == unit.id else unit.config.get("name")}
        made = await core.fleet.add(new, config, by)
        made.hold = unit.hold
        await asyncio.to_thread(self._move, unit.id, new)
        await core.fleet.remove(unit, by)
        return core.status_of(made)

    def _move(self, old: str, new: str) -> None:
        core = self._core
        for folder in ("versions", "state"):
            place = core.workspace / "strategies" / folder
            if (place / old).is_dir() and not (place / new).exists():
                (place / old).rename(place / new)
        logs = core.log_path(old).parent
        if logs.is_dir():
            for path in logs.glob(f"{glob_escape(old)}.log*"):
                target = logs / f"{new}{path.name.removeprefix(old)}"
                if not target.exists():
                    path.rename(target)

    async def duplicate(self, id: str, new: str, *, by: str) -> Json:
        """Register the same script once more, with the same configuration, not scheduled and on paper."""
        unit = self._core.unit(id)
        config = {**unit.config, "name": new, "mode": "paper"}
        config["schedule"] = {**(config.get("schedule") or {}), "enabled": False}
        return self._core.status_of(await self._core.fleet.add(new, config, by))

    def _copy(self, unit: Unit) -> Path:
        return self._core.shelf.working_copy(str(unit.config["file_path"]))

    async def put_source(self, id: str, text: str, *, by: str) -> Json:
        """Replace the working copy; what runs goes on with its version."""
        unit = self._core.unit(id)
        await asyncio.to_thread(uploads.write_source, self._copy(unit), text)
        self._core.copies.look_at(unit)
        self._core.happened("source", unit, by, "its working copy was edited")
        return self._core.status_of(unit)

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
            core.copies.look_at(unit)
            core.happened("promoted", unit, by, f"version {promoted.n} is promoted to live")
        await core.fleet.patch(unit, {"mode": mode}, None, by)
        return ActionResult(True, core.status_of(unit))

    async def clear_log(self, id: str, *, by: str) -> None:
        """Empty its log; the runner does it while it runs, so that no line is torn."""
        core, unit = self._core, self._core.unit(id)
        line = unit.run.line if unit.run is not None else None
        if line is not None:
            try:
                answer = await line.request("clear_log")
            except (LineClosed, TimeoutError) as error:
                raise Conflict(f"cannot clear the log of {id}: its runner does not answer", code="NO_ANSWER") from error
            if not answer.get("ok"):
                raise Conflict(f"cannot clear the log of {id}: {answer.get('message')}", code="LOG_UNWRITABLE")
        elif unit.is_live:
            raise Conflict(f"cannot clear the log of {id} while its runner is replaced; try again", code="NO_ANSWER")
        else:
            await asyncio.to_thread(logfiles.clear, core.log_path(unit.id))
        core.happened("log_cleared", unit, by, "its log was emptied")

    async def override_calendar(
        self, name: str, day: date, override: Json | None, *, about: str = "day", by: str
    ) -> Json:
        """The user's own word; None takes back what was said `about` that day. It counts at once."""
        core = self._core
        path = core.calendars.overrides_file
        assert path is not None
        try:
            calendar = core.calendars.get(name)
            await asyncio.to_thread(_write_override, path, calendar.name, day, override, about)
        except MarketError as error:
            kind = NotFound if core.calendars.find(name) is None else InvalidValue
            raise kind(error.message, code=error.code, fields=error.fields) from error
        core.calendars_changed()
        words = f"{calendar.name} {_said(day, override, about)}"
        core.happened("calendar", None, by, words)
        return {"calendar": calendar.name, "date": day.isoformat(), "override": override}


def _said(day: date, override: Json | None, about: str) -> str:
    """An override in a few words, for the event."""
    if override is None:
        return {"hours": f"hours from {day} on: as shipped", "valid": f"days through {day}: as shipped"}.get(
            about, f"{day}: as shipped"
        )
    hours = ", ".join(f"{window['open']}-{window['close']}" for window in override.get("windows") or ())
    return {
        "hours": f"hours from {day} on: {hours} ({override['why']})",
        "valid": f"all days through {day} are entered ({override['why']})",
        "open": f"{day}: open {hours} ({override['why']})",
    }.get(override["kind"], f"{day}: closed ({override['why']})")


def _write_override(path: Path, name: str, day: date, override: Json | None, about: str) -> None:
    if override is None:
        remove_override(path, name, day, cast(Subject, about))
        return
    sessions = [f"{window['open']}-{window['close']}" for window in override.get("windows") or ()]
    put_override(
        path,
        name,
        day,
        override["kind"],
        str(override.get("why") or ""),
        sessions,
        partial=bool(override.get("partial")),
        days=override.get("days") or (),
    )
