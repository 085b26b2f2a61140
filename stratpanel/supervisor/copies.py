"""Whether working copies differ from what runs: looked at from time to time, cheaply, in one worker thread.

`Chores.beat` calls `beat`, edits call `look_at`. A working copy is read only when it changed since the last look, or
the last start (versions/fingerprints.py); strategies take turns, so that a thousand cost no more per beat than two
hundred. What is found is a field of the status and nothing else: no start, stop or deploy ever depends on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stratpanel.model.errors import StratpanelError
from stratpanel.supervisor.versions.fingerprints import Stamp, stamp
from stratpanel.supervisor.versions.versionfiles import Version, tree_sha

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core
    from stratpanel.supervisor.unit import Unit

log = logging.getLogger("stratpanel.copies")

PER_BEAT: Final = 200  # 5 µs each when nothing changed
READ_PER_BEAT: Final = 100  # a changed one is parsed for its imports: about a millisecond


@dataclass(frozen=True, slots=True)
class Standing:
    """A working copy beside its versions. `equals` are the versions it is byte for byte equal to; None: unreadable."""

    deployed: int | None = None
    promoted: int | None = None
    known: frozenset[int] = frozenset()
    equals: frozenset[int] | None = None

    def differs_from(self, n: int | None) -> bool | None:
        """True when it is not version `n`; None when that cannot be said."""
        return None if n is None or self.equals is None or n not in self.known else n not in self.equals

    @property
    def version(self) -> int | None:
        """The version it equals: the deployed one if it can be, else the newest; None when it equals none."""
        if not self.equals:
            return None
        return self.deployed if self.deployed in self.equals else max(self.equals)


@dataclass(slots=True)
class _Seen:
    """What the last look found, and the signs by which the next one knows that nothing changed."""

    stamp: Stamp = ()
    watched: tuple[str, ...] = ()
    standing: Standing = field(default_factory=Standing)


@dataclass(frozen=True, slots=True)
class _Subject:
    id: str
    path: Path
    running: int | None


class Copies:
    """Takes turns over all strategies; `unit.standing` is where the answers go."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._seen: dict[str, _Seen] = {}
        self._next = 0
        self._looking = False
        self._again: set[str] = set()

    def beat(self) -> None:
        """Look at the next of them, unless the last look is still under way (a slow disk)."""
        units = [unit for unit in self._core.units.values() if unit.config.get("file_path")]
        if self._looking or not units:
            return
        first = self._next % len(units)
        turn = (units[first:] + units[:first])[:PER_BEAT]
        self._next = first + len(turn)
        self._begin(turn)

    def look_at(self, unit: Unit) -> None:
        """Look at this one now: its source, its version or its run changed through us."""
        if not unit.config.get("file_path"):
            return
        if self._looking:
            self._again.add(unit.id)
        else:
            self._begin([unit])

    def _begin(self, units: Iterable[Unit]) -> None:
        shelf = self._core.shelf
        subjects = [
            _Subject(
                unit.id,
                shelf.working_copy(str(unit.config["file_path"])),
                unit.run.version if unit.run is not None else None,
            )
            for unit in units
        ]
        self._looking = True
        self._core.do(self._look(subjects))

    async def _look(self, subjects: list[_Subject]) -> None:
        core = self._core
        try:
            found = await asyncio.to_thread(self._compare, subjects)
        finally:
            self._looking = False
        for id in self._seen.keys() - core.units.keys():
            del self._seen[id]
        for id, standing in found.items():
            unit = core.units.get(id)
            if unit is not None and unit.standing != standing:
                unit.standing = standing
                unit.touch()
        again, self._again = self._again, set()
        if again:
            self._begin(unit for id in again if (unit := core.units.get(id)) is not None)

    # -- in the worker thread -----------------------------------------------------------------------------------------

    def _compare(self, subjects: list[_Subject]) -> dict[str, Standing]:
        found: dict[str, Standing] = {}
        read = 0
        for subject in subjects:
            seen = self._seen.get(subject.id)
            pointer = str(self._core.shelf.versions.root / subject.id / "current.json")
            if (
                seen is not None
                and (subject.running is None or subject.running in seen.standing.known)
                and seen.stamp == stamp((*seen.watched, pointer))
            ):
                continue
            if read == READ_PER_BEAT:
                continue  # its turn comes again
            read += 1
            try:
                seen = self._seen[subject.id] = self._read(subject, pointer)
            except StratpanelError as error:  # a pointer or manifest that a person broke: a start says what to do
                log.debug("cannot compare the working copy of %s: %s", subject.id, error.message)
                continue
            found[subject.id] = seen.standing
        return found

    def _read(self, subject: _Subject, pointer: str) -> _Seen:
        versions = self._core.shelf.versions
        marks = stamp((pointer,))  # before reading: what changes meanwhile is seen at the next look
        current, live = versions.current(subject.id), versions.live(subject.id)
        sides = {version.n: version for version in (current, live, versions.newest(subject.id)) if version is not None}
        if subject.running is not None and subject.running not in sides:
            sides[subject.running] = versions.get(subject.id, subject.running)
        watched, equals, seen = self._working(subject, sides.values())
        standing = Standing(
            deployed=current.n if current else None,
            promoted=live.n if live else None,
            known=frozenset(sides),
            equals=equals,
        )
        return _Seen((*seen, *marks) if seen else (), watched, standing)

    def _working(
        self, subject: _Subject, sides: Iterable[Version]
    ) -> tuple[tuple[str, ...], frozenset[int] | None, Stamp]:
        """What to watch, which of the versions the working copy equals, and its stamp."""
        try:
            copy = self._core.shelf.versions.fingerprint(subject.id, subject.path, strict=False)
        except StratpanelError:  # gone, too large, a link outside: a start says so in words
            own = (str(subject.path),)
            return own, None, stamp(own)
        sha = tree_sha(copy.hashes)
        equals = frozenset(side.n for side in sides if (side.sha, side.entry) == (sha, copy.entry))
        return copy.watched, equals, copy.stamp
