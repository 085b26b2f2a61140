"""The contracts page against a real supervisor: real processes, logs, versions, history, restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stratpanel
from stratpanel.client.connect import Workspace
from stratpanel.client.connection import Api, NoSupervisor, strategy_path
from stratpanel.model import errors
from stratpanel.process import wake
from tests.api.real import TICKER, RealSupervisor
from tests.api.test_contract import assert_status
from tests.support import pid_alive, wait_for

SCRIPTS = {
    "tick": TICKER,
    "quit": "print('done')\n",
    "fail": "import sys; print('no'); sys.exit(3)\n",
    "broken": "def (:\n",
    "deaf": "import signal, time\nsignal.signal(15, 1)\nprint('deaf', flush=True)\ntime.sleep(600)\n",
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSupervisor]:
    """One supervisor for the module."""
    real = RealSupervisor(tmp_path_factory.mktemp("real"), SCRIPTS)
    yield real
    real.close()


@pytest.fixture
def ws(real: RealSupervisor) -> Iterator[Workspace]:
    """What a user's script has."""
    with stratpanel.connect(real.workspace) as ws:
        yield ws
        if ws["tick"].state != "stopped":
            ws["tick"].stop()


def test_statuses_of_a_real_supervisor(real: RealSupervisor) -> None:
    for row in real.api.get("/api/strategies")["strategies"]:
        assert_status(row)
    supervisor = real.api.get("/api/supervisor")
    assert supervisor["state"] == "running"
    assert pid_alive(supervisor["pid"])
    assert pid_alive(supervisor["launcher_pid"])
    assert supervisor["url"].startswith("http://127.0.0.1:")


def test_start_stop_restart_by_handle(ws: Workspace) -> None:
    tick = ws["tick"]
    assert tick.start().state == "running"
    first = tick.pid
    assert first
    assert pid_alive(first)
    assert tick.restart().pid != first
    assert not pid_alive(first)
    assert "tick" in repr(tick)
    wait_for(lambda: tick.memory_mb, 10, "a sample")
    assert (tick.uptime_s or 0) > 0
    assert tick.stop().state == "stopped"
    assert (tick.pid, tick.memory_mb, tick.cpu_percent, tick.uptime_s) == (None, None, None, None)
    assert tick.hold == "stopped"


def test_start_twice_and_stop_twice_change_nothing(real: RealSupervisor, ws: Workspace) -> None:
    assert real.act("tick", "start")["changed"] is True
    again = real.act("tick", "start")
    assert again["changed"] is False
    assert again["strategy"]["state"] == "running"
    assert real.act("tick", "stop")["changed"] is True
    assert real.act("tick", "stop")["changed"] is False


def test_a_script_that_ends_well_has_started(real: RealSupervisor) -> None:
    answer = real.act("quit", "start")
    assert answer["changed"] is True
    row = real.reach("quit", lambda row: row["state"] == "exited")
    assert (row["exit_code"], row["signal"]) == (0, None)


def test_a_script_that_fails_at_once_is_start_failed(real: RealSupervisor) -> None:
    real.api.patch(strategy_path("fail"), {"start_seconds": 1})
    with pytest.raises(errors.InvalidValue) as failed:
        real.act("fail", "start")
    assert failed.value.code == "START_FAILED"
    assert real.status("fail")["exit_code"] == 3


def test_a_script_with_a_syntax_error_says_where(real: RealSupervisor) -> None:
    with pytest.raises(errors.StratpanelError) as failed:
        real.act("broken", "start")
    assert failed.value.status in (409, 422)
    assert "line 1" in failed.value.message


@pytest.mark.parametrize("path", ["/", "/proc", "/etc/passwd", "../../../etc/passwd", ".", "strategies", "/dev/zero"])
def test_what_is_no_script_is_not_added(real: RealSupervisor, path: str) -> None:
    began = time.monotonic()
    with pytest.raises(errors.StratpanelError) as refused:
        real.api.post("/api/strategies", {"id": "odd", "path": path})
    assert refused.value.status in (404, 409, 413, 422), refused.value.message
    assert time.monotonic() - began < 10
    assert not (real.workspace / "strategies" / "scripts" / "odd").exists()
    assert not (real.workspace / "strategies" / "scripts" / "odd.py").exists()


