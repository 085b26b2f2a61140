"""Reading the TOML files that people write: every complaint names the file, the line, the field and what to write.

Used by settings and secrets. `tomllib` gives no positions, so lines are found by a second look at the text. Values are
never put into a message by this module: a caller decides which of its values may be shown.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from stratpanel.model.errors import InvalidValue

_HEADER = re.compile(r"^\s*\[\[?\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)


def _dotted(key: str) -> tuple[str, ...]:
    """The parts of a dotted key, quotes undone, or () where it is not a key."""
    try:
        node: object = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts: list[str] = []
    while isinstance(node, dict):
        ((part, node),) = node.items()
        parts.append(part)
    return tuple(parts)


def line_of(text: str, field: tuple[str, ...]) -> int | None:
    """The line (from 1) that sets `field`, else the line of the nearest table above it, else None."""
    table: tuple[str, ...] = ()
    nearest: tuple[int, int] | None = None  # length of the common path, line
    quoted: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if quoted:
            if quoted in line:
                quoted = None
            continue
        header = _HEADER.match(line)
        assignment = _ASSIGNMENT.match(line)
        if header and not assignment:
            table = here = _dotted(header.group(1))
        elif assignment:
            here = table + _dotted(assignment.group(1))
            value = line[assignment.end() :]
            for mark in ('"""', "'''"):
                if value.count(mark) % 2:
                    quoted = mark
        else:
            continue
        if here == field:
            return number
        if here and field[: len(here)] == here and (nearest is None or len(here) > nearest[0]):
            nearest = (len(here), number)
    return nearest[1] if nearest else None


def nearest_name(name: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` where a known name is close, else a list of the known ones."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known here: {', '.join(known)}" if known else ""


class TomlFile:
    """One parsed file that collects complaints, so that a person mends all of them in one go."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.problems: dict[str, str] = {}  # field → sentence with its line
        self._sentences: list[str] = []  # the same with file and field, for one message
        self.warnings: list[str] = []
        try:
            self.data: dict[str, object] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            # tomllib quotes single characters and positions, never a value
            raise InvalidValue(
                f"{path.name} is not TOML: {str(error)[:1].lower()}{str(error)[1:]}; mend that line in {path}",
                code="TOML_SYNTAX",
                fields={path.name: str(error)},
            ) from None

    @classmethod
    def read(cls, path: Path) -> TomlFile:
        """Read and parse; raises InvalidValue when it is not UTF-8 or not TOML, OSError when it cannot be read."""
        try:
            return cls(path, path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InvalidValue(
                f"{path.name} is not UTF-8 (byte {error.start}); save {path} as UTF-8", code="TOML_SYNTAX"
            ) from None

    def where(self, *field: str) -> str:
        """`stratpanel.toml line 12, limits.memory_mb`, for the start of a message."""
        line = line_of(self.text, field)
        return f"{self.path.name}{f' line {line}' if line else ''}, {'.'.join(field)}"

    def complain(self, *field: str, says: str) -> None:
        """Note that `field` is wrong; `says` is the sentence after the place."""
        line = line_of(self.text, field)
        self.problems[".".join(field)] = f"{says} (line {line})" if line else says
        self._sentences.append(f"{self.where(*field)}: {says}")

    def warn(self, *field: str, says: str) -> None:
        """Note something that is odd but usable."""
        self.warnings.append(f"{self.where(*field)}: {says}")

    def table(self, *field: str) -> Table:
        """The table at `field`; an empty one when it is missing or, with a complaint, when it is no table."""
        node: object = self.data
        for depth, part in enumerate(field):
            node = node.get(part, {}) if isinstance(node, Mapping) else {}
            if not isinstance(node, Mapping):
                self.complain(*field[: depth + 1], says=f"must be a table, written as [{'.'.join(field)}]")
                node = {}
        assert isinstance(node, Mapping)
        return Table(self, field, dict(node))

    def raise_problems(self, code: str) -> None:
        """Raise one InvalidValue with all complaints, if there are any."""
        if self.problems:
            raise InvalidValue("; ".join(self._sentences), code=code, fields=self.problems)


class Table:
    """Typed reads from one table; each name asked for becomes known, `finish` complains about the rest."""

    def __init__(self, file: TomlFile, field: tuple[str, ...], data: dict[str, object]) -> None:
        self.file = file
        self.field = field
        self.data = data
        self.known: set[str] = set()

    def complain(self, name: str, says: str) -> None:
        self.file.complain(*self.field, name, says=says)

    def _take(self, name: str) -> object:
        self.known.add(name)
        return self.data.get(name)

    def text(self, name: str, default: str | None = None, *, choices: Iterable[str] = ()) -> str | None:
        """A string, or `default`; with `choices` only one of these."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            self.complain(name, "must be a text that is not empty, in double quotes")  # the value may be a secret
            return default
        choices = tuple(choices)
        if choices and value not in choices:
            self.complain(name, f'"{value}" is not one of {", ".join(choices)}{nearest_name(value, choices)}')
            return default
        return value

    def number(self, name: str, default: float, *, least: float, most: float, unit: str) -> float:
        """A number of `unit` between `least` and `most`; true and false are not numbers."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            self.complain(name, f"{value!r} is not a number of {unit} from {least:g} to {most:g}")
            return default
        return float(value)

    def whole(self, name: str, default: int | None, *, least: int, most: int, unit: str) -> int | None:
        """A whole number of `unit`."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.complain(name, f"{value!r} is not a whole number of {unit} from {least} to {most}")
            return default
        return value

    def texts(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of strings."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, list) or not all(
            isinstance(item, str) and item and "\0" not in item for item in value
        ):
            self.complain(name, f'{value!r} is not a list of texts, like ["one", "two"]')
            return default
        return tuple(value)

    def finish(self, *also_known: str) -> None:
        """Complain about every name nobody asked for, each with the nearest known one."""
        known = self.known | set(also_known)
        for name in self.data:
            if name not in known:
                self.complain(name, f'nothing is called "{name}" here{nearest_name(name, known)}')
