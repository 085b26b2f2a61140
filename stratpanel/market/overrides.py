"""`calendar_overrides.toml`: the user's closed days, sessions and hours, each with its reason. They win over all data.

Read by the store; written for the API and the command line by functions that keep every comment and every other row.

    [[closed]]                          # no session on this day
    calendar = ["NSE", "NFO"]           # one name, a list, or a group ("india" = all calendars shipped for India)
    date = 2026-12-24
    reason = "exchange circular 123/2026"

    [[open]]                            # exactly these sessions on this day
    calendar = "NSE"
    date = 2027-02-06
    sessions = ["09:15-15:30"]          # a close not after its open is on the next day, or, with
    evening_before = false              # evening_before = true, an open on the day before (CME's trade dates)
    kind = "special"                    # special: windows by the clock join only with on_special; partial: a shortened
    reason = "budget day"               # regular day, which every window follows. Default: what the day would have been

    [[hours]]                           # regular hours from a date on
    calendar = "NFO"
    from = 2027-03-01
    sessions = ["09:15-15:45"]
    days = ["mon", "tue", "wed", "thu", "fri"]
    reason = "circular 45/2027"

    [[valid]]                           # "I have entered all days through this date myself"
    calendar = "NSE"
    through = 2027-12-31
    reason = "list of 12 Dec 2026 entered below"

    [[calendar]]                        # a market that nobody ships; its days follow as rows of the kinds above
    name = "NCDEX"
    timezone = "Asia/Kolkata"
    reason = "agricultural commodities"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Literal, cast

from stratpanel.market.calendar import Hours, Parts, Row
from stratpanel.market.clock import zone
from stratpanel.market.errors import InvalidCalendar, InvalidTime
from stratpanel.market.tables import RowReader, Source, Table, readers

Kind = Literal["closed", "open", "hours", "valid", "calendar"]
KINDS: tuple[Kind, ...] = ("closed", "open", "hours", "valid", "calendar")


@dataclass(frozen=True)
class Override:
    """One row of the file, as the API shows it. `date` is the day, or from / through where the kind has such."""

    kind: Kind
    calendars: tuple[str, ...]
    date: date | None
    reason: str
    line: int
    row: Row | None = None
    hours: Hours | None = None
    timezone: str = ""
    unshaped: bool = False  # an open day that does not say whether it is a special or a shortened regular one


@dataclass
class Overrides:
    """All rows of the file, in its order within each kind."""

    rows: list[Override] = field(default_factory=list)
    source: Source | None = None


def read_overrides(path: Path | None, text: str | None = None) -> Overrides:
    """The user's rows; an absent file has none. Raises InvalidCalendar naming file, line and field."""
    if path is None or (text is None and not path.exists()):
        return Overrides()
    source = Source.read(path, text)
    for name in source.data:
        if name not in KINDS:
            raise InvalidCalendar(f"{path.name}: [[{name}]] is not known; known are {', '.join(KINDS)}")
    found = Overrides(source=source)
    for kind in KINDS:
        found.rows += [_override(kind, reader) for reader in readers(source, kind)]
    return found


