"""Which calendars there are: shipped data, compiled tables and the user's overrides, the later winning over the former.

Owned by the supervisor and used by the command line. `reload()` is cheap and safe at any time; a file that breaks the
format never takes a calendar away: the last good one stays, and where there is none the calendar says that it cannot
answer. It starts no process and never writes.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from stratpanel.market.calendar import Calendar
from stratpanel.market.decide import forget
from stratpanel.market.errors import CalendarUnknown, InvalidCalendar
from stratpanel.market.overrides import Overrides, apply, read_overrides
from stratpanel.market.tables import Table, read_compiled, read_shipped

SHIPPED = Path(__file__).parent / "data"
WARN_DAYS = 45
ALIASES = {"24/7": "24X7"}  # what the calendar libraries call it
_Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Warning:
    """Something a person should do about a calendar. `red`: it cannot answer today."""

    calendar: str
    message: str
    ends: date | None
    red: bool


class CalendarStore:
    """All calendars of a workspace, by name without regard to case; `reload` makes new ones of those that changed."""

    def __init__(
        self, shipped: Path | None = None, compiled_dir: Path | None = None, overrides_file: Path | None = None
    ) -> None:
        self.shipped = shipped or SHIPPED
        self.compiled_dir = compiled_dir
        self.overrides_file = overrides_file
        self.problem: str | None = None
        self._overrides: Overrides | None = None
        self._read: dict[Path, Table] = {}  # compiled tables as last read without fault
        self._tables: dict[str, Table] = {}  # as last made, overrides laid over
        self._calendars: dict[str, Calendar] = {}
        self._stamp: _Stamp | None = None
        self._shipped = _read_shipped_folder(self.shipped)
        self.reload()

    def get(self, name: str) -> Calendar:
        """The calendar of this name; raise CalendarUnknown with what to do."""
        found = self.find(name)
        if found is None:
            raise CalendarUnknown(
                f'there is no calendar "{name}"; known are {", ".join(self.names())}; '
                f"for a foreign exchange run `stratpanel calendar sync {name}`"
            )
        return found

    def find(self, name: str | None) -> Calendar | None:
        """The calendar of this name, or None: what `decide` takes."""
        key = (name or "").strip().upper()
        return self._calendars.get(ALIASES.get(key, key))

    def names(self) -> list[str]:
        """All names, shipped ones first."""
        return [calendar.name for calendar in sorted(self._calendars.values(), key=lambda c: (c.compiled, c.name))]

    def reload(self) -> bool:
        """Read what changed on disk; True when any calendar did. Never raises; `problem` says what is wrong."""
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        problems = []
        tables = dict(self._shipped)
        for path in sorted(self.compiled_dir.glob("*.json")) if self.compiled_dir else ():
            try:
                table = read_compiled(path)
            except InvalidCalendar as error:
                problems.append(error.message)
                if (previous := self._read.get(path)) is not None:  # the last good one stays
                    tables.setdefault(previous.name.upper(), previous)
                continue
            self._read[path] = table
            tables.setdefault(table.name.upper(), table)
        try:
            self._overrides = read_overrides(self.overrides_file)
        except InvalidCalendar as error:  # the last good rows stay; where there were none, nothing can be answered
            problems.append(error.message)
        broken = problems[-1] if self._overrides is None else ""
        made, wrong = apply(tables, self._overrides or Overrides())
        if broken:
            made = {key: table if table.always_open else replace(table, problem=broken) for key, table in made.items()}
        self.problem = "; ".join(problems + wrong) or None
        kept = {key: self._calendars[key] for key, table in made.items() if self._tables.get(key) == table}
        self._calendars = {key: kept.get(key) or table.calendar() for key, table in made.items()}
        self._tables = made
        forget()
        return True

    def changed(self) -> bool:
        """Whether a file changed since the last `reload`: three or four `stat` calls."""
        return self._look() != self._stamp

    def warnings(self, now: datetime, names: set[str] | None = None) -> list[Warning]:
        """What ends within 45 days or cannot answer, and files that cannot be read; `names` = only these calendars."""
        found = [Warning("", self.problem, None, True)] if self.problem else []
        wanted = None if names is None else {name.upper() for name in names}
        for key, calendar in sorted(self._calendars.items()):
            if wanted is not None and key not in wanted:
                continue
            if calendar.problem:
                found.append(Warning(calendar.name, calendar.why_unknown(now.date()), None, True))
            elif not calendar.always_open:
                found += _ending(calendar, now)
        return found

    def _look(self) -> _Stamp:
        paths = [self.overrides_file] if self.overrides_file else []
        paths += sorted(self.compiled_dir.glob("*.json")) if self.compiled_dir else []
        found = []
        for path in paths:
            try:
                stat = path.stat()
            except OSError:  # missing is a state of its own: no overrides
                continue
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
        return tuple(found)


def _ending(calendar: Calendar, now: datetime) -> list[Warning]:
    today = now.astimezone(calendar.timezone).date()
    left = (calendar.valid_through - today).days
    if left >= WARN_DAYS:
        return []
    if left < 0:
        return [Warning(calendar.name, calendar.why_unknown(today), calendar.valid_through, True)]
    after = calendar.why_unknown(calendar.valid_through + timedelta(days=1))
    days = "today" if left == 0 else f"in {left} day{'s' if left != 1 else ''}"
    return [Warning(calendar.name, f"{days}: {after}", calendar.valid_through, False)]


def _read_shipped_folder(folder: Path) -> dict[str, Table]:
    """All shipped tables, those that others inherit from first."""
    parents: dict[str, str] = {}
    for path in folder.glob("*.toml"):
        parents[path.stem] = str(tomllib.loads(path.read_text(encoding="utf-8")).get("inherits", ""))
    tables: dict[str, Table] = {}
    while len(tables) < len(parents):
        ready = [name for name, base in parents.items() if name not in tables and (not base or base in tables)]
        if not ready:
            raise InvalidCalendar(
                f"calendars in {folder.name} inherit in a circle: {sorted(set(parents) - set(tables))}"
            )
        for name in sorted(ready):
            tables[name] = read_shipped(folder / f"{name}.toml", tables.get(parents[name]))
    return {name.upper(): table for name, table in tables.items()}
