"""The dashboard as a page: header, notices, the overview, one strategy, a new one or the week, and the address that
names it.

`page()` builds it for `panel serve`; `Dashboard` is the same as a Viewer for a cell. Neither opens a file or polls
anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import panel as pn
import panel_material_ui as pmui

from stratpanel.dashboard.actions import strategy_path
from stratpanel.dashboard.look import BAR, THEME
from stratpanel.dashboard.new import NewStrategy
from stratpanel.dashboard.overview import Overview
from stratpanel.dashboard.screen import Screen
from stratpanel.dashboard.strategy import FILL, StrategyPage
from stratpanel.dashboard.week import Week
from stratpanel.dashboard.wire import Header, Notices
from stratpanel.model.errors import InvalidValue, NotFound

# The largest file is asked for by the page's own code, once everything else has run: have it brought with the rest.
# Panel loads modules through a shim that takes each apart and puts it together again, for browsers without import maps;
# a quarter of a second of a cold page. Nothing here needs a map, so the browser's own `import` does, and the shim is
# asked only if that fails.
SHELL = """{% extends "base.html" %}
{% block postamble %}
<link rel="modulepreload" href="PAGE_CODE">
{{ super() }}
<script>
(() => {
  const shim = window.importShim
  const direct = (url) => import(new URL(url, document.baseURI).href).catch(() => shim(url))
  window.importShim = Object.assign(direct, shim)
})()
</script>
{% endblock %}
""".replace("PAGE_CODE", pmui.Page._render_esm(server=True))

PAGES = ("board", "strategy", "new", "week")


class Dashboard(pn.viewable.Viewer):
    """Everything below the header; shows the overview, or another page in its place."""

    def __init__(
        self,
        screen: Screen,
        *,
        height: int | None = None,
        warning: str = "",
        start: Mapping[str, str] | None = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self.screen = screen
        self.overview = Overview(screen)
        self.notices = Notices(
            bus=screen.bus, warning=warning, cell=height is not None, sizing_mode="stretch_width", margin=0
        )
        self._shown: Any = None
        self._place = pn.Column(sizing_mode="stretch_both", margin=0, stylesheets=[FILL], visible=False)
        self._stage = pn.Column(self.overview, self._place, sizing_mode="stretch_both", margin=0, stylesheets=[FILL])
        sizing: dict[str, Any] = (
            {"sizing_mode": "stretch_both"} if height is None else {"sizing_mode": "stretch_width", "height": height}
        )
        self._layout = pn.Column(screen.wire, self.notices, self._stage, margin=0, stylesheets=[FILL], **sizing)
        for name, answer in (
            ("open", self._open),
            ("duplicate", self._duplicate),
            ("rename", self._rename),
            ("remove", self._remove),
        ):
            screen.wire.answer(name, answer)
        screen.on_scheme(self._repaint)
        screen.on_close(self._leave)
        self._go(start or {})

    def __panel__(self) -> pn.Column:
        return self._layout

    async def _open(self, message: Mapping[str, Any]) -> None:
        where = {key: str(message[key]) for key in ("page", "id", "tab", "run") if message.get(key)}
        if "search" in message:  # the browser went back or forward
            where = where_of(str(message["search"]))
        if where.get("page", "board") not in PAGES:
            raise InvalidValue(f"there is no page {where.get('page')!r}")
        if where.get("page") == "strategy" and where.get("id") not in self.screen.source.rows:
            raise NotFound(f"there is no strategy {where.get('id')!r}")
        self.screen.delivery.run(lambda: self._go(where))
        if "search" not in message:
            self.screen.wire.tell("goto", search=search_of(where))

    def _go(self, where: Mapping[str, str]) -> None:
        page = where.get("page", "board")
        id_, tab = where.get("id", ""), where.get("tab", "logs")
        if page == "strategy" and isinstance(self._shown, StrategyPage) and self._shown.id == id_:
            self._shown.turn_to(tab, run=where.get("run", ""))
            return
        self._leave()
        if page == "strategy":
            self._shown = StrategyPage(self.screen, id_, tab, run=where.get("run", ""))
        elif page == "new":
            self._shown = NewStrategy(self.screen)
        elif page == "week":
            self._shown = Week(self.screen)
        self._place[:] = [self._shown] if self._shown is not None else []
        self._place.visible = self._shown is not None
        self.overview.show(self._shown is None)

    def _leave(self) -> None:
        if self._shown is not None and hasattr(self._shown, "close"):
            self._shown.close()
        self._shown = None

    def _repaint(self, scheme: str) -> None:
        if isinstance(self._shown, StrategyPage):
            self._shown.repaint(scheme)

    # -- what is done to a strategy as a whole

    async def _duplicate(self, message: Mapping[str, Any]) -> dict[str, Any]:
        id_, to = str(message.get("id")), str(message.get("to") or "")
        await self.screen.actions.ask("POST", f"{strategy_path(id_)}/duplicate", body={"id": to}, action="duplicate")
        self.screen.wire.tell("goto", open={"page": "strategy", "id": to, "tab": "source"})
        return {"said": f"{to} is a copy of {id_}, on paper and without schedule"}

    async def _rename(self, message: Mapping[str, Any]) -> dict[str, Any]:
        id_, to = str(message.get("id")), str(message.get("to") or "")
        await self.screen.actions.ask("POST", f"{strategy_path(id_)}/rename", body={"id": to}, action="rename")
        self.screen.wire.tell("goto", open={"page": "strategy", "id": to, "tab": "settings"})
        return {"said": f"{id_} is {to} now"}

    async def _remove(self, message: Mapping[str, Any]) -> dict[str, Any]:
        id_ = str(message.get("id"))
        await self.screen.actions.ask("DELETE", strategy_path(id_), action="remove")
        self.screen.wire.tell("goto", open={"page": "board"})
        return {"said": f"{id_} was removed; its files, log and history stay"}


def where_of(search: str) -> dict[str, str]:
    """What an address's query names: `?strategy=ema&tab=logs`, `?page=week`."""
    query = {key: values[0] for key, values in parse_qs(search.lstrip("?")).items()}
    if query.get("strategy"):
        return {
            "page": "strategy",
            "id": query["strategy"],
            "tab": query.get("tab", "logs"),
            "run": query.get("run", ""),
        }
    page = query.get("page", "board")
    return {"page": page if page in PAGES and page != "strategy" else "board"}


