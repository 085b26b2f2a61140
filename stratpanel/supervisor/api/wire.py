"""JSON on the wire: encoding answers, decoding bodies, reading query parameters with errors that name the field.

Called by every route. Never lets a body reach the core that could not be written back: no NaN, no NUL, no lone
surrogates, no nesting deep enough to exhaust the interpreter's stack.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from pathlib import PurePath
from typing import Any

from stratpanel.model.errors import InvalidValue, Malformed
from stratpanel.model.kinds import nested_deeper

TOO_DEEP = "the body is nested too deeply"
FAR_FUTURE_S = 253402214400.0  # 9999-12-31: what datetime can hold


def encode(value: object) -> bytes:
    """Compact UTF-8 JSON; times as RFC 3339, unknown floats (NaN, infinities) as null."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), default=_plain)
    # a file name that is not UTF-8 holds lone surrogates; as \udcXX they are still valid JSON
    return text.encode("utf-8", "backslashreplace")


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, PurePath):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body` ({} when empty); raises Malformed with the place of the mistake."""
    if not body.strip():
        return {}
    try:
        text = body.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: byte {error.start} is 0x{body[error.start]:02x}") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise Malformed(TOO_DEEP) from None
    except ValueError as error:  # numbers past Python's digit limit
        raise Malformed(f"the body is not JSON we can read: {error}") from None
    if not isinstance(value, dict):
        raise Malformed(f"the body must be a JSON object, not {_json_type(value)}")
    if nested_deeper(value):
        raise Malformed(TOO_DEEP)
    if "\\u" in text or "\0" in text:
        _refuse_unwritable(value)
    return value


def _refuse_constant(name: str) -> object:
    raise Malformed(f"the body is not JSON: {name} is not a JSON number")


def _refuse_unwritable(value: object) -> None:
    """Raise Malformed for text that no file, argument or environment variable could hold."""
    if isinstance(value, str):
        if "\0" in value:
            raise Malformed("the body contains a NUL character")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise Malformed("the body contains half of a surrogate pair")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unwritable(key)
            _refuse_unwritable(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_unwritable(item)


def _json_type(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def whole_number(name: str, text: str | None, default: int, low: int, high: int) -> int:
    """A query parameter between `low` and `high`; raises InvalidValue naming it."""
    if text is None or text == "":
        return default
    try:
        value = int(text) if text.isascii() and len(text) <= 20 else None
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise invalid(name, f"{_quoted(text)} is not a whole number from {low} to {high}")
    return value


def instant(name: str, text: str | None) -> datetime | None:
    """A query parameter as aware datetime: RFC 3339 with offset, or epoch seconds; raises InvalidValue."""
    if text is None or text == "":
        return None
    wrong = invalid(name, f"{_quoted(text)} is neither RFC 3339 with an offset nor epoch seconds")
    try:
        seconds = float(text)
    except ValueError:
        # an unescaped "+" of the offset arrives as a blank
        return _rfc3339(text.replace(" ", "+") if text.count("T") and " " in text else text, wrong)
    if not 0 <= seconds <= FAR_FUTURE_S:
        raise wrong
    return datetime.fromtimestamp(seconds).astimezone()


def _rfc3339(text: str, wrong: InvalidValue) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise wrong from None
    if value.tzinfo is None:
        raise wrong
    try:
        seconds = value.timestamp()
    except (ValueError, OverflowError):
        raise wrong from None
    if not 0 <= seconds <= FAR_FUTURE_S:
        raise wrong
    return value


def day(name: str, text: str | None) -> date | None:
    """A query parameter as a date (YYYY-MM-DD); raises InvalidValue."""
    return None if text is None or text == "" else required_day(name, text)


def required_day(name: str, text: str) -> date:
    """A part of a path as a date (YYYY-MM-DD); raises InvalidValue."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise invalid(name, f"{_quoted(text)} is not a date like 2026-11-08") from None


def flag(name: str, text: str | None, default: bool) -> bool:
    """A query parameter as truth: 1, 0, true, false; raises InvalidValue."""
    if text is None or text == "":
        return default
    known = {"1": True, "true": True, "0": False, "false": False}
    if text.lower() not in known:
        raise invalid(name, f"{_quoted(text)} is not 1 or 0")
    return known[text.lower()]


def invalid(field: str, what: str) -> InvalidValue:
    """An InvalidValue about one field, the field named in the sentence and in `fields`."""
    return InvalidValue(f"{field}: {what}", fields={field: what})


def _quoted(text: str) -> str:
    return json.dumps(text if len(text) <= 80 else text[:77] + "...")
