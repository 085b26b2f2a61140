"""Reading calendar tables: shipped TOML, the user's overrides, compiled JSON. One reader for one set of row formats.

Used by the store. Every mistake is refused with file, line and field; nothing is guessed and no bad row is skipped.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, cast

from stratpanel.market.calendar import Calendar, Hours, Origin, Parts, Row, RowKind
from stratpanel.market.clock import DAYS, MINUTES_A_DAY, parse_mark, zone
from stratpanel.market.errors import InvalidCalendar, InvalidTime

FORMAT = 1
_HEADER = re.compile(r"^\s*\[\[?\s*([A-Za-z0-9_-]+)\s*\]\]?")
_SESSION = re.compile(r"\s*(\d{1,2}:\d{2})\s*[-–]\s*(\d{1,2}:\d{2})\s*")


@dataclass
class Source:
    """A TOML text with the place of its rows, so that an error can name the line."""

    path: Path
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, text: str | None = None) -> Source:
        try:
            found = cls(path, path.read_text(encoding="utf-8") if text is None else text)
            found.data = tomllib.loads(found.text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidCalendar(
                f"{path.name} is not TOML: {str(error)[:1].lower()}{str(error)[1:]}; correct it"
            ) from None
        except UnicodeDecodeError as error:
            raise InvalidCalendar(f"{path.name} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
        except OSError as error:
            raise InvalidCalendar(f"{path.name} cannot be read: {error.strerror}; make it readable") from None
        return found

    def span(self, table: str, index: int) -> tuple[int, int]:
        """First and last line + 1 (from 0) of the index-th `[[table]]`, to the next header."""
        lines = self.text.splitlines()
        heads = [n for n, line in enumerate(lines) if _HEADER.match(line)]
        own = [n for n in heads if lines[n].lstrip().startswith("[[") and _name(lines[n]) == table]
        start = own[index]
        return start, min((n for n in heads if n > start), default=len(lines))

    def fail(self, table: str, index: int, name: str, message: str) -> InvalidCalendar:
        """An error that names file, line and field."""
        where = f"{table}[{index}].{name}" if table else name
        line = 0
        lines = self.text.splitlines()
        if table:
            start, end = self.span(table, index)
            line = next((n for n in range(start, end) if re.match(rf"\s*{name}\s*=", lines[n])), start) + 1
        else:
            line = next((n for n, text in enumerate(lines) if re.match(rf"\s*{name}\s*=", text)), 0) + 1
        return InvalidCalendar(f"{self.path.name}, line {line}, {where}: {message}", fields={where: message})

    def rows(self, table: str) -> Sequence[Mapping[str, Any]]:
        """The rows of `[[table]]`."""
        rows = self.data.get(table, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InvalidCalendar(f"{self.path.name}: {table} must be written as [[{table}]] rows")
        return rows


def _name(line: str) -> str:
    found = _HEADER.match(line)
    return found[1] if found else ""


@dataclass
class RowReader:
    """One row being read; `get` checks the type and names the field where it is wrong."""

    source: Source
    table: str
    index: int
    row: Mapping[str, Any]

    def allow(self, *names: str) -> None:
        for name in self.row:
            if name not in names:
                raise self.fail(name, f"is not known here; known are {', '.join(names)}")

    def fail(self, name: str, message: str) -> InvalidCalendar:
        return self.source.fail(self.table, self.index, name, message)

    def text(self, name: str, *, default: str | None = None) -> str:
        value = self.row.get(name, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.fail(name, "is missing; write a text" if name not in self.row else "must be a text in quotes")
        return value.strip()

    def date(self, name: str) -> date:
        value = self.row.get(name)
        if type(value) is date:
            return value
        if isinstance(value, str):
            try:
                return date.fromisoformat(value)
            except ValueError:
                pass  # falls through to the one message for all that is not a date
        raise self.fail(name, "must be a date, like 2026-12-24" if name in self.row else "is missing; write a date")

    def days(self, name: str, default: str) -> frozenset[int]:
        value = self.row.get(name, default.split())
        if not isinstance(value, list) or not value or not all(day in DAYS for day in value):
            raise self.fail(name, f"must list days, of {', '.join(DAYS)}")
        return frozenset(DAYS.index(day) for day in value)

    def parts(self, name: str, *, dated_by: str = "open") -> Parts:
        """`["09:15-15:30"]` in minutes; a close that is not after its open is on the next day."""
        value = self.row.get(name)
        if not isinstance(value, list) or not value:
            raise self.fail(name, 'must list sessions, like ["09:15-15:30"]')
        found: list[tuple[int, int]] = []
        for text in value:
            matched = _SESSION.fullmatch(text) if isinstance(text, str) else None
            if matched is None:
                raise self.fail(name, f'"{text}" is not HH:MM-HH:MM')
            try:
                start, stop = parse_mark(matched[1]).minutes, parse_mark(matched[2].replace("24:00", "00:00")).minutes
            except InvalidTime as error:
                raise self.fail(name, error.message) from None
            if stop <= start:
                stop += MINUTES_A_DAY
            if found and start < found[-1][1]:
                raise self.fail(name, f'"{text}" begins before the one above it ends; list sessions in order')
            found.append((start, stop))
        if dated_by == "close" and found[-1][1] > MINUTES_A_DAY:
            found = [(a - MINUTES_A_DAY, b - MINUTES_A_DAY) for a, b in found]
        return tuple(found)


def readers(source: Source, table: str) -> list[RowReader]:
    """A reader for each row of `[[table]]`."""
    return [RowReader(source, table, n, row) for n, row in enumerate(source.rows(table))]


_TOP = ("format", "name", "title", "timezone", "group", "inherits", "dated_by", "always_open", "valid_from",
        "valid_through", "next_data", "hours", "closed", "session", "settlement")  # fmt: skip


@dataclass
class Table:
    """A calendar's data before overrides: what one shipped or compiled file says, inheritance resolved."""

    name: str
    title: str
    timezone: str
    group: str = ""
    hours: list[Hours] = field(default_factory=list)
    rows: dict[date, Row] = field(default_factory=dict)
    settlement: dict[date, str] = field(default_factory=dict)
    valid_from: date = date.min
    valid_through: date = date.max
    dated_by: str = "open"
    always_open: bool = False
    remedy: str = ""
    origin: Origin = "shipped"
    problem: str = ""

    def calendar(self) -> Calendar:
        return Calendar(
            self.name, title=self.title, timezone=zone(self.timezone), hours=self.hours, rows=self.rows,
            settlement=self.settlement, valid_from=self.valid_from, valid_through=self.valid_through,
            always_open=self.always_open, compiled=self.origin == "compiled", problem=self.problem,
            remedy=self.remedy, origin=self.origin,
        )  # fmt: skip


