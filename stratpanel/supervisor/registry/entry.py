"""One strategy's entry in the registry file, in the seed's flat names, and its translation to and from the model.

Called by `registry.py`. The first window of a schedule is the seed's `schedule_start/stop/days`; what the seed has no
name for stands beside it under the API's names. Unknown fields, and a person's way of writing a value, are kept.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from stratpanel.model import schema
from stratpanel.model.errors import InvalidValue
from stratpanel.model.merge import fresh
from stratpanel.model.states import LIVE
from stratpanel.model.strategy import Strategy
from stratpanel.model.values import Hold, Limits

Entry = dict[str, Any]

#: written, never believed
RUNTIME = ("is_running", "last_started", "last_stopped", "pid", "restart_count")
#: what starts and stops change besides
HOLD = ("hold", "manually_stopped")
#: the seed's fields, present in every entry we write
SEED = (
    "name",
    "file_path",
    "user_id",
    "is_running",
    "is_scheduled",
    "schedule_start",
    "schedule_stop",
    "schedule_days",
    "last_started",
    "last_stopped",
    "pid",
    "manually_stopped",
    "auto_restart",
    "restart_count",
)
#: fields that OpenAlgo writes and neither the seed nor we do
OPENALGO = frozenset(
    {
        "exchange",
        "file_name",
        "created_at",
        "last_modified",
        "is_error",
        "error_message",
        "error_time",
        "paused_reason",
        "paused_message",
    }
)
OPENALGO_ZONE = "Asia/Kolkata"
SCRIPTS = "strategies/scripts/"

_SAME = (
    "name",
    "file_path",
    "user_id",
    "mode",
    "interpreter",
    "args",
    "cwd",
    "env",
    "params",
    "limits",
    "restart",
    "grace_s",
    "start_seconds",
    "quiet_after",
    "quiet_restart",
    "watchdog_s",
    "watchdog_restart",
    "before_start",
    "priority",
    "log",
    "tags",
    "notes",
    "created",
)
_WINDOW_0 = {
    "start": "schedule_start",
    "stop": "schedule_stop",
    "days": "schedule_days",
    "on_special": "schedule_on_special",
}
_FLAT = {"enabled": "is_scheduled", "calendar": "calendar", "timezone": "timezone", "exceptions": "schedule_exceptions"}


def is_openalgo(entry: Entry) -> bool:
    """True of an entry that OpenAlgo wrote and we never did: we add the time zone that it takes for granted."""
    return "timezone" not in entry and not OPENALGO.isdisjoint(entry)


# ---------------------------------------------------------------- reading


def read_entry(id: str, entry: object) -> Strategy:
    """Return the strategy that an entry describes; InvalidValue with the entry's own field names if it is none."""
    if not isinstance(entry, dict):
        raise InvalidValue("is not an object", fields={"": "is not an object"})
    config = _to_config(entry)
    errors: dict[str, str] = {}
    values: dict[str, Any] = {}
    hold = Hold()
    try:
        values = schema.read(Strategy, config, keep_unknown=True)
    except InvalidValue as wrong:
        errors.update({_field_of(path, entry): sentence for path, sentence in wrong.fields.items()})
    try:
        hold = read_hold(entry)
    except InvalidValue as wrong:
        errors.update(wrong.fields)
    errors.update(_half_window(entry))
    schema.refuse(errors)
    values["name"] = values.get("name") or id
    return Strategy(id=id, hold=hold, **values)


def _to_config(entry: Entry) -> Entry:
    """The API's nested shape of an entry, not yet validated."""
    config = {name: entry[name] for name in _SAME if name in entry}
    if type(config.get("user_id")) is int:  # a number in some products
        config["user_id"] = str(config["user_id"])
    for name in ("user_id", "name", "notes"):  # null as good as empty: other products write it
        if name in config and config[name] is None:
            del config[name]
    if isinstance(config.get("file_path"), str):
        config["file_path"] = _below_scripts(config["file_path"])
    schedule: Entry = {key: entry[name] for key, name in _FLAT.items() if name in entry}
    if schedule.get("enabled", False) is None:
        del schedule["enabled"]
    if "calendar" not in schedule and entry.get("exchange"):
        schedule["calendar"] = _calendar_of(entry["exchange"])
    if is_openalgo(entry):
        schedule["timezone"] = OPENALGO_ZONE
    more = entry.get("schedule_more", [])
    windows = [_first_window(entry)] if _has_window(entry) else []
    schedule["windows"] = windows + more if isinstance(more, list) else more
    config["schedule"] = schedule
    policy = _policy(entry)
    if policy is not None and isinstance(config.get("restart", {}), dict):
        config["restart"] = {**config.get("restart", {}), "policy": policy}
    return config


