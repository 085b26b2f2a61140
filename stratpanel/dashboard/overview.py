"""The first thing an operator sees: every strategy, and the log, CPU and memory of the chosen one below.

A Viewer for the web page and for a notebook cell alike; it only arranges components that draw from the feed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import panel as pn

from stratpanel.dashboard.actions import strategy_path
from stratpanel.dashboard.charts import UsageCharts
from stratpanel.dashboard.logview import LogView
from stratpanel.dashboard.screen import Screen
from stratpanel.dashboard.wire import Board
from stratpanel.model.errors import StratpanelError

MINUTES = 10


class Overview(pn.viewable.Viewer):
    """The board above, the chosen strategy's log and charts below."""

    def __init__(self, screen: Screen, *, height: int | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._screen = screen
        self._chosen: str | None = None
        self.board = Board(bus=screen.bus, sizing_mode="stretch_both", min_height=180, margin=0)
        self.log = LogView(
            screen.logs, screen.actions, screen.delivery, bus=screen.bus, sizing_mode="stretch_both", margin=0
        )
        self.charts: UsageCharts | None = None  # until there is something to draw: the table is shown the sooner
        screen.wire.answer("select", self._select)
        screen.on_beat(self._beat)
        screen.on_scheme(self._paint)
        screen.on_close(self.log.close)
        self._side = pn.Column(
            sizing_mode="stretch_both",
            margin=0,
            max_width=620,
            min_width=300,
            css_classes=["sp-side"],
        )
        self.dock = pn.Row(
            self.log,
            self._side,
            sizing_mode="stretch_width",
            height=300,
            margin=0,
            css_classes=["sp-dock"],
            visible=bool(screen.source.rows),  # nothing to choose: nothing to show of it
            stylesheets=[DOCK],
        )
        sizing: dict[str, Any] = (
            {"sizing_mode": "stretch_both"} if height is None else {"sizing_mode": "stretch_width", "height": height}
        )
        self._layout = pn.Column(
            self.board, self.dock, margin=0, stylesheets=[LAYOUT], css_classes=["sp-overview"], **sizing
        )

    def __panel__(self) -> pn.Column:
        return self._layout

    def show(self, visible: bool) -> None:
        """Show or hide it; hidden it keeps its place, filter and choice, and draws nothing."""
        self._layout.visible = visible
        if visible and self._chosen is not None:
            self._screen.delivery.spawn(self._select({"id": self._chosen}))
        elif not visible:
            self.log.show(None)

    async def _select(self, message: Mapping[str, Any]) -> None:
        id_ = str(message.get("id"))
        row = self._screen.source.rows.get(id_)
        if row is None:
            return
        self._chosen = id_
        if not self._layout.visible:
            return
        zone, limit = self._screen.feed.zone(id_), row.get("memory_limit_mb")
        if not self.dock.visible:
            self._screen.delivery.run(lambda: setattr(self.dock, "visible", True))
        self._screen.delivery.run(lambda: self.log.show(id_, zone))
        usage: Mapping[str, Any] = {}
        try:
            usage = await self._screen.actions.get(
                f"{strategy_path(id_)}/usage", since=time.time() - 60 * MINUTES, step=1
            )
        except StratpanelError as error:
            self._screen.wire.tell("toast", tone="warn", text=f"its history could not be read: {error.message}", id=id_)
        if self._chosen == id_:
            self._screen.delivery.run(lambda: self._draw(usage, limit, zone))

    def _draw(self, usage: Mapping[str, Any], limit: float | None, zone: str) -> None:
        if self.charts is None:
            self.charts = UsageCharts(self._screen.scheme)
            self.charts.load(usage, limit, zone)
            self._side[:] = [self.charts.view]
        else:
            self.charts.load(usage, limit, zone)

    def _paint(self, scheme: str) -> None:
        if self.charts is not None:
            self.charts.paint(scheme)

    def _beat(self, now: float) -> None:
        id_ = self._chosen
        if id_ is not None and self.charts is not None and self._layout.visible:
            cpu, memory = self._screen.source.usage.get(id_, (None, None))
            self.charts.point(self._screen.delivery, now, cpu, memory)


LAYOUT = """
:host { min-height: 0; }
"""
DOCK = """
:host {
  border-top: 1px solid rgba(128, 140, 155, .35);
  flex: 0 0 38% !important; height: 38% !important; min-height: 220px;
}
@media (max-width: 899px) { :host(.sp-dock) .sp-side, ::slotted(.sp-side) { display: none !important; } }
@media (max-width: 599px) { :host { display: none !important; } }
"""
