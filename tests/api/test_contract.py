"""Every HTTP route and field of the contracts page, asked for by hand; written from that page alone."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from tests.api.conftest import Served

STATUS_FIELDS = {
    "id", "name", "state", "why", "pid", "runner_pid", "run_id", "version", "mode", "hold", "uptime_s", "cpu_percent",
    "memory_mb", "exit_code", "signal", "restarts", "next_start", "next_stop", "log_path",
}  # fmt: skip
STATES = {"stopped", "starting", "running", "stopping", "backoff", "exited", "fatal", "lost"}


def assert_status(row: dict[str, Any]) -> None:
    """A strategy's status fields, of the kinds the page gives them."""
    assert row.keys() >= STATUS_FIELDS
    assert row["state"] in STATES
    assert row["hold"] in {"none", "stopped", "started", "paused", "panic"}
    assert row["mode"] in {"paper", "live"}
    assert row["log_path"].startswith("/")
    for name in ("pid", "runner_pid", "version", "exit_code"):
        assert row[name] is None or isinstance(row[name], int), name


def assert_error(body: dict[str, Any], code: str | None = None) -> None:
    """An error body."""
    assert body["status"] == "error"
    assert re.fullmatch(r"[A-Z0-9_]+", body["error_code"])
    assert body["message"]
    assert not body["message"].endswith(".")
    if code:
        assert body["error_code"] == code


def test_connection_file_names_all_a_client_needs(served: Served) -> None:
    import json

    record = json.loads(served.connection_path.read_text())
    assert record.keys() >= {"url", "token", "pid", "host", "boot_id", "version", "protocol", "started"}
    assert record["url"] == f"http://127.0.0.1:{served.port}"
    assert served.connection_path.stat().st_mode & 0o777 == 0o600
    assert datetime.fromisoformat(record["started"]).tzinfo is not None


def test_health(served: Served) -> None:
    reply = served.call("GET", "/api/health")
    assert reply.status == 200
    assert reply.json["status"] == "ok"


def test_supervisor(served: Served) -> None:
    reply = served.call("GET", "/api/supervisor")
    assert reply.status == 200
    assert reply.json.keys() >= {"pid", "launcher_pid", "started", "version", "url", "state", "why"}
    assert reply.json["state"] in {"running", "paused", "degraded"}


def test_metrics_are_prometheus_text(served: Served) -> None:
    served.on_loop(served.core.change, "ema", state="running", pid=1, cpu_percent=1.5, memory_mb=10.0)
    reply = served.call("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = reply.body.decode()
    sample = re.compile(r'[a-z_]+(\{([a-z_]+="[^"\n]*",?)*\})? -?[0-9.e+-]+')
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line), line
    assert 'stratpanel_strategies{state="running"} 1' in text
    assert 'stratpanel_strategy_memory_bytes{id="ema"} 10485760' in text
    assert 'stratpanel_strategy_memory_bytes{id="rsi"}' not in text, "unknown is left out, not 0"


def test_openapi_describes_every_route(served: Served) -> None:
    reply = served.call("GET", "/api/openapi.json")
    assert reply.json["openapi"].startswith("3.1")
    paths = reply.json["paths"]
    for path in (
        "/api/health", "/metrics", "/api/openapi.json", "/api/supervisor", "/api/panic", "/api/pause", "/api/resume",
        "/api/reload", "/api/strategies", "/api/strategies/{id}", "/api/strategies/{id}/source",
        "/api/strategies/{id}/versions", "/api/strategies/{id}/versions/{n}", "/api/strategies/{id}/diff",
        "/api/strategies/{id}/logs", "/api/strategies/{id}/logs/stream", "/api/strategies/{id}/runs",
        "/api/strategies/{id}/usage", "/api/strategies/{id}/schedule/explain", "/api/calendars/{name}", "/api/events",
        "/api/events/stream",
        *(f"/api/strategies/{{id}}/{action}" for action in ACTIONS),
        *(f"/api/actions/{action}" for action in MANY),
    ):  # fmt: skip
        assert path in paths, path


def test_list_of_strategies(served: Served) -> None:
    reply = served.call("GET", "/api/strategies")
    assert reply.status == 200
    assert reply.json.keys() == {"strategies"}
    assert [row["id"] for row in reply.json["strategies"]] == ["ema", "rsi"]
    for row in reply.json["strategies"]:
        assert_status(row)