def _override(kind: Kind, reader: RowReader) -> Override:
    line = reader.source.span(reader.table, reader.index)[0] + 1
    reason = reader.text("reason")
    if kind == "calendar":
        reader.allow("name", "timezone", "reason")
        try:
            zone(reader.text("timezone"))
        except InvalidTime as error:
            raise reader.fail("timezone", error.message) from None
        return Override(kind, (reader.text("name"),), None, reason, line, timezone=reader.text("timezone"))
    calendars = _calendars(reader)
    if kind == "closed":
        reader.allow("calendar", "date", "reason")
        row = Row("closed", reason, source="calendar_overrides.toml", origin="override")
        return Override(kind, calendars, reader.date("date"), reason, line, row)
    dated_by = "close" if reader.row.get("evening_before") is True else "open"
    if kind == "open":
        reader.allow("calendar", "date", "sessions", "evening_before", "kind", "reason")
        what = reader.text("kind", default="special")
        if what not in ("special", "partial"):
            raise reader.fail("kind", "must be special or partial")
        parts = reader.parts("sessions", dated_by=dated_by)
        shape = cast("Literal['special', 'partial']", what)
        row = Row(shape, reason, parts, source="calendar_overrides.toml", origin="override")
        return Override(kind, calendars, reader.date("date"), reason, line, row, unshaped="kind" not in reader.row)
    if kind == "hours":
        reader.allow("calendar", "from", "sessions", "evening_before", "days", "reason")
        days = reader.days("days", "mon tue wed thu fri")
        parts = reader.parts("sessions", dated_by=dated_by)
        hours = Hours(reader.date("from"), days, parts, "calendar_overrides.toml")
        return Override(kind, calendars, hours.since, reason, line, hours=hours)
    reader.allow("calendar", "through", "reason")
    return Override(kind, calendars, reader.date("through"), reason, line)


def _calendars(reader: RowReader) -> tuple[str, ...]:
    value = reader.row.get("calendar")
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n.strip() for n in names):
        raise reader.fail("calendar", 'must name a calendar, like "NSE", or several in a list')
    return tuple(n.strip() for n in names)


def apply(tables: Mapping[str, Table], overrides: Overrides) -> tuple[dict[str, Table], list[str]]:
    """The tables with the overrides laid over them, and what is wrong with rows about calendars that do not exist."""
    made, problems = dict(tables), []
    for one in overrides.rows:
        if one.kind != "calendar":
            continue
        if one.calendars[0].upper() in made:
            problems.append(
                _said(overrides, one, "name", f'"{one.calendars[0]}" exists already; write rows for it instead')
            )
        else:
            title = Table(one.calendars[0], one.reason, one.timezone, valid_through=date.min, origin="override")
            made[one.calendars[0].upper()] = title
    touched: set[str] = set()
    groups = {table.group.upper() for table in made.values() if table.group}
    rows = [(name.upper() not in groups, one.line, name, one) for one in overrides.rows for name in one.calendars]
    rows.sort(key=lambda row: row[:2])  # a name beats a group, a later line an earlier one
    for named, _line, name, one in rows:
        if one.kind == "calendar":
            continue
        keys = [name.upper()] if named else [k for k, table in made.items() if table.group.upper() == name.upper()]
        for key in keys:
            if key not in made:
                problems.append(_said(overrides, one, "calendar", f'there is no calendar "{name}"; correct or sync it'))
                continue
            if key not in touched:
                touched.add(key)
                made[key] = replace(made[key], hours=list(made[key].hours), rows=dict(made[key].rows))
            _lay(made[key], one, tables.get(key, made[key]))
    return made, problems


def _lay(table: Table, one: Override, before: Table) -> None:
    if one.row is not None and one.date is not None:
        shortened = one.unshaped and _trades_then(before, one.date, one.row.parts)
        table.rows[one.date] = replace(one.row, kind="partial") if shortened else one.row
    elif one.hours is not None:
        since = one.hours.since
        table.hours = [row for row in table.hours if row.since < since or row.source == one.hours.source] + [one.hours]
    elif one.date is not None:
        table.valid_through = one.date
        table.valid_from = min(table.valid_from, one.date)


def _trades_then(table: Table, day: date, parts: Parts) -> bool:
    """True when, without the user's word, the day would be a regular one and open at some time of these sessions."""
    row = table.rows.get(day)
    hours = max((one for one in table.hours if one.since <= day), key=lambda one: one.since, default=None)
    if hours is None or day.weekday() not in hours.days or (row is not None and row.kind in ("closed", "special")):
        return False
    return any(start < close and stop > open for start, stop in parts for open, close in hours.parts)


def _said(overrides: Overrides, one: Override, name: str, message: str) -> str:
    assert overrides.source is not None
    same = [row for row in overrides.rows if row.kind == one.kind]
    return overrides.source.fail(one.kind, same.index(one), name, message).message
