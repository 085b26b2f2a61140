"""One thing `doctor` found: its name, how bad it is, a sentence, and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """GOOD is fine, NOTE is worth knowing, WARNING may hurt some day, ERROR will."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """`mend` is a command, or what to do where no command does it; None when nothing is wrong."""

    name: str
    level: Level
    says: str
    mend: str | None = None

    def to_json(self) -> dict[str, str | None]:
        return {"name": self.name, "level": self.level.value, "says": self.says, "mend": self.mend}