def test_one_strategy_is_status_and_config_with_an_etag(served: Served) -> None:
    reply = served.call("GET", "/api/strategies/ema")
    assert reply.status == 200
    assert_status(reply.json)
    assert reply.json["config"]["limits"]["memory_mb"] == 1024
    assert re.fullmatch(r'"[^"]+"', reply.headers["etag"])


def test_unknown_strategy(served: Served) -> None:
    reply = served.call("GET", "/api/strategies/nobody")
    assert reply.status == 404
    assert_error(reply.json, "STRATEGY_NOT_FOUND")


def test_add_by_source_and_by_path(served: Served) -> None:
    reply = served.call("POST", "/api/strategies", {"id": "new", "source": "print(1)\n"})
    assert reply.status == 201
    assert reply.json["id"] == "new"
    reply = served.call("POST", "/api/strategies", {"id": "newer", "path": "strategies/scripts/newer.py"})
    assert reply.status == 201
    assert ("add", "newer", "strategies/scripts/newer.py", None, None, "api") in served.core.calls


def test_add_by_upload(served: Served) -> None:
    body, kind = multipart("bought.py", b"print(2)\n")
    reply = served.call("POST", "/api/strategies", body, headers={"Content-Type": kind})
    assert reply.status == 201
    assert reply.json["id"] == "bought"


def multipart(name: str, content: bytes, **fields: str) -> tuple[bytes, str]:
    """A multipart body with one file, and its content type."""
    parts = [
        f'--b0und\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()
    ]
    head = f'--b0und\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return "".join(
        parts
    ).encode() + head.encode() + content + b"\r\n--b0und--\r\n", "multipart/form-data; boundary=b0und"


@pytest.mark.parametrize("size", [16 * 1024 * 1024 + 1, 40 * 1024 * 1024])
def test_upload_over_16_mb_is_413(served: Served, size: int) -> None:
    body, kind = multipart("big.py", b"#" * size)
    reply = served.call("POST", "/api/strategies", body, headers={"Content-Type": kind})
    assert reply.status == 413
    assert_error(reply.json, "TOO_LARGE")


def test_upload_of_16_mb_is_taken(served: Served) -> None:
    body, kind = multipart("big.py", b"#" * (16 * 1024 * 1024))
    assert served.call("POST", "/api/strategies", body, headers={"Content-Type": kind}).status == 201


def test_merge_patch_with_if_match(served: Served) -> None:
    etag = served.call("GET", "/api/strategies/ema").headers["etag"]
    headers = {"If-Match": etag, "Content-Type": "application/merge-patch+json"}
    reply = served.call("PATCH", "/api/strategies/ema", {"limits": {"memory_mb": 512}}, headers=headers)
    assert reply.status == 200
    assert reply.json["config"]["limits"] == {**reply.json["config"]["limits"], "memory_mb": 512}
    assert reply.headers["etag"] != etag
    reply = served.call("PATCH", "/api/strategies/ema", {"limits": {"memory_mb": 256}}, headers=headers)
    assert reply.status == 412
    assert_error(reply.json)


def test_patch_null_resets_a_field(served: Served) -> None:
    served.call("PATCH", "/api/strategies/ema", {"limits": {"memory_mb": 512}})
    reply = served.call("PATCH", "/api/strategies/ema", {"limits": {"memory_mb": None}})
    assert reply.json["config"]["limits"]["memory_mb"] == 1024


def test_invalid_value_names_its_field(served: Served) -> None:
    change = {"schedule": {"windows": [{"start": "25:99", "stop": "15:15"}]}}
    reply = served.call("PATCH", "/api/strategies/ema", change)
    assert reply.status == 422
    assert_error(reply.json)
    assert "25:99" in reply.json["fields"]["schedule.windows[0].start"]


def test_delete(served: Served) -> None:
    served.call("POST", "/api/strategies/ema/start")
    reply = served.call("DELETE", "/api/strategies/ema")
    assert reply.status == 409
    assert_error(reply.json, "STRATEGY_RUNNING")
    served.call("POST", "/api/strategies/ema/stop")
    assert served.call("DELETE", "/api/strategies/ema").status == 200
    assert served.call("GET", "/api/strategies/ema").status == 404


ACTIONS = ("start", "stop", "kill", "restart", "reset", "pause", "resume", "deploy", "rollback", "promote")


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_answer_with_changed_and_the_status(served: Served, action: str) -> None:
    body = {"n": 1} if action == "rollback" else None
    reply = served.call("POST", f"/api/strategies/ema/{action}", body)
    assert reply.status == 200, reply.body
    assert isinstance(reply.json["changed"], bool)
    assert_status(reply.json["strategy"])


