"""CPU, memory, threads and open files of one strategy: history first, then live; starts and bad ends of runs marked.

Five minutes to thirty days. Short spans grow by a point a second; long ones are read again as their step passes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import panel as pn
from bokeh.models import ColumnDataSource

from stratpanel.dashboard import material
from stratpanel.dashboard.actions import strategy_path
from stratpanel.dashboard.charts import Trace, frame, offset_of, set_frame
from stratpanel.dashboard.forms import words_of
from stratpanel.dashboard.screen import Screen
from stratpanel.model.errors import StratpanelError
from stratpanel.model.states import ended_badly

SPANS = {"5 min": 300, "1 h": 3600, "6 h": 6 * 3600, "1 day": 86400, "7 days": 7 * 86400, "30 days": 30 * 86400}
LIVE_UP_TO = 3600
POINTS = 720
QUICK = ("cpu_percent", "memory_mb")
SLOW = ("threads", "open_files")  # read every ten seconds or so: no gaps are drawn between them
MARKS = 60
NEWS_S = 60.0  # how often short spans are read again, for what is sampled slowly
FIRST_NEWS_S = 5.0  # the same while it runs and there is no line of that yet: charts that stay empty look broken
HELD_MS = 15_000.0  # a little more than the time between two of those samples
NAN = float("nan")


def signs_of(runs: Sequence[Mapping[str, Any]], since: float) -> list[tuple[float, bool]]:
    """When runs started (False) and came to a bad end (True), from `since` on; epoch seconds."""
    signs = []
    for run in runs:
        if run.get("started"):
            signs.append((datetime.fromisoformat(str(run["started"])).timestamp(), False))
        if ended_badly(run):
            signs.append((datetime.fromisoformat(str(run["ended"])).timestamp(), True))
    return [sign for sign in signs if sign[0] >= since]


def known_points(times: Sequence[float], values: Sequence[float | None]) -> tuple[list[float], list[float]]:
    """The samples among `values`, the last one held up to the newest time: one alone would be a line of no length.

    Times are in ms; held only until the next sample was due, so what has ended is not drawn as going on.
    """
    known = [(t, value) for t, value in zip(times, values, strict=False) if value is not None]
    if known and known[-1][0] < times[-1] <= known[-1][0] + HELD_MS:
        known.append((times[-1], known[-1][1]))
    return [t for t, _ in known], [value for _, value in known]


class Resources(pn.viewable.Viewer):
    """Four linked charts of one strategy."""

    def __init__(self, screen: Screen, id_: str, **params: Any) -> None:
        super().__init__(**params)
        self._screen = screen
        self._id = id_
        self._closed = False
        self._reads = 0
        self._due = 0.0
        row = screen.source.rows.get(id_, {})
        self._offset_s = offset_of(screen.feed.zone(id_))
        self._source = ColumnDataSource({"t": [], **{name: [] for name in QUICK}})
        self._slow = {name: ColumnDataSource({"t": [], name: []}) for name in SLOW}
        self._corners = frame()
        cpu = Trace(self._source, "cpu_percent", "CPU", "% of a core", tone="cpu", corners=self._corners)
        linked = {"corners": self._corners, "x_range": cpu.figure.x_range}
        self._memory = Trace(self._source, "memory_mb", "Memory", "MiB", tone="memory", **linked)
        threads = Trace(self._slow["threads"], "threads", "Threads", "", tone="cpu", **linked)
        files = Trace(self._slow["open_files"], "open_files", "Open files", "", tone="memory", **linked)
        self._traces = (cpu, self._memory, threads, files)
        self._memory.limit(row.get("memory_limit_mb"))
        self._span = material.RadioButtonGroup(
            options=list(SPANS), value="1 h", size="small", button_type="primary", margin=0
        )
        self._span.param.watch(self._changed, "value")
        self._note = words_of(opacity=".8")
        self.paint(screen.scheme)
        bar = pn.Row(self._span, self._note, material.Code(), margin=(8, 14, 4, 14))
        charts = pn.Column(
            *(pn.pane.Bokeh(trace.figure, sizing_mode="stretch_both", margin=0) for trace in self._traces),
            sizing_mode="stretch_both",
            margin=(0, 8),
        )
        self._layout = pn.Column(bar, charts, sizing_mode="stretch_both", margin=0)
        screen.on_beat(self._beat)
        screen.delivery.spawn(self._read())

    def __panel__(self) -> pn.Column:
        return self._layout

    def paint(self, scheme: str) -> None:
        """Follow the page's scheme."""
        for trace in self._traces:
            trace.paint(scheme)

    def close(self) -> None:
        """Take no more points."""
        self._closed = True

    @property
    def _seconds(self) -> int:
        return SPANS[self._span.value]

    def _changed(self, _event: Any) -> None:
        self._screen.delivery.spawn(self._read())

    async def _read(self) -> None:
        self._reads += 1
        mine, span, now = self._reads, self._seconds, time.time()
        step = max(1, span // POINTS)
        self._due = now + max(step, 5)
        path = strategy_path(self._id)
        try:
            usage = await self._screen.actions.get(f"{path}/usage", since=now - span, step=step)
            runs = (await self._screen.actions.get(f"{path}/runs", limit=200)).get("runs") or []
            problem = ""
        except StratpanelError as error:
            usage, runs, problem = {}, [], f"history could not be read: {error.message}"
        if mine == self._reads and not self._closed:
            self._screen.delivery.run(lambda: self._load(usage, runs, now - span, problem))

    def _load(
        self, usage: Mapping[str, Sequence[Any]], runs: Sequence[Mapping[str, Any]], since: float, problem: str
    ) -> None:
        times = [1000 * (t + self._offset_s) for t in usage.get("t") or ()]
        count = len(times)
        columns = {
            name: [NAN if value is None else value for value in usage.get(name) or [NAN] * count] for name in QUICK
        }
        self._source.data = {"t": times, **columns}
        until = 1000 * (time.time() + self._offset_s)
        set_frame(self._corners, 1000 * (since + self._offset_s), until, empty=not count)
        for name, source in self._slow.items():
            source.data = dict(zip(("t", name), known_points(times, usage.get(name) or ()), strict=True))
        signs = sorted(signs_of(runs, since), reverse=True)[:MARKS]
        for trace in self._traces:
            trace.mark([(1000 * (at + self._offset_s), bad) for at, bad in signs], self._screen.scheme)
        bad = sum(bad for _, bad in signs)
        starts = len(signs) - bad
        said = [
            text
            for text in (
                problem,
                f"{starts} start{'s' if starts > 1 else ''} in this span: dotted lines" if starts else "",
                f"{bad} bad end{'s' if bad > 1 else ''}: solid lines" if bad else "",
                "" if count else "no samples in this span",
            )
            if text
        ]
        self._note.object = "; ".join(said)

    def _beat(self, now: float) -> None:
        if self._closed:
            return
        if self._seconds > LIVE_UP_TO:
            if now > self._due:
                self._screen.delivery.spawn(self._read())
            return
        cpu, memory = self._screen.source.usage.get(self._id, (None, None))
        point = {
            "t": [1000 * (now + self._offset_s)],
            "cpu_percent": [NAN if cpu is None else cpu],
            "memory_mb": [NAN if memory is None else memory],
        }
        rollover = self._seconds if self._seconds < LIVE_UP_TO else LIVE_UP_TO
        waits = cpu is not None and any(len(source.data["t"]) < 2 for source in self._slow.values())
        if now > self._due + (FIRST_NEWS_S if waits else NEWS_S):
            self._screen.delivery.spawn(self._read())  # threads and open files come with the history
            return
        self._screen.delivery.run(lambda: self._source.stream(point, rollover=rollover))
