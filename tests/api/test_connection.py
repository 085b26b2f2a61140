"""The client's connection: finding workspaces, calls and their errors, restarts, rotation, versions, import cost."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import stratpanel
from stratpanel.client.connection import Api, Interrupted, NoSupervisor, find_workspace, strategy_path
from stratpanel.model import errors
from tests.api.conftest import Served


@pytest.fixture
def api(served: Served) -> Api:
    return Api(served.workspace, by="tests")


# -- finding the workspace


def test_workspace_by_argument_environment_and_parents(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = workspace / "notebooks" / "a"
    deep.mkdir(parents=True)
    monkeypatch.delenv("STRATPANEL_WORKSPACE", raising=False)
    monkeypatch.chdir(deep)
    assert find_workspace() == workspace
    assert find_workspace(workspace) == workspace
    assert find_workspace("../..") == workspace
    other = workspace / "other"
    other.mkdir()
    (other / "stratpanel.toml").touch()
    monkeypatch.setenv("STRATPANEL_WORKSPACE", str(other))
    assert find_workspace() == other
    assert find_workspace(workspace) == workspace, "-w wins over the environment"


def test_no_workspace_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRATPANEL_WORKSPACE", raising=False)
    for given, start in ((tmp_path, None), (tmp_path / "missing", None), (None, tmp_path)):
        with pytest.raises(errors.NotFound, match="stratpanel init"):
            find_workspace(given, start)


def test_a_folder_of_openalgo_is_a_workspace_if_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "strategy_configs.json").write_text("{}")
    assert find_workspace(tmp_path) == tmp_path


# -- calls


def test_calls_and_their_answers(served: Served, api: Api) -> None:
    assert api.get("/api/health")["status"] == "ok"
    assert api.post(strategy_path("ema", "start"), {"params": {"fast": 3}})["changed"] is True
    assert served.core.calls[-1][:3] == ("start", "ema", "tests")
    assert api.put(strategy_path("ema", "source"), "print('ä')\n") == {"saved": True}
    assert api.get(strategy_path("ema", "source")) == "print('ä')\n"
    assert len(api.get(strategy_path("ema", "runs"), {"limit": 1, "since": None})["runs"]) == 1
    assert api.patch(strategy_path("ema"), {"notes": "x"})["config"]["notes"] == "x"
    assert api.delete(strategy_path("rsi")) == {"removed": "rsi"}
    assert "stratpanel_strategies" in api.get("/metrics")


def test_a_refusal_is_raised_as_the_supervisors_error(api: Api) -> None:
    with pytest.raises(errors.NotFound) as missing:
        api.get(strategy_path("nobody/../x"))
    assert missing.value.code == "STRATEGY_NOT_FOUND"
    with pytest.raises(errors.InvalidValue) as invalid:
        api.patch(strategy_path("ema"), {"limits": {"memory_mb": "much"}})
    assert "limits.memory_mb" in invalid.value.fields
    with pytest.raises(errors.PreconditionFailed):
        api.patch(strategy_path("ema"), {"notes": ""}, if_match="old")
    with pytest.raises(errors.Internal):
        api.post(strategy_path("ema", "start"), {"params": {"explode": True}})
    with pytest.raises(errors.StratpanelError) as wrong:
        api.get("/api/panic")
    assert wrong.value.status == 405


def test_a_role_can_be_given_up(served: Served) -> None:
    viewer = Api(served.workspace, role="viewer")
    assert viewer.get("/api/strategies")
    with pytest.raises(errors.Forbidden):
        viewer.post("/api/panic")


def test_two_operators_at_once_and_only_one_change_is_taken(served: Served) -> None:
    etag = served.core.etag("ema")
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def operate(memory: int) -> None:
        barrier.wait()
        try:
            Api(served.workspace).patch(
                strategy_path("ema"), {"limits": {"memory_mb": memory}}, if_match=etag.strip('"')
            )
            outcomes.append("taken")
        except errors.PreconditionFailed:
            outcomes.append("refused")

    threads = [threading.Thread(target=operate, args=(memory,)) for memory in (256, 512)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "taken"]


def test_a_stream_can_be_closed_from_another_thread(api: Api) -> None:
    stream = api.stream("/api/events/stream")
    ended = threading.Event()

    def read() -> None:
        for _ in stream:
            pass
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert not ended.wait(0.1)
    stream.close()
    assert ended.wait(2)


def test_a_stream_resumes(served: Served, api: Api) -> None:
    with_events = iter(api.stream("/api/events/stream"))
    Api(served.workspace).post(strategy_path("ema", "start"))
    first = next(with_events)
    assert (first.event, first.data["type"]) == ("event", "started")
    api.post(strategy_path("ema", "stop"))
    assert next(iter(api.stream("/api/events/stream", None, first.id))).data["type"] == "stopped"


# -- supervisors that come and go


def test_a_rotated_token_is_read_again(served: Served, api: Api) -> None:
    assert api.get("/api/health")
    Api(served.workspace).post("/api/token")
    assert api.get("/api/health")["status"] == "ok"


def test_a_restarted_supervisor_is_found_again(served: Served, api: Api) -> None:
    assert api.reachable()
    served.stop()
    assert not api.reachable()
    with pytest.raises(NoSupervisor, match="stratpanel up"):
        api.get("/api/health")
    served.start()
    assert api.get("/api/health")


def test_a_supervisor_that_moved_is_found_again(served: Served, api: Api) -> None:
    assert api.get("/api/health")
    served.stop()
    record = json.loads(served.connection_path.read_text())
    served.connection_path.write_text(json.dumps({**record, "url": "http://127.0.0.1:1"}))
    served.start()
    assert served.port != int(record["url"].rpartition(":")[2])
    (served.connection_path.parent / "wanted").write_text("{}")  # meant to be up: a refusal waits for its return
    assert api.get("/api/health")


def test_a_call_that_is_cut_off_is_not_repeated(served: Served, api: Api) -> None:
    import asyncio

    async def hold() -> None:
        served.core.gate = asyncio.Event()

    served.wait(hold())
    raised: list[Exception] = []

    def act() -> None:
        try:
            api.post(strategy_path("ema", "start"))
        except errors.StratpanelError as error:
            raised.append(error)

    caller = threading.Thread(target=act)
    caller.start()
    while not served.core.calls:
        time.sleep(0.005)
    served.stop()
    caller.join(10)
    served.start()
    assert isinstance(raised[0], Interrupted)
    assert not served.core.calls, "the new supervisor was not asked to do it again"


def test_another_protocol_is_a_clear_error_with_a_way_on(served: Served, api: Api) -> None:
    record = json.loads(served.connection_path.read_text())
    served.connection_path.write_text(json.dumps({**record, "protocol": 99, "version": "9.9"}))
    with pytest.raises(errors.Conflict) as clash:
        api.get("/api/health")
    assert clash.value.code == "PROTOCOL_MISMATCH"
    for word in ("9.9", "protocol 99", stratpanel.__version__, "stratpanel down --keep", "stratpanel up"):
        assert word in clash.value.message


def test_a_stranger_on_the_port_is_no_supervisor(served: Served, api: Api) -> None:
    import socket

    port = served.port
    served.stop()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()

        def rude() -> None:
            connection, _ = stranger.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
            connection.close()

        threading.Thread(target=rude, daemon=True).start()
        assert not api.reachable()
    served.start()


# -- cost


def cost_ms(code: str) -> float:
    """Least CPU milliseconds of a fresh interpreter running `code`, of nine; CPU, since the machine may be busy."""
    times = []
    for _ in range(9):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000)
    return min(times)


def imported_by(code: str) -> set[str]:
    """Top-level modules that `code` imports."""
    listing = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in listing.stdout.split()}


def test_the_connection_imports_the_standard_library_only() -> None:
    found = imported_by("import stratpanel.client.connection") - set(sys.stdlib_module_names)
    assert {name for name in found if not name.startswith(("_", "sitecustomize", "zzz"))} <= {"stratpanel"}


def test_connect_imports_neither_pandas_nor_panel_nor_tornado() -> None:
    found = imported_by("import stratpanel; stratpanel.connect")
    assert not found & {"pandas", "numpy", "panel", "bokeh", "param", "tornado", "psutil", "rich"}


def test_importing_the_package_is_nearly_free() -> None:
    assert not imported_by("import stratpanel") & {"http", "socket", "param", "asyncio"}


def test_importing_costs_little_more_than_http_client_itself() -> None:
    bare, http, ours = (cost_ms(code) for code in ("pass", "import http.client", "import stratpanel.client.connection"))
    print(f"over bare python: http.client {http - bare:.1f} ms, stratpanel.client.connection {ours - bare:.1f} ms")
    assert ours - bare < 2.5 * (http - bare) + 5