def _has_window(entry: Entry) -> bool:
    return bool(entry.get("schedule_start") or entry.get("schedule_stop"))


def _first_window(entry: Entry) -> Entry:
    window = {key: entry[name] for key, name in _WINDOW_0.items() if entry.get(name) not in (None, "")}
    if window.get("days") == [] and not entry.get("is_scheduled"):
        del window["days"]
    return window


def _half_window(entry: Entry) -> dict[str, str]:
    """A start without a stop would get the default of the other: say so instead."""
    if not _has_window(entry):
        return {}
    return {
        name: f"is missing; {other} is given, and a window needs both"
        for name, other in (("schedule_start", "schedule_stop"), ("schedule_stop", "schedule_start"))
        if not entry.get(name)
    }


def _below_scripts(path: str) -> str:
    """OpenAlgo writes the path from its root, on Windows with backslashes; the seed from the scripts folder."""
    if "\\" in path and "/" not in path:
        path = path.replace("\\", "/")
    return path.removeprefix("./").removeprefix(SCRIPTS)


def _calendar_of(exchange: object) -> object:
    if not isinstance(exchange, str):
        return exchange
    return "24x7" if exchange.upper() == "CRYPTO" else exchange.upper()


def _policy(entry: Entry) -> object:
    """`restart.policy`, which says more than the seed's `auto_restart`, rules where both are given."""
    flag = entry.get("auto_restart")
    restart = entry.get("restart")
    explicit = restart.get("policy") if isinstance(restart, dict) else None
    if flag is not None and not isinstance(flag, bool):
        return flag  # read as a policy it is refused, under its own name
    if explicit is not None or flag is None:
        return explicit
    return "on-failure" if flag else "never"


def read_hold(entry: Entry) -> Hold:
    """The hold; `manually_stopped`, the seed's mirror of it, is what a person edits to stop or release a strategy."""
    raw = entry.get("hold")
    hold = Hold() if raw is None else Hold(**schema.read(Hold, raw, "hold", keep_unknown=True))
    flag = entry.get("manually_stopped")
    if flag is not None and not isinstance(flag, bool):
        sentence = "is not true or false"
        raise InvalidValue(f"manually_stopped: {sentence}", fields={"manually_stopped": sentence})
    if flag is None or flag == (hold.kind == "stopped"):
        return hold
    return Hold(kind="stopped", by="registry file", why="manually_stopped is set there") if flag else Hold()


def in_step(entry: Entry, base: Entry) -> Entry:
    """Return a person's edit of `base`, where fields that mirror each other agree on what the person changed."""
    entry = fresh(entry)
    if entry.get("hold") != base.get("hold") and entry.get("manually_stopped") == base.get("manually_stopped"):
        kind = entry["hold"].get("kind") if isinstance(entry.get("hold"), dict) else "none"
        entry["manually_stopped"] = kind == "stopped"
    restart, before = entry.get("restart"), base.get("restart")
    policy = restart.get("policy") if isinstance(restart, dict) else None
    old_policy = before.get("policy") if isinstance(before, dict) else None
    flag_changed = entry.get("auto_restart") != base.get("auto_restart")
    if policy is None or not isinstance(restart, dict):
        return entry
    if policy != old_policy:
        entry["auto_restart"] = policy != "never"
    elif flag_changed:
        restart["policy"] = "on-failure" if entry.get("auto_restart") else "never"
    return entry


def _field_of(path: str, entry: Entry) -> str:
    """The entry's own name for a field of the model."""
    if not path.startswith("schedule"):
        return "auto_restart" if path == "restart.policy" and "auto_restart" in entry and _flag_rules(entry) else path
    rest = path.removeprefix("schedule").removeprefix(".")
    key = re.split(r"[.\[]", rest, maxsplit=1)[0]
    match = re.fullmatch(r"windows\[(\d+)\](?:\.(\w+))?", rest)
    if match:
        index, field = int(match[1]) - _has_window(entry), match[2]
        if index < 0:
            return _WINDOW_0.get(field or "start", "schedule_start")
        return f"schedule_more[{index}]{'.' + field if field else ''}"
    if key == "windows":
        return "schedule_more" if "schedule_more" in entry else "schedule_start"
    if key == "calendar" and "calendar" not in entry:
        return "exchange"
    return _FLAT.get(key, "schedule") + rest[len(key) :] if key in _FLAT else path