def search_of(where: Mapping[str, str]) -> dict[str, str]:
    """The query that names a place."""
    page = where.get("page", "board")
    if page == "strategy":
        named = {"strategy": where.get("id", ""), "tab": where.get("tab", "logs"), "run": where.get("run", "")}
        return {key: value for key, value in named.items() if value}
    return {} if page == "board" else {"page": page}


def page(screen: Screen, *, title: str, warning: str = "", search: str = "") -> pmui.Page:
    """The whole web page of one session."""
    where = where_of(search)
    if where.get("page") == "strategy" and screen.source.rows and where.get("id") not in screen.source.rows:
        where = {}
    screen.wire.address = True
    dashboard = Dashboard(screen, warning=warning, start=where)
    header = Header(bus=screen.bus, title="stratpanel", sizing_mode="stretch_width", margin=0)
    built = pmui.Page(
        title="",
        meta_title=title,
        header=[header],
        main=[dashboard],
        theme_config=THEME,
        dark_theme=screen.scheme == "dark",
        theme_toggle=False,
        busy_indicator=None,
        template=SHELL,
        sx=BAR,
        sizing_mode="stretch_both",
    )

    _leave_busy(built)

    async def scheme(message: Mapping[str, Any]) -> None:
        dark = bool(message.get("dark"))

        def switch() -> None:
            built.dark_theme = dark
            screen.switch("dark" if dark else "light")

        screen.delivery.run(switch)

    screen.wire.answer("scheme", scheme)
    return built


def _leave_busy(built: pmui.Page) -> None:
    """Take the page off Panel's busy state, which is process-wide.

    Each action on any page would write to every page, and the state's list of watchers would keep every page for ever
    after its session (seen with panel-material-ui 0.16.6). `busy` holds a reference that Param offers no way to drop.
    """
    for watcher in list(pn.state.param.watchers.get("busy", {}).get("value", [])):
        parameters = getattr(watcher.fn, "__self__", None)
        if getattr(parameters, "self", None) is built:
            pn.state.param.unwatch(watcher)
