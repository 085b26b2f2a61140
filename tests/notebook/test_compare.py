"""Runs compared, parts of a strategy shown live, and what promotion says; over real runs of a real strategy."""

from __future__ import annotations

import pandas as pd
import pytest

from stratpanel.client.connect import Workspace
from stratpanel.client.frames import LiveFrame
from stratpanel.model.errors import InvalidValue, NotFound
from tests.support import wait_for
from tests.workbench import Workbench

REPORTS = """
import sys
from stratpanel import live

n, slope = 0, float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
while live.running():
    live.metric(pnl=slope * n)
    if n == 3:
        live.signal("BUY", symbol="SBIN")
    n += 1
    live.sleep(0.05)
"""


def ran(ws: Workspace, id: str, *, points: int = 8) -> str:
    """Run it until it has reported; the run's id."""
    strategy = ws[id].start()
    run: str = strategy.run_id
    wait_for(lambda: len(strategy.reports_of().metrics) > points and strategy.reports_of().run_id == run, 20, "metrics")
    strategy.stop()
    return run


def test_two_versions_paper_and_live_and_two_strategies_are_compared(bench: Workbench, ws: Workspace) -> None:
    bench.register("ema", REPORTS)
    ema = ws["ema"]
    with pytest.raises(NotFound, match="reported anything"):
        ema.compare()
    first = ran(ws, "ema")
    bench.script("ema", REPORTS + "# second\n")
    second = ran(ws, "ema")
    both = ema.compare()
    assert [run.run_id for run in both.runs] == [first, second], "the newest two, the earlier one first"
    frame = both.frame("pnl")
    assert list(frame.columns) == [run.label for run in both.runs]
    assert isinstance(frame.index, pd.TimedeltaIndex)
    assert pd.Timedelta(0) <= frame.index[0] < pd.Timedelta(minutes=1)
    assert frame.iloc[:, 0].dropna().is_monotonic_increasing
    assert isinstance(both.frame(by="clock").index, pd.DatetimeIndex)
    assert [run.run_id for run in ema.compare(2, 1).runs] == [second, first]
    assert [run.run_id for run in ema.compare(first).runs] == [second, first], "completed by the newest"
    with pytest.raises(NotFound, match="no run of version 7"):
        ema.compare(7)
    with pytest.raises(InvalidValue, match="they reported pnl"):
        both.frame("equity")

    ema.promote("live", yes="ema")
    third = ran(ws, "ema")
    paper_and_live = ema.compare("paper", "live")
    assert [run.run_id for run in paper_and_live.runs] == [second, third]
    assert " paper " in paper_and_live.runs[0].label
    assert " live " in paper_and_live.runs[1].label
    figures = paper_and_live.figures
    assert [plot.name for plot in figures] == ["signals", "metric pnl"]
    lines = [renderer for renderer in figures[1].renderers if renderer.glyph.__class__.__name__ == "Line"]
    assert [len(line.data_source.data["y"]) > 5 for line in lines] == [True, True]

    bench.register("other", REPORTS, args=["-2"])
    other = ran(ws, "other")
    assert [run.run_id for run in ema.compare(ws["other"]).runs] == [third, other]
    assert "2 runs, metrics pnl" in repr(paper_and_live)


def test_frames_are_dataframes_and_say_what_a_cell_shows(bench: Workbench, ws: Workspace) -> None:
    bench.register("ema", REPORTS)
    ran(ws, "ema")
    ema = ws["ema"]
    for frame, tab in ((ema.logs, "logs"), (ema.usage, "resources"), (ema.runs, "runs"), (ema.metrics, "live")):
        assert isinstance(frame, LiveFrame)
        assert frame._part.tab == tab
        assert type(frame.tail(3)) is pd.DataFrame
        assert type(frame.copy()) is pd.DataFrame
        assert frame._repr_mimebundle_() == {"text/plain": repr(frame)}, "outside a kernel it is its text"
        assert frame.to_csv() == pd.DataFrame(frame).to_csv()
    assert ema.metrics["pnl"].max() > 5
    assert ema.usage.tail().columns[0] == "cpu_percent"
    assert ema.schedule._repr_mimebundle_()["text/plain"] == repr(ema.schedule)
    ema.metrics.plot.line  # noqa: B018 - the accessor stays


def test_promoting_back_to_paper_says_that_live_starts_end(
    bench: Workbench, ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.register("ema", REPORTS)
    ema = ws["ema"]
    ema.deploy()
    ema.promote("paper")
    assert "ema is on paper already" in capsys.readouterr().out
    ema.promote("live", yes="ema")
    ema.start()
    capsys.readouterr()
    ema.promote("paper")
    said = capsys.readouterr().out
    assert "live starts end, its next start is on paper" in said
    assert "version 1 keeps its promotion" in said
    assert f"the live run under way (PID {ema.pid}) goes on until it is stopped" in said
    ema.stop()
    assert ema.start().mode == "paper"
    ema.stop()


def test_a_working_copy_is_checked_as_a_cell_is(bench: Workbench, ws: Workspace) -> None:
    bench.register("ema", REPORTS)
    assert not ws["ema"].check()
    assert repr(ws["ema"].check()) == "nothing found"
    bench.script("ema", 'import no_such_package\napi_key = "abcdefgh12345"\nprint(model)\n')
    found = ws["ema"].check()
    assert [line.split(":")[0] for line in found] == ["line 1", "line 2", "line 3"]
    assert "`no_such_package` is not installed" in found[0]
    assert "looks like a secret" in found[1]
    assert "`model` is not defined" in found[2]
