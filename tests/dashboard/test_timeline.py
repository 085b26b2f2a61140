"""The week as a Bokeh figure: a bar per window, in the zone asked for, with what is special in another colour."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from bokeh.embed import json_item

from stratpanel.dashboard.timeline import DOUBTFUL, REGULAR, UNUSUAL, week_figure
from stratpanel.market.plan import Hold, Plan, Window
from stratpanel.market.store import CalendarStore
from stratpanel.market.week import Planned, week_rows

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def rows(start: str, *items: tuple[str, Window, Hold]) -> list[dict[str, object]]:
    nse = CalendarStore().get("NSE")
    planned = [Planned(id, Plan(True, (window,), "NSE", "", ()), nse, hold) for id, window, hold in items]
    return week_rows(planned, datetime.fromisoformat(start).replace(tzinfo=UTC))


def test_each_window_is_a_bar_in_the_zone_asked_for() -> None:
    ema, rsi = Window("09:20", "15:15", DAYS), Window("open", "close", DAYS)
    week = rows("2026-11-06", ("ema", ema, Hold()), ("rsi", rsi, Hold("stopped", "anna")))
    plot = week_figure(week, "Asia/Kolkata")
    bars = plot.renderers[0].data_source.data
    assert plot.y_range.factors == ["rsi", "ema"]
    assert len(bars["id"]) == len(week)
    first = bars["id"].index("ema")
    assert [f"{bars[side][first]:%d %H:%M}" for side in ("left", "right")] == ["06 09:20", "06 15:15"]
    london = week_figure(week, "Europe/London").renderers[0].data_source.data
    assert f"{london['left'][first]:%d %H:%M}" == "06 03:50"
    sunday = [n for n, left in enumerate(bars["left"]) if left.date().isoformat() == "2026-11-08"]
    assert [(bars["id"][n], bars["colour"][n]) for n in sunday] == [("rsi", UNUSUAL)], (
        "Muhurat, for whom it is followed"
    )
    assert bars["colour"][first] == REGULAR
    assert {bars["alpha"][n] for n, id in enumerate(bars["id"]) if id == "rsi"} == {0.35}, "held"
    assert json_item(plot)["root_id"]


def test_what_the_calendar_cannot_confirm_is_red() -> None:
    week = rows("2026-12-30", ("ema", Window("09:20", "15:15", DAYS), Hold()))
    colours = week_figure(week, "Asia/Kolkata").renderers[0].data_source.data["colour"]
    assert colours[0] == REGULAR
    assert colours[-1] == DOUBTFUL


def test_an_empty_week_is_drawn_too() -> None:
    assert week_figure([], "UTC").y_range.factors == ["no schedule"]


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(KeyError):
        week_figure([], "Mars/Olympus")
