"""Scripts that somebody else runs already are named, left alone, and not started a second time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stratpanel.supervisor.outsiders import Outsiders, running_scripts, script_of
from tests.supervisor.house import TICKER, House
from tests.support import wait_for


@contextmanager
def outside(script: str, folder: Path) -> Iterator[int]:
    """Run it as a person would, from that folder."""
    with subprocess.Popen([sys.executable, "-u", script], cwd=folder, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("argv", "script"),
    [
        (["python3", "x.py"], "x.py"),
        (["/venv/bin/python3.12", "-u", "-W", "error", "-Xdev", "dir/x.py", "-c"], "dir/x.py"),
        (["python", "-m", "pytest", "x.py"], None),
        (["python", "-Bc", "import x", "x.py"], None),
        (["python", "-"], None),
        (["python"], None),
        (["vim", "x.py"], None),
        (["tail", "-f", "x.py"], None),
        ([], None),
    ],
)
def test_only_a_python_with_a_script_runs_it(argv: list[str], script: str | None) -> None:
    assert script_of(argv) == script


def test_a_script_is_known_by_its_real_path_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "bot").mkdir()
    (tmp_path / "bot/main.py").write_text(TICKER)
    (tmp_path / "link").symlink_to(tmp_path / "bot")
    with outside("link/main.py", tmp_path) as pid:
        assert running_scripts()[str(tmp_path / "bot/main.py")] == [pid]
        assert Outsiders().named({"bot": tmp_path / "bot", "other": tmp_path / "other.py"}) == {"bot": [pid]}


def test_a_start_beside_a_copy_run_by_hand_is_refused_and_names_it(house: House) -> None:
    house.up().add("ema")
    with outside("strategies/scripts/ema.py", house.workspace) as pid:
        code, answer = house.call("POST", "/api/strategies/ema/start", {})
        assert (code, answer["error_code"]) == (409, "BEFORE_START")
        assert str(pid) in answer["message"]
        assert house.status("ema")["pid"] is None
    wait_for(lambda: house.call("POST", "/api/strategies/ema/start", {})[0] == 200, 10, "a start when it is gone")
    house.ok("POST", "/api/strategies/ema/restart", {})


def test_another_products_folder_comes_up_paused_and_names_who_runs(house: House) -> None:
    script = house.workspace / "strategies/scripts/ema_crossover.py"
    script.write_text(TICKER)
    entry = {
        "name": "EMA Crossover",
        "file_path": "strategies/scripts/ema_crossover.py",
        "file_name": "ema_crossover.py",
        "exchange": "24x7",
        "is_running": True,
        "pid": 1,
        "is_scheduled": True,
        "schedule_start": "00:00",
        "schedule_stop": "23:59",
        "schedule_days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "created_at": "2026-01-01T00:00:00",
        "user_id": "me",
    }
    (house.workspace / "strategies/strategy_configs.json").write_text(json.dumps({"ema": entry}))
    with outside("scripts/ema_crossover.py", house.workspace / "strategies") as pid:
        house.up()
        here = house.answers()
        assert here["state"] == "paused"
        assert f"ema is being run by PID {pid}" in here["why"]
        assert any(f"PID {pid}" in event["message"] for event in house.events())
        assert house.status("ema")["state"] == "stopped"
        assert house.call("POST", "/api/strategies/ema/start", {})[0] == 409