def test_delete_of_a_running_one_is_refused(real: RealSupervisor, ws: Workspace) -> None:
    ws["tick"].start()
    with pytest.raises(errors.Conflict) as refused:
        real.api.delete(strategy_path("tick"))
    assert refused.value.code == "STRATEGY_RUNNING"


def test_start_while_stopping_waits_for_the_end(real: RealSupervisor) -> None:
    real.act("deaf", "start")
    real.reach("deaf", lambda row: row["state"] == "running")
    wait_for(lambda: real.api.get(strategy_path("deaf", "logs"))["lines"], 10, "its first words")
    first = real.status("deaf")["pid"]
    answer = real.api.exchange("POST", strategy_path("deaf", "stop"), query={"wait": 0})
    assert answer.status == 202
    assert real.status("deaf")["state"] == "stopping"
    second = real.act("deaf", "start")["strategy"]
    assert second["state"] == "running"
    assert second["pid"] != first
    assert real.act("deaf", "kill")["strategy"]["signal"] == "SIGKILL"


def test_logs_belong_to_runs_and_carry_times(real: RealSupervisor, ws: Workspace) -> None:
    tick = ws["tick"].start()
    run_id = tick.run_id
    wait_for(lambda: len(real.api.get(strategy_path("tick", "logs"), {"run": run_id})["lines"]) > 5, 10)
    tick.stop()
    page = real.api.get(strategy_path("tick", "logs"), {"lines": 3})
    assert all(line["text"].startswith("tick") for line in page["lines"])
    assert all(line["time"] for line in page["lines"])
    assert {line["run_id"] for line in page["lines"]} == {run_id}
    assert real.api.get(strategy_path("tick", "logs"), {"run": run_id, "lines": 1})["lines"]
    assert not real.api.get(strategy_path("tick", "logs"), {"search": "no such text"})["lines"]


def test_log_stream_of_a_running_strategy(real: RealSupervisor, ws: Workspace) -> None:
    tick = ws["tick"].start()
    stream = real.api.stream(strategy_path("tick", "logs", "stream"))
    found = []
    for event in stream:
        if event.event == "line":
            found.append(event)
        if len(found) == 20:
            stream.close()
    numbers = [int(event.data["log"].split()[1]) for event in found]
    assert numbers == list(range(numbers[0], numbers[0] + 20))
    assert {event.data["run_id"] for event in found} == {tick.run_id}
    resumed = iter(real.api.stream(strategy_path("tick", "logs", "stream"), None, found[4].id))
    assert int(next(resumed).data["log"].split()[1]) == numbers[5]


def test_versions_source_diff_rollback_promote(real: RealSupervisor) -> None:
    id = "quit"
    real.act(id, "deploy")
    real.api.put(strategy_path(id, "source"), "print('changed')\n")
    assert real.api.get(strategy_path(id, "source")) == "print('changed')\n"
    diff = real.api.get(strategy_path(id, "diff"))
    assert "+print('changed')" in diff["diff"]
    second = real.act(id, "deploy")["strategy"]["version"]
    versions = real.api.get(strategy_path(id, "versions"))["versions"]
    assert second in [version["n"] for version in versions]
    assert real.api.get(strategy_path(id, "versions", str(second)))["n"] == second
    assert real.act(id, "rollback", {"n": 1})["strategy"]["version"] == 1
    with pytest.raises(errors.StratpanelError) as missing:
        real.act(id, "rollback", {"n": 99})
    assert missing.value.status in (404, 422)
    assert real.act(id, "promote", {"mode": "live"})["strategy"]["mode"] == "live"
    assert real.act(id, "promote", {"mode": "paper"})["strategy"]["mode"] == "paper"


