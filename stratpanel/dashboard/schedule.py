"""The schedule of one strategy: windows, calendar, dates that differ; checked and previewed as one types.

The preview is the supervisor's own answer for the schedule on the screen; nothing here decides when a market is open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import panel as pn
import param

from stratpanel.dashboard import material
from stratpanel.dashboard.assets import script, styles
from stratpanel.dashboard.calendars import MarketDays
from stratpanel.dashboard.configuration import Configuration
from stratpanel.dashboard.forms import Field, Fields, button, check, section, toolbar, words_of
from stratpanel.dashboard.screen import Screen
from stratpanel.dashboard.wire import Drawn
from stratpanel.model import schema
from stratpanel.model.errors import PreconditionFailed, StratpanelError
from stratpanel.model.values import Schedule, ScheduleException, ScheduleWindow

log = logging.getLogger("stratpanel.dashboard.schedule")

PAUSE_S = 0.15  # typing rests this long before the supervisor is asked
WINDOW_NOTE = "HH:MM, or a distance to the session: open+5m, close-10m. A stop not after its start means the next day."
NEW_WINDOW = {"start": "09:20", "stop": "15:15", "days": ["mon", "tue", "wed", "thu", "fri"], "on_special": False}


class Preview(Drawn):
    """The next boundaries."""

    plan = param.Dict(default={})
    zone = param.String()

    _esm = script("preview")
    _stylesheets = styles("preview")


class Rows:
    """A list of values, each a row of widgets with a button that removes it."""

    def __init__(
        self,
        cls: Any,
        widths: Mapping[str, int],
        new: Callable[[], dict[str, Any]],
        changed: Callable[[], None],
        add: str,
    ) -> None:
        self._cls, self._widths, self._new, self._changed = cls, widths, new, changed
        self._rows: list[dict[str, Field]] = []
        self._box = pn.Column(sizing_mode="stretch_width", margin=0)
        button = material.Button(label=add, size="small", button_type="default", margin=(6, 0))
        button.on_click(lambda _event: self._added())
        self.view = pn.Column(self._box, button, sizing_mode="stretch_width", margin=0)

    def _added(self) -> None:
        self._append(self._new())
        self._changed()

    def show(self, values: list[dict[str, Any]]) -> None:
        """Replace all rows."""
        self._rows.clear()
        self._box.clear()
        for value in values:
            self._append(value)

    def _append(self, value: Mapping[str, Any]) -> None:
        known = schema.fields(self._cls, schema.is_config)
        row = {name: Field(name, known[name], width=width) for name, width in self._widths.items()}
        for name, field in row.items():
            field.show(value.get(name))
            field.watch(self._changed)
        remove = material.Button(label="Remove", size="small", button_type="default", margin=(9, 0, 0, 4))
        line = pn.Row(*(field.widget for field in row.values()), remove, margin=0, stylesheets=[WRAP])

        def gone(_event: Any) -> None:
            at = self._rows.index(row)
            del self._rows[at]
            self._box.pop(at)
            self._changed()

        remove.on_click(gone)
        self._rows.append(row)
        self._box.append(line)

    def read(self, path: str, errors: dict[str, str]) -> list[dict[str, Any]]:
        """The values; what cannot be read goes to `errors`."""
        values = []
        for at, row in enumerate(self._rows):
            value = {}
            for name, field in row.items():
                try:
                    value[name] = field.read()
                except ValueError as error:
                    errors[f"{path}[{at}].{name}"] = str(error)
            values.append(value)
        return values

    def complain(self, path: str, errors: Mapping[str, str]) -> None:
        """Show errors at their fields."""
        for at, row in enumerate(self._rows):
            for name, field in row.items():
                field.complain(
                    next((text for place, text in errors.items() if place.startswith(f"{path}[{at}].{name}")), None)
                )


class ScheduleEditor(pn.viewable.Viewer):
    """The form on the left, what it would do on the right."""

    def __init__(self, screen: Screen, id_: str, **params: Any) -> None:
        super().__init__(**params)
        self._screen = screen
        self._id = id_
        self._kept = Configuration(screen, id_)
        self._saved: dict[str, Any] | None = None
        self._busy = False
        self._overtaken = False
        self._asked = 0
        self._market = ""
        self._zones: dict[str, str] = {}
        self._basic = Fields(Schedule, ("enabled",))
        self._names = Fields(Schedule, ("calendar", "timezone"), options=())
        self._windows = Rows(
            ScheduleWindow,
            {"start": 130, "stop": 130, "days": 330, "on_special": 150},
            lambda: dict(NEW_WINDOW),
            self._changed,
            "Add a window",
        )
        self._dates = Rows(
            ScheduleException,
            {"date": 140, "kind": 120, "start": 120, "stop": 120, "why": 220},
            self._new_date,
            self._changed,
            "Add a date",
        )
        for group in (self._basic, self._names):
            group.watch(self._changed)
        person = screen.actions.person
        self._save = self._button("Save", self._store, primary=True)
        self._undo = self._button("Undo changes", self._load)
        self._clear = self._button("Clear the schedule", self._cleared)
        self._hold = self._button("Hold: the schedule must not start it", lambda: self._held("pause"))
        self._resume = self._button("Resume", lambda: self._held("resume"))
        self._may = person.may("patch")
        self._clear.disabled = not self._may
        self._hold.disabled = self._resume.disabled = not person.may("pause")
        self._said = words_of("" if self._may else "Changing the schedule needs the role admin.")
        self._preview = Preview(bus=screen.bus, sizing_mode="stretch_width", margin=0)
        self._days = MarketDays(screen, self._changed, sizing_mode="stretch_width", margin=0)
        bar = toolbar(
            self._save,
            self._undo,
            self._clear,
            self._hold,
            self._resume,
            self._said,
        )
        self._form = pn.Column(
            self._basic.fields["enabled"].widget,
            section(
                "Windows",
                self._windows.view,
                note=WINDOW_NOTE,
            ),
            section(
                "Calendar",
                pn.Row(*(field.widget for field in self._names.fields.values()), margin=0, sizing_mode="stretch_width"),
            ),
            section(
                "Dates that differ",
                self._dates.view,
                note="closed: no window starts on that date. also: a window of its own.",
            ),
            margin=(4, 16, 16, 16),
            sizing_mode="stretch_width",
            max_width=900,
            visible=False,  # until there is something to change
        )
        left = pn.Column(self._form, scroll=True, sizing_mode="stretch_both", margin=0, stylesheets=[STACKED])
        side = pn.Column(
            self._preview,
            self._days,
            scroll=True,
            sizing_mode="stretch_both",  # a width here would be the least width of everything around it
            margin=0,
            stylesheets=[SIDE, STACKED],
        )
        self._layout = pn.Column(
            bar,
            pn.Row(left, side, sizing_mode="stretch_both", margin=0, stylesheets=[SPLIT]),
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[FILL],
        )
        screen.on_beat(self._beat)
        screen.delivery.spawn(self._begin())

    def __panel__(self) -> pn.Column:
        return self._layout

    def _button(self, label: str, work: Callable[[], Any], *, primary: bool = False) -> material.Button:
        disabled = label in ("Save", "Undo changes")
        return button(label, lambda: self._screen.delivery.spawn(work()), primary=primary, disabled=disabled)

    @staticmethod
    def _new_date() -> dict[str, Any]:
        tomorrow = date.today() + timedelta(days=1)  # noqa: DTZ011
        return {"date": str(tomorrow), "kind": "closed", "start": None, "stop": None, "why": ""}

    def _say(self, text: str) -> None:
        self._said.object = text

    async def _begin(self) -> None:
        await self._calendars()
        await self._load()

    async def _calendars(self) -> None:
        try:
            found = (await self._screen.actions.get("/api/calendars")).get("calendars") or []
        except StratpanelError:
            return  # the field takes any name; the preview says when there is no such calendar
        names = [item["name"] for item in found]
        self._days.know(found)
        self._zones = {str(item["name"]): str(item["timezone"]) for item in found if item.get("timezone")}
        zones = sorted({str(item["timezone"]) for item in found if item.get("timezone")} | {"Asia/Kolkata", "UTC"})

        def fill() -> None:
            self._names.fields["calendar"].widget.options = names
            self._names.fields["timezone"].widget.options = zones

        self._screen.delivery.run(fill)

    async def _load(self) -> None:
        try:
            config = await self._kept.read()
        except StratpanelError as error:
            problem = error.message
            self._screen.delivery.run(lambda: self._say(f"the schedule could not be read: {problem}"))
            return
        self._screen.delivery.run(lambda: self._show(config.get("schedule") or {}))

    def _beat(self, _now: float) -> None:
        if self._saved is not None and self._kept.behind and not self._busy and not self._overtaken:
            self._busy = True
            self._screen.delivery.spawn(self._catch_up())

    async def _catch_up(self) -> None:
        """Somebody saved: show it, unless it is the schedule that this person is in the middle of changing."""
        before = self._kept.etag
        try:
            theirs = (await self._kept.read()).get("schedule") or {}
        except StratpanelError as error:
            log.info("the schedule of %s could not be read again: %s", self._id, error.message)
            return
        finally:
            self._busy = False
        if self._saved is None or theirs == self._saved:
            return
        schedule, errors = self._read()
        if errors or schedule != self._saved:
            self._kept.etag = before  # so that saving is refused
            self._overtaken = True
            self._screen.delivery.run(self._changed)
        else:
            self._screen.delivery.run(lambda: self._show(theirs))

    def _show(self, schedule: Mapping[str, Any]) -> None:
        self._saved = None
        self._overtaken = False
        self._basic.show(schedule)
        self._names.show(schedule)
        self._windows.show(list(schedule.get("windows") or ()))
        self._dates.show(list(schedule.get("exceptions") or ()))
        self._saved = dict(schedule)
        self._form.visible = True
        self._changed()

    def _read(self) -> tuple[dict[str, Any], dict[str, str]]:
        errors: dict[str, str] = {}
        schedule = {
            **(self._saved or {}),
            **self._basic.read(errors),
            **self._names.read(errors),
            "windows": self._windows.read("windows", errors),
            "exceptions": self._dates.read("exceptions", errors),
        }
        return schedule, errors

    def _changed(self) -> None:
        if self._saved is None:
            return
        schedule, errors = self._read()
        errors = errors or check(Schedule, schedule)
        self._basic.complain(errors)
        self._names.complain(errors)
        self._windows.complain("windows", errors)
        self._dates.complain("exceptions", errors)
        changed = schedule != self._saved
        self._save.disabled = not self._may or not changed or bool(errors)
        self._undo.disabled = not changed and not self._overtaken
        if self._overtaken:
            self._say("somebody else changed the schedule meanwhile: Undo changes shows theirs, Save is refused")
        elif self._may:
            self._say("not saved" if changed else "")
        if errors:
            self._preview.plan = {"errors": errors}
            return
        self._screen.delivery.spawn(self._foresee(schedule))

    async def _foresee(self, schedule: Mapping[str, Any]) -> None:
        self._asked += 1
        mine = self._asked
        await asyncio.sleep(PAUSE_S)
        if mine != self._asked:
            return
        row = self._screen.source.rows.get(self._id, {})
        try:
            plan = await self._screen.actions.ask(
                "POST",
                "/api/schedule/explain",
                body={"schedule": schedule, "mode": row.get("mode") or "paper", "count": 10},
            )
        except StratpanelError as error:
            plan = {"errors": error.fields} if error.fields else {"problem": error.message}
        if mine != self._asked:
            return
        own = schedule.get("timezone") or self._zones.get(str(schedule.get("calendar")))
        zone = str(own or self._screen.source.supervisor.get("timezone") or "")
        shown = {
            key: plan.get(key)
            for key in ("why", "until", "boundaries", "warnings", "errors", "problem")
            if plan.get(key)
        }
        self._screen.delivery.run(lambda: self._preview.param.update(plan=shown, zone=zone))
        market = str(schedule.get("calendar") or "")
        if market != self._market:
            self._market = market
            await self._days.show(market)

    async def _store(self) -> None:
        schedule, errors = self._read()
        if not errors:
            await self._patch(schedule, "saved")

    async def _cleared(self) -> None:
        await self._patch(
            {"enabled": False, "windows": [], "exceptions": []}, "cleared: nothing starts or stops it but a person"
        )

    async def _patch(self, schedule: Mapping[str, Any], said: str) -> None:
        run = self._screen.delivery.run
        try:
            config = await self._kept.save({"schedule": schedule})
        except PreconditionFailed:
            await self._load()
            run(lambda: self._say("somebody else saved first; theirs is shown now, yours was not saved"))
            return
        except StratpanelError as error:
            problem, fields = (
                error.message,
                {path.removeprefix("schedule."): text for path, text in error.fields.items()},
            )

            def refused() -> None:
                self._say(problem)
                self._windows.complain("windows", fields)
                self._dates.complain("exceptions", fields)
                self._names.complain(fields)

            run(refused)
            return
        run(lambda: self._show(config.get("schedule") or {}))
        run(lambda: self._say(said))

    async def _held(self, verb: str) -> None:
        try:
            await self._screen.actions.act(verb, self._id, {"why": "from the schedule page"} if verb == "pause" else {})
        except StratpanelError as error:
            problem = error.message
            self._screen.delivery.run(lambda: self._say(problem))
            return
        said = (
            "on hold: it does not start by itself until resumed"
            if verb == "pause"
            else "resumed: the schedule acts again"
        )
        self._screen.delivery.run(lambda: self._say(said))


FILL = ":host { min-height: 0; }"
WRAP = ":host { flex-wrap: wrap; align-items: flex-start; gap: 0 4px; }"
SIDE = ":host { flex: 0 0 480px !important; width: 480px !important; max-width: none; }"
STACKED = """@media (max-width: 899px) { :host {
  flex: none !important; width: 100% !important; height: auto !important; min-width: 0; overflow: visible !important;
} }"""
SPLIT = """@media (max-width: 899px) { :host {
  flex-direction: column !important; flex-wrap: nowrap !important; overflow: hidden auto; min-width: 0;
} }"""
