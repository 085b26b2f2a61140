"""The week ahead of all strategies on one time axis: windows over the sessions of their markets."""

from __future__ import annotations

from typing import Any

import panel as pn

from stratpanel.dashboard.assets import script, styles
from stratpanel.dashboard.screen import Screen
from stratpanel.dashboard.strategy import FILL
from stratpanel.dashboard.wire import Drawn


class Timeline(Drawn):
    """The week's bars."""

    _esm = script("week")
    _stylesheets = styles("week")


class Week(pn.viewable.Viewer):
    """A page with the timeline."""

    def __init__(self, screen: Screen, **params: Any) -> None:
        super().__init__(**params)
        self._layout = pn.Column(
            Timeline(bus=screen.bus, sizing_mode="stretch_both", margin=0),
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[FILL],
        )

    def __panel__(self) -> pn.Column:
        return self._layout
