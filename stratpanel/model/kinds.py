"""The kinds of parameter the model is made of, beyond Param's own: each knows its JSON form, its schema and its errors.

Declared in the classes of the model and walked by `schema.py`; nobody else calls them. A kind checks the same rule
whether the value comes as JSON or is set in Python, and says what is wrong in a trader's words.
"""

from __future__ import annotations

import json
import math
import re
from datetime import date, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import param

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: no NUL: it ends every C string, so no path, argument or variable can hold it
ANY_TEXT = r"[^\x00]*"

_MINUTES = r"(?:[0-9]{1,3}|1[0-3][0-9]{2}|14[0-3][0-9]|1440)m"
_HOURS = r"(?:[0-9]|1[0-9]|2[0-3])h(?:[0-5]?[0-9]m)?"
CLOCK = rf"(?:[01][0-9]|2[0-3]):[0-5][0-9]|(?:open|close)(?:[+-](?:{_MINUTES}|{_HOURS}))?"
_RELATIVE = re.compile(r"(open|close)(?:([+-])(?:(\d+)h)?(?:(\d+)m)?)?")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_DAY_NAME = "|".join(WEEKDAYS)
DAYS = rf"(?:{_DAY_NAME})(?:-(?:{_DAY_NAME}))?"
_DEEPEST = 20


