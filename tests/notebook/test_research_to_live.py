"""A strategy goes from source to paper, to a second version, to live and back; each step seen from outside."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from stratpanel.client.connect import Workspace
from stratpanel.model.errors import Conflict, InvalidValue
from tests.support import wait_for
from tests.workbench import Workbench

REPORTS = """
import os, param
from stratpanel import live

class Params(param.Parameterized):
    fast = param.Integer(9, bounds=(2, 50))

p = live.params(Params)
print("fast", p.fast, "mode", live.mode(), "key", os.environ.get("BROKER_KEY"), flush=True)
n = 0
while live.running():
    live.metric(pnl=float(n), fast=p.fast)
    if n == 2:
        live.signal("BUY", symbol="SBIN", price=812.5)
        live.note("position opened <b>")
    n += 1
    live.sleep(0.05)
print("left:", live.stop_reason(), flush=True)
"""


def test_metrics_signals_and_notes_reach_the_notebook(bench: Workbench, ws: Workspace) -> None:
    bench.register("ema", REPORTS)
    ema = ws["ema"].start(fast=12)
    wait_for(lambda: len(ema.metrics) > 5, 15, "metrics")
    frame = ema.metrics
    assert list(frame.columns) == ["pnl", "fast"]
    assert frame["pnl"].is_monotonic_increasing
    assert set(frame["fast"]) == {12.0}
    assert frame.index.tz is not None
    assert list(ema.signals["side"]) == ["BUY"]
    assert list(ema.signals["price"]) == [812.5]
    assert list(ema.reports_of().notes["text"]) == ["position opened <b>"]
    ema.stop()
    assert "left: stop" in bench.log("ema")
    assert ema.reports_of(ema.run_id).run_id == ema.run_id


def test_parameters_are_read_checked_and_recorded(bench: Workbench, ws: Workspace) -> None:
    bench.register("ema", REPORTS)
    ema = ws["ema"]
    assert ema.parameters == {"fast": 9}
    with pytest.raises(InvalidValue) as caught:
        ema.start(fast=99)
    assert "params.fast" in caught.value.fields
    assert ema.state == "stopped"
    ema.start(fast=20)
    wait_for(lambda: "fast 20" in bench.log("ema"), 10, "the parameter in the script")
    run = bench.api.get("/api/strategies/ema/runs")["runs"][0]
    assert run["params"] == {"fast": 20}
    ema.stop()


def test_paper_to_second_version_to_live_and_back(
    bench: Workbench, ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.register("ema", REPORTS)
    ema = ws["ema"].start()
    assert (ema.version, ema.mode) == (1, "paper")
    wait_for(lambda: "key paper-key-123456" in bench.log("ema") or "key ***" in bench.log("ema"), 10, "the paper key")
    bench.script("ema", REPORTS + "# second\n")
    ema.restart()
    assert ema.version == 1, "a restart keeps its version"
    ema.stop()
    ema.deploy()
    assert ema.version == 2
    assert any("second" in line for line in ema.diff(1, 2))

    with pytest.raises(Conflict, match="not typed"):
        ema.promote("live", yes="wrong")
    ema.promote("live", yes="ema")
    said = capsys.readouterr().out
    assert "version 2 → live" in said
    assert "never run on paper" in said
    versions = {row["n"]: row["live"] for row in bench.api.get("/api/strategies/ema/versions")["versions"]}
    assert versions == {1: False, 2: True}

    ema.configure(mode="live")
    ema.start()
    assert (ema.mode, ema.version) == ("live", 2)
    wait_for(lambda: "mode live" in bench.log("ema"), 10, "live in the log")
    ema.stop()

    bench.script("ema", REPORTS + "# third\n")
    ema.deploy()
    versions = {row["n"]: row["live"] for row in bench.api.get("/api/strategies/ema/versions")["versions"]}
    assert versions[3] is False, "a new version never inherits live"
    ema.start()
    assert ema.version == 2, "live runs what was promoted"
    ema.stop()
    ema.rollback(1)
    assert ema.version == 1


def test_a_notebook_becomes_a_strategy(bench: Workbench, ws: Workspace, tmp_path: Path) -> None:
    cells = [
        new_code_cell("import pandas as pd"),
        new_code_cell("wait = 60", metadata={"tags": ["parameters"]}),
        new_code_cell(
            "import time\nprint('from the notebook', flush=True)\ntime.sleep(wait)", metadata={"tags": ["strategy"]}
        ),
    ]
    path = tmp_path / "research.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    strategy = ws.promote_notebook(path)
    assert strategy.id == "research"
    strategy.start()
    wait_for(lambda: "from the notebook" in bench.log("research"), 10, "the notebook's line")
    strategy.stop()
    assert "pandas" not in strategy.source
    bench.cli("add", str(path), "--id", "second")
    assert bench.status("second")["state"] == "stopped"


def test_the_week_is_drawn_for_a_cell(bench: Workbench, ws: Workspace) -> None:
    bench.register("ema", REPORTS, schedule={"enabled": True, "windows": [{"start": "00:10", "stop": "23:50"}]})
    drawn = ws.week()
    assert "ema" in list(drawn.y_range.factors)
