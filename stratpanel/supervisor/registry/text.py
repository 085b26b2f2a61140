"""From the registry's bytes to JSON, strictly: one meaning or a clear error with file and line.

Python's json takes NaN, lets the last of two equal keys win and forgets lines; a registry that decides over orders may
do none of these. The fast C parser reads; only when something is wrong a second pass finds the line.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from stratpanel.model.errors import Conflict
from stratpanel.model.kinds import nested_deeper

#: far above 1,000 strategies (about 1 MB); a registry this long is some other file
LONGEST = 32 * 1024 * 1024

Path = tuple[str | int, ...]
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+|\n')


class RegistryError(Conflict):
    """The registry cannot be read, breaks the schema, or cannot be written; the message has file, line and field."""

    default_code = "REGISTRY_BROKEN"


class _Twice(ValueError):
    """A key stands twice in one object."""


def parse(data: bytes, name: str) -> tuple[dict[str, Any], str]:
    """Return the top-level object and the text it was read from; RegistryError with the line if it is none."""
    if len(data) > LONGEST:
        raise RegistryError(f"{name}: has {len(data):,} bytes, the most is {LONGEST:,}; is it the right file?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RegistryError(f"{name} line {line}: is not UTF-8; save it as UTF-8") from None
    if not text.strip():
        raise RegistryError(
            f"{name}: is empty; restore it from a backup, or put {{}} in it to begin with no strategies"
        )
    too_deep = f"{name}: is nested too deep to be a registry"
    try:
        found = json.loads(
            text, object_pairs_hook=_no_twins, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
        )
    except json.JSONDecodeError as error:
        raise RegistryError(
            f"{name} line {error.lineno} column {error.colno}: {error.msg[0].lower()}{error.msg[1:]}"
        ) from None
    except RecursionError:
        raise RegistryError(too_deep) from None
    except _Twice as error:
        where, line = _second_of(text, str(error))
        raise RegistryError(f"{name} line {line}: {dotted(where)} is given twice; remove one of them") from None
    except ValueError as error:
        line = _line_of_token(text, str(error))
        raise RegistryError(f"{name} line {line}: {str(error)[:40]} is not a number JSON can hold") from None
    if nested_deeper(found):
        raise RegistryError(too_deep)
    if not isinstance(found, dict):
        raise RegistryError(f"{name} line 1: is not an object of strategies by id")
    return found, text


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(key)
            seen.add(key)
    return found


def _no_constant(token: str) -> NoReturn:
    raise ValueError(token)


def _finite(token: str) -> float:
    value = float(token)
    if not math.isfinite(value):
        raise ValueError(token)
    return value


def _whole(token: str) -> int:
    if len(token) > 100:  # int() itself is quadratic and refuses above 4,300 digits
        raise ValueError(token)
    return int(token)


def dotted(path: Path) -> str:
    """Return a path as people write it: ema.schedule_more[0].start."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f"{'.' if text else ''}{part[:100]}"
    return text


def line_of(text: str, path: Path) -> int:
    """Return the line on which `path`, or the nearest of its parents that is there, begins; 1 for the whole."""
    places = dict(_places(text))
    while path and path not in places:
        path = path[:-1]
    return places.get(path, 1)


def _second_of(text: str, key: str) -> tuple[Path, int]:
    """Path and line of the second time that `key` stands in one object."""
    seen: set[Path] = set()
    for place, line in _places(text):
        if place and place[-1] == key and place in seen:
            return place, line
        seen.add(place)
    return (key,), 1


def _line_of_token(text: str, token: str) -> int:
    line = 1
    for match in _TOKEN.finditer(text):
        if match.group() == "\n":
            line += 1
        elif match.group().lstrip("-") == token.lstrip("-"):
            return line
    return line


def _places(text: str) -> list[tuple[Path, int]]:
    """Walk text that is known to be JSON; return path and line of each key and item, without recursion."""
    found: list[tuple[Path, int]] = []
    path: list[str | int] = []  # the key or index we are at in each open container
    key_next: list[bool] = []  # of each open container: an object that waits for a key
    line = 1
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == "\n":
            line += 1
        elif token in "}],:" and not path:
            break  # only possible in text that is no JSON further down
        elif token in "}]":
            key_next.pop()
            path.pop()
        elif token == ",":
            index = path[-1]
            path[-1], key_next[-1] = (index + 1, False) if isinstance(index, int) else (index, True)
        elif token == ":":
            key_next[-1] = False
        elif key_next and key_next[-1] and token[0] == '"':
            path[-1] = json.loads(token)
            found.append((tuple(path), line))
        else:  # a value begins
            if path and isinstance(path[-1], int):
                found.append((tuple(path), line))
            if token in "{[":
                path.append("" if token == "{" else 0)
                key_next.append(token == "{")
    return found
