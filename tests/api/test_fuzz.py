"""Schemathesis drives every operation of our own OpenAPI document: no server error, and answers as documented."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS

from stratpanel.model.errors import Conflict
from stratpanel.supervisor.api.openapi import document
from stratpanel.supervisor.api.server import routes
from tests.api.conftest import Served
from tests.api.real import RealSupervisor

EXAMPLES = 4
ENDLESS = "/stream$"
FATAL = "/api/(down|token)$"  # they end the server, or everybody's right to call it
CHECKED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
SLEEPER = "import time\ntime.sleep(600)\n"
NOBODY = "a b.c_d-9"


def ids_for(path: str, method: str) -> list[str]:
    """Ids that exist, or nearly do; what is changed is never started, what is removed is made again."""
    if method == "delete" or path.endswith("/rename"):
        return ["victim", NOBODY]
    return ["changed", NOBODY] if method in ("patch", "put") else ["ema", "ema", NOBODY]


def fuzzable() -> dict[str, Any]:
    """The document with ids of our choice, since random ones would only ever be unknown."""
    found = copy.deepcopy(document("http://127.0.0.1:1"))
    for path, item in found["paths"].items():
        parameters = item.pop("parameters", [])
        for method, operation in item.items():
            own = copy.deepcopy(parameters)
            for parameter in own:
                if parameter["name"] == "id":
                    parameter["schema"] = {"enum": ids_for(path, method)}
                if parameter["name"] == "name":
                    parameter["schema"] = {"enum": ["NSE", "XXXX"]}
            operation["parameters"] = [*operation.get("parameters", []), *own]
    return found


@pytest.fixture(scope="module")
def schema() -> Any:
    """What schemathesis works from; in a fixture, since its making takes seconds and every worker collects."""
    return schemathesis.openapi.from_dict(fuzzable())


lazy = schemathesis.pytest.from_fixture("schema").exclude(path_regex=f"{ENDLESS}|{FATAL}")
seen: Counter[int] = Counter()


def test_the_document_is_valid_openapi_3_1() -> None:
    from openapi_spec_validator import validate  # its import takes seconds, and every worker collects

    validate(document("http://127.0.0.1:1"))


def test_the_document_has_the_routes_of_the_server_and_no_other(served: Served) -> None:
    served_paths = {}
    for pattern, route, *_ in routes(served.api._site):
        for path in expanded(pattern):
            served_paths[path] = set(route.allowed_methods())
    documented = {
        path: {method.upper() for method in item if method != "parameters"}
        for path, item in document("")["paths"].items()
    }
    assert documented == served_paths


def expanded(pattern: str) -> list[str]:
    """The paths of a routing pattern in OpenAPI's spelling."""
    names = ["{name}", "{date}"] if "calendars" in pattern else ["{id}", "{n}"]
    for name in names:
        pattern = pattern.replace("([^/]+)", name, 1)
    *parts, last = pattern.replace("\\", "").split("/")
    return ["/".join([*parts, choice]) for choice in last.strip("()").split("|")]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSupervisor]:
    """A real supervisor for the whole module: what one request leaves behind is the next one's world."""
    real = RealSupervisor(tmp_path_factory.mktemp("fuzzed"), {"ema": SLEEPER, "changed": SLEEPER, "victim": SLEEPER})
    yield real
    print(f"answers by status: {dict(seen)}")
    real.close()
    log = real.runtime.supervisor_log.read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 1000 :][:5000]


@lru_cache
def checks() -> list[Any]:
    """The checks that hold for an API whose answers depend on its state."""
    return [CHECKS.get_one(name) for name in CHECKED]


@lazy.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_every_operation(case: Any, fuzzed: RealSupervisor) -> None:
    if (case.path_parameters or {}).get("id") == "victim":
        with suppress(Conflict):
            fuzzed.api.post("/api/strategies", {"id": "victim", "path": "victim.py"})
    record = fuzzed.api.connection()
    response = case.call(base_url=record["url"], headers={"Authorization": f"Bearer {record['token']}"})
    seen[response.status_code] += 1
    case.validate_response(response, checks=checks())
