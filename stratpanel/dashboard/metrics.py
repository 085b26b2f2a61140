"""Figures of what strategies report: a chart per metric with a line per run, and a strip with the signals of each run.

The Live tab lets them grow point by point; a notebook's comparison draws them once. Runs differ by colour and dash and
letter, signals by shape and word, so that nothing hangs on colour alone. All text is drawn, never parsed as markup.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bokeh.models import (
    AdaptiveTicker,
    BasicTickFormatter,
    ColumnDataSource,
    DataRange1d,
    HoverTool,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.plotting import figure

from stratpanel.dashboard.charts import COLOURS, clock_axis, offset_of, paint_figure, zoomable

Basis = Literal["clock", "start"]

POINTS = 4000
"""Points of one line that are drawn; of more, the extremes of each stretch are kept."""
ROLLOVER = 2 * POINTS
"""Points of one line that a growing chart holds."""
CHARTS = 16
LETTERS = "ABCDEF"
STROKES: tuple[tuple[str, str, list[int]], ...] = (
    ("#0b5cab", "#74b3ff", []),
    ("#b3541e", "#ffb074", [7, 3]),
    ("#17713a", "#58c97b", [2, 3]),
    ("#7a2e8e", "#dc9bf0", [8, 3, 2, 3]),
    ("#55606e", "#9fabba", [12, 4]),
    ("#855200", "#e5b454", [1, 3, 5, 3]),
)
UP = frozenset({"buy", "long", "enter", "entry", "cover"})
DOWN = frozenset({"sell", "short", "exit", "close"})


@dataclass
class Curve:
    """One run's reports: `metrics` as (times, values) without gaps, times in epoch seconds; signals as the API's."""

    run_id: str
    label: str
    started: float
    metrics: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    signals: list[Mapping[str, Any]] = field(default_factory=list)

    def take(self, body: Mapping[str, Any]) -> None:
        """Add what an answer of `GET …/live` holds; each metric keeps only the times it was reported at."""
        for name, column in body["metrics"].items():
            times, values = self.metrics.setdefault(name, ([], []))
            for at, value in zip(body["t"], column, strict=True):
                if value is not None:
                    times.append(at)
                    values.append(value)
        self.signals.extend(body["signals"])

    def value_at(self, name: str, at: float) -> float:
        """The metric's last value at this moment; its first one before that."""
        times, values = self.metrics[name]
        return values[max(0, bisect_right(times, at) - 1)]


