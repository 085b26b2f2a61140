"""Writing `calendar_overrides.toml` for the API and the command line, one row at a time.

Keeps every comment and every other row byte for byte; checks the new text before it replaces the file, so that a file
a person broke is never overwritten and ours never breaks one.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal, get_args

from stratpanel.market.clock import DAYS
from stratpanel.market.errors import InvalidCalendar
from stratpanel.market.overrides import Override, read_overrides

_HEAD = """# Holidays, sessions and hours that you know better than the calendars; they win, and apply at once.
# [[closed]] calendar, date, reason · [[open]] calendar, date, sessions, reason
# [[hours]]  calendar, from, sessions, reason · [[valid]] calendar, through, reason ("all days until then are entered")
# calendar is one name, a list, or "india"
"""

Subject = Literal["day", "hours", "valid"]  # one day; regular hours from a day on; through which day all is entered
SUBJECTS: Final[tuple[Subject, ...]] = get_args(Subject)
_DATED = {"hours": "from", "valid": "through"}


def put_override(
    path: Path,
    calendar: str,
    day: date,
    kind: Literal["closed", "open", "hours", "valid"],
    reason: str,
    sessions: Sequence[str] = (),
    *,
    partial: bool = False,
    days: Sequence[str] = (),
) -> None:
    """Say one thing about `calendar`, in place of what was said of the same before.

    closed or open on `day` in exactly these sessions ("09:15-15:30"; `partial` = a shortened regular day); regular
    `hours` from `day` on, on these weekdays (mon to fri unless given); or `valid`, all days through `day` are entered.
    Raises InvalidCalendar naming the field.
    """
    if not reason.strip():
        raise InvalidCalendar(
            "reason is missing; write why, for the one who reads it next", fields={"reason": "is missing"}
        )
    text = _without(path, calendar, day, subject_of(kind))
    lines = [f"[[{kind}]]", f"calendar = {_quoted(calendar)}", f"{_DATED.get(kind, 'date')} = {day.isoformat()}"]
    if kind in ("open", "hours"):
        lines.append(f"sessions = [{', '.join(_quoted(one) for one in sessions)}]")
    if kind == "open" and partial:
        lines.append('kind = "partial"')
    if kind == "hours" and days:
        lines.append(f"days = [{', '.join(_quoted(one) for one in days)}]")
    lines.append(f"reason = {_quoted(reason.strip())}")
    base = text.rstrip("\n") if text.strip() else _HEAD.rstrip("\n")
    _write(path, base + "\n\n" + "\n".join(lines) + "\n")


def remove_override(path: Path, calendar: str, day: date, subject: Subject = "day") -> bool:
    """Take back what was said of `day`, the hours from it on, or all days through it being entered, for `calendar`;
    False when nothing was. A list keeps its other calendars."""
    if not any(_is_about(one, calendar, day, subject) for one in read_overrides(path).rows):
        return False
    _write(path, _without(path, calendar, day, subject))
    return True


def subject_of(kind: str) -> Subject:
    """What a row of this kind is about."""
    return "hours" if kind == "hours" else "valid" if kind == "valid" else "day"


def overrides_of(path: Path, calendar: str | None = None) -> list[dict[str, Any]]:
    """The rows as the API shows them, in their order: kind, calendars, date, sessions, partial, days, reason, line.

    `days` are the weekdays of regular hours, else empty.
    """
    found: list[dict[str, Any]] = []
    for one in sorted(read_overrides(path).rows, key=lambda row: row.line):
        if calendar is not None and calendar.upper() not in (name.upper() for name in one.calendars):
            continue
        parts = one.row.parts if one.row is not None else one.hours.parts if one.hours is not None else ()
        found.append(
            {
                "kind": one.kind,
                "calendars": list(one.calendars),
                "date": one.date.isoformat() if one.date else None,
                "sessions": [f"{_minutes(a)}-{_minutes(b)}" for a, b in parts],
                "days": [DAYS[n] for n in sorted(one.hours.days)] if one.hours is not None else [],
                "partial": one.row is not None and one.row.kind == "partial",
                "reason": one.reason,
                "line": one.line,
            }
        )
    return found


def _is_about(one: Override, calendar: str, day: date, subject: Subject) -> bool:
    names = {name.upper() for name in one.calendars}
    return one.kind != "calendar" and subject_of(one.kind) == subject and one.date == day and calendar.upper() in names


def _without(path: Path, calendar: str, day: date, subject: Subject) -> str:
    """The file's text without the rows about this of this calendar; absent = empty."""
    overrides = read_overrides(path)
    if overrides.source is None:
        return ""
    lines = overrides.source.text.splitlines(keepends=True)
    for one in sorted(overrides.rows, key=lambda row: -row.line):
        if not _is_about(one, calendar, day, subject):
            continue
        same = [row for row in overrides.rows if row.kind == one.kind]
        start, end = overrides.source.span(one.kind, same.index(one))
        while end > start and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
            end -= 1  # comments below the row's last value belong to the next row
        others = [name for name in one.calendars if name.upper() != calendar.upper()]
        if others:
            lines[start:end] = _renamed(lines[start:end], others)
        else:
            if end < len(lines) and not lines[end].strip():
                end += 1
            del lines[start:end]
    return "".join(lines)


def _renamed(block: list[str], names: Iterable[str]) -> list[str]:
    """A row's lines with `calendar = …` naming these calendars only."""
    text = "".join(block)
    value = f"calendar = [{', '.join(_quoted(name) for name in names)}]"
    return [re.sub(r"^[ \t]*calendar[ \t]*=[ \t]*\[[^\]]*\]", lambda _: value, text, count=1, flags=re.MULTILINE)]


def _write(path: Path, text: str) -> None:
    """Check the text, then put it in the file's place at once; a crash leaves the old file or the new one."""
    read_overrides(path, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", " ", escaped) + '"'


def _minutes(minutes: int) -> str:
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"
