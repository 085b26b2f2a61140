"""What working copies contain, remembered with the signs by which the next look knows that nothing changed.

Starts ask before they decide whether to deploy, the status asks every few seconds; reading a script means parsing it
for its imports. A file is read again when its time, its inode's time, size or inode changed, or when it changed so
short ago that it may do so again unseen. Safe from any thread; nothing here decides anything.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stratpanel.supervisor.versions.imports import SKIPPED_FOLDERS, is_environment
from stratpanel.supervisor.versions.workingcopy import read_working_copy

FRESH_NS: Final = 2_000_000_000  # of a change: the clock of file times is coarse, in milliseconds or worse
MOST: Final = 5_000  # strategies whose fingerprints are kept

Stamp = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One reading of a working copy: the file that is run, and the SHA-256 of each file by its relative path.

    `watched` are the files and folders it consists of, `beside` the folders in which a new module would become part of
    it. The stamps are empty when they prove nothing.
    """

    entry: str
    hashes: dict[str, str]
    watched: tuple[str, ...]
    stamp: Stamp
    beside: tuple[str, ...]
    beside_stamp: Stamp

    def still_holds(self, *, strict: bool) -> bool:
        """True when nothing of it changed; `strict`: nor anything in the folders beside it."""
        if not self.stamp or stamp(self.watched) != self.stamp:
            return False
        return not strict or not self.beside or bool(self.beside_stamp and stamp(self.beside) == self.beside_stamp)


class Fingerprints:
    """The last reading of each working copy, by its path."""

    def __init__(self) -> None:
        self._known: dict[Path, Fingerprint] = {}

    def of(self, path: Path, *, verb: str, shown: str, strict: bool) -> Fingerprint:
        """The fingerprint of the working copy at `path`, read only if need be.

        Not `strict` may overlook a module that appeared beside a script that imports one of that name. Raises what
        `read_working_copy` raises.
        """
        known = self._known.get(path)
        if known is not None and known.still_holds(strict=strict):
            return known
        if len(self._known) >= MOST:
            self._known.clear()
        found = self._known[path] = _read(path, verb, shown)
        return found


def _read(path: Path, verb: str, shown: str) -> Fingerprint:
    copy = read_working_copy(path, verb=verb, shown=shown)
    files = [copy.folder / name for name in copy.files]
    # beside a single script lie all the others: that folder changes with each of them
    folders = set(_folders(copy.folder)) if copy.whole_folder else {file.parent for file in files} - {copy.folder}
    watched = tuple(sorted(map(str, {*files, *folders})))
    beside = tuple(sorted(map(str, copy.beside)))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in copy.files.items()}
    return Fingerprint(
        entry=copy.entry,
        hashes=hashes,
        watched=watched,
        stamp=_settled(stamp(watched)),
        beside=beside,
        beside_stamp=_settled(stamp(beside)),
    )


def _settled(found: Stamp) -> Stamp:
    """The stamp, unless something changed so short ago that the same stamp may stand for something else."""
    now = time.time_ns()
    fresh = any(
        abs(now - at) < FRESH_NS for _, changed, inode_changed, _, _ in found for at in (changed, inode_changed)
    )
    return () if fresh else found


def _folders(top: Path) -> Iterator[Path]:
    """The folder and those below it whose files belong to a strategy."""
    for here, names, _files in os.walk(top):
        names[:] = [name for name in names if name not in SKIPPED_FOLDERS and not is_environment(Path(here, name))]
        yield Path(here)


def stamp(paths: Iterable[str]) -> Stamp:
    """Times (content's, inode's; ns), size and inode of each; zeros for what is not there."""
    found = []
    for path in paths:
        try:
            at = os.stat(path)
        except (OSError, ValueError):  # ValueError: NUL in a path that somebody registered
            found.append((path, 0, 0, 0, 0))
        else:
            found.append((path, at.st_mtime_ns, at.st_ctime_ns, at.st_size, at.st_ino))
    return tuple(found)
