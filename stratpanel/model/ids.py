"""Which names a strategy may have: one rule for registry, API, command line and the files named by it.

Called wherever an id comes from outside. An id that passes never leaves its folder, on any file system, and never
meets another id that differs only in case (macOS and Windows would give both the same log file).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from stratpanel.model.errors import InvalidValue

LONGEST = 100
#: for JSON Schema (ECMA 262): no `..` anywhere, no dot or blank at the end
ID_PATTERN = r"^(?!.*\.\.)[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,98}[A-Za-z0-9_-])?$"
_ID = re.compile(ID_PATTERN.removesuffix("$"))


def id_problem(raw: object) -> str | None:
    """Say in words what is wrong with `raw` as a strategy's id; None if nothing is."""
    if not isinstance(raw, str):
        return f"{json.dumps(raw, default=str)[:60]} is not text"
    shown = json.dumps(raw[:120], ensure_ascii=False)
    if not raw:
        return "an id may not be empty"
    if len(raw) > LONGEST:
        return f"{shown} has {len(raw)} characters, the most is {LONGEST}"
    if ".." in raw:
        return f"{shown} contains two dots in a row"
    if raw[-1] in ". ":
        return f"{shown} ends with a dot or a blank"
    if not _ID.fullmatch(raw):
        return f"{shown} is not an id: letters and digits, then also blank . _ -, starting with a letter or digit"
    return None


def check_id(raw: object) -> str:
    """Return `raw` if it is an id, else raise InvalidValue."""
    problem = id_problem(raw)
    if problem is not None:
        raise InvalidValue(problem, code="BAD_ID", fields={"id": problem})
    return str(raw)


def find_id(wanted: str, existing: Iterable[str]) -> str | None:
    """Return the id of `existing` that equals `wanted` without regard to case, None if there is none."""
    folded = wanted.casefold()
    return next((known for known in existing if known.casefold() == folded), None)
