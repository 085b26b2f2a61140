"""The Live tab: what a run reports through `stratpanel.live`, growing while it runs, and earlier runs to compare with.

A Viewer like the other tabs. It asks the API only for what came since, once a second, while somebody looks and the run
lives; how much is drawn and listed is bounded whatever a strategy reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import panel as pn
import param

from stratpanel.dashboard.actions import strategy_path
from stratpanel.dashboard.assets import script, styles
from stratpanel.dashboard.charts import offset_of
from stratpanel.dashboard.feed import encode
from stratpanel.dashboard.metrics import LETTERS, STROKES, Axis, Basis, Curve, RunCharts
from stratpanel.dashboard.screen import Screen
from stratpanel.dashboard.wire import Asking
from stratpanel.model.errors import NotFound, StratpanelError

READ = 20_000
"""Metric lines of one run that are read at first: five hours at one a second."""
LISTED = 400
"""Signals and notes that the list shows."""
RUNS = 200
MOST = len(LETTERS)


class LiveBar(Asking):
    """Which run is shown and which are compared; what to do when nothing was ever reported."""

    strategy = param.String()

    _esm = script("livebar")
    _stylesheets = styles("live")


class LiveList(Asking):
    """Signals and notes with their times, newest first, as text."""

    _esm = script("livelist")
    _stylesheets = styles("livelist")


class Reported(pn.viewable.Viewer):
    """The Live tab of one strategy; `looked_at()` tells whether somebody sees it."""

    def __init__(self, screen: Screen, id_: str, looked_at: Callable[[], bool], **params: Any) -> None:
        super().__init__(**params)
        self._screen = screen
        self._id = id_
        self._looked_at = looked_at
        self._wanted: list[str] = [""]  # run ids; "" is the newest
        self._basis: Basis = "clock"
        self._axis: tuple[Basis, Axis] | None = None
        self._curves: list[Curve] = []
        self._next: list[int] = []
        self._told: list[dict[str, Any]] = []
        self._runs: list[dict[str, Any]] = []
        self._charts: RunCharts | None = None
        self._note = ""
        self._heartbeat: dict[str, Any] | None = None
        self._reads = 0
        self._drawn: set[str] = set()  # parts that the browser knows; a message to another overtakes its model
        self._asking = False
        self._alive = ""  # the run that was growing at the last look
        self._closed = False
        self.bar = LiveBar(
            self._message, bus=screen.bus, strategy=id_, sizing_mode="stretch_width", margin=0, min_height=44
        )
        self.list = LiveList(self._from_list, bus=screen.bus, width=330, sizing_mode="stretch_height", margin=0)
        self._plots = pn.Column(
            sizing_mode="stretch_both",
            margin=(0, 8),
            scroll="y-auto",
            stylesheets=[FILL],
            css_classes=["sp-reported"],
        )
        self._row = pn.Row(self._plots, self.list, sizing_mode="stretch_both", margin=0, stylesheets=[SIDE])
        self._layout = pn.Column(self.bar, sizing_mode="stretch_both", margin=0, stylesheets=[FILL])
        screen.on_beat(self._beat)

    def __panel__(self) -> pn.Column:
        return self._layout

    def paint(self, scheme: str) -> None:
        """Follow the page's scheme."""
        if self._charts is not None:
            self._charts.paint(scheme)

    def close(self) -> None:
        """Ask no more."""
        self._closed = True

    # -- what the browser says

    def _from_list(self, message: Mapping[str, Any]) -> None:
        self._message({**message, "list": True})

    def _message(self, message: Mapping[str, Any]) -> None:
        do = message.get("do")
        if do == "ready":
            # Only now: a view that changes before its browser has drawn it would never be right again.
            self._drawn.add("list" if message.get("list") else "bar")
            if not self._reads:
                self._screen.delivery.spawn(self._read())
            else:
                self._tell_list() if message.get("list") else self._tell_bar()
            return
        if do == "choose":
            self._wanted = [str(message.get("run") or ""), *self._wanted[1:]]
        elif do == "compare":
            others = [str(run) for run in message.get("runs") or ()]
            self._wanted = [self._wanted[0], *dict.fromkeys(run for run in others if run)][:MOST]
            if len(self._wanted) > 1:
                self._basis = "start"
        elif do == "basis":
            self._basis = "start" if message.get("basis") == "start" else "clock"
        self._screen.delivery.spawn(self._read())

    # -- reading

    async def _live(self, **query: Any) -> dict[str, Any]:
        found: dict[str, Any] = await self._screen.actions.get(f"{strategy_path(self._id)}/live", **query)
        return found

    async def _read(self) -> None:
        """Read the wanted runs as a whole and draw them anew."""
        self._reads += 1
        mine = self._reads
        try:
            runs = (await self._screen.actions.get(f"{strategy_path(self._id)}/runs", limit=RUNS)).get("runs") or []
            bodies: list[dict[str, Any]] = []
            for run in self._wanted:
                try:
                    body = await self._live(run=run or None, limit=READ)
                except NotFound:  # its reports were cleaned away while it was chosen
                    continue
                if body["run_id"] and body["run_id"] not in [known["run_id"] for known in bodies]:
                    bodies.append(body)
            if not bodies:
                bodies = [await self._live(limit=1)]
            problem = ""
        except StratpanelError as error:
            runs, bodies, problem = [], [], f"the reports could not be read: {error.message}"
        if mine == self._reads and not self._closed:
            self._screen.delivery.run(lambda: self._show(runs, bodies, problem))

    def _show(self, runs: list[dict[str, Any]], bodies: list[dict[str, Any]], problem: str) -> None:
        known = {str(run["run_id"]): run for run in runs if run.get("run_id")}
        reporting = bodies[0]["runs"] if bodies else []
        zone = self._screen.feed.zone(self._id)
        self._runs = [self._described(run_id, known.get(run_id, {})) for run_id in reporting[:RUNS]]
        bodies = [body for body in bodies if body["run_id"]]
        self._curves, self._next, self._told = [], [], []
        for place, body in enumerate(bodies):
            run = self._described(body["run_id"], known.get(body["run_id"], {}))
            curve = Curve(body["run_id"], run["label"], run["started"])
            curve.take(body)
            self._curves.append(curve)
            self._next.append(body["next"])
            self._told += _rows(body, place)
        if self._axis is None or self._axis[0] != self._basis:
            self._axis = (self._basis, Axis(self._basis, offset_of(zone)))
        self._charts = RunCharts(self._curves, self._axis[1], self._screen.scheme) if self._curves else None
        figures = self._charts.figures if self._charts is not None else []
        self._plots[:] = [pn.pane.Bokeh(plot, sizing_mode="stretch_width", margin=0) for plot in figures]
        self._layout[:] = [self.bar, self._row] if self._curves else [self.bar]
        if not self._curves:
            self._drawn.discard("list")
        self._heartbeat = bodies[0]["heartbeat"] if bodies else None
        self._note = problem or self._remark(bodies)
        self._tell_bar()
        self._tell_list()

    def _described(self, run_id: str, run: Mapping[str, Any]) -> dict[str, Any]:
        """A run for the chooser: when it started (epoch seconds), its version and mode, whether it goes on."""
        started = run.get("started")
        at = datetime.fromisoformat(str(started)).timestamp() if started else started_of(run_id)
        words = [f"v{run['version']}" if run.get("version") is not None else "", str(run.get("mode") or "")]
        return {
            "run_id": run_id,
            "started": at,
            "label": " ".join(word for word in words if word),
            "on": run_id == self._growing,
        }

    def _remark(self, bodies: list[dict[str, Any]]) -> str:
        said = []
        if any(body["cut"] for body in bodies):
            said.append(f"the newest {READ:,} reports of a run are drawn; older ones are in log/live")
        if self._charts is not None and self._charts.left_out:
            said.append(f"{self._charts.left_out} more metrics are not drawn")
        growing = self._growing
        if growing and self._wanted[0] == "" and bodies and bodies[0]["run_id"] != growing:
            said.append("the run under way has reported nothing yet; this is the newest one that did")
        return "; ".join(said)

    @property
    def _growing(self) -> str:
        """The run under way; empty where none is."""
        row = self._screen.source.rows.get(self._id, {})
        return str(row.get("run_id") or "") if row.get("pid") is not None else ""

    # -- growing

    def _beat(self, _now: float) -> None:
        if self._closed or self._asking or not self._looked_at():
            return
        if not self._reads:  # the page is drawn, since it beats; the bar's own word was late
            self._screen.delivery.spawn(self._read())
            return
        growing, before = self._growing, self._alive
        if not growing and not before:
            return
        self._alive = growing  # one look more after the end: its last words
        self._asking = True
        self._screen.delivery.spawn(self._follow(growing or before, ended=growing != before and bool(before)))

    async def _follow(self, run: str, *, ended: bool) -> None:
        """What this run reported since the last look, put at the end of its lines."""
        mine, places = self._reads, [place for place, curve in enumerate(self._curves) if curve.run_id == run]
        try:
            if not places:
                newest = (await self._live(limit=1))["run_id"]
                shown = self._curves[0].run_id if self._curves else None
                if ended or (self._wanted[0] == "" and newest is not None and newest != shown):
                    await self._read()
                return
            body = await self._live(run=run, after=self._next[places[0]], limit=READ)
        except StratpanelError:  # the notice across the page says that the supervisor does not answer
            return
        finally:
            self._asking = False
        if mine == self._reads and not self._closed:
            self._screen.delivery.run(lambda: self._grow(places[0], body, mine))
        if ended:
            await self._read()

    def _grow(self, place: int, body: Mapping[str, Any], read: int) -> None:
        if read != self._reads or self._charts is None:
            return
        if self._charts.needs_new(body):
            self._screen.delivery.spawn(self._read())
            return
        self._next[place] = body["next"]
        self._charts.grow(place, body)
        rows = _rows(body, place)
        if rows:
            self._told = (self._told + rows)[-LISTED:]
            self._say(self.list, k="more", rows=rows[-LISTED:])
        if place == 0 and body["heartbeat"]:
            self._heartbeat = body["heartbeat"]
            self._say(self.bar, k="beat", heartbeat=self._heartbeat)

    # -- what the browser hears

    def _tell_bar(self) -> None:
        shown = [
            {
                "run_id": curve.run_id,
                "letter": LETTERS[place],
                "light": STROKES[place][0],
                "dark": STROKES[place][1],
                "dash": STROKES[place][2],
                "label": curve.label,
                "started": curve.started,
            }
            for place, curve in enumerate(self._curves)
        ]
        self._say(
            self.bar,
            k="bar",
            runs=self._runs,
            chosen=self._wanted[0],
            shown=shown,
            basis=self._basis,
            note=self._note,
            most=MOST,
            read=self._reads > 0,
            heartbeat=self._heartbeat,
            zone=self._screen.feed.zone(self._id),
        )

    def _tell_list(self) -> None:
        self._told = sorted(self._told, key=lambda row: float(row["t"]))[-LISTED:]
        zone = self._screen.feed.zone(self._id)
        self._say(self.list, k="all", rows=self._told, zone=zone, several=len(self._curves) > 1, most=LISTED)

    def _say(self, component: Asking, **fields: Any) -> None:
        if component is self.bar or "list" in self._drawn:
            self._screen.delivery.post(component, encode(fields))


def _rows(body: Mapping[str, Any], place: int) -> list[dict[str, Any]]:
    """Signals and notes of an answer for the list, oldest first."""
    letter = LETTERS[place]
    rows = [
        {"t": signal["t"], "run": letter, "side": signal["side"][:60], "fields": _short(signal["fields"])}
        for signal in body["signals"]
    ]
    rows += [{"t": note["t"], "run": letter, "text": note["text"]} for note in body["notes"]]
    return sorted(rows, key=lambda row: float(row["t"]))


def _short(fields: Any) -> list[list[str]]:
    """A signal's fields as pairs of text."""
    pairs = fields.items() if isinstance(fields, Mapping) else ()
    return [[str(name)[:60], str(value)[:200]] for name, value in list(pairs)[:20]]


def started_of(run_id: str) -> float:
    """The UTC start that a run id carries, as epoch seconds; 0 for an id of another shape."""
    parts = run_id.split("~")
    try:
        return datetime.strptime(parts[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except (IndexError, ValueError):  # a file that somebody put there
        return 0.0


FILL = ":host { min-height: 0; }"
SIDE = """
:host { min-height: 0; }
@media (max-width: 899px) { :host { flex-direction: column !important; } }
"""
