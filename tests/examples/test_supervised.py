"""Every example runs under the real supervisor as it is, and leaves nothing behind when it is stopped."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.house import House
from tests.support import pids_marked, wait_for
from tests.workbench import Workbench

EXAMPLES = Path(__file__).resolve().parents[2] / "strategies" / "examples"
LINES = {
    "simple_ema": r" close ",
    "rsi_reversion": r" rsi ",
    "openalgo_ema": r"FILL|no OPENALGO_APIKEY",
    "webhook_handler": r"http://127\.0\.0\.1:\d+",
    "child_processes": r"calls \d+\.\.",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("examples") / "ws").up()
    yield house
    house.close()


def test_all_examples_are_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} - {"paper_market"} == set(LINES)


def test_a_fresh_workspace_has_the_ema_ready_to_start(house: House) -> None:
    status = house.status("simple_ema")
    assert (status["state"], status["hold"]) == ("stopped", "none")


@pytest.mark.parametrize("name", list(LINES))
def test_it_starts_trades_and_stops_cleanly(house: House, name: str) -> None:
    bench = Workbench(house.workspace)
    if name != "simple_ema":
        bench.cli("add", str(EXAMPLES / f"{name}.py"))
    if name == "webhook_handler":
        house.ok("PATCH", f"/api/strategies/{name}", {"args": ["--port", "0"]})
    started = house.ok("POST", f"/api/strategies/{name}/start", {})["strategy"]
    assert started["state"] in ("running", "exited"), started
    line = wait_for(
        lambda: next((text for text in house.lines(name) if re.search(LINES[name], text)), None), 30, f"{name} at work"
    )
    if name == "webhook_handler":
        url = re.search(LINES[name], line)
        assert url is not None
        request = urllib.request.Request(url[0], data=b'{"action": "BUY", "symbol": "SBIN", "quantity": 2}')
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["status"] == "success"
    if name == "child_processes":
        assert len(pids_marked(f"STRATPANEL_RUN_ID={started['run_id']}")) >= 3
    ended = house.ok("POST", f"/api/strategies/{name}/stop")["strategy"]
    assert ended["state"] in ("stopped", "exited")
    assert ended["signal"] in (None, "SIGTERM"), "none had to be killed"
    assert not pids_marked(f"STRATPANEL_RUN_ID={started['run_id']}")
    if name == "webhook_handler":
        with socket.create_server(("127.0.0.1", int(line.rpartition(":")[2].split("/")[0].split()[0]))):
            pass  # the port is free again
