"""The routes of CONTRACTS as a table: method, path, what goes in, what comes out, which errors.

Data for `openapi.py`; a test compares it with the routing table of the supervisor's API, so neither can drift.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stratpanel.model.ids import ID_PATTERN

Schema = dict[str, Any]

JSON = "application/json"
SSE = "text/event-stream"
PYTHON = "text/x-python"
TEXT: Schema = {"type": "string"}
REFS = "#/components/schemas/"


def ref(name: str) -> Schema:
    """A reference to a component."""
    return {"$ref": REFS + name}


def listed(key: str, name: str) -> Schema:
    """An object whose only field that is always there is a list of components."""
    return {"type": "object", "properties": {key: {"type": "array", "items": ref(name)}}, "required": [key]}


def body(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object that a request may send; unknown fields of an action are ignored."""
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def or_null(schema: Schema) -> Schema:
    """The schema, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a query or a header."""

    name: str
    schema: Schema
    doc: str
    where: str = "query"


@dataclass(frozen=True)
class Route:
    """One method of one path; `answers` by status and media type, `errors` the statuses an error body comes with."""

    method: str
    path: str
    summary: str
    answers: dict[int, tuple[str, Schema]]
    errors: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    bodies: dict[str, Schema] = field(default_factory=dict)
    body_required: bool = False


WHOLE: Schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
COUNT: Schema = {"type": "integer", "minimum": 1, "maximum": 10_000}
MOMENT: Schema = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0, "maximum": 253402214400}]
}
DAY: Schema = {"type": "string", "format": "date"}
SIDE: Schema = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 999_999_999}, {"const": "working"}]}
NUMBER: Schema = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
TRUTH: Schema = {"type": "boolean"}
WORD: Schema = {"type": "string", "pattern": r"^[^\x00]*$"}
ID: Schema = {"type": "string", "pattern": ID_PATTERN, "maxLength": 100}
WORDS: Schema = {"type": "array", "items": WORD, "maxItems": 1000}
OBJECT: Schema = {"type": "object"}

FROM_TO_DAY = (Parameter("from", DAY, "first day"), Parameter("to", DAY, "last day"))
LAST_EVENT = Parameter("Last-Event-ID", TEXT, "where a broken stream goes on", "header")
ACTION_BODIES: dict[str, Schema] = {
    "start": body(params=or_null(OBJECT), args=or_null(WORDS), deploy=or_null(TRUTH)),
    "stop": body(why=or_null(WORD)),
    "kill": body(),
    "restart": body(),
    "reset": body(),
    "pause": body(why=or_null(WORD)),
    "resume": body(dry_run=or_null(TRUTH)),
    "deploy": body(),
    "rollback": body(("n",), n=NUMBER),
    "promote": body(mode={"type": "string", "enum": ["live", "paper"]}, version=or_null(NUMBER)),
}
NOT_WAITING = {"start", "stop", "kill", "restart", "reset", "pause", "resume"}
ACTION_SUMMARIES = {
    "start": "Start it, and answer when it is alive for start_seconds, has exited 0, or has failed",
    "stop": "Stop its whole tree, and hold it until a person starts it",
    "kill": "End its whole tree at once",
    "restart": "Stop it, then start the same version with the same parameters",
    "reset": "Clear fatal, exited or lost",
    "pause": "Leave it as it is: its schedule neither starts nor stops it",
    "resume": "Let its schedule rule again",
    "deploy": "Make its working copy the version that runs next",
    "rollback": "Go back to an earlier version",
    "promote": "Let a version trade live",
}
MULTIPART: Schema = body(("file",), file={"type": "string", "format": "binary"}, id=ID)
ADDED: Schema = {
    "anyOf": [
        body(("id", "path"), id=ID, path={**WORD, "minLength": 1}),
        body(("id", "source"), id=ID, source=WORD),
    ]
}
SUPERVISOR_ANSWER: Schema = {"type": "object", "properties": {"supervisor": ref("Supervisor")}}
ACTED: Schema = ref("ActionResult")


