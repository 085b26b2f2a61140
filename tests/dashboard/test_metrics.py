"""Figures of reports: bounded whatever is reported, honest about spikes, told apart without colour."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stratpanel.dashboard.metrics import CHARTS, POINTS, ROLLOVER, Axis, Curve, RunCharts, marker_of, thinned


def body(points: int, names: int = 1, first: float = 1000.0, **more: Any) -> dict[str, Any]:
    t = [first + n for n in range(points)]
    metrics = {f"m{k}": [float(n) for n in range(points)] for k in range(names)}
    return {"t": t, "metrics": metrics, "signals": [], "notes": [], **more}


def curve_of(answer: dict[str, Any]) -> Curve:
    curve = Curve("run", "v1", 1000.0)
    curve.take(answer)
    return curve


def line_of(figure: Any) -> Any:
    return next(one.data_source for one in figure.renderers if type(one.glyph).__name__ == "Line")


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=400), st.integers(2, 60))
def test_thinning_keeps_the_ends_and_every_extreme(values: list[float], points: int) -> None:
    times = [float(n) for n in range(len(values))]
    at, kept = thinned(times, values, points)
    assert len(kept) <= max(points, 2) + 4
    assert (at[0], at[-1]) == (times[0], times[-1])
    assert (min(kept), max(kept)) == (min(values), max(values))
    assert at == sorted(at)
    assert all(values[int(t)] == value for t, value in zip(at, kept, strict=True))


def test_a_long_run_is_drawn_with_bounded_points_and_grows_bounded() -> None:
    charts = RunCharts([curve_of(body(20_000))], Axis("clock"), "light")
    source = line_of(charts.figures[0])
    assert len(source.data["x"]) <= POINTS + 4
    for n in range(5):
        charts.grow(0, body(3000, first=1e6 * (n + 1)))
        assert len(source.data["x"]) <= ROLLOVER
    assert charts.needs_new(body(1)), "after so many points the whole is read and thinned again"


def test_a_flood_of_metric_names_draws_some_and_counts_the_rest() -> None:
    charts = RunCharts([curve_of(body(3, names=40))], Axis("start"), "dark")
    assert len(charts.figures) == CHARTS
    assert charts.left_out == 40 - CHARTS
    assert not charts.needs_new(body(1, names=41)), "no chart is left for another name"


def test_gaps_are_no_points_and_a_signal_sits_on_the_last_value() -> None:
    answer = body(4)
    answer["metrics"]["m0"] = [1.0, None, None, 4.0]
    answer["signals"] = [{"t": 1002.5, "side": "BUY", "fields": {"a": 1}}, {"t": 1.0, "side": "exit", "fields": {}}]
    charts = RunCharts([curve_of(answer)], Axis("start"), "light")
    strip, chart = charts.figures
    assert list(line_of(chart).data["y"]) == [1.0, 4.0]
    marks = next(one.data_source for one in chart.renderers if type(one.glyph).__name__ == "Scatter")
    assert list(marks.data["y"]) == [1.0, 1.0]
    assert list(marks.data["marker"]) == ["triangle", "inverted_triangle"]
    assert list(marks.data["said"]) == ["a 1", ""]
    assert strip.x_range is chart.x_range


def test_runs_differ_by_dash_and_share_one_axis() -> None:
    charts = RunCharts([curve_of(body(5)), curve_of(body(5)), curve_of(body(5))], Axis("start"), "light")
    (figure,) = charts.figures
    dashes = [tuple(one.glyph.line_dash) for one in figure.renderers if type(one.glyph).__name__ == "Line"]
    assert len(set(dashes)) == 3


def test_sides_have_shapes() -> None:
    assert [marker_of(side) for side in ("Buy ", "SHORT", "rebalance", "")] == [
        "triangle", "inverted_triangle", "diamond", "diamond"
    ]  # fmt: skip
    assert math.isclose(curve_of(body(3)).value_at("m0", 1e9), 2.0)
