"""Who gets in: tokens, roles, host names, rotation."""

from __future__ import annotations

import json
from itertools import product

import pytest

from stratpanel.supervisor.api.access import Role, derived_token, narrowed, require_loopback_name
from stratpanel.supervisor.api.server import routes
from tests.api.conftest import Served

PATHS = ["/api/health", "/metrics", "/api/openapi.json", "/api/strategies/ema", "/api/mirror/stream", "/api/nothing"]


@pytest.mark.parametrize("path", PATHS)
def test_no_route_answers_without_the_token(served: Served, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {served.api.token}"},
        {"Authorization": served.api.token},
        {"Authorization": f"Bearer {served.api.token}x"},
        {"Authorization": "Bearer \u00e4"},
    ):
        reply = served.call("GET", path, token=None, headers=headers)
        assert reply.status == 401
        assert reply.json["error_code"] == "UNAUTHORIZED"
        assert reply.headers["www-authenticate"].startswith("Bearer")


def test_every_route_of_the_table_checks_the_token(served: Served) -> None:
    """Also one that is added tomorrow."""
    for pattern, *_ in routes(served.api._site):
        path = pattern.replace(r"([^/]+)", "ema").replace("\\", "").split("|")[0].replace("(", "").rstrip(")")
        for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
            assert served.call(method, path, token=None).status in (401, 405), (method, path)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "", "0.0.0.0"]
)
def test_a_rebound_host_name_is_refused(served: Served, host: str) -> None:
    reply = served.call("GET", "/api/health", headers={"Host": host})
    assert reply.status == 403
    assert reply.json["error_code"] == "HOST_NOT_ALLOWED"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "LOCALHOST:80", "[::1]:18200", "127.8.9.1"])
def test_names_of_this_machine_are_served(host: str) -> None:
    require_loopback_name(host)


def test_lesser_tokens_are_derived_and_do_less(served: Served) -> None:
    tokens = served.call("GET", "/api/token").json
    assert tokens["admin"] == served.api.token
    allowed = {
        ("viewer", "GET", "/api/strategies"): 200,
        ("viewer", "POST", "/api/strategies/ema/start"): 403,
        ("viewer", "POST", "/api/panic"): 403,
        ("viewer", "GET", "/api/token"): 403,
        ("operator", "POST", "/api/strategies/ema/start"): 200,
        ("operator", "POST", "/api/panic"): 200,
        ("operator", "PATCH", "/api/strategies/ema"): 403,
        ("operator", "PUT", "/api/strategies/ema/source"): 403,
        ("operator", "POST", "/api/strategies/ema/promote"): 403,
        ("operator", "GET", "/api/token"): 403,
        ("admin", "PATCH", "/api/strategies/ema"): 200,
    }
    for (role, method, path), status in allowed.items():
        reply = served.call(method, path, {} if method != "GET" else None, token=tokens[role])
        assert reply.status == status, (role, method, path)
        if status == 403:
            assert role in reply.json["message"]


def test_a_role_can_be_given_up_for_a_request_but_not_taken() -> None:
    for own, wanted in product(Role, Role):
        assert narrowed(own, wanted.name.lower()) == min(own, wanted)


def test_the_role_header_narrows(served: Served) -> None:
    headers = {"X-Stratpanel-Role": "viewer"}
    assert served.call("POST", "/api/strategies/ema/start", headers=headers).status == 403
    assert served.call("GET", "/api/strategies", headers=headers).status == 200
    assert served.call("GET", "/api/strategies", headers={"X-Stratpanel-Role": "root"}).status == 403
    viewer = derived_token(served.api.token, Role.VIEWER)
    headers = {"X-Stratpanel-Role": "admin"}
    assert served.call("POST", "/api/strategies/ema/start", token=viewer, headers=headers).status == 403


def test_rotation_ends_all_old_tokens_and_is_written_down(served: Served) -> None:
    before = served.call("GET", "/api/token").json
    after = served.call("POST", "/api/token").json
    assert not set(before.values()) & set(after.values())
    assert json.loads(served.connection_path.read_text())["token"] == after["admin"]
    assert served.connection_path.stat().st_mode & 0o777 == 0o600
    for token in before.values():
        assert served.call("GET", "/api/health", token=token).status == 401
    assert served.call("GET", "/api/health", token=after["viewer"]).status == 200


def test_answers_may_not_be_cached_or_sniffed(served: Served) -> None:
    headers = served.call("GET", "/api/token").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
