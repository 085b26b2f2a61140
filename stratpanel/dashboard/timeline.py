"""The coming week of all strategies as a Bokeh figure, for a notebook cell or a page of one's own.

`week_figure(ws.api.get("/api/week")["rows"], "Asia/Kolkata")`. The dashboard's own week page draws with less; this is
the figure that somebody can change, save or put beside others. It asks nobody and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from bokeh.models import ColumnDataSource, DatetimeTickFormatter, HoverTool
from bokeh.plotting import figure

REGULAR, UNUSUAL, DOUBTFUL = "#0b5cab", "#17713a", "#b3201b"
ROW_PX = 26
MARGIN_PX = 70


def week_figure(rows: Sequence[Mapping[str, Any]], timezone: str, width: int = 900) -> figure:
    """One bar per window of `/api/week`, one line per strategy; clock times are those of `timezone`.

    Special and shortened sessions are green, windows that their calendar cannot confirm red, held strategies pale.
    """
    zone = ZoneInfo(timezone)
    names = sorted({str(row["id"]) for row in rows}, reverse=True)
    bars = ColumnDataSource(
        {
            "id": [row["id"] for row in rows],
            "left": [_local(row["start"], zone) for row in rows],
            "right": [_local(row["stop"], zone) for row in rows],
            "colour": [_colour(row) for row in rows],
            "alpha": [0.35 if row["held"] else 0.9 for row in rows],
            "calendar": [row["calendar"] or "none" for row in rows],
            "why": [row["why"] for row in rows],
        }
    )
    plot = figure(
        y_range=names or ["no schedule"],
        x_axis_type="datetime",
        width=width,
        height=MARGIN_PX + ROW_PX * max(len(names), 1),
        tools="xpan,xwheel_zoom,reset",
        active_scroll="xwheel_zoom",
        toolbar_location="above",
        title=f"the coming week, {timezone}",
    )
    drawn = plot.hbar(
        y="id", left="left", right="right", height=0.6, color="colour", fill_alpha="alpha", line_alpha=0, source=bars
    )
    shown = [("", "@id"), ("from", "@left{%a %d %b %H:%M}"), ("to", "@right{%a %d %b %H:%M}")]
    tips = [*shown, ("calendar", "@calendar"), ("", "@why")]
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=tips, formatters={"@left": "datetime", "@right": "datetime"}))
    plot.xaxis.formatter = DatetimeTickFormatter(hours="%H:%M", days="%a %d %b", months="%d %b")
    plot.ygrid.grid_line_color = None
    return plot


def _local(text: str, zone: ZoneInfo) -> datetime:
    """Bokeh knows no zones: a naive time is drawn as it is written."""
    return datetime.fromisoformat(text).astimezone(zone).replace(tzinfo=None)


def _colour(row: Mapping[str, Any]) -> str:
    if row["assumed"]:
        return DOUBTFUL
    return REGULAR if row["kind"] in ("regular", "plain") else UNUSUAL