def test_runs_usage_events_are_kept(real: RealSupervisor, ws: Workspace) -> None:
    ws["tick"].start()
    wait_for(lambda: ws["tick"].cpu_percent is not None, 10)
    ws["tick"].stop()
    runs = ws["tick"].runs
    assert runs.iloc[0]["run_id"] == ws["tick"].run_id
    assert runs.iloc[0]["ended"] >= runs.iloc[0]["started"]
    wait_for(lambda: ws["tick"].usage["memory_mb"].notna().any(), 20, "a kept sample")
    kinds = list(ws.events.query("id == 'tick'")["type"])
    assert "started" in kinds
    assert "stopped" in kinds
    logs = ws["tick"].logs
    assert str(logs["time"].dtype).startswith("datetime64[") and logs["time"].notna().all()  # noqa: PT018


def test_schedule_is_refused_or_explained(real: RealSupervisor) -> None:
    window = {"start": "09:20", "stop": "15:15"}
    schedule = {"enabled": True, "calendar": "NSE", "windows": [window]}
    real.api.patch(strategy_path("fail"), {"schedule": schedule})
    # Guru Nanak Jayanti, NSE closed
    answer = real.api.get(strategy_path("fail", "schedule", "explain"), {"at": "2026-11-24T10:00:00+05:30"})
    assert answer["run"] is False
    assert "closed" in answer["why"]
    assert answer["boundaries"][0]["at"].startswith("2026-11-25T09:20:00")
    with pytest.raises(errors.InvalidValue) as invalid:
        real.api.patch(strategy_path("fail"), {"schedule": {"windows": [{"start": "25:99", "stop": "15:15"}]}})
    assert "schedule.windows[0].start" in invalid.value.fields
    preview = real.api.post("/api/schedule/explain", {"schedule": schedule, "count": 4})
    assert len(preview["boundaries"]) == 4
    real.api.patch(strategy_path("fail"), {"schedule": {"enabled": False}})
    assert real.api.get("/api/week")["rows"] is not None


def test_calendar_and_its_overrides(real: RealSupervisor) -> None:
    rows = real.api.get("/api/calendars/NSE", {"from": "2026-11-06", "to": "2026-11-10"})
    muhurat = next(row for row in rows if row["date"] == "2026-11-08")
    assert muhurat["kind"] == "special", "Diwali Muhurat on a Sunday"
    day = "/api/calendars/NSE/overrides/2026-12-01"
    real.api.put(day, {"kind": "closed", "why": "strike"})
    assert not real.api.get("/api/calendars/NSE", {"from": "2026-12-01", "to": "2026-12-01"})
    real.api.delete(day)
    real.api.put(day, {"kind": "hours", "why": "circular 45", "windows": [{"open": "09:15", "close": "15:45"}]})
    row = real.api.get("/api/calendars/NSE", {"from": "2026-12-01", "to": "2026-12-01"})[0]
    assert row["close"].startswith("2026-12-01T10:15")
    assert "hours from 2026-12-01 on: 09:15-15:45 (circular 45)" in real.api.get("/api/events")["events"][-1]["message"]
    real.api.delete(day, {"about": "hours"})
    assert real.api.get("/api/calendars/NSE", {"from": "2026-12-01", "to": "2026-12-01"})


def test_panic_refuses_starts_until_resume(real: RealSupervisor, ws: Workspace) -> None:
    ws["tick"].start()
    pid = ws["tick"].pid
    assert ws.panic("test")["stopped"] == ["tick"]
    assert not pid_alive(pid or 0)
    with pytest.raises(errors.Conflict) as refused:
        ws["tick"].start()
    assert refused.value.code == "PANIC"
    assert [item["id"] for item in ws.resume()["would_start"]] == ["tick"], "a person wanted it to run"
    assert not ws["tick"].pid, "what resume lists waits for a yes"
    ws.resume(yes=True)
    wait_for(lambda: ws["tick"].state == "running", 20, "the start that was listed")
    assert ws["tick"].pid not in (None, pid)


def test_rename_and_duplicate(real: RealSupervisor) -> None:
    copied = real.api.post(strategy_path("quit", "duplicate"), {"id": "quit two"})
    assert copied["id"] == "quit two"
    renamed = real.api.post(strategy_path("quit two", "rename"), {"id": "quit-3"})
    assert renamed["id"] == "quit-3"
    real.api.delete(strategy_path("quit-3"))
    with pytest.raises(errors.NotFound):
        real.status("quit-3")


