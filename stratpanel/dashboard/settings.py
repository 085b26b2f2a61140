"""The settings of one strategy: a form made from the model's classes, checked as one types, saved against its ETag.

What needs a restart says so. Another person's save is never overwritten: the form then shows theirs and says who was
first.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import panel as pn

from stratpanel.dashboard.configuration import Configuration
from stratpanel.dashboard.forms import Fields, button, check, columns, section, toolbar, words_of
from stratpanel.dashboard.screen import Screen
from stratpanel.model.errors import PreconditionFailed, StratpanelError
from stratpanel.model.strategy import Strategy
from stratpanel.model.values import Limits, LogPolicy, RestartPolicy

log = logging.getLogger("stratpanel.dashboard.settings")

# What a run takes with it when it starts; the rest counts at once.
AT_START = frozenset(
    {"interpreter", "args", "cwd", "env", "params", "limits", "grace_s", "start_seconds", "before_start", "log"}
)
WIDE = 900


class SettingsForm(pn.viewable.Viewer):
    """Everything about a strategy that a person sets, but its schedule and source."""

    def __init__(self, screen: Screen, id_: str, **params: Any) -> None:
        super().__init__(**params)
        self._screen = screen
        self._id = id_
        self._kept = Configuration(screen, id_)
        self._config: dict[str, Any] = {}
        self._loading = False
        self._busy = False
        self._overtaken = ""
        self._general = Fields(Strategy, ("name", "tags", "user_id", "notes"))
        self._running = Fields(
            Strategy,
            ("interpreter", "cwd", "args", "env", "params", "before_start", "grace_s", "start_seconds", "priority"),
        )
        self._limits = Fields(Limits, ("memory_mb", "nofile", "nice"), "limits")
        self._restart = Fields(
            RestartPolicy, ("policy", "max_restarts", "window_s", "backoff_s", "backoff_max_s", "stable_s"), "restart"
        )
        self._quiet = Fields(Strategy, ("quiet_after", "quiet_restart", "watchdog_s", "watchdog_restart"))
        self._log = Fields(LogPolicy, ("max_mb", "keep", "keep_days"), "log")
        self._groups = (self._general, self._running, self._limits, self._restart, self._quiet, self._log)
        for group in self._groups:
            group.watch(self._changed)
        may = screen.actions.person.may("patch")
        self._save = button("Save", lambda: screen.delivery.spawn(self._store()), primary=True)
        self._undo = button("Undo changes", lambda: screen.delivery.spawn(self._load()))
        self._said = words_of("" if may else "Changing settings needs the role admin.")
        bar = toolbar(self._save, self._undo, self._said)
        self._form = pn.Column(
            section("General", columns(self._general.fields.values())),
            section(
                "How it is run",
                columns(self._running.fields.values()),
                note="Secrets belong into secrets.toml, not here: environment values are shown to every viewer.",
            ),
            section("Limits of its whole process tree", columns(self._limits.fields.values())),
            section("Automatic restart", columns(self._restart.fields.values())),
            section("When it falls quiet", columns(self._quiet.fields.values())),
            section("Log files", columns(self._log.fields.values())),
            max_width=WIDE + 300,
            visible=False,  # until there is something to change
            margin=(0, 16, 16, 16),
            sizing_mode="stretch_width",
        )
        self._layout = pn.Column(
            bar,
            pn.Column(self._form, scroll=True, sizing_mode="stretch_both", margin=0),
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[FILL],
        )
        screen.on_beat(self._beat)
        screen.delivery.spawn(self._load())

    def __panel__(self) -> pn.Column:
        return self._layout

    async def _load(self) -> None:
        try:
            config = await self._kept.read()
        except StratpanelError as error:
            problem = error.message
            self._screen.delivery.run(lambda: self._say(f"the settings could not be read: {problem}"))
            return
        self._screen.delivery.run(lambda: self._show(config))

    def _beat(self, _now: float) -> None:
        if self._config and self._kept.behind and not self._busy and not self._overtaken:
            config, errors = self._read()
            if not errors:  # what cannot be read yet is not thrown away
                self._busy = True
                self._screen.delivery.spawn(self._catch_up(self._changes(config)))

    async def _catch_up(self, mine: Mapping[str, Any]) -> None:
        """Somebody saved: show it beside this person's own changes, unless both changed the same."""
        before = self._kept.etag
        try:
            theirs = await self._kept.read()
        except StratpanelError as error:
            log.info("the settings of %s could not be read again: %s", self._id, error.message)
            return
        finally:
            self._busy = False
        both = ", ".join(sorted(key for key in mine if theirs.get(key) != self._config.get(key)))
        if both:
            self._kept.etag = before  # so that saving is refused
            self._overtaken = f"somebody else changed {both} meanwhile: Undo changes shows theirs, Save is refused"
            self._screen.delivery.run(self._changed)
        else:
            self._screen.delivery.run(lambda: self._show({**theirs, **mine}, saved=theirs))

    def _show(self, config: Mapping[str, Any], *, saved: Mapping[str, Any] | None = None) -> None:
        """Fill the form; `saved` is what the supervisor has, when this person has changed some of it."""
        self._config = dict(config if saved is None else saved)
        self._overtaken = ""
        self._loading = True
        try:
            for group in self._groups:
                group.show(config.get(group.path) or {} if group.path else config)
        finally:
            self._loading = False
        self._form.visible = True
        self._changed()

    def _read(self) -> tuple[dict[str, Any], dict[str, str]]:
        errors: dict[str, str] = {}
        config = dict(self._config)
        for group in self._groups:
            values = group.read(errors)
            if group.path:
                config[group.path] = {**(config.get(group.path) or {}), **values}
            else:
                config.update(values)
        return config, errors

    def _changed(self) -> None:
        if self._loading or not self._config:
            return
        config, errors = self._read()
        errors = errors or check(Strategy, config)
        placed: set[str] = set()
        for group in self._groups:
            placed |= group.complain(errors)
        changes = self._changes(config)
        may = self._screen.actions.person.may("patch")
        self._save.disabled = not may or bool(errors) or not changes
        self._undo.disabled = not changes and not self._overtaken
        elsewhere = [f"{path}: {text}" for path, text in errors.items() if path not in placed]
        if self._overtaken:
            self._say(self._overtaken)
            return
        self._say(
            "; ".join(elsewhere) if elsewhere else self._effect(changes) if not errors else f"{len(errors)} to correct"
        )

    def _changes(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in config.items() if value != self._config.get(key)}

    def _effect(self, changes: Mapping[str, Any]) -> str:
        later = sorted(AT_START & set(changes))
        running = self._screen.source.rows.get(self._id, {}).get("pid") is not None
        if later and running:
            return f"{', '.join(later)}: from the next start on; restart to apply now"
        return "counts at once when saved" if changes else ""

    def _say(self, text: str) -> None:
        self._said.object = text

    async def _store(self) -> None:
        run = self._screen.delivery.run
        config, errors = self._read()
        changes = self._changes(config)
        if errors or not changes:
            return
        run(lambda: self._say("saving…"))
        try:
            config = await self._kept.save(merge(self._config, changes))
        except PreconditionFailed:
            await self._load()
            run(lambda: self._say("somebody else saved first; their settings are shown now, yours were not saved"))
            return
        except StratpanelError as error:
            problem, fields = error.message, dict(error.fields)

            def refused() -> None:
                for group in self._groups:
                    group.complain(fields)
                self._say(problem)

            run(refused)
            return
        run(lambda: self._show(config))
        effect = self._effect(changes)
        run(lambda: self._say(f"saved; {effect}" if "restart" in effect else "saved"))


def merge(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """An RFC 7396 patch that makes the changed objects exactly so: keys that left become null."""
    patch = {}
    for key, value in changes.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            patch[key] = {**{gone: None for gone in old if gone not in value}, **value}
        else:
            patch[key] = value
    return patch


FILL = ":host { min-height: 0; }"