def test_start_of_a_running_one_and_stop_of_a_stopped_one_change_nothing(served: Served) -> None:
    assert served.call("POST", "/api/strategies/ema/start").json["changed"] is True
    assert served.call("POST", "/api/strategies/ema/start").json["changed"] is False
    assert served.call("POST", "/api/strategies/ema/stop").json["changed"] is True
    reply = served.call("POST", "/api/strategies/ema/stop")
    assert reply.json["changed"] is False
    assert reply.json["strategy"]["hold"] == "stopped"


def test_start_takes_params_args_and_deploy(served: Served) -> None:
    served.call("POST", "/api/strategies/ema/start", {"params": {"fast": 12}, "args": ["-v"], "deploy": True})
    assert ("start", "ema", "api", {"fast": 12}, ["-v"], True) in served.core.calls
    for wrong in ({"params": []}, {"args": "x"}, {"args": [1]}, {"deploy": "yes"}):
        reply = served.call("POST", "/api/strategies/ema/start", wrong)
        assert reply.status == 422
        assert reply.json["fields"]


def test_the_caller_is_on_record(served: Served) -> None:
    served.call("POST", "/api/strategies/ema/stop", headers={"X-Stratpanel-By": "asha\u00e9"})
    assert served.core.calls[-1][2].startswith("asha")


def test_wait_0_answers_202_at_once(served: Served) -> None:
    import asyncio

    async def hold() -> None:
        served.core.gate = asyncio.Event()

    served.wait(hold())
    reply = served.call("POST", "/api/strategies/ema/start?wait=0")
    assert reply.status == 202
    assert reply.json["strategy"]["state"] == "stopped"
    served.loop.call_soon_threadsafe(served.core.gate.set)  # type: ignore[union-attr]
    from tests.support import wait_for

    wait_for(lambda: served.call("GET", "/api/strategies/ema").json["state"] == "running")


def test_wait_0_still_says_what_is_refused_at_once(served: Served) -> None:
    served.core.state = "panic"
    reply = served.call("POST", "/api/strategies/ema/start?wait=0")
    assert reply.status == 409
    assert_error(reply.json, "PANIC")


MANY = ("start", "stop", "kill", "restart", "reset", "pause", "resume")


@pytest.mark.parametrize("action", MANY)
def test_an_action_on_many_tells_what_it_did_to_each(served: Served, action: str) -> None:
    reply = served.call("POST", f"/api/actions/{action}", {"ids": ["ema", "nobody", "rsi", "ema", "../etc"]})
    assert reply.status == 200, reply.body
    ema, nobody, rsi, outside = reply.json["results"]
    for row, id in ((ema, "ema"), (rsi, "rsi")):
        assert row["id"] == row["strategy"]["id"] == id
        assert isinstance(row["changed"], bool)
        assert_status(row["strategy"])
    for row, id in ((nobody, "nobody"), (outside, "../etc")):
        assert (row["id"], row["http_status"]) == (id, 404)
        assert_error(row, "STRATEGY_NOT_FOUND")


def test_an_action_on_many_takes_the_fields_of_that_on_one(served: Served) -> None:
    body = {"ids": ["ema", "rsi"], "params": {"fast": 12}, "args": ["-v"], "deploy": True}
    assert served.call("POST", "/api/actions/start", body).status == 200
    for id in ("ema", "rsi"):
        assert ("start", id, "api", {"fast": 12}, ["-v"], True) in served.core.calls
    for wrong in ({}, {"ids": []}, {"ids": "ema"}, {"ids": [1]}, {"ids": ["ema"], "args": "x"}):
        reply = served.call("POST", "/api/actions/start", wrong)
        assert reply.status == 422
        assert reply.json["fields"]
    assert served.call("POST", "/api/actions/start", {"ids": [f"s{n}" for n in range(10_001)]}).status == 422
    assert served.call("POST", "/api/actions/deploy", {"ids": ["ema"]}).status == 404


def test_a_fault_of_ours_with_one_is_told_beside_the_results_of_the_others(served: Served) -> None:
    body = {"ids": ["ema"], "params": {"explode": True}}
    row = served.call("POST", "/api/actions/start", body).json["results"][0]
    assert row["http_status"] == 500
    assert_error(row, "INTERNAL")
    assert "secret" not in row["message"]


