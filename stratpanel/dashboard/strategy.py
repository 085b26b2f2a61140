"""The page of one strategy: its head with actions, and the tabs, each made when it is first looked at.

A Viewer for the web page and a notebook cell alike; every tab's module is loaded with it, since a browser learns of our
components only with the first drawing of its page. It holds no rule: what may be done and what happened comes from
the API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import panel as pn
import param

from stratpanel.dashboard.assets import script, styles
from stratpanel.dashboard.code import SourceEditor
from stratpanel.dashboard.logview import LogView
from stratpanel.dashboard.reported import Reported
from stratpanel.dashboard.resources import Resources
from stratpanel.dashboard.schedule import ScheduleEditor
from stratpanel.dashboard.screen import Screen
from stratpanel.dashboard.settings import SettingsForm
from stratpanel.dashboard.wire import Drawn

TABS = ("logs", "live", "resources", "schedule", "runs", "source", "settings")


class StrategyHead(Drawn):
    """Where one is, what it does, what may be done, and the tabs."""

    strategy = param.String()
    tab = param.String(default="logs")

    _esm = script("columns", "rules", "startform", "menu", "strategy")
    _stylesheets = styles("strategy", "startform")


class RunsTable(Drawn):
    """Past runs of one strategy."""

    strategy = param.String()

    _esm = script("runs")
    _stylesheets = styles("runs")


class Part(Protocol):
    """The content of one tab."""

    def close(self) -> None:
        """Let go of what it watches."""


class StrategyPage(pn.viewable.Viewer):
    """Everything about one strategy; `turn_to` another tab, `close` when it is left. Without `head`: the tab alone."""

    def __init__(
        self, screen: Screen, id_: str, tab: str = "logs", *, run: str = "", head: bool = True, **params: Any
    ) -> None:
        super().__init__(**params)
        self._screen = screen
        self.id = id_
        self.head = StrategyHead(bus=screen.bus, strategy=id_, tab="", sizing_mode="stretch_width", margin=0)
        self._parts: dict[str, Any] = {}
        self._closers: list[Callable[[], None]] = []
        self._body = pn.Column(sizing_mode="stretch_both", margin=0, stylesheets=[FILL])
        shown = [self.head, self._body] if head else [self._body]
        self._layout = pn.Column(*shown, sizing_mode="stretch_both", margin=0, stylesheets=[FILL])
        self.turn_to(tab, run=run)

    def __panel__(self) -> pn.Column:
        return self._layout

    @property
    def tab(self) -> str:
        """The tab that is shown."""
        return str(self.head.tab)

    def turn_to(self, tab: str, *, run: str = "") -> None:
        """Show a tab; an unknown name shows the logs."""
        tab = tab if tab in TABS else TABS[0]
        if tab not in self._parts:
            self._parts[tab] = getattr(self, f"_{tab}")()
        if tab == "logs" and run:
            self._parts[tab].only_run(run)
        if tab != self.tab:
            self._body[:] = [self._parts[tab]]
            self.head.tab = tab

    def repaint(self, scheme: str) -> None:
        """Follow the page's colour scheme."""
        for part in self._parts.values():
            if hasattr(part, "paint"):
                part.paint(scheme)

    def close(self) -> None:
        """Leave what is watched."""
        for closer in self._closers:
            closer()
        self._closers.clear()

    def _logs(self) -> LogView:
        screen = self._screen
        view = LogView(
            screen.logs,
            screen.actions,
            screen.delivery,
            bus=screen.bus,
            full=True,
            sizing_mode="stretch_both",
            margin=0,
        )
        view.show(self.id, screen.feed.zone(self.id))
        self._closers.append(view.close)
        return view

    def _runs(self) -> RunsTable:
        return RunsTable(bus=self._screen.bus, strategy=self.id, sizing_mode="stretch_both", margin=0)

    def _resources(self) -> Any:
        view = Resources(self._screen, self.id)
        self._closers.append(view.close)
        return view

    def _live(self) -> Any:
        view = Reported(self._screen, self.id, self._live_is_shown)
        self._closers.append(view.close)
        return view

    def _live_is_shown(self) -> bool:
        return self.tab == "live"

    def _schedule(self) -> Any:
        return ScheduleEditor(self._screen, self.id)

    def _source(self) -> Any:
        return SourceEditor(self._screen, self.id)

    def _settings(self) -> Any:
        return SettingsForm(self._screen, self.id)


FILL = ":host { min-height: 0; }"