def _action(name: str) -> Route:
    waits = name in NOT_WAITING
    return Route(
        "post",
        f"/api/strategies/{{id}}/{name}",
        ACTION_SUMMARIES[name],
        {200: (JSON, ACTED), **({202: (JSON, ACTED)} if waits else {})},
        (403, 404, 409, 413, 422, 500),
        (Parameter("wait", {"type": "integer", "enum": [0, 1]}, "0: answer at once"),) if waits else (),
        {JSON: ACTION_BODIES[name]},
        name == "rollback",
    )


ONE = "/api/strategies/{id}"
GONE = (404,)
CHANGES = (403, 409, 413, 422, 500)

WORKSPACE_ROUTES: tuple[Route, ...] = (
    Route("get", "/api/health", "That the supervisor answers", {200: (JSON, ref("Health"))}),
    Route("get", "/metrics", "Figures in the Prometheus text format", {200: ("text/plain", TEXT)}),
    Route("get", "/api/openapi.json", "This description", {200: (JSON, OBJECT)}),
    Route("get", "/api/supervisor", "The supervisor as it reports itself", {200: (JSON, ref("Supervisor"))}),
    Route(
        "post",
        "/api/panic",
        "Stop all trees at once and refuse starts until resume",
        {200: (JSON, SUPERVISOR_ANSWER)},
        CHANGES,
        (),
        {JSON: body(why=or_null(WORD))},
    ),
    Route(
        "post",
        "/api/pause",
        "Nothing starts or stops by itself until resume",
        {200: (JSON, SUPERVISOR_ANSWER)},
        CHANGES,
        (),
        {JSON: body(why=or_null(WORD))},
    ),
    Route(
        "post",
        "/api/resume",
        "Lift pause and panic; with dry_run only list what would start",
        {200: (JSON, SUPERVISOR_ANSWER)},
        CHANGES,
        (),
        {JSON: body(dry_run=or_null(TRUTH), confirm=or_null(TRUTH))},
    ),
    Route(
        "post",
        "/api/reload",
        "Read the registry, settings and calendars again",
        {200: (JSON, OBJECT)},
        CHANGES,
        (),
        {JSON: body()},
    ),
    Route(
        "post",
        "/api/down",
        "End the supervisor, and its strategies unless keep",
        {200: (JSON, OBJECT)},
        CHANGES,
        (),
        {JSON: body(keep=or_null(TRUTH))},
    ),
    Route("get", "/api/token", "The tokens of the three roles", {200: (JSON, ref("Tokens"))}, (403,)),
    Route(
        "post", "/api/token", "New tokens; the old ones end", {200: (JSON, ref("Tokens"))}, CHANGES, (), {JSON: body()}
    ),
    Route("get", "/api/week", "The coming week of all strategies", {200: (JSON, OBJECT)}),
    Route("get", "/api/calendars", "The calendars there are and how far they reach", {200: (JSON, OBJECT)}),
    Route(
        "get",
        "/api/calendars/{name}",
        "Sessions from one day to another",
        {200: (JSON, {"type": "array", "items": ref("Session")})},
        (404, 422),
        FROM_TO_DAY,
    ),
    Route(
        "put",
        "/api/calendars/{name}/overrides/{date}",
        "The user's own word about one day",
        {200: (JSON, OBJECT)},
        (404, *CHANGES),
        (),
        {JSON: ref("CalendarOverride")},
        True,
    ),
    Route(
        "delete",
        "/api/calendars/{name}/overrides/{date}",
        "Take the user's word about one day back",
        {200: (JSON, OBJECT)},
        (404, *CHANGES),
    ),
    Route(
        "get",
        "/api/events",
        "What happened, oldest first",
        {200: (JSON, listed("events", "EventRecord"))},
        (422,),
        (Parameter("since", WHOLE, "number of the last one seen"), Parameter("limit", COUNT, "at most so many")),
    ),
    Route(
        "get",
        "/api/events/stream",
        "What happens, as server-sent events; event: reset when the resume point is gone",
        {200: (SSE, TEXT)},
        (422,),
        (Parameter("since", WHOLE, "number of the last one seen"), LAST_EVENT),
    ),
    Route("get", "/api/mirror/stream", "All strategies, live: snapshot, deltas, ticks", {200: (SSE, TEXT)}),
)