def test_many_at_once_wait_for_none_of_each_other(served: Served) -> None:
    import asyncio

    async def hold() -> None:
        served.core.gate = asyncio.Event()

    served.wait(hold())
    reply = served.call("POST", "/api/actions/start?wait=0", {"ids": ["ema", "nobody", "rsi"]})
    assert reply.status == 202
    accepted = [row.get("changed") for row in reply.json["results"]]
    assert accepted == [True, None, True], "what is refused is told at once"
    assert {call[1] for call in served.core.calls if call[0] == "start"} == {"ema", "rsi"}, "both are under way"
    served.loop.call_soon_threadsafe(served.core.gate.set)  # type: ignore[union-attr]
    from tests.support import wait_for

    wait_for(lambda: all(row["state"] == "running" for row in served.core.statuses()))


def test_source(served: Served) -> None:
    code = "# ä€\nprint('x')\n"
    headers = {"Content-Type": "text/x-python"}
    assert served.call("PUT", "/api/strategies/ema/source", code, headers=headers).status == 200
    reply = served.call("GET", "/api/strategies/ema/source")
    assert reply.headers["content-type"].startswith("text/x-python")
    assert reply.body.decode() == code
    assert served.call("PUT", "/api/strategies/ema/source", b"\xff\xfe", headers=headers).status == 422


def test_versions_and_diff(served: Served) -> None:
    reply = served.call("GET", "/api/strategies/ema/versions")
    assert reply.json.keys() == {"versions"}
    assert served.call("GET", "/api/strategies/ema/versions/1").status == 200
    assert served.call("GET", "/api/strategies/ema/versions/99").status == 404
    assert served.call("GET", "/api/strategies/ema/versions/x").status == 404
    assert "diff" in served.call("GET", "/api/strategies/ema/diff?from=1&to=2").json
    assert served.call("GET", "/api/strategies/ema/diff?from=x").status == 422


def test_logs_page(served: Served) -> None:
    for number in range(300):
        served.core.print_line("ema", f"line {number}")
    page = served.call("GET", "/api/strategies/ema/logs").json
    assert page.keys() >= {"lines", "before"}
    assert len(page["lines"]) == 200
    assert page["lines"][0].keys() >= {"time", "text", "run_id", "cursor"}
    assert page["lines"][-1]["text"] == "line 299"
    older = served.call("GET", f"/api/strategies/ema/logs?lines=100&before={page['before']}").json
    assert [line["text"] for line in older["lines"]] == [f"line {n}" for n in range(100)]
    assert older["before"] is None
    found = served.call("GET", "/api/strategies/ema/logs?search=LINE%2029").json
    assert [line["text"] for line in found["lines"]] == ["line 29", *(f"line 29{n}" for n in range(10))]
    assert served.call("GET", "/api/strategies/ema/logs?lines=10000").status == 200
    for wrong in ("lines=10001", "lines=-1", "lines=x", "before=nonsense", "since=yesterday"):
        assert served.call("GET", f"/api/strategies/ema/logs?{wrong}").status in (400, 422), wrong


def test_runs_and_usage(served: Served) -> None:
    assert served.call("GET", "/api/strategies/ema/runs").json.keys() == {"runs"}
    for since in ("", "?since=1795371810", "?since=2026-11-20T09:00:00%2B05:30&step=10"):
        usage = served.call("GET", f"/api/strategies/ema/usage{since}").json
        assert usage.keys() >= {"step_s", "t", "cpu_percent", "memory_mb", "threads", "open_files"}
        assert len({len(usage[name]) for name in usage if name != "step_s"}) == 1
    assert served.call("GET", "/api/strategies/ema/usage?since=2026-11-20T09:00:00").status == 422, "no offset"


def test_schedule_explain(served: Served) -> None:
    for at in ("", "?at=2026-11-20T09:00:00%2B05:30", "?at=1795371810"):
        answer = served.call("GET", f"/api/strategies/ema/schedule/explain{at}").json
        assert answer.keys() >= {"run", "why", "until", "boundaries"}


def test_calendars(served: Served) -> None:
    rows = served.call("GET", "/api/calendars/NSE?from=2026-11-08&to=2026-11-09").json
    assert rows[0].keys() >= {"date", "open", "close", "kind", "why"}
    assert served.call("GET", "/api/calendars/XXXX").status == 404
    assert served.call("GET", "/api/calendars/NSE?from=tomorrow").status == 422
    assert served.call("GET", "/api/calendars/NSE?from=2026-11-09&to=2026-11-08").status == 422


