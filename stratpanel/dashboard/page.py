"""The dashboard as a page: header, notices, the overview or one strategy, and the address that names what is shown.

`page()` builds it for `panel serve`; `Dashboard` is the same as a Viewer for a cell. Neither opens a file or polls anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import panel as pn
import panel_material_ui as pmui

from stratpanel.dashboard.overview import Overview
from stratpanel.dashboard.screen import Screen
from stratpanel.dashboard.wire import Header, Notices
from stratpanel.model.errors import InvalidValue

FONT = '"Roboto", "Segoe UI", system-ui, sans-serif'
THEME: dict[str, dict[str, Any]] = {
    "light": {
        "palette": {
            "primary": {"main": "#0b5cab"},
            "error": {"main": "#b3201b"},
            "success": {"main": "#17713a"},
            "warning": {"main": "#855200"},
            "background": {"default": "#ffffff", "paper": "#ffffff"},
            "text": {"primary": "#17202b", "secondary": "#55606e"},
            "divider": "#dde2e8",
        }
    },
    "dark": {
        "palette": {
            "primary": {"main": "#74b3ff", "contrastText": "#0a1420"},
            "error": {"main": "#ff8a80"},
            "success": {"main": "#58c97b"},
            "warning": {"main": "#e5b454"},
            "background": {"default": "#12171e", "paper": "#12171e"},
            "text": {"primary": "#e4e9f0", "secondary": "#9fabba"},
            "divider": "#283140",
        }
    },
}
for _scheme in THEME.values():
    _scheme["typography"] = {"fontFamily": FONT, "fontSize": 13}
    _scheme["shape"] = {"borderRadius": 6}

BAR = {
    "& .header": {
        "backgroundColor": "background.paper",
        "backgroundImage": "none",
        "color": "text.primary",
        "boxShadow": "none",
        "borderBottom": "1px solid",
        "borderColor": "divider",
    },
    "& .header .MuiToolbar-root": {"minHeight": "48px", "px": "14px"},
    "& main": {"paddingTop": "0px"},
    "& main > .MuiToolbar-root, & main .MuiToolbar-root": {"minHeight": "49px"},
}


class Dashboard(pn.viewable.Viewer):
    """Everything below the header; switches between the overview and one strategy."""

    def __init__(self, screen: Screen, *, height: int | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.screen = screen
        self.overview = Overview(screen)
        self.notices = Notices(bus=screen.bus, sizing_mode="stretch_width", margin=0)
        sizing: dict[str, Any] = (
            {"sizing_mode": "stretch_both"} if height is None else {"sizing_mode": "stretch_width", "height": height}
        )
        self._stage = pn.Column(self.overview, sizing_mode="stretch_both", margin=0, stylesheets=[STAGE])
        self._layout = pn.Column(screen.wire, self.notices, self._stage, margin=0, stylesheets=[STAGE], **sizing)
        screen.wire.answer("open", self._open)

    def __panel__(self) -> pn.Column:
        return self._layout

    async def _open(self, message: Mapping[str, Any]) -> None:
        what = message.get("page")
        if what not in ("board", "strategy", "new"):
            raise InvalidValue(f"there is no page {what!r}")


STAGE = ":host { display: flex !important; flex-direction: column; min-height: 0; }"


def page(screen: Screen, *, title: str, warning: str = "") -> pmui.Page:
    """The whole web page of one session."""
    dashboard = Dashboard(screen)
    header = Header(bus=screen.bus, title="stratpanel", warning=warning, sizing_mode="stretch_width", margin=0)
    built = pmui.Page(
        title="",
        meta_title=title,
        header=[header],
        main=[dashboard],
        theme_config=THEME,
        dark_theme=screen.scheme == "dark",
        theme_toggle=False,
        busy_indicator=None,
        sx=BAR,
        sizing_mode="stretch_both",
    )

    async def scheme(message: Mapping[str, Any]) -> None:
        dark = bool(message.get("dark"))

        def switch() -> None:
            built.dark_theme = dark
            screen.switch("dark" if dark else "light")

        screen.delivery.run(switch)

    screen.wire.answer("scheme", scheme)
    return built
