"""The OpenAPI 3.1 document of the supervisor's API, made from the Param classes and the table of routes.

Served at /api/openapi.json and fuzzed in the suite; nothing in it is written twice: a field's bounds, pattern and words
come from the parameter that also checks it.
"""

from __future__ import annotations

from typing import Any

from stratpanel.model import answers, schema
from stratpanel.model.kinds import CLOCK
from stratpanel.model.routes import DAY, ID, JSON, NUMBER, REFS, ROUTES, TEXT, Route, ref
from stratpanel.model.strategy import Strategy, Workspace
from stratpanel.model.values import Hold

#: the status fields that CONTRACTS promises, all of them always there
STATUS = (
    "id",
    "name",
    "state",
    "why",
    "pid",
    "runner_pid",
    "run_id",
    "version",
    "mode",
    "hold",
    "uptime_s",
    "cpu_percent",
    "memory_mb",
    "exit_code",
    "signal",
    "restarts",
    "next_start",
    "next_stop",
    "log_path",
)
_ANSWERS = (
    answers.Error,
    answers.StatusExtras,
    answers.Run,
    answers.EventRecord,
    answers.LogPage,
    answers.Usage,
    answers.Version,
    answers.Explanation,
    answers.Session,
    answers.Health,
)
_PATH_SCHEMAS = {"id": ID, "n": NUMBER, "name": {"type": "string", "minLength": 1}, "date": DAY}
_REASONS = {
    400: "the request cannot be read",
    401: "no token, or a wrong one",
    403: "the role does not allow this",
    404: "there is no such thing",
    405: "the path does not take this method",
    409: "its state does not allow this now",
    412: "somebody else changed it first",
    413: "the body is too large",
    422: "a value breaks the schema; fields says which",
    429: "too many log streams are open",
    500: "our own fault; log/supervisor.log has the traceback",
}
_DONE = {200: "done", 201: "made", 202: "accepted; it goes on"}


def openapi(url: str = "/") -> dict[str, Any]:
    """Return the whole document, for the server at `url`."""
    from stratpanel import __version__

    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stratpanel",
            "version": __version__,
            "description": "Operates live trading strategies: starts, stops, schedules, logs, versions.",
        },
        "servers": [{"url": url}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": component_schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def component_schemas() -> dict[str, Any]:
    """Return all schemas that routes refer to, by name."""
    found = schema.components(_ANSWERS, REFS, "answer")
    status_extras = found.pop("StatusExtras")
    parts = schema.components([Strategy], REFS) | schema.components([Strategy], REFS, "patch")
    for name, made in parts.items():
        if name not in ("Hold", "HoldPatch", "Strategy", "StrategyPatch"):  # holds change by actions only
            found[name] = made
    found["StrategyConfig"] = _titled("StrategyConfig", schema.json_schema(Strategy, schema.is_config, refs=REFS))
    found["StrategyConfigPatch"] = _titled(
        "StrategyConfigPatch", schema.json_schema(Strategy, schema.is_config, refs=REFS, form="patch")
    )
    found["Status"] = _status(status_extras["properties"])
    found["StrategyDetail"] = {
        "title": "StrategyDetail",
        "description": "Status fields and the configuration.",
        "allOf": [
            ref("Status"),
            {"type": "object", "properties": {"config": ref("StrategyConfig")}, "required": ["config"]},
        ],
    }
    found["ActionResult"] = {
        "title": "ActionResult",
        "description": "What an action did.",
        "type": "object",
        "properties": {
            "changed": {"type": "boolean", "description": "false: it was so already"},
            "strategy": ref("Status"),
            "warnings": {"type": "array", "items": TEXT},
        },
        "required": ["changed", "strategy"],
    }
    supervisor = schema.json_schema(Workspace, refs=REFS, form="answer")
    found["Supervisor"] = {**_titled("Supervisor", supervisor), "required": list(supervisor["properties"])}
    found["Tokens"] = {
        "title": "Tokens",
        "type": "object",
        "properties": dict.fromkeys(("admin", "operator", "viewer"), TEXT),
        "required": ["admin", "operator", "viewer"],
    }
    found["CalendarOverride"] = _calendar_override()
    return dict(sorted(found.items()))


def _titled(title: str, found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "title": title}


def _status(extras: dict[str, Any]) -> dict[str, Any]:
    known = schema.fields(Strategy)
    properties = {name: schema.field_schema(known[name], REFS, "answer") for name in STATUS}
    kinds = schema.fields(Hold)["kind"].objects
    properties["hold"] = {"type": "string", "enum": list(kinds), "description": "what a person decided, or none"}
    return {
        "title": "Status",
        "description": "A strategy as the supervisor reports it; unknown is null.",
        "type": "object",
        "properties": {**properties, **extras},
        "required": list(STATUS),
    }


def _calendar_override() -> dict[str, Any]:
    clock = {"type": "string", "pattern": f"^(?:{CLOCK})$"}
    window = {"type": "object", "properties": {"open": clock, "close": clock}, "required": ["open", "close"]}
    return {
        "title": "CalendarOverride",
        "description": "A day on which the exchange differs from its published calendar.",
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": ["closed", "open"]},
            "windows": {"type": "array", "items": window},
            "why": TEXT,
        },
        "required": ["kind"],
    }


def operation(route: Route) -> dict[str, Any]:
    """Return the operation object of one route."""
    words = [word.strip("{}") for word in route.path.replace(".", "/").split("/") if word and word != "api"]
    found: dict[str, Any] = {
        "operationId": "_".join([route.method, *words]),
        "summary": route.summary,
        "tags": [words[0]],
        "responses": {},
    }
    inside = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]} for name in inside]
    parameters += [
        {"name": parameter.name, "in": parameter.where, "description": parameter.doc, "schema": parameter.schema}
        for parameter in route.parameters
    ]
    if parameters:
        found["parameters"] = parameters
    if route.bodies:
        content = {media: {"schema": made} for media, made in route.bodies.items()}
        found["requestBody"] = {"content": content, "required": route.body_required}
    for status, (media, made) in route.answers.items():
        found["responses"][str(status)] = {"description": _DONE[status], "content": {media: {"schema": made}}}
    always = (400, 401, 404) if inside else (400, 401)
    for status in sorted({*always, 403, 405, 500, *route.errors}):
        found["responses"][str(status)] = {
            "description": _REASONS[status],
            "content": {JSON: {"schema": ref("Error")}},
        }
    if any(name == "ETag" for name in _headers(route)):
        for status in route.answers:
            found["responses"][str(status)]["headers"] = _headers(route)
    return found


def _headers(route: Route) -> dict[str, Any]:
    """The configuration's ETag comes with every answer that holds the configuration."""
    holds_config = any(made == ref("StrategyDetail") for _, made in route.answers.values())
    return {"ETag": {"description": "for If-Match", "schema": TEXT}} if holds_config else {}
