"""What the API is told when it asks: statuses, reasons, calendars, history, logs, versions (api/ports.py).

One half of `Front`. Methods that touch the disk are async and use a worker thread; none of them changes anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from stratpanel.market.errors import MarketError
from stratpanel.market.explain import explain
from stratpanel.market.overrides_file import overrides_of
from stratpanel.market.plan import NO_HOLD
from stratpanel.market.week import Planned, week_rows, week_text
from stratpanel.model import schema
from stratpanel.model.errors import Conflict, InvalidValue, NotFound
from stratpanel.model.values import Schedule
from stratpanel.supervisor.configuration.secrets import mask_texts
from stratpanel.supervisor.core import ChangeCallback, Core, TickCallback
from stratpanel.supervisor.events import EventLog
from stratpanel.supervisor.fleet import plan_of, refuse_bad_schedule
from stratpanel.supervisor.live import reports
from stratpanel.supervisor.logs.reader import LogReader, Run
from stratpanel.supervisor.unit import Unit
from stratpanel.supervisor.versions import uploads

Json = dict[str, Any]

RUNS_OF_A_LOG: Final = 500  # a rotated log rarely holds more
# of a configuration and of a run; other texts are ids, paths and words of ours, which a short secret would garble
MAY_HOLD_SECRETS: Final = ("env", "params", "args", "before_start", "notes", "tags", "reason", "error", "stop")


class Answers:
    """Reads of the core, by id, in plain JSON."""

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
        """One strategy's configuration, secrets masked where a person may have written them."""
        return self._masked(self._core.unit(id).config, MAY_HOLD_SECRETS)

    def _masked(self, record: Json, names: Collection[str]) -> Json:
        mask = self._core.secrets.mask
        return {**record, **{name: mask_texts(record[name], mask) for name in names if record.get(name)}}

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
        own, over = (
            NO_HOLD if hold.at is not None and hold.at > moment else hold for hold in (unit.hold, core.holds.current)
        )  # at an earlier moment, what nobody had said yet does not count
        told = explain(unit.plan, core.reconciler.calendar(unit), own, moment, over)
        if unit.refusal is not None and own.kind != "stopped" and over.kind != "panic":
            told = {**told, "run": None, "why": unit.refusal.why}
        return self._masked(told, ("why",))

    def explain_schedule(self, schedule: Json, mode: str, at: datetime | None, count: int) -> Json:
        """The same for a schedule that is not saved; raises InvalidValue with the bad fields."""
        core = self._core
        try:
            value = Schedule(**schema.read(Schedule, schedule))
        except InvalidValue as error:
            fields = {f"schedule.{name}": text for name, text in error.fields.items()}
            raise InvalidValue(error.message, code=error.code, fields=fields) from None
        plan = plan_of({"schedule": schema.to_json(value), "mode": mode}, core.settings.timezone)
        warnings = refuse_bad_schedule(plan, core.calendar_of(plan.calendar), core.clock.now())
        moment = at or core.clock.now()
        told = explain(plan, core.calendar_of(plan.calendar), NO_HOLD, moment, NO_HOLD, count)
        return {**told, "warnings": warnings}

    def week(self) -> Json:
        """The coming week of all strategies, as rows and drawn with characters."""
        core = self._core
        now, over = core.clock.now(), core.holds.current
        items = [
            Planned(unit.id, unit.plan, core.reconciler.calendar(unit), unit.hold, over)
            for _, unit in sorted(core.units.items())
        ]
        found = {"text": week_text(items, now, core.zone), "rows": week_rows(items, now)}
        return mask_texts(found, core.secrets.mask)

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
            through = None if calendar.always_open else calendar.valid_through
            rows.append(
                {
                    "name": calendar.name,
                    "timezone": calendar.timezone.key,
                    "valid_through": through.isoformat() if through else None,
                    "warning": by_name.get(calendar.name),
                }
            )
        return {"calendars": rows, "warnings": [warning.message for warning in warnings]}

    async def overrides(self, calendar: str | None) -> list[Json]:
        """The rows of calendar_overrides.toml, of all calendars or of one."""
        core = self._core
        path = core.calendars.overrides_file
        assert path is not None
        try:
            name = core.calendars.get(calendar).name if calendar else None
        except MarketError as error:
            raise NotFound(error.message, code=error.code) from error
        try:
            return await asyncio.to_thread(overrides_of, path, name)
        except MarketError as error:  # broken by hand: the rows read last are in force, the file's rows unknown
            raise Conflict(error.message, code=error.code, fields=error.fields) from error

    def mask(self, text: str) -> str:
        """The text without secrets that are known."""
        return self._core.secrets.mask(text)

    def tokens_are(self, tokens: Collection[str], *, by: str = "") -> None:
        """Mask the API's tokens; `by` is who replaced those before them."""
        self._core.secrets.remember(*tokens)
        if by:
            self._core.happened("token", None, by, "the API's tokens were replaced; the old ones are refused")

    def log_reader(self, id: str) -> LogReader:
        """A new reader of one strategy's log that knows its runs. Asks the database: for worker threads."""
        unit = self._core.unit(id)
        rows = self._core.history.runs(unit.id, RUNS_OF_A_LOG)
        runs = [run for row in rows if (run := _stretch(row)) is not None]
        return LogReader(self._core.log_path(unit.id), runs, self._core.secrets.mask)

    def log_runs(self, id: str) -> Sequence[Run]:
        """The run under way and the latest ended ones, without asking the disk."""
        unit = self._core.unit(id)
        found: list[Run] = [
            (run_id, datetime.fromtimestamp(started, UTC), datetime.fromtimestamp(ended, UTC))
            for run_id, started, ended in unit.past
        ]
        if unit.run is not None:
            found.append((unit.run.run_id, datetime.fromtimestamp(unit.run.started, UTC), None))
        return found

    async def runs(self, id: str, limit: int = 100) -> list[Json]:
        """Its runs, newest first."""
        found = await asyncio.to_thread(self._core.history.runs, self._core.unit(id).id, limit)
        return [self._masked(run, MAY_HOLD_SECRETS) for run in found]

    async def live(self, id: str, run: str | None, since: float | None, limit: int, after: int = 0) -> Json:
        """What a run reported through stratpanel.live; the newest run with reports unless one is named."""
        unit = self._core.unit(id)
        return await asyncio.to_thread(self._live, unit.id, run, since, limit, after)

    def _live(self, id: str, run: str | None, since: float | None, limit: int, after: int) -> Json:
        workspace = self._core.workspace
        runs = reports.runs_with_reports(workspace, id)
        if run is not None and run not in runs:
            raise NotFound(f"{id} has no run {run[:200]!r} with reports", code="RUN_NOT_FOUND")
        chosen = run or (runs[0] if runs else None)
        path = reports.file_of(workspace, id, chosen) if chosen else None
        found = reports.read(path, since=since, limit=limit, after=after) if path else reports.NONE
        return {"run_id": chosen, "runs": runs, **found}

    async def parameters(self, id: str) -> Json:
        """The script's Param class, read in a child process."""
        unit = self._core.unit(id)
        found = await asyncio.to_thread(self._core.preparation.read_parameters, unit.id, dict(unit.config))
        return found.to_json()

    async def usage(self, id: str, since: float | None, step: float | None) -> Json:
        """CPU, memory, threads and open files over time."""
        unit = self._core.unit(id)
        return await asyncio.to_thread(self._core.history.usage, unit.id, since, int(step) if step else None)

    async def past_events(self, since: int | None, limit: int) -> list[Json]:
        """The newest `limit` events after `since`, oldest first."""
        history = self._core.history
        return await asyncio.to_thread(lambda: history.events(since=since or 0, limit=limit, newest=True))

    async def events_after(self, after: int, limit: int) -> list[Json] | None:
        """The first `limit` events after a number, oldest first; None when some of them are gone."""
        return await asyncio.to_thread(self._events_after, after, limit)

    def _events_after(self, after: int, limit: int) -> list[Json] | None:
        oldest, newest = self._core.history.event_bounds()
        if not oldest - 1 <= after <= newest:
            return None
        return self._core.history.events(since=after, limit=limit)

    def _copy(self, unit: Unit) -> Path:
        return self._core.shelf.working_copy(str(unit.config["file_path"]))

    async def source(self, id: str) -> str:
        """The working copy's text."""
        return await asyncio.to_thread(uploads.read_source, self._copy(self._core.unit(id)))

    async def versions(self, id: str) -> list[Json]:
        """Its deployed versions, newest first."""
        unit = self._core.unit(id)
        found = await asyncio.to_thread(self._core.shelf.versions.list, unit.id)
        return [version.to_json() for version in found]

    async def version(self, id: str, n: int) -> Json:
        """One deployed version."""
        unit = self._core.unit(id)
        return (await asyncio.to_thread(self._core.shelf.versions.get, unit.id, n)).to_json()

    async def diff(self, id: str, from_: Any, to: Any) -> Json:
        """The unified diff of two versions, or of one and the working copy."""
        unit = self._core.unit(id)
        return await asyncio.to_thread(self._core.shelf.diff, unit.id, from_, to, self._copy(unit))


def _stretch(row: Json) -> Run | None:
    """A row of history as LogReader wants it."""
    if not row.get("started"):
        return None
    ended = row.get("ended")
    begun = datetime.fromisoformat(row["started"])
    return row["run_id"], begun, datetime.fromisoformat(ended) if ended else None