def thinned(times: Sequence[float], values: Sequence[float], points: int = POINTS) -> tuple[list[float], list[float]]:
    """At most about `points` of them: the lowest and highest of each stretch, so that no spike is lost."""
    count = len(times)
    if count <= points:
        return list(times), list(values)
    stretch = -(-2 * count // points)
    kept = {0, count - 1}
    for begin in range(0, count, stretch):
        part = range(begin, min(begin + stretch, count))
        kept |= {min(part, key=values.__getitem__), max(part, key=values.__getitem__)}
    order = sorted(kept)
    return [times[n] for n in order], [values[n] for n in order]


def marker_of(side: str) -> str:
    """The shape of a signal: up for what buys, down for what sells, else a diamond."""
    word = side.strip().lower()
    return "triangle" if word in UP else "inverted_triangle" if word in DOWN else "diamond"


def said(signal: Mapping[str, Any]) -> str:
    """A signal's fields in a line."""
    return ", ".join(f"{name} {value}" for name, value in (signal.get("fields") or {}).items())[:300]


class Axis:
    """How a moment becomes a place: the clock of a zone, or seconds since the run's start."""

    def __init__(self, basis: Basis, offset_s: float = 0.0) -> None:
        self.basis = basis
        self._offset_s = offset_s
        self.range = DataRange1d(range_padding=0.01, follow_interval=None, syncable=False)

    def places(self, curve: Curve, times: Sequence[float]) -> list[float]:
        """Places of these epoch seconds on the axis."""
        if self.basis == "start":
            return [at - curve.started for at in times]
        return [1000 * (at + self._offset_s) for at in times]

    def dress(self, plot: Any) -> None:
        """Give a figure this axis: its ticks read as times of day, or as hours, minutes and seconds since the start."""
        if self.basis == "clock":
            plot.xaxis.formatter = clock_axis()
            return
        plot.xaxis.ticker = AdaptiveTicker(base=60, mantissas=[1, 2, 5, 10, 15, 30], min_interval=1)
        plot.xaxis.formatter = NumeralTickFormatter(format="00:00:00")

    @property
    def hover(self) -> tuple[str, dict[str, str]]:
        """The tooltip's format of a place."""
        return ("@x{%F %T}", {"@x": "datetime"}) if self.basis == "clock" else ("@x{00:00:00} since its start", {})


def _figure(axis: Axis, **options: Any) -> Any:
    plot = zoomable(
        x_axis_type="datetime" if axis.basis == "clock" else "linear",
        x_range=axis.range,
        sizing_mode="stretch_width",
        min_border_left=64,
        **options,
    )
    axis.dress(plot)
    return plot


def stroke(place: int, scheme: str) -> str:
    """The colour of the run at this place."""
    light, dark, _dash = STROKES[place % len(STROKES)]
    return dark if scheme == "dark" else light


class MetricChart:
    """One metric, a line for each run that reported it, its signals as shapes on the line."""

    def __init__(self, name: str, axis: Axis, scheme: str, height: int = 150) -> None:
        self.name = name
        self._axis = axis
        self._lines: dict[int, tuple[ColumnDataSource, ColumnDataSource, Any, Any]] = {}
        self._scheme = scheme
        self.figure = _figure(
            axis, height=height, y_range=DataRange1d(range_padding=0.15, only_visible=True, syncable=False)
        )
        self.figure.title.text = name.replace("$$", "$ $")[:80]  # two dollars would call for a formula renderer
        self.figure.title.update(text_font_size="11px", text_font_style="normal", offset=-50, standoff=2)
        self.figure.yaxis.formatter = BasicTickFormatter(use_scientific=False)
        self.figure.yaxis.ticker.desired_num_ticks = 3
        self.figure.name = f"metric {name}"[:90]

    def draw(self, place: int, curve: Curve) -> None:
        """Draw a run's line and signals as they are now."""
        times, values = thinned(*curve.metrics[self.name])
        source = ColumnDataSource({"x": self._axis.places(curve, times), "y": values})
        marks = ColumnDataSource(self._marks(curve, curve.signals))
        line = self.figure.line("x", "y", source=source, line_width=1.6, line_dash=STROKES[place % len(STROKES)][2])
        shapes = self.figure.scatter(
            "x", "y", marker={"field": "marker"}, size=10, source=marks, line_width=1.2, fill_alpha=0.9
        )
        at, formatters = self._axis.hover
        letter = LETTERS[place % len(LETTERS)]
        self.figure.add_tools(
            HoverTool(
                renderers=[line],
                mode="vline",
                line_policy="nearest",
                tooltips=[(f"run {letter}", at), (self.name, "@y{0,0.[0000]}")],
                formatters=formatters,
            ),
            HoverTool(
                renderers=[shapes],
                tooltips=[(f"run {letter}", at), ("signal", "@side @said")],
                formatters=formatters,
            ),
        )
        self._lines[place] = (source, marks, line, shapes)
        self.paint(self._scheme)

    def grow(self, place: int, curve: Curve, times: Sequence[float], values: Sequence[float]) -> None:
        """Add points to a run's line."""
        if times:
            self._lines[place][0].stream({"x": self._axis.places(curve, times), "y": list(values)}, rollover=ROLLOVER)

    def mark(self, place: int, curve: Curve, signals: Sequence[Mapping[str, Any]]) -> None:
        """Add signals to a run's line."""
        if signals:
            self._lines[place][1].stream(self._marks(curve, signals), rollover=ROLLOVER)

    def has(self, place: int) -> bool:
        """Whether the run at this place is drawn."""
        return place in self._lines

    def _marks(self, curve: Curve, signals: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        return {
            "x": self._axis.places(curve, [signal["t"] for signal in signals]),
            "y": [curve.value_at(self.name, signal["t"]) for signal in signals],
            "marker": [marker_of(signal["side"]) for signal in signals],
            "side": [signal["side"][:40] for signal in signals],
            "said": [said(signal) for signal in signals],
        }

    def paint(self, scheme: str) -> None:
        """Follow the page's scheme."""
        self._scheme = scheme
        paint_figure(self.figure, scheme)
        for place, (_source, _marks, line, shapes) in self._lines.items():
            colour = stroke(place, scheme)
            line.glyph.line_color = colour
            shapes.glyph.update(fill_color=colour, line_color=COLOURS[scheme]["ground"])


class SignalStrip:
    """When each run signalled what: a row per run, shapes with their words beside them."""

    def __init__(self, axis: Axis, curves: Sequence[Curve], scheme: str) -> None:
        self._axis = axis
        rows = len(curves)
        self.figure = _figure(axis, height=46 + 24 * rows, y_range=Range1d(-rows + 0.4, 0.6))
        self.figure.title.text = "signals"
        self.figure.title.update(text_font_size="11px", text_font_style="normal", offset=-50, standoff=2)
        self.figure.yaxis.ticker = [-place for place in range(rows)]
        self.figure.yaxis.major_label_overrides = {-place: LETTERS[place] for place in range(rows)}
        self.figure.ygrid.visible = False
        self.figure.name = "signals"
        self._rows: list[tuple[ColumnDataSource, Any, Any]] = []
        at, formatters = axis.hover
        for place, curve in enumerate(curves):
            source = ColumnDataSource(self._marks(place, curve, curve.signals))
            shapes = self.figure.scatter("x", "y", marker={"field": "marker"}, size=10, source=source)
            words = self.figure.text(
                "x", "y", text="side", x_offset=8, text_baseline="middle", text_font_size="11px", source=source
            )
            self.figure.add_tools(
                HoverTool(
                    renderers=[shapes],
                    tooltips=[(f"run {LETTERS[place]}", at), ("signal", "@side @said")],
                    formatters=formatters,
                )
            )
            self._rows.append((source, shapes, words))
        self.paint(scheme)

    def mark(self, place: int, curve: Curve, signals: Sequence[Mapping[str, Any]]) -> None:
        """Add signals of a run."""
        if signals:
            self._rows[place][0].stream(self._marks(place, curve, signals), rollover=ROLLOVER)

    def _marks(self, place: int, curve: Curve, signals: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        return {
            "x": self._axis.places(curve, [signal["t"] for signal in signals]),
            "y": [-place] * len(signals),
            "marker": [marker_of(signal["side"]) for signal in signals],
            "side": [signal["side"][:16] for signal in signals],
            "said": [said(signal) for signal in signals],
        }

    def paint(self, scheme: str) -> None:
        """Follow the page's scheme."""
        paint_figure(self.figure, scheme)
        for place, (_source, shapes, words) in enumerate(self._rows):
            shapes.glyph.update(fill_color=stroke(place, scheme), line_color=stroke(place, scheme))
            words.glyph.text_color = COLOURS[scheme]["ink"]


class RunCharts:
    """All charts of some runs on one shared time axis: zooming one zooms all."""

    def __init__(self, curves: Sequence[Curve], axis: Axis, scheme: str, *, only: str | None = None) -> None:
        self._curves = list(curves)
        self._axis = axis
        self._scheme = scheme
        self._only = only
        self._charts: dict[str, MetricChart] = {}
        self._strip = SignalStrip(axis, curves, scheme) if any(curve.signals for curve in curves) else None
        self.left_out = 0
        self.streamed = 0
        for place, curve in enumerate(curves):
            for name in curve.metrics:
                self._draw(name, place)

    @property
    def figures(self) -> list[Any]:
        """The Bokeh figures from top to bottom."""
        strip = [self._strip.figure] if self._strip is not None else []
        return [*strip, *(chart.figure for chart in self._charts.values())]

    def _draw(self, name: str, place: int) -> MetricChart | None:
        if self._only is not None and name != self._only:
            return None
        chart = self._charts.get(name)
        if chart is None:
            if len(self._charts) >= CHARTS:
                self.left_out += 1
                return None
            chart = self._charts[name] = MetricChart(name, self._axis, self._scheme)
        if not chart.has(place):
            chart.draw(place, self._curves[place])
        return chart

    def needs_new(self, body: Mapping[str, Any]) -> bool:
        """Whether what was reported has no chart yet, so that the whole is drawn again."""
        unknown = any(name not in self._charts for name in body["metrics"]) and len(self._charts) < CHARTS
        return unknown or (bool(body["signals"]) and self._strip is None) or self.streamed > POINTS

    def grow(self, place: int, body: Mapping[str, Any]) -> None:
        """Add what one run reported since; `needs_new` was asked before."""
        curve, fresh = self._curves[place], Curve("", "", 0.0)
        fresh.take(body)
        curve.take(body)
        self.streamed += len(body["t"]) + len(body["signals"])
        for name, (times, values) in fresh.metrics.items():
            chart = self._charts.get(name)
            if chart is not None and chart.has(place):
                chart.grow(place, curve, times, values)
            else:
                self._draw(name, place)
        for chart in self._charts.values():
            if chart.has(place):
                chart.mark(place, curve, body["signals"])
        if self._strip is not None:
            self._strip.mark(place, curve, body["signals"])

    def paint(self, scheme: str) -> None:
        """Follow the page's scheme."""
        self._scheme = scheme
        for part in (self._strip, *self._charts.values()):
            if part is not None:
                part.paint(scheme)


def comparison(runs: Sequence[Any], metric: str | None, basis: Basis, scheme: str = "light") -> list[Any]:
    """Figures of a notebook's comparison: runs with `run_id`, `label`, `started` and the API's answer as `body`."""
    curves = []
    for run in runs:
        curve = Curve(run.run_id, run.label, run.started.timestamp())
        curve.take(run.body)
        curves.append(curve)
    charts = RunCharts(curves, Axis(basis, offset_of("")), scheme, only=metric)
    return charts.figures


def legend(runs: Sequence[Any], scheme: str = "light") -> Any:
    """A strip that names each run beside a piece of its line."""
    strip = figure(
        height=14 + 20 * len(runs),
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        x_range=Range1d(0, 100),
        y_range=Range1d(-len(runs) + 0.4, 0.6),
        outline_line_color=None,
        name="legend",
    )
    paint_figure(strip, scheme)
    for axis in (*strip.xaxis, *strip.yaxis, *strip.xgrid, *strip.ygrid):
        axis.visible = False
    for place, run in enumerate(runs):
        strip.line(
            [1, 5], [-place, -place], line_width=2, line_color=stroke(place, scheme), line_dash=STROKES[place][2]
        )
        strip.text(
            [6],
            [-place],
            text=[f"{LETTERS[place]}  {run.label}"],
            text_baseline="middle",
            text_font_size="12px",
            text_color=COLOURS[scheme]["ink"],
        )
    return strip
