"""The OpenAPI 3.1 document: the paths of CONTRACTS from here, their schemas from openapi_schemas.py.

Served at /api/openapi.json; the suite validates it and fuzzes every operation of it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from stratpanel import __version__
from stratpanel.market.overrides_file import SUBJECTS
from stratpanel.model.ids import ID_PATTERN
from stratpanel.supervisor.api.openapi_schemas import ANY_OBJECT, TEXT, TRUTH, an_object, list_of, ref, schemas

Part = dict[str, Any]

JSON: Final = "application/json"
ERRORS: Final = {
    "400": "malformed",
    "401": "no token or a wrong one",
    "403": "the role does not allow this, or the Host is not this machine",
    "404": "there is no such thing",
    "409": "its state does not allow this now",
    "412": "somebody else changed it first",
    "413": "the body is too large",
    "422": "a value is invalid; `fields` says which",
    "429": "20 log streams are open already",
    "500": "our own fault; log/supervisor.log has more",
    "503": "not now: a version is being read or written elsewhere",
}
COMMON: Final = ("400", "401", "403", "500")
STRATEGY: Final = "/api/strategies/{id}"


def document(url: str) -> Part:
    """This API's description."""
    return {**_document(), "servers": [{"url": url}]}


@cache
def _document() -> Part:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stratpanel",
            "version": __version__,
            "description": "The supervisor of one workspace. Times are RFC 3339 with offset, unknown is null.",
        },
        "security": [{"token": []}],
        "paths": {path: _path(path, item) for path, item in _paths().items()},
        "components": {
            "schemas": schemas(),
            "responses": {f"Error{code}": _error(words) for code, words in ERRORS.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _error(words: str) -> Part:
    return {"description": words, "content": {JSON: {"schema": ref("Error")}}}


def _path(path: str, item: Part) -> Part:
    """Add what the path itself implies: its parameters, and the errors every operation may answer."""
    parameters = []
    if "{id}" in path:
        parameters.append(_parameter("id", {"type": "string", "pattern": ID_PATTERN}, "path"))
    if "{n}" in path:
        parameters.append(_parameter("n", {"type": "integer", "minimum": 1, "maximum": 999_999_999}, "path"))
    if "{name}" in path:
        parameters.append(_parameter("name", {"type": "string", "pattern": r"^[A-Za-z0-9_.-]{1,40}$"}, "path"))
    if "{date}" in path:
        parameters.append(_parameter("date", {"type": "string", "format": "date"}, "path"))
    for operation in item.values():
        codes = [*COMMON, *(["404"] if parameters else []), *operation.pop("errors", ())]
        for code in sorted(set(codes)):
            operation["responses"][code] = {"$ref": f"#/components/responses/Error{code}"}
    return {**({"parameters": parameters} if parameters else {}), **item}


def _parameter(name: str, schema: Part, place: str = "query") -> Part:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _whole(name: str, low: int, high: int) -> Part:
    return _parameter(name, {"type": "integer", "minimum": low, "maximum": high})


def _get(summary: str, schema: Part, *query: Part, errors: tuple[str, ...] = (), kind: str = JSON) -> Part:
    content = {kind: {"schema": schema}}
    found: Part = {"summary": summary, "responses": {"200": {"description": "what was asked for", "content": content}}}
    if query:
        found["parameters"] = list(query)
        errors = (*errors, "422")
    return {**found, "errors": errors}


def _do(
    summary: str,
    schema: Part,
    body: Part | None = None,
    *,
    errors: tuple[str, ...] = (),
    status: str = "200",
    required: bool = False,
    kinds: Part | None = None,
    query: tuple[Part, ...] = (),
) -> Part:
    answer = {"description": "done", "content": {JSON: {"schema": schema}}}
    found: Part = {"summary": summary, "responses": {status: answer}, "errors": ("409", "413", "422", *errors)}
    if body is not None or kinds is not None:
        found["requestBody"] = {"required": required, "content": kinds or {JSON: {"schema": body}}}
    if query:
        found["parameters"] = list(query)
    return found


def _action(summary: str, body: Part | None = None) -> Part:
    found = _do(summary, ref("ActionResult"), body, query=(_parameter("wait", {"enum": [0, 1]}),), errors=("503",))
    accepted = {"description": "accepted, with ?wait=0", "content": {JSON: {"schema": ref("ActionResult")}}}
    found["responses"]["202"] = accepted
    return found


def _stream(summary: str, *query: Part, errors: tuple[str, ...] = ()) -> Part:
    return _get(summary, TEXT, *query, errors=errors, kind="text/event-stream")


WHY: Final = {"type": "object", "properties": {"why": TEXT}}


def _paths() -> Part:
    return {**_workspace_paths(), **_many_paths(), **_strategy_paths(), **_past_paths()}


def _workspace_paths() -> Part:
    health = an_object(status=TEXT, pid={"type": "integer"}, version=TEXT, protocol={"type": "integer"})
    tokens = an_object(admin=TEXT, operator=TEXT, viewer=TEXT)
    resume = {"type": "object", "properties": {"dry_run": TRUTH, "confirm": TRUTH}}
    down = {"type": "object", "properties": {"keep": TRUTH}}
    calendar_days = [_parameter(name, {"type": "string", "format": "date"}) for name in ("from", "to")]
    since = _parameter("since", {"type": "integer", "minimum": 0, "maximum": 2**63 - 1})
    return {
        "/api/health": {"get": _get("whether the supervisor answers", health)},
        "/metrics": {"get": _get("metrics for Prometheus", TEXT, kind="text/plain")},
        "/api/openapi.json": {"get": _get("this document", ANY_OBJECT)},
        "/api/supervisor": {"get": _get("the supervisor's own status", ref("Supervisor"))},
        "/api/panic": {"post": _do("stop everything, and refuse starts until resume", ANY_OBJECT, WHY)},
        "/api/pause": {"post": _do("nothing starts by itself any more", ANY_OBJECT, WHY)},
        "/api/resume": {"post": _do("lift pause and panic; dry_run lists what would start", ANY_OBJECT, resume)},
        "/api/reload": {"post": _do("read registry, settings and calendars again", ANY_OBJECT)},
        "/api/down": {"post": _do("end the supervisor, and the strategies unless keep", ANY_OBJECT, down)},
        "/api/token": {
            "get": _get("the tokens of the three roles", tokens),
            "post": _do("rotate the tokens", tokens),
        },
        "/api/schedule/explain": {
            "post": _do("what a schedule would mean", ref("Explanation"), ref("ScheduleQuestion"), required=True)
        },
        "/api/week": {"get": _get("the coming week of all strategies", ANY_OBJECT)},
        "/api/calendars": {"get": _get("calendars and their warnings", ANY_OBJECT)},
        "/api/calendars/{name}": {"get": _get("a calendar's sessions", ref("Sessions"), *calendar_days)},
        "/api/calendar-overrides": {
            "get": _get(
                "the user's own days, sessions and hours",
                an_object(overrides=list_of(ref("OverrideRow"))),
                _parameter("calendar", TEXT),
                errors=("404", "409"),
            )
        },
        "/api/calendars/{name}/overrides/{date}": {
            "put": _do(
                "the user's own word: a day closed or open, hours from it on, or all days through it entered",
                ANY_OBJECT,
                ref("CalendarOverride"),
                required=True,
            ),
            "delete": _do("take it back", ANY_OBJECT, query=(_parameter("about", {"enum": list(SUBJECTS)}),)),
        },
        "/api/events": {
            "get": _get("what happened", an_object(events=list_of(ref("Event"))), since, _whole("limit", 1, 10_000))
        },
        "/api/events/stream": {"get": _stream("events as they happen; Last-Event-ID resumes", since)},
        "/api/mirror/stream": {"get": _stream("a snapshot of everything, then what changes")},
    }


def _many_paths() -> Part:
    """The actions on one again, on any number of them."""
    bodies = {"start": ref("StartRequest"), "stop": WHY, "pause": WHY}
    ids = {"type": "object", "properties": {"ids": {**list_of(TEXT), "minItems": 1}}, "required": ["ids"]}
    found = {}
    for action in ("start", "stop", "kill", "restart", "reset", "pause", "resume"):
        body = {"allOf": [ids, bodies[action]]} if action in bodies else ids
        operation = _action(f"{action} all of these, side by side", body)
        for status in ("200", "202"):
            operation["responses"][status]["content"] = {JSON: {"schema": an_object(results=list_of(ref("OneResult")))}}
        operation["requestBody"]["required"] = True
        found[f"/api/actions/{action}"] = {"post": operation}
    return found


def _strategy_paths() -> Part:
    upload = {
        "type": "object",
        "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}, "id": TEXT},
        "required": ["file"],
    }
    new = {JSON: {"schema": ref("NewStrategy")}, "multipart/form-data": {"schema": upload}}
    patch = _do("merge into the configuration (RFC 7396)", ref("Strategy"), errors=("412",), required=True,
                kinds={JSON: {"schema": ref("StrategyChange")}})  # fmt: skip
    patch["parameters"] = [_parameter("If-Match", TEXT, "header")]
    promote = {
        "type": "object",
        "properties": {"mode": {"enum": ["paper", "live"]}, "version": {"type": "integer", "minimum": 1}},
    }
    new_id = an_object(id={"type": "string", "pattern": ID_PATTERN})
    rollback = an_object(n={"type": "integer", "minimum": 1, "maximum": 999_999_999})
    return {
        "/api/strategies": {
            "get": _get("all strategies", ref("StrategyList")),
            "post": _do("register a script", ref("Strategy"), kinds=new, required=True, status="201", errors=("404",)),
        },
        STRATEGY: {
            "get": _get("status fields and config", ref("Strategy")),
            "patch": patch,
            "delete": _do("take it out of the registry; its files stay", ANY_OBJECT),
        },
        f"{STRATEGY}/start": {"post": _action("start it", ref("StartRequest"))},
        f"{STRATEGY}/stop": {"post": _action("stop it and keep it stopped", WHY)},
        f"{STRATEGY}/kill": {"post": _action("end its tree at once")},
        f"{STRATEGY}/restart": {"post": _action("stop, then start the same version")},
        f"{STRATEGY}/reset": {"post": _action("clear fatal or lost")},
        f"{STRATEGY}/pause": {"post": _action("let nothing start it by itself", WHY)},
        f"{STRATEGY}/resume": {"post": _action("give it back to its schedule")},
        f"{STRATEGY}/rename": {"post": _do("give it another id", ref("Strategy"), new_id, required=True)},
        f"{STRATEGY}/duplicate": {
            "post": _do("make another one like it", ref("Strategy"), new_id, required=True, status="201")
        },
        f"{STRATEGY}/deploy": {"post": _do("make the working copy the next version", ref("ActionResult"))},
        f"{STRATEGY}/rollback": {"post": _do("go back to a version", ref("ActionResult"), rollback, required=True)},
        f"{STRATEGY}/promote": {"post": _do("let a version trade live", ref("ActionResult"), promote)},
    }


def _past_paths() -> Part:
    moment = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}]}
    side = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 999_999_999}, {"const": "working"}]}
    lines = _whole("lines", 0, 10_000)
    page = (lines, _parameter("before", TEXT), _parameter("search", TEXT), _parameter("run", TEXT),
            _parameter("since", moment))  # fmt: skip
    diff = an_object(optional=("from", "to"), from_={}, to={}, diff=TEXT)
    return {
        f"{STRATEGY}/source": {
            "get": _get("the working copy's code", TEXT, kind="text/x-python"),
            "put": _do("replace it", ANY_OBJECT, kinds={"text/x-python": {"schema": TEXT}}, required=True),
        },
        f"{STRATEGY}/versions": {"get": _get("deployed versions", an_object(versions=list_of(ANY_OBJECT)))},
        f"{STRATEGY}/versions/{{n}}": {"get": _get("one version and its source", ANY_OBJECT)},
        f"{STRATEGY}/diff": {"get": _get("what changed", diff, _parameter("from", side), _parameter("to", side))},
        f"{STRATEGY}/logs": {
            "get": _get("lines of the log", ref("LogPage"), *page),
            "delete": _do("empty the log", ANY_OBJECT),
        },
        f"{STRATEGY}/logs/stream": {
            "get": _stream("lines as they are printed", lines, _whole("every_ms", 0, 1000), errors=("429",))
        },
        f"{STRATEGY}/runs": {"get": _get("past runs", an_object(runs=list_of(ANY_OBJECT)), _whole("limit", 1, 10_000))},
        f"{STRATEGY}/usage": {
            "get": _get(
                "CPU, memory, threads, files", ref("Usage"), _parameter("since", moment), _whole("step", 1, 2_678_400)
            )
        },
        f"{STRATEGY}/live": {
            "get": _get(
                "metrics, signals and notes of a run",
                ANY_OBJECT,
                _parameter("run", TEXT),
                _parameter("since", moment),
                _whole("after", 0, 2**40),
                _whole("limit", 1, 20_000),
            )
        },
        f"{STRATEGY}/parameters": {"get": _get("the script's own parameters", ANY_OBJECT)},
        f"{STRATEGY}/schedule/explain": {
            "get": _get("should it run, and why", ref("Explanation"), _parameter("at", moment))
        },
    }