def read_shipped(path: Path, base: Table | None = None) -> Table:
    """One shipped file; `base` is the table it `inherits` from (days only, and hours where it gives none)."""
    source = Source.read(path)
    top = RowReader(source, "", 0, source.data)
    top.allow(*_TOP)
    if source.data.get("format") != FORMAT:
        raise top.fail("format", f"must be {FORMAT}")
    table = Table(top.text("name"), top.text("title"), top.text("timezone"), top.text("group", default=""))
    table.always_open = bool(source.data.get("always_open", False))
    table.dated_by = top.text("dated_by", default="open")
    table.remedy = top.text("next_data", default="")
    if not table.always_open:
        table.valid_from, table.valid_through = top.date("valid_from"), top.date("valid_through")
    if base is not None:
        table.rows.update(base.rows)
        table.settlement.update(base.settlement)
    for row in readers(source, "hours"):
        row.allow("from", "days", "sessions", "source")
        parts = row.parts("sessions", dated_by=table.dated_by)
        table.hours.append(Hours(row.date("from"), row.days("days", "mon tue wed thu fri"), parts, row.text("source")))
    if base is not None and not table.hours:
        table.hours = list(base.hours)
    for row in readers(source, "closed"):
        row.allow("date", "why", "source")
        table.rows[row.date("date")] = Row("closed", row.text("why"), source=row.text("source"))
    for row in readers(source, "session"):
        row.allow("date", "kind", "sessions", "why", "source")
        kind = row.text("kind")
        if kind not in ("partial", "special"):
            raise row.fail("kind", "must be partial or special")
        parts = row.parts("sessions", dated_by=table.dated_by)
        day = row.date("date")
        table.rows[day] = Row(cast("RowKind", kind), row.text("why"), parts, source=row.text("source"))
    for row in readers(source, "settlement"):
        row.allow("date", "why", "source")
        table.settlement[row.date("date")] = row.text("why")
    return table


def read_compiled(path: Path) -> Table:
    """One table written by `stratpanel.market.compile`; raises InvalidCalendar where it is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["v"] != FORMAT:
            raise InvalidCalendar(
                f"{path.name} is of format {data['v']}; run `stratpanel calendar sync {path.stem}` again"
            )
        zone(data["timezone"])
        source = f"{data['source']}, compiled {data['compiled_at'][:10]}"
        rows = {
            date.fromisoformat(day): Row(
                kind, why, instants=tuple((a * 60, b * 60) for a, b in parts), source=source, origin="compiled"
            )
            for day, kind, why, parts in data["rows"]
        }
        hours = [
            Hours(date.fromisoformat(since), frozenset(days), tuple((a, b) for a, b in parts), source)
            for since, days, parts in data["hours"]
        ]
        return Table(
            data["name"], data["title"], data["timezone"], "", hours, rows, {},
            date.fromisoformat(data["valid_from"]), date.fromisoformat(data["valid_through"]), origin="compiled",
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OSError) as error:
        name = path.stem
        raise InvalidCalendar(f"{path.name} cannot be read ({error}); run `stratpanel calendar sync {name}`") from None