def test_events_list(served: Served) -> None:
    served.call("POST", "/api/strategies/ema/start")
    served.call("POST", "/api/strategies/ema/stop")
    events = served.call("GET", "/api/events").json["events"]
    assert [event["type"] for event in events] == ["started", "stopped"]
    assert events[0].keys() >= {"time", "type", "id", "by", "message", "status", "exit_code", "strategy"}
    later = served.call("GET", f"/api/events?since={events[0]['seq']}").json["events"]
    assert [event["type"] for event in later] == ["stopped"]
    assert served.call("GET", "/api/events?since=x").status == 422


def test_workspace_actions(served: Served) -> None:
    assert served.call("POST", "/api/pause").status == 200
    assert served.call("GET", "/api/supervisor").json["state"] == "paused"
    assert served.call("POST", "/api/resume", {"dry_run": True}).json["would_start"]
    assert served.call("GET", "/api/supervisor").json["state"] == "paused"
    assert served.call("POST", "/api/resume").status == 200
    assert served.call("GET", "/api/supervisor").json["state"] == "running"
    served.call("POST", "/api/strategies/ema/start")
    assert served.call("POST", "/api/panic", {"why": "margin call"}).json["stopped"] == ["ema"]
    assert ("panic", "api", "margin call") in served.core.calls
    assert served.call("POST", "/api/reload").status == 200


def test_further_routes(served: Served) -> None:
    assert served.call("GET", "/api/week").status == 200
    assert served.call("GET", "/api/calendars").json["calendars"]
    assert served.call("POST", "/api/schedule/explain", {"schedule": {}}).json.keys() >= {"run", "why"}
    assert served.call("POST", "/api/schedule/explain", {}).status == 422
    wrong = {"schedule": {"windows": [{"start": "9", "stop": "10:00"}]}}
    assert served.call("POST", "/api/schedule/explain", wrong).json["fields"]["schedule.windows[0].start"]
    served.core.print_line("ema", "x")
    assert served.call("DELETE", "/api/strategies/ema/logs").status == 200
    assert served.call("GET", "/api/strategies/ema/logs").json["lines"] == []
    assert served.call("GET", "/api/calendar-overrides?calendar=NSE").json["overrides"][0]["reason"]
    day = "/api/calendars/NSE/overrides/2026-12-01"
    assert served.call("PUT", day, {"kind": "closed", "why": "strike"}).status == 200
    assert served.call("DELETE", day).status == 200
    hours = {"kind": "hours", "why": "circular 45", "windows": [{"open": "09:15", "close": "15:45"}], "days": "mon-wed"}
    assert served.call("PUT", day, hours).json["override"]["days"] == ["mon", "tue", "wed"]
    assert served.call("PUT", day, {**hours, "days": ["soon"]}).json["fields"]["days"]
    assert served.call("PUT", day, {"kind": "hours", "why": "x"}).json["fields"]["windows"]
    assert served.call("PUT", day, {"kind": "valid", "why": "all of 2027 entered"}).status == 200
    assert served.call("DELETE", f"{day}?about=hours").status == 200
    assert served.core.calls[-1][4] == "hours"
    assert served.call("DELETE", f"{day}?about=noon").json["fields"]["about"]
    assert served.call("PUT", "/api/calendars/NSE/overrides/soon", {"kind": "closed", "why": "x"}).status == 422
    for wrong in ({}, {"kind": "closed"}, {"kind": "x", "why": "y"}, {"kind": "open", "why": "x"},
                  {"kind": "open", "why": "x", "windows": [{"open": "9", "close": "15:30"}]}):  # fmt: skip
        assert served.call("PUT", day, wrong).json["fields"], wrong
    assert served.call("POST", "/api/down", {"keep": True}).status == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/panic"), ("PUT", "/api/strategies"), ("POST", "/api/health")]
)
def test_wrong_method(served: Served, method: str, path: str) -> None:
    reply = served.call(method, path)
    assert reply.status == 405
    assert_error(reply.json, "METHOD_NOT_ALLOWED")
    assert method not in reply.headers["allow"].split(", ")


def test_unknown_path(served: Served) -> None:
    for path in ("/", "/api", "/api/nothing", "/api/strategies/ema/nothing", "/api/strategies/"):
        reply = served.call("GET", path)
        assert reply.status == 404
        assert_error(reply.json)


def test_our_own_fault_is_500_without_its_details(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    reply = served.call("POST", "/api/strategies/ema/start", {"params": {"explode": True}})
    assert reply.status == 500
    assert_error(reply.json, "INTERNAL")
    assert b"secret" not in reply.body
    assert "a fault of ours with a secret in it" in caplog.text, "the traceback is in our own log"
