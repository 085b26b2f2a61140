"""What the resource charts mark: starts and bad ends, told apart by their line and not by colour alone."""

from __future__ import annotations

from bokeh.models import ColumnDataSource, Span

from stratpanel.dashboard.charts import COLOURS, Trace, frame
from stratpanel.dashboard.resources import known_points, signs_of

RUNS = [
    {"started": "2026-11-23T10:00:00+05:30", "ended": None},
    {"started": "2026-11-23T09:00:00+05:30", "ended": "2026-11-23T09:30:00+05:30", "exit_code": 1},
    {"started": "2026-11-23T08:00:00+05:30", "ended": "2026-11-23T08:30:00+05:30", "exit_code": 0},
    {"started": "2026-11-23T07:00:00+05:30", "ended": "2026-11-23T07:30:00+05:30", "signal": "SIGKILL"},
    {
        "started": "2026-11-23T06:00:00+05:30",
        "ended": "2026-11-23T06:30:00+05:30",
        "exit_code": 3,
        "stopped_by_us": True,
    },
]
NINE = 1795404600.0  # 2026-11-23 09:00 in Kolkata


def test_starts_and_bad_ends_are_found() -> None:
    signs = sorted(signs_of(RUNS, 0))
    assert [(int(at - NINE) // 60, bad) for at, bad in signs] == [
        (-180, False),
        (-120, False),
        (-90, True),
        (-60, False),
        (0, False),
        (30, True),
        (60, False),
    ]
    assert signs_of(RUNS, NINE + 3000) == [(NINE + 3600, False)]


def test_marks_differ_by_their_line_and_follow_the_scheme() -> None:
    source = ColumnDataSource({"t": [], "cpu_percent": []})
    trace = Trace(source, "cpu_percent", "CPU", "%", tone="cpu", corners=frame())
    trace.paint("light")
    trace.mark([(1.0, False), (2.0, True)], "light")
    spans = [span for span in trace.figure.center if isinstance(span, Span) and span.dimension == "height"]
    assert [(span.location, span.line_dash) for span in spans] == [(1.0, [2, 4]), (2.0, [])]
    trace.paint("dark")
    assert [span.line_color for span in spans] == [COLOURS["dark"]["ink"], COLOURS["dark"]["limit"]]
    trace.mark([(5.0, True)], "dark")
    assert [(span.location, span.visible) for span in spans] == [(5.0, True), (2.0, False)]


def test_a_slow_sample_is_held_up_to_the_newest_time() -> None:
    """Threads and open files are counted every ten seconds; after the first count there is already a line to see."""
    assert known_points([1.0, 2.0, 3.0, 4.0], [None, 7, None, None]) == ([2.0, 4.0], [7, 7])
    assert known_points([1.0, 20_000.0], [7, None]) == ([1.0], [7])
    assert known_points([1.0, 2.0], [5, 6]) == ([1.0, 2.0], [5, 6])
    assert known_points([1.0, 2.0], [None, None]) == known_points([], []) == ([], [])
