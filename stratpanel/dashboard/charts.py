"""CPU and memory over time, as Bokeh figures that grow by one point a second.

The overview's dock shows the last minutes of the chosen strategy; the strategy's page uses the same figures with more
history.
Points are streamed under the document lock through the page's delivery, never assigned anew.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import panel as pn
from bokeh.models import (
    BoxZoomTool,
    ColumnDataSource,
    CrosshairTool,
    DataRange1d,
    DatetimeTickFormatter,
    HoverTool,
    NumeralTickFormatter,
    PanTool,
    ResetTool,
    Span,
    WheelZoomTool,
)
from bokeh.plotting import figure

from stratpanel.dashboard.delivery import Delivery

ROLLOVER = 3600
EMPTY_S = 600  # what an empty chart spans
COLOURS = {
    "light": {
        "cpu": "#0b5cab",
        "memory": "#17713a",
        "limit": "#b3201b",
        "ink": "#55606e",
        "grid": "#e7ebf0",
        "ground": "#ffffff",
    },
    "dark": {
        "cpu": "#74b3ff",
        "memory": "#58c97b",
        "limit": "#ff8a80",
        "ink": "#9fabba",
        "grid": "#232c38",
        "ground": "#12171e",
    },
}


def clock_axis() -> DatetimeTickFormatter:
    """Each figure its own: a Bokeh model belongs to one document."""
    return DatetimeTickFormatter(
        seconds="%H:%M:%S",
        minsec="%H:%M:%S",
        minutes="%H:%M",
        hourmin="%H:%M",
        hours="%H:%M",
        days="%d %b",
        months="%d %b",
        context=None,
    )


def offset_of(zone: str) -> float:
    """Seconds to add for Bokeh, whose axis shows UTC, to show the clock of `zone` (the machine's where it has none)."""
    try:
        now = datetime.now(ZoneInfo(zone)) if zone else datetime.now().astimezone()
    except (ZoneInfoNotFoundError, ValueError):
        now = datetime.now().astimezone()
    offset = now.utcoffset()
    return offset.total_seconds() if offset else 0.0


def frame() -> ColumnDataSource:
    """Two corners that nobody sees: they give axes a range while there is nothing to draw. Shared by linked traces."""
    return ColumnDataSource({"t": [0.0, 1000.0 * EMPTY_S], "y": [0.0, 1.0]})


def set_frame(corners: ColumnDataSource, since: float, until: float, *, empty: bool) -> None:
    """From `since` to `until` (axis milliseconds) while `empty`; else only where the data end, which moves nothing."""
    corners.data = {"t": [since if empty else until, until], "y": [0.0, 1.0]}


def zoomable(**options: Any) -> Any:
    """A figure over time: moved and zoomed along its x axis alone, by the wheel only with Ctrl; no toolbar."""
    plot = figure(
        toolbar_location=None,
        output_backend="canvas",
        tools=[
            PanTool(dimensions="width"),
            BoxZoomTool(dimensions="width"),
            ResetTool(),
            CrosshairTool(dimensions="height"),
        ],
        min_border_right=14,
        min_border_top=4,
        min_border_bottom=18,
        outline_line_color=None,
        **options,
    )
    wheel = WheelZoomTool(dimensions="width", modifiers={"ctrl": True})
    plot.add_tools(wheel)
    plot.toolbar.active_scroll = wheel
    return plot


def paint_figure(plot: Any, scheme: str) -> None:
    """Give a figure's ground, axes and grid the colours of the light or dark scheme."""
    colour = COLOURS[scheme]
    plot.update(background_fill_color=colour["ground"], border_fill_color=colour["ground"])
    plot.title.text_color = colour["ink"]
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.update(
            axis_line_color=None,
            major_tick_line_color=colour["grid"],
            minor_tick_line_color=None,
            major_label_text_color=colour["ink"],
            major_label_text_font_size="11px",
        )
    for grid in (*plot.xgrid, *plot.ygrid):
        grid.grid_line_color = colour["grid"]


class Trace:
    """One line over time (`cpu_percent`, `memory_mb`, …) with an optional limit line."""

    def __init__(
        self,
        source: ColumnDataSource,
        column: str,
        title: str,
        unit: str,
        *,
        tone: str,
        corners: ColumnDataSource,
        x_range: Any = None,
        height: int | None = None,
    ) -> None:
        self.column = column
        self._tone = tone
        x_range = x_range or DataRange1d(range_padding=0, follow_interval=None, syncable=False)
        self.figure = zoomable(
            x_axis_type="datetime",
            x_range=x_range,
            y_range=DataRange1d(start=0, range_padding=0.15, only_visible=True, syncable=False),
            syncable=False,  # else every page tells the server each second how far its axis has grown
            height=height or 130,
            min_height=70,
            sizing_mode="stretch_both" if height is None else "stretch_width",
            min_border_left=52,
        )
        self.figure.scatter("t", "y", source=corners, size=1, alpha=0)
        line = self.figure.line("t", column, source=source, line_width=1.5)
        self._line = line.glyph
        self._area = self.figure.varea("t", 0, column, source=source, fill_alpha=0.12).glyph
        self.figure.add_tools(
            HoverTool(
                renderers=[line],
                mode="vline",
                line_policy="nearest",
                tooltips=[("", "@t{%F %T}"), (title, f"@{column}{{0.0}} {unit}")],
                formatters={"@t": "datetime"},
            )
        )
        self.figure.xaxis.formatter = clock_axis()
        self.figure.yaxis.formatter = NumeralTickFormatter(format="0[.]0")
        self.figure.yaxis.ticker.desired_num_ticks = 3
        self.figure.title.text = f"{title}, {unit}" if unit else title
        self.figure.title.update(text_font_size="11px", text_font_style="normal", offset=-40, standoff=8)
        self._marks: list[Span] = []
        self._signs: list[tuple[float, bool]] = []
        self._limit = Span(dimension="width", line_dash="dashed", line_width=1, location=0, visible=False)
        self.figure.add_layout(self._limit)

    def limit(self, value: float | None) -> None:
        """Show a dashed line at `value`, or none."""
        if value:
            self._limit.update(location=value, visible=True)
        else:
            self._limit.visible = False

    def mark(self, signs: Sequence[tuple[float, bool]], scheme: str) -> None:
        """Draw a line at each of these times (axis milliseconds), instead of the ones before: dotted for a start,
        solid for a bad end (the second of the pair)."""
        self._signs = list(signs)
        looks = [self._look(at, bad, scheme) for at, bad in signs]
        for look in looks[len(self._marks) :]:  # complete before it is added: a change before it has a view is an error
            span = Span(dimension="height", **look)
            self._marks.append(span)
            self.figure.add_layout(span)
        for at, span in enumerate(self._marks):
            if at < len(looks):
                span.update(**looks[at])
            else:
                span.visible = False

    @staticmethod
    def _look(at: float, bad: bool, scheme: str) -> dict[str, Any]:
        colour = COLOURS[scheme]["limit" if bad else "ink"]
        return {
            "location": at,
            "line_color": colour,
            "line_dash": "solid" if bad else "dotted",
            "line_width": 1.5 if bad else 1,
            "visible": True,
        }

    def paint(self, scheme: str) -> None:
        """Take the colours of the light or dark scheme."""
        colour = COLOURS[scheme]
        paint_figure(self.figure, scheme)
        self._line.line_color = colour[self._tone]
        self._area.fill_color = colour[self._tone]
        self._limit.line_color = colour["limit"]
        if self._signs:
            self.mark(self._signs, scheme)


class UsageCharts:
    """CPU above memory, one shared time axis and one stream."""

    def __init__(self, scheme: str = "light") -> None:
        self._offset_s = 0.0
        self.source = ColumnDataSource({"t": [], "cpu_percent": [], "memory_mb": []})
        self._corners = frame()
        self._framed = 0.0
        self.cpu = Trace(self.source, "cpu_percent", "CPU", "% of a core", tone="cpu", corners=self._corners)
        shared = self.cpu.figure.x_range
        self.memory = Trace(
            self.source, "memory_mb", "Memory", "MiB", tone="memory", corners=self._corners, x_range=shared
        )
        self.paint(scheme)
        self.view = pn.Column(
            pn.pane.Bokeh(self.cpu.figure, sizing_mode="stretch_both", margin=0),
            pn.pane.Bokeh(self.memory.figure, sizing_mode="stretch_both", margin=0),
            sizing_mode="stretch_both",
            margin=0,
        )

    def paint(self, scheme: str) -> None:
        """Follow the page's scheme."""
        self.cpu.paint(scheme)
        self.memory.paint(scheme)

    def load(self, usage: Mapping[str, Sequence[Any]], limit: float | None, zone: str = "") -> None:
        """Replace everything by the API's usage answer (gaps are null there and NaN here), on the clock of `zone`."""
        nan = float("nan")
        self._offset_s = offset_of(zone)
        columns = {
            name: [nan if value is None else value for value in usage.get(name) or ()]
            for name in ("cpu_percent", "memory_mb")
        }
        times = [1000 * (t + self._offset_s) for t in usage.get("t") or ()]
        self.source.data = {"t": times, **columns}
        self._frame(time.time(), empty=not times)
        self.memory.limit(limit)

    def _frame(self, now: float, *, empty: bool) -> None:
        self._framed = now
        until = 1000 * (now + self._offset_s)
        set_frame(self._corners, until - 1000 * EMPTY_S, until, empty=empty)

    def point(self, delivery: Delivery, epoch: float, cpu: float | None, memory: float | None) -> None:
        """Add one second; unknown is a gap."""
        columns = {"cpu_percent": [cpu], "memory_mb": [memory]}
        delivery.append(self.source, {"t": [1000 * (epoch + self._offset_s)], **columns}, ROLLOVER)