def name_in_file(path: str) -> str:
    """The registry's name for a field of the model, as `schedule_start` for `schedule.windows[0].start`."""
    return _field_of(path, {"schedule_start": "written", "calendar": "written"})


def _flag_rules(entry: Entry) -> bool:
    restart = entry.get("restart")
    return not (isinstance(restart, dict) and "policy" in restart) or not isinstance(entry["auto_restart"], bool)


# ---------------------------------------------------------------- writing


def flat(config: dict[str, Any]) -> Entry:
    """The entry of a configuration, complete, in the file's names; without hold and runtime fields."""
    entry: Entry = {name: config[name] for name in _SAME if name != "restart"}
    schedule = config["schedule"]
    first, *more = schedule["windows"] or [{"start": None, "stop": None, "days": [], "on_special": False}]
    entry.update({name: first[key] for key, name in _WINDOW_0.items()})
    entry["schedule_more"] = more
    entry.update({name: schedule[key] for key, name in _FLAT.items()})
    policy = config["restart"]["policy"]
    entry["auto_restart"] = policy != "never"
    entry["restart"] = dict(config["restart"])
    return entry


@cache
def _defaults(_memory_mb: float, _nofile: int) -> Entry:
    """What an entry that says nothing means; the settings of the workspace may move these two."""
    return flat(Strategy(id="x", name="").config())


def write_entry(strategy: Strategy, raw: Entry, known: Entry, ours: Entry | None = None) -> Entry:
    """Return `raw` with what the strategy now says; `known` is what `raw` said when it was read, as `flat()` gives it,
    and `ours` what the strategy says, where the caller has it already.

    A field whose meaning did not change stays as the person wrote it; in a new entry, fields at their defaults are left
    out, but for those of the seed.
    """
    ours = flat(strategy.config()) if ours is None else ours
    always = set(SEED) | ({"timezone"} if not OPENALGO.isdisjoint(raw) else set())
    defaults = _defaults(Limits.param.memory_mb.default, Limits.param.nofile.default)
    entry = _overlay(raw, known, ours, defaults, always)
    if not raw:
        entry = dict.fromkeys(SEED) | entry  # the seed's order
    _write_policy(entry, raw, ours)
    hold = strategy.hold
    entry["manually_stopped"] = hold.kind == "stopped"
    if hold:
        entry["hold"] = {**(raw["hold"] if isinstance(raw.get("hold"), dict) else {}), **schema.to_json(hold)}
    else:
        entry.pop("hold", None)
    entry["is_running"] = strategy.state in LIVE
    entry["pid"] = strategy.pid
    entry["restart_count"] = strategy.restarts
    for name in ("last_started", "last_stopped"):
        at = getattr(strategy, name)
        entry[name] = at.isoformat(timespec="milliseconds") if at else raw.get(name)
    return entry


def _overlay(raw: Entry, known: Entry, ours: Entry, defaults: Entry, always: set[str]) -> Entry:
    entry: Entry = fresh(raw)
    for name, value in ours.items():
        before, default = known.get(name), defaults.get(name)
        if value == before and (name in raw or name not in always):
            continue
        if isinstance(value, dict) and isinstance(default, dict) and default:
            inside = raw.get(name)
            merged = _overlay(
                inside if isinstance(inside, dict) else {},
                before if isinstance(before, dict) else {},
                value,
                default,
                set(),
            )
            if merged or name in raw:
                entry[name] = merged
        elif name in raw or name in always or name in known or value != default:
            entry[name] = fresh(value)
    return entry


def _write_policy(entry: Entry, raw: Entry, ours: Entry) -> None:
    """`auto_restart` alone says never and on-failure, so that editing it works; `always` needs our own field."""
    policy = ours["restart"]["policy"]
    written = raw.get("restart")
    explicit = isinstance(written, dict) and "policy" in written
    if explicit or policy == "always":
        entry.setdefault("restart", {})["policy"] = policy
    elif isinstance(entry.get("restart"), dict):
        entry["restart"].pop("policy", None)
        if not entry["restart"] and "restart" not in raw:
            del entry["restart"]
