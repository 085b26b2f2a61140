"""The schemas of the OpenAPI document: what the model knows comes from the Param classes, the rest from CONTRACTS.

Used by openapi.py only. An answer may always have more fields than are listed: contracts grow by addition.
"""

from __future__ import annotations

from typing import Any, Final

from stratpanel.market.clock import DAYS
from stratpanel.model import schema
from stratpanel.model.ids import ID_PATTERN
from stratpanel.model.kinds import Days
from stratpanel.model.strategy import Strategy

REFS: Final = "#/components/schemas/"

Schema = dict[str, Any]

TIME: Final[Schema] = {"type": "string", "format": "date-time"}
TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer"}
NUMBER: Final[Schema] = {"type": "number"}
TRUTH: Final[Schema] = {"type": "boolean"}
CLOCK_TIME: Final[Schema] = {"type": "string", "pattern": r"^([01][0-9]|2[0-3]):[0-5][0-9]$"}
ANY_OBJECT: Final[Schema] = {"type": "object"}


def ref(name: str) -> Schema:
    """A reference to a schema of this document."""
    return {"$ref": REFS + name}


def or_null(found: Schema) -> Schema:
    """The same, or null for unknown."""
    kind = found.get("type")
    return {**found, "type": [kind, "null"]} if isinstance(kind, str) else {"anyOf": [found, {"type": "null"}]}


def list_of(items: Schema) -> Schema:
    """An array."""
    return {"type": "array", "items": items}


def an_object(optional: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object that has all the properties but the optional ones; a trailing underscore is not part of a name."""
    named = {name.rstrip("_"): value for name, value in properties.items()}
    return {"type": "object", "properties": named, "required": [name for name in named if name not in optional]}


STATUS_FIELDS: Final = (
    "id", "name", "state", "why", "pid", "runner_pid", "run_id", "version", "mode", "hold", "uptime_s", "cpu_percent",
    "memory_mb", "exit_code", "signal", "restarts", "next_start", "next_stop", "log_path",
)  # fmt: skip


def status_fields() -> Schema:
    """A strategy's status as in `status --json`."""
    of_model = schema.fields(Strategy)
    properties = {name: schema.field_schema(of_model[name], REFS, "answer") for name in STATUS_FIELDS}
    properties["hold"] = {"type": "string", "enum": list(of_model["hold"].class_.param.kind.objects)}
    found = {"type": "object", "properties": properties, "required": list(STATUS_FIELDS)}
    return {**found, "description": "status fields; pid, uptime_s, cpu_percent, memory_mb are null unless it is alive"}


def schemas() -> dict[str, Schema]:
    """All named schemas."""
    config = schema.json_schema(Strategy, schema.is_config, refs=REFS)
    config["title"] = "StrategyConfig"
    change = schema.json_schema(Strategy, schema.is_config, refs=REFS, form="patch")
    nested = {**schema.components([Strategy], REFS), **schema.components([Strategy], REFS, "patch")}
    for whole in ("Strategy", "StrategyPatch"):
        nested.pop(whole, None)
    status = status_fields()
    with_config = an_object(config=ref("StrategyConfig"))
    return {
        **nested,
        "StrategyConfig": config,
        "StrategyChange": {**change, "title": "StrategyChange", "description": "RFC 7396: null resets a field"},
        "StrategyStatus": status,
        "Strategy": {"allOf": [ref("StrategyStatus"), with_config]},
        "StrategyList": an_object(strategies=list_of(ref("StrategyStatus"))),
        "ActionResult": an_object(
            optional=("warnings",), changed=TRUTH, strategy=ref("StrategyStatus"), warnings=list_of(TEXT)
        ),
        "OneResult": {
            "allOf": [an_object(id=TEXT)],
            "oneOf": [ref("ActionResult"), {"allOf": [ref("Error"), an_object(http_status=WHOLE)]}],
            "description": "of an action on many: what it did to this one, or why it was refused",
        },
        "Supervisor": an_object(
            pid=WHOLE,
            launcher_pid=or_null(WHOLE),
            started=TIME,
            version=TEXT,
            url=or_null(TEXT),
            state={"type": "string", "enum": ["running", "paused", "degraded"]},
            why=or_null(TEXT),
        ),
        "LogPage": an_object(
            optional=("after",),
            lines=list_of(an_object(time=or_null(TIME), text=TEXT, run_id=or_null(TEXT), cursor=TEXT)),
            before=or_null(TEXT),
            after=or_null(TEXT),
        ),
        "Usage": an_object(
            step_s=NUMBER,
            t=list_of(NUMBER),
            cpu_percent=list_of(or_null(NUMBER)),
            memory_mb=list_of(or_null(NUMBER)),
            threads=list_of(or_null(NUMBER)),
            open_files=list_of(or_null(NUMBER)),
        ),
        "CalendarOverride": {
            "type": "object",
            "properties": {
                "kind": {"enum": ["closed", "open", "hours", "valid"]},
                "why": {"type": "string", "minLength": 1},
                "windows": list_of(an_object(open=CLOCK_TIME, close=CLOCK_TIME)),
                "partial": {"type": "boolean"},
                "days": Days().json_schema(),
            },
            "required": ["kind", "why"],
        },
        "OverrideRow": an_object(
            kind=TEXT,
            calendars=list_of(TEXT),
            date=or_null({"type": "string", "format": "date"}),
            sessions=list_of(TEXT),
            partial=TRUTH,
            days=list_of({"enum": list(DAYS)}),
            reason=TEXT,
            line={"type": "integer"},
        ),
        "ScheduleQuestion": {
            "type": "object",
            "properties": {
                "schedule": ref("Schedule"),
                "mode": {"enum": ["paper", "live"]},
                "at": or_null(TIME),
                "count": {"type": "integer", "minimum": 1, "maximum": 200},
            },
            "required": ["schedule"],
        },
        "Explanation": an_object(
            run=or_null(TRUTH),
            why=TEXT,
            until=or_null(TIME),
            boundaries=list_of(an_object(at=TIME, action={"type": "string", "enum": ["start", "stop"]}, rule=TEXT)),
        ),
        "Sessions": list_of(
            an_object(date={"type": "string", "format": "date"}, open=TIME, close=TIME, kind=TEXT, why=TEXT)
        ),
        "Event": an_object(
            optional=("seq",),
            seq=WHOLE,
            time=TIME,
            type=TEXT,
            id=or_null(TEXT),
            by=TEXT,
            message=TEXT,
            status=or_null(TEXT),
            exit_code=or_null(WHOLE),
            strategy=or_null(ANY_OBJECT),
        ),
        "Error": an_object(
            optional=("fields",),
            status={"type": "string", "const": "error"},
            error_code=TEXT,
            message=TEXT,
            fields={"type": "object", "additionalProperties": TEXT},
        ),
        "StartRequest": {
            "type": "object",
            "properties": {
                "params": or_null(ANY_OBJECT),
                "args": or_null(list_of(TEXT)),
                "deploy": or_null(TRUTH),
            },
        },
        "NewStrategy": {
            "type": "object",
            "properties": {"id": {"type": "string", "pattern": ID_PATTERN}, "path": TEXT, "source": TEXT},
            "required": ["id"],
            "oneOf": [{"required": ["path"]}, {"required": ["source"]}],
        },
    }
