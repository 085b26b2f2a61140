"""The workspace as a whole: supervisor, health, panic, pause, resume, reload, down, token, week, calendars, openapi."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from stratpanel import PROTOCOL, __version__
from stratpanel.market.overrides_file import SUBJECTS
from stratpanel.model.kinds import Days
from stratpanel.supervisor.api import wire
from stratpanel.supervisor.api.access import Role
from stratpanel.supervisor.api.openapi import document
from stratpanel.supervisor.api.ports import Json
from stratpanel.supervisor.api.route import Route
from stratpanel.supervisor.api.strategies import bool_field, number_field, object_field, text_field

LONGEST_CALENDAR_DAYS: Final = 3700
DEFAULT_BOUNDARIES: Final = 10
MOST_BOUNDARIES: Final = 200
MOST_SESSIONS: Final = 10
CLOCK_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


class Health(Route):
    """GET /api/health"""

    async def get(self) -> None:
        """That the supervisor answers, and which one it is."""
        status = self.core.supervisor_status()
        self.answer({"status": "ok", "pid": status.get("pid"), "version": __version__, "protocol": PROTOCOL})


class SupervisorRoute(Route):
    """GET /api/supervisor"""

    async def get(self) -> None:
        """The `supervisor` object of `status --json`, and more."""
        self.answer(self.core.supervisor_status())


class OpenApi(Route):
    """GET /api/openapi.json"""

    async def get(self) -> None:
        """This API, described in OpenAPI 3.1."""
        self.answer(document(self.site.endpoint.url))


class WholeAction(Route):
    """POST /api/panic|pause|resume|reload|down"""

    roles: ClassVar[dict[str, Role]] = {"POST": Role.OPERATOR}

    async def post(self, action: str) -> None:
        """Act on all strategies at once."""
        body = self.json_body()
        why = text_field(body, "why") or ""
        if action == "panic":
            result = await self.core.panic(by=self.by, why=why)
        elif action == "pause":
            result = await self.core.pause(None, by=self.by, why=why)
        elif action == "resume":
            result = await self._resume(body)
        else:
            result = await self.core.reload(by=self.by)
        await self.done(result if isinstance(result, dict) else {})

    async def _resume(self, body: Json) -> object:
        """Lift pause and panic; `dry_run` only lists what would start."""
        return await self.core.resume(None, by=self.by, dry_run=bool(bool_field(body, "dry_run")))


class Down(Route):
    """POST /api/down"""

    async def post(self) -> None:
        """End the supervisor, and its strategies too unless `keep`; answers before it leaves."""
        keep = bool(bool_field(self.json_body(), "keep"))
        await self.done(await self.core.down(keep, by=self.by))


class Token(Route):
    """GET, POST /api/token"""

    roles: ClassVar[dict[str, Role]] = {"GET": Role.ADMIN}

    async def get(self) -> None:
        """The tokens of the three roles."""
        self.answer(self._tokens())

    async def post(self) -> None:
        """Rotate: new tokens for all roles; the old ones end with this answer, and the streams they opened."""
        self.site.rotate_tokens(self.by)
        await self.done(self._tokens())

    def _tokens(self) -> Json:
        return {role.name.lower(): token for role, token in self.site.tokens.by_role.items()}


class Week(Route):
    """GET /api/week"""

    async def get(self) -> None:
        """The coming week of all strategies."""
        self.answer(self.core.week())


class ExplainSchedule(Route):
    """POST /api/schedule/explain"""

    roles: ClassVar[dict[str, Role]] = {"POST": Role.VIEWER}

    async def post(self) -> None:
        """What a schedule that is not saved would mean; changes nothing."""
        body = self.json_body()
        schedule = object_field(body, "schedule")
        if schedule is None:
            raise wire.invalid("schedule", "is missing")
        mode = text_field(body, "mode") or "paper"
        if mode not in ("paper", "live"):
            raise wire.invalid("mode", "must be live or paper")
        count = number_field(body, "count") or DEFAULT_BOUNDARIES
        at = wire.instant("at", text_field(body, "at"))
        self.answer(self.core.explain_schedule(schedule, mode, at, min(count, MOST_BOUNDARIES)))


class Calendars(Route):
    """GET /api/calendars"""

    async def get(self) -> None:
        """The calendars there are, how far their data reaches, and what is wrong with them."""
        self.answer(self.core.calendars())


class OneCalendar(Route):
    """GET /api/calendars/{name}?from=&to="""

    async def get(self, name: str) -> None:
        """Sessions from one day to another, instants in UTC."""
        first, last = wire.day("from", self.query("from")), wire.day("to", self.query("to"))
        if first and last and first > last:
            raise wire.invalid("to", "lies before from")
        if first and last and (last - first).days > LONGEST_CALENDAR_DAYS:
            raise wire.invalid("to", "is more than ten years after from")
        self.answer(self.core.calendar(name, first, last))


class CalendarOverrides(Route):
    """GET /api/calendar-overrides?calendar="""

    async def get(self) -> None:
        """The user's own word about days, sessions and hours, as it stands in calendar_overrides.toml."""
        self.answer({"overrides": await self.core.overrides(self.query("calendar"))})


class CalendarOverride(Route):
    """PUT /api/calendars/{name}/overrides/{date} · DELETE …?about=day|hours|valid"""

    async def put(self, name: str, date: str) -> None:
        """Write the user's own word into strategies/calendar_overrides.toml: about this day, the hours from it on, or
        all days through it."""
        override = calendar_override(self.json_body())
        day = wire.required_day("date", date)
        await self.done(await self.core.override_calendar(name, day, override, by=self.by))

    async def delete(self, name: str, date: str) -> None:
        """Take the user's word back."""
        day, about = wire.required_day("date", date), self.query("about") or "day"
        if about not in SUBJECTS:
            raise wire.invalid("about", f"must be one of {', '.join(SUBJECTS)}")
        await self.done(await self.core.override_calendar(name, day, None, about=about, by=self.by))


def calendar_override(body: Json) -> Json:
    """The user's own word, checked as far as no calendar is needed for it; raises InvalidValue."""
    kind, why = text_field(body, "kind"), (text_field(body, "why") or "").strip()
    if kind not in ("closed", "open", "hours", "valid"):
        raise wire.invalid("kind", "must be closed or open for a day, hours from it on, or valid through it")
    if not why:
        raise wire.invalid("why", "is missing; write a reason for the one who reads it next")
    if kind in ("closed", "valid"):
        return {"kind": kind, "why": why}
    word: Json = {"kind": kind, "why": why, "windows": _windows(body.get("windows"))}
    if kind == "open":
        return {**word, "partial": bool_field(body, "partial") or False}
    try:
        days = Days().from_json(body["days"]) if body.get("days") else []
    except ValueError as error:
        raise wire.invalid("days", str(error)) from None
    return {**word, "days": days}


def _windows(windows: object) -> list[Json]:
    if not isinstance(windows, list) or not 1 <= len(windows) <= MOST_SESSIONS:
        raise wire.invalid("windows", 'must be a list like [{"open": "09:15", "close": "15:30"}]')
    for place, window in enumerate(windows):
        for name in ("open", "close"):
            value = window.get(name) if isinstance(window, dict) else None
            if not isinstance(value, str) or not CLOCK_TIME.fullmatch(value):
                raise wire.invalid(f"windows[{place}].{name}", "is not HH:MM")
    return [{"open": window["open"], "close": window["close"]} for window in windows]