def test_the_supervisor_is_killed_and_everything_is_back(real: RealSupervisor, ws: Workspace) -> None:
    tick = ws["tick"].start()
    leader, supervisor = tick.pid, ws.supervisor["pid"]
    record = (real.runtime.connection).read_text()
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: ws.state != "live", 10, "the mirror noticing")
    wait_for(lambda: ws.state == "live", 20, "the mirror's return")
    assert ws.supervisor["pid"] != supervisor
    assert tick.pid == leader, "the strategy never noticed"
    import json

    assert {k: json.loads(record)[k] for k in ("url", "token")} == {
        k: json.loads(real.runtime.connection.read_text())[k] for k in ("url", "token")
    }
    assert tick.stop().state == "stopped"


def test_a_call_waits_for_a_supervisor_that_is_coming_back(real: RealSupervisor) -> None:
    os.kill(real.api.get("/api/supervisor")["pid"], signal.SIGKILL)
    wait_for(lambda: not wake.supervisor_alive(real.runtime))
    assert real.api.get("/api/health")["status"] == "ok"


def test_launcher_and_supervisor_killed_while_a_mirror_watches(real: RealSupervisor, ws: Workspace) -> None:
    supervisor = ws.supervisor
    for pid in (supervisor["launcher_pid"], supervisor["pid"]):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: ws.state == "live" and ws.supervisor["pid"] != supervisor["pid"], 30, "everybody's return")


def test_three_clients_connect_at_once_to_nobody(tmp_path: Path) -> None:
    (tmp_path / "stratpanel.toml").touch()
    code = f"import stratpanel; print(stratpanel.connect({str(tmp_path)!r}).supervisor['pid'])"
    clients = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        assert len({client.communicate(timeout=60)[0] for client in clients}) == 1
    finally:
        closing(tmp_path)


def closing(workspace: Path) -> None:
    """Take a workspace down."""
    supervisor = RealSupervisor.__new__(RealSupervisor)
    supervisor.api, supervisor.runtime = Api(workspace), wake.Runtime(workspace)
    supervisor.close()


def test_after_down_connect_comes_up_paused_and_calls_do_not_start_anything(tmp_path: Path) -> None:
    real = RealSupervisor(tmp_path, {"tick": TICKER})
    try:
        real.close()
        with pytest.raises(NoSupervisor):
            real.api.get("/api/health")
        with stratpanel.connect(tmp_path) as ws:
            assert ws.supervisor["state"] == "paused"
            assert "down" in ws.supervisor["why"]
            assert ws["tick"].start().state == "running", "a person may start"
    finally:
        real.close()


def test_a_refused_registry_is_told_to_the_client(tmp_path: Path) -> None:
    (tmp_path / "stratpanel.toml").touch()
    (tmp_path / "strategies").mkdir()
    registry = tmp_path / "strategies" / "strategy_configs.json"
    registry.write_text('{"ema": {"name": 5}}')
    try:
        began = time.monotonic()
        with pytest.raises(NoSupervisor, match=r"strategy_configs\.json"):
            stratpanel.connect(tmp_path)
        assert time.monotonic() - began < 15
        registry.write_text("{}")
        with stratpanel.connect(tmp_path) as ws:
            assert ws.state == "live"
    finally:
        closing(tmp_path)


def test_plain_reprs(real: RealSupervisor, ws: Workspace) -> None:
    assert str(real.workspace) in repr(ws)
    assert repr(ws["tick"]).startswith("tick: stopped")
    assert ws["tick"].schedule
    assert "starts by hand" in repr(ws["tick"].schedule)
    with pytest.raises(errors.NotFound, match="tick"):
        ws["nobody"]
    with pytest.raises(AttributeError):
        _ = ws["tick"].nothing_like_this
    bundle: Any = ws["tick"]._repr_mimebundle_()
    assert bundle
