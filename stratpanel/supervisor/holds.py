"""What people said about running: the workspace's pause and panic as files, and a strategy's own hold.

The files rule even while no supervisor lives (runners obey `panic` by themselves), so they are written and synced
before anything is done about them. Deciding what a hold means is market/decide's business, not this module's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Final, Literal

from stratpanel.market.plan import NO_HOLD, Hold
from stratpanel.process.errors import RecordError
from stratpanel.process.paths import Runtime
from stratpanel.process.records import read_json, write_marker

KINDS: Final = frozenset({"none", "stopped", "started", "paused", "panic"})


def hold_from_json(data: Mapping[str, Any] | None) -> Hold:
    """A hold as it lies in the registry, in a run's record or in `.stratpanel/holds/`; anything odd means none."""
    if not data or data.get("kind") not in KINDS:
        return NO_HOLD
    return Hold(
        kind=data["kind"],
        by=str(data.get("by") or ""),
        at=_instant(data.get("at")),
        why=str(data.get("why") or ""),
        until=_instant(data.get("until")),
        start_at=_instant(data.get("start_at")),
        start_until=_instant(data.get("start_until")),
    )


def since(hold: Hold, zone: tzinfo) -> str:
    """When the hold was set, as people read it: weekday, minute and the name of `zone`."""
    return hold.at.astimezone(zone).strftime("%a %H:%M %Z") if hold.at else "an unknown time"


def hold_to_json(hold: Hold) -> dict[str, Any]:
    """The JSON form of a hold; times RFC 3339."""
    return {
        "kind": hold.kind,
        "by": hold.by,
        "at": hold.at.isoformat() if hold.at else None,
        "why": hold.why,
        "until": hold.until.isoformat() if hold.until else None,
        "start_at": hold.start_at.isoformat() if hold.start_at else None,
        "start_until": hold.start_until.isoformat() if hold.start_until else None,
    }


def _instant(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        moment = datetime.fromisoformat(str(value)) if value else None
    except ValueError:  # a person's typing; a hold without a date still holds
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


class WorkspaceHolds:
    """The two files `.stratpanel/paused` and `.stratpanel/panic`, remembered as holds over all strategies."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.paused: Hold = NO_HOLD
        self.panic: Hold = NO_HOLD
        self.cause = ""  # of a pause: pause (a person), down, foreign (a registry we did not write)
        self.then: str | None = None  # of a panic: when its script was run, or given up
        self.read()

    @property
    def current(self) -> Hold:
        """The stronger of the two, or none."""
        return self.panic if self.panic.kind == "panic" else self.paused

    def read(self) -> None:
        """Look at the files; the command line may have written one while we were away."""
        self.paused, self.cause, _ = _read(self._runtime.paused, "paused")
        self.panic, _, self.then = _read(self._runtime.panic, "panic")

    def pause(self, by: str, at: datetime, why: str, cause: str = "pause") -> None:
        """Nothing starts by itself from now on, over restarts of ours, until `lift`."""
        record = {"by": by, "at": at.isoformat(), "why": why, "kind": cause}
        write_marker(self._runtime.paused, record)
        self.read()

    def raise_panic(self, by: str, at: datetime, why: str) -> None:
        """Nothing starts at all from now on; runners and launcher see the file before we say a word.

        Raises OSError when the file cannot be written; this supervisor obeys all the same.
        """
        try:
            self._write_panic(by, at, why, self.then if self.panic.kind == "panic" else None)
        except OSError:
            self.panic = Hold("panic", by, at, why)
            raise
        self.read()

    def script_begun(self, at: datetime) -> None:
        """Note in the panic's file that its script's one chance is taken; before the script starts."""
        self._write_panic(self.panic.by, self.panic.at, self.panic.why, at.isoformat())
        self.read()

    def _write_panic(self, by: str, at: datetime | None, why: str, then: str | None) -> None:
        record = {"by": by, "at": at.isoformat() if at else None, "why": why, "then": then}
        write_marker(self._runtime.panic, record)

    def lift(self) -> None:
        """Remove both."""
        for path in (self._runtime.panic, self._runtime.paused):
            path.unlink(missing_ok=True)
        self.read()


def _read(path: Path, kind: Literal["paused", "panic"]) -> tuple[Hold, str, str | None]:
    try:
        record = read_json(path)
    except RecordError:  # the file's presence is the message; who and when are lost
        return Hold(kind, why=f"{path.name} cannot be read"), "pause", None
    if record is None:
        return NO_HOLD, "", None
    hold = Hold(kind, str(record.get("by") or ""), _instant(record.get("at")), str(record.get("why") or ""))
    return hold, str(record.get("kind") or "pause"), record.get("then")