STRATEGY_ROUTES: tuple[Route, ...] = (
    Route("get", "/api/strategies", "All strategies", {200: (JSON, listed("strategies", "Status"))}),
    Route(
        "post",
        "/api/strategies",
        "Register a script: by path, by source, or uploaded (16 MB)",
        {201: (JSON, ref("StrategyDetail"))},
        (404, *CHANGES),
        (),
        {JSON: ADDED, "multipart/form-data": MULTIPART},
        True,
    ),
    Route("get", ONE, "One strategy with its configuration", {200: (JSON, ref("StrategyDetail"))}, GONE),
    Route(
        "patch",
        ONE,
        "Change its configuration by an RFC 7396 merge patch",
        {200: (JSON, ref("StrategyDetail"))},
        (404, 412, *CHANGES),
        (Parameter("If-Match", TEXT, "the ETag the change is based on", "header"),),
        {JSON: ref("StrategyConfigPatch"), "application/merge-patch+json": ref("StrategyConfigPatch")},
        True,
    ),
    Route(
        "delete",
        ONE,
        "Take it out of the registry; its files stay",
        {200: (JSON, body(("removed",), removed=ID))},
        (403, 404, 409, 500),
    ),
    *map(_action, ACTION_BODIES),
    Route("get", f"{ONE}/source", "Its working copy", {200: (PYTHON, TEXT)}, (404, 409, 422)),
    Route(
        "put",
        f"{ONE}/source",
        "Replace its working copy; what runs goes on as it is",
        {200: (JSON, OBJECT)},
        (400, 404, *CHANGES),
        (),
        {PYTHON: TEXT},
        True,
    ),
    Route("get", f"{ONE}/versions", "Its deployed versions", {200: (JSON, listed("versions", "Version"))}, GONE),
    Route("get", f"{ONE}/versions/{{n}}", "One version with its source", {200: (JSON, ref("Version"))}, GONE),
    Route(
        "get",
        f"{ONE}/diff",
        "What changed from one version to another, as a unified diff",
        {200: (JSON, body(("diff",), diff=TEXT))},
        (404, 409, 422),
        (
            Parameter("from", SIDE, "version number or working; default the deployed one"),
            Parameter("to", SIDE, "version number or working; default the working copy"),
        ),
    ),
    Route(
        "get",
        f"{ONE}/logs",
        "A page of its log",
        {200: (JSON, ref("LogPage"))},
        (400, 404, 422),
        (
            Parameter("lines", COUNT, "at most so many; 200"),
            Parameter("before", TEXT, "cursor of an answer"),
            Parameter("search", WORD, "plain text, case ignored"),
            Parameter("run", WORD, "only lines of this run"),
            Parameter("since", MOMENT, "only lines printed since"),
        ),
    ),
    Route(
        "get",
        f"{ONE}/logs/stream",
        "Its log as it grows, as server-sent events",
        {200: (SSE, TEXT)},
        (400, 404, 422, 429),
        (Parameter("lines", WHOLE, "so many of the last lines first"), LAST_EVENT),
    ),
    Route(
        "get",
        f"{ONE}/runs",
        "Its runs, newest first",
        {200: (JSON, listed("runs", "Run"))},
        (404, 422),
        (Parameter("limit", COUNT, "at most so many"),),
    ),
    Route(
        "get",
        f"{ONE}/usage",
        "CPU, memory, threads and open files over time",
        {200: (JSON, ref("Usage"))},
        (404, 422),
        (
            Parameter("since", MOMENT, "from then on; default an hour ago"),
            Parameter("step", {"type": "integer", "minimum": 1, "maximum": 31 * 86400}, "seconds between points"),
        ),
    ),
    Route(
        "get",
        f"{ONE}/schedule/explain",
        "Whether it should run, why, until when, and what comes next",
        {200: (JSON, ref("Explanation"))},
        (404, 422),
        (Parameter("at", MOMENT, "at that moment instead of now"),),
    ),
)

ROUTES = WORKSPACE_ROUTES + STRATEGY_ROUTES