def shown(raw: object) -> str:
    """Return a value as JSON, short enough for a message."""
    text = json.dumps(raw, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"


def text_problem(raw: object) -> str | None:
    """Say why `raw` is not text that files, arguments and variables can hold."""
    if not isinstance(raw, str):
        return f"{shown(raw)} is not text"
    if "\0" in raw:
        return f"{shown(raw)} contains a NUL character"
    try:
        raw.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair, which is not text"
    return None


def nested_deeper(raw: object, most: int = 2 * _DEEPEST) -> bool:
    """True when `raw` has more than `most` levels of objects and lists. Needs no stack: newer Pythons read JSON of
    thousands of levels, which whatever goes through it afterwards could not follow."""
    level = [raw]
    for _ in range(most + 1):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return False
    return True


def json_problem(raw: object, depth: int = 0) -> str | None:
    """Say why `raw` cannot be kept as JSON: not finite, not text, or nested too deep."""
    if depth > _DEEPEST:
        return f"is nested deeper than {_DEEPEST} levels"
    if isinstance(raw, float) and not math.isfinite(raw):
        return f"{raw} is not a number JSON can hold"
    if isinstance(raw, dict):
        problems = (text_problem(key) or json_problem(value, depth + 1) for key, value in raw.items())
    elif isinstance(raw, list | tuple):
        problems = (json_problem(value, depth + 1) for value in raw)
    elif raw is None or isinstance(raw, bool | int | float):
        return None
    else:
        return text_problem(raw)
    return next((problem for problem in problems if problem), None)


class Text(param.String):
    """Text that matches `pattern` wholly; `says` completes the sentence "“…” is not …"."""

    __slots__ = ["longest", "pattern", "says"]
    _slot_defaults: ClassVar[dict[str, Any]] = dict(
        param.String._slot_defaults, pattern=ANY_TEXT, says="text without NUL", longest=4096
    )

    def __init__(
        self,
        default: Any = param.Undefined,
        *,
        pattern: Any = param.Undefined,
        says: Any = param.Undefined,
        longest: Any = param.Undefined,
        **others: Any,
    ) -> None:
        self.pattern = pattern
        self.says = says
        self.longest = longest
        super().__init__(default=default, **others)

    def _validate(self, val: Any) -> None:
        if val is not None or not self.allow_None:
            self.from_json(val)

    def from_json(self, raw: Any) -> Any:
        """Return the value; ValueError with the sentence if it is none."""
        problem = text_problem(raw)
        if problem:
            raise ValueError(problem)
        if len(raw) > self.longest:
            raise ValueError(f"has {len(raw)} characters, the most is {self.longest}")
        if not re.fullmatch(self.pattern, raw):
            raise ValueError(f"{shown(raw)} is not {self.says}")
        return raw

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of one value."""
        return {"type": "string", "pattern": f"^(?:{self.pattern})$", "maxLength": self.longest}


class Clock(Text):
    """A time of day `HH:MM`, or a distance to the session: `open`, `close-15m`, `open+1h30m` (kept as `open+90m`)."""

    __slots__: list[str] = []
    _slot_defaults: ClassVar[dict[str, Any]] = dict(Text._slot_defaults, pattern=CLOCK, says="HH:MM", longest=16)

    def from_json(self, raw: Any) -> Any:
        """Return the time as market reads it: hours of a distance turned into minutes."""
        if isinstance(raw, str) and raw[:1].isalpha() and not re.fullmatch(CLOCK, raw) and not text_problem(raw):
            raise ValueError(f"{shown(raw)} is not HH:MM, open±Nm or close±Nm (at most a day)")
        text = super().from_json(raw)
        match = _RELATIVE.fullmatch(text)
        if match is None:
            return text
        base, sign, hours, minutes = match.groups()
        distance = int(hours or 0) * 60 + int(minutes or 0)
        return f"{base}{sign}{distance}m" if distance else base


class ZoneName(Text):
    """The name of a time zone of the IANA list."""

    __slots__: list[str] = []
    _slot_defaults: ClassVar[dict[str, Any]] = dict(
        Text._slot_defaults, pattern=r"[A-Za-z][A-Za-z0-9_+/-]*", says="a time zone", longest=64
    )

    def from_json(self, raw: Any) -> Any:
        """Return the name if this machine's list (or tzdata) has it."""
        text = super().from_json(raw)
        try:
            ZoneInfo(text)
        except (OSError, ValueError, LookupError):  # unknown, a folder of the list, not a zone file
            raise ValueError(f'{shown(raw)} is not a time zone of the IANA list, such as "Asia/Kolkata"') from None
        return text


class Instant(param.Parameter):
    """An aware datetime; in JSON RFC 3339 with offset."""

    __slots__: list[str] = []

    def _validate(self, val: Any) -> None:
        super()._validate(val)
        if val is not None and not (isinstance(val, datetime) and val.utcoffset() is not None):
            raise ValueError(f"{self.name}: {val!r} is not a datetime with a time zone")

    def from_json(self, raw: Any) -> datetime:
        """Return the instant with the offset it was written with."""
        try:
            if not (isinstance(raw, str) and _INSTANT.fullmatch(raw)):
                raise ValueError
            return datetime.fromisoformat(raw.upper().replace(" ", "T"))
        except ValueError:
            wanted = 'a time with offset, such as "2026-11-23T09:20:00+05:30"'
            raise ValueError(f"{shown(raw)} is not {wanted}") from None

    def to_json(self, value: datetime) -> str:
        """RFC 3339, to the millisecond."""
        return value.isoformat(timespec="milliseconds")

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of one value."""
        return {"type": "string", "format": "date-time"}


class Day(param.Parameter):
    """A calendar date; in JSON `YYYY-MM-DD`."""

    __slots__: list[str] = []

    def _validate(self, val: Any) -> None:
        super()._validate(val)
        if val is not None and (isinstance(val, datetime) or not isinstance(val, date)):
            raise ValueError(f"{self.name}: {val!r} is not a date")

    def from_json(self, raw: Any) -> date:
        """Return the date."""
        try:
            if not (isinstance(raw, str) and _DAY.fullmatch(raw)):
                raise ValueError
            return date.fromisoformat(raw)
        except ValueError:
            raise ValueError(f"{shown(raw)} is not a date, YYYY-MM-DD") from None

    def to_json(self, value: date) -> str:
        """YYYY-MM-DD."""
        return value.isoformat()

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of one value."""
        return {"type": "string", "format": "date"}


class Days(param.ListSelector):
    """Days of the week, kept in the week's order; JSON may also say `["mon-fri"]` or `"mon-fri,sun"`."""

    __slots__: list[str] = []

    def __init__(self, default: Any = param.Undefined, **others: Any) -> None:
        super().__init__(default=default, **{"objects": list(WEEKDAYS), **others})

    def from_json(self, raw: Any) -> list[str]:
        """Return the days named, each once, from mon to sun."""
        parts = [part.strip() for part in raw.split(",")] if isinstance(raw, str) else raw
        if not isinstance(parts, list) or not parts:
            raise ValueError(f'{shown(raw)} is not a list of days, such as ["mon", "tue"] or ["mon-fri"]')
        named: set[str] = set()
        for part in parts:
            if not (isinstance(part, str) and re.fullmatch(DAYS, part.lower())):
                raise ValueError(f"{shown(part)} is not a day (mon … sun) or a range such as mon-fri")
            first, _, last = part.lower().partition("-")
            start, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
            named.update(WEEKDAYS[day % 7] for day in range(start, end + 1 + (7 if end < start else 0)))
        return [day for day in WEEKDAYS if day in named]

    def to_json(self, value: list[str]) -> list[str]:
        """The days, normalised."""
        return list(value)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of one value."""
        listed = {"type": "array", "items": {"type": "string", "pattern": f"^{DAYS}$"}, "minItems": 1, "maxItems": 14}
        return {"anyOf": [listed, {"type": "string", "pattern": f"^{DAYS}(?:,{DAYS})*$"}]}


class Texts(param.List):
    """A list of text, each item bound by `pattern` and `longest`; at most `most` items."""

    __slots__ = ["longest", "most", "pattern", "says", "unique"]
    _slot_defaults: ClassVar[dict[str, Any]] = dict(
        param.List._slot_defaults, pattern=ANY_TEXT, says="text", longest=32768, most=1000, unique=False
    )

    def __init__(
        self,
        default: Any = param.Undefined,
        *,
        pattern: Any = param.Undefined,
        says: Any = param.Undefined,
        longest: Any = param.Undefined,
        most: Any = param.Undefined,
        unique: Any = param.Undefined,
        **others: Any,
    ) -> None:
        self.pattern = pattern
        self.says = says
        self.longest = longest
        self.most = most
        self.unique = unique
        super().__init__(default=default, **{"item_type": str, **others})

    def _validate(self, val: Any) -> None:
        super()._validate(val)
        if val is not None:
            self.from_json(val)

    def from_json(self, raw: Any) -> list[str]:
        """Return the list; ValueError names the first bad item."""
        if not isinstance(raw, list):
            raise ValueError(f"{shown(raw)} is not a list of {self.says}")
        if len(raw) > self.most:
            raise ValueError(f"has {len(raw)} items, the most is {self.most}")
        for item in raw:
            problem = text_problem(item)
            if problem:
                raise ValueError(problem)
            if len(item) > self.longest or not re.fullmatch(self.pattern, item):
                raise ValueError(f"{shown(item)} is not {self.says} (at most {self.longest} characters)")
        if self.unique and len(set(raw)) != len(raw):
            raise ValueError("names something twice")
        return list(raw)

    def to_json(self, value: list[str]) -> list[str]:
        """A copy."""
        return list(value)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of one value."""
        item = {"type": "string", "pattern": f"^(?:{self.pattern})$", "maxLength": self.longest}
        return {"type": "array", "items": item, "maxItems": self.most, **({"uniqueItems": True} if self.unique else {})}


class Variables(param.Dict):
    """Environment variables, name to text; names of ours are refused."""

    __slots__: list[str] = []
    NAME = r"(?!STRATPANEL_)[A-Za-z_][A-Za-z0-9_]{0,199}"

    def _validate(self, val: Any) -> None:
        super()._validate(val)
        if val is not None:
            self.from_json(val)

    def from_json(self, raw: Any) -> dict[str, str]:
        """Return the variables."""
        if not isinstance(raw, dict):
            raise ValueError(f"{shown(raw)} is not an object of names and texts")
        if len(raw) > 500:
            raise ValueError(f"has {len(raw)} variables, the most is 500")
        for name, value in raw.items():
            if not re.fullmatch(self.NAME, name):
                ours = name.startswith("STRATPANEL_")
                why = "is set by stratpanel itself" if ours else "is not the name of a variable"
                raise ValueError(f"{shown(name)} {why}")
            if text_problem(value):  # the value itself may be a secret
                raise ValueError(f"{name}: its value is not text without NUL")
            if len(value) > 32768:
                raise ValueError(f"{name}: has {len(value)} characters, the most is 32768")
        return dict(raw)

    def to_json(self, value: dict[str, str]) -> dict[str, str]:
        """A copy."""
        return dict(value)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of one value."""
        text = {"type": "string", "pattern": f"^{ANY_TEXT}$", "maxLength": 32768}
        names = {"pattern": f"^{self.NAME}$"}
        return {"type": "object", "additionalProperties": text, "propertyNames": names, "maxProperties": 500}


class JsonObject(param.Dict):
    """Any JSON object, such as a strategy's own parameters; how it is nested is the strategy's affair."""

    __slots__: list[str] = []

    def _validate(self, val: Any) -> None:
        super()._validate(val)
        if val is not None:
            self.from_json(val)

    def from_json(self, raw: Any) -> dict[str, Any]:
        """Return a copy that shares nothing with `raw`."""
        if not isinstance(raw, dict):
            raise ValueError(f"{shown(raw)} is not an object")
        problem = json_problem(raw)
        if problem:
            raise ValueError(problem)
        return dict(json.loads(json.dumps(raw)))

    def to_json(self, value: dict[str, Any]) -> dict[str, Any]:
        """A copy."""
        return dict(json.loads(json.dumps(value)))

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of one value."""
        return {"type": "object", "additionalProperties": True}


class IdOrCommand(param.Parameter):
    """Another strategy's id (text), or a command (list of texts)."""

    __slots__: list[str] = []

    def _validate(self, val: Any) -> None:
        super()._validate(val)
        if val is not None:
            self.from_json(val)

    def from_json(self, raw: Any) -> str | list[str]:
        """Return the id or the command."""
        from stratpanel.model.ids import id_problem

        if isinstance(raw, str):
            problem = id_problem(raw)
        elif isinstance(raw, list) and raw and raw[0] != "" and len(raw) <= 1000:
            problem = next((problem for problem in map(text_problem, raw) if problem), None)
        else:
            problem = f'{shown(raw)} is neither a strategy\'s id nor a command such as ["python", "login.py"]'
        if problem:
            raise ValueError(problem)
        return raw if isinstance(raw, str) else list(raw)

    def to_json(self, value: str | list[str]) -> str | list[str]:
        """A copy."""
        return value if isinstance(value, str) else list(value)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of one value."""
        from stratpanel.model.ids import ID_PATTERN

        text = {"type": "string", "pattern": f"^{ANY_TEXT}$"}
        command = {
            "type": "array",
            "prefixItems": [{**text, "minLength": 1}],
            "items": text,
            "minItems": 1,
            "maxItems": 1000,
        }
        return {"anyOf": [{"type": "string", "pattern": ID_PATTERN}, command]}
