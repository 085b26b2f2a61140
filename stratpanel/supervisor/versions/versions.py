"""Deployed copies: what runs is never the file a person edits.

`strategies/versions/<id>/<n>-<sha>/` holds one version's files, `<n>-<sha>.json` beside it who made it, when, from
what, and each file's hash; `current.json` says which version a start runs in paper and in live mode. A version is never
changed: `to_run` compares every byte with the manifest. All calls use the disk and are safe from any thread.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stratpanel.model.errors import Conflict, InvalidValue, NotFound, TooLarge
from stratpanel.supervisor.versions import versionfiles
from stratpanel.supervisor.versions.diff import unified
from stratpanel.supervisor.versions.fingerprints import Fingerprint, Fingerprints
from stratpanel.supervisor.versions.source_check import require_syntax, surprises
from stratpanel.supervisor.versions.versionfiles import Pointer, Version, require_intact
from stratpanel.supervisor.versions.workingcopy import WorkingCopy, read_working_copy

WARNINGS_KEPT = 20

Side = int | Literal["working"] | None  # None: the current version
VersionList = list[Version]
Sentences = list[str]


@dataclass(frozen=True)
class Deployed:
    """The answer of a deploy; `created` is False when the working copy equals what is deployed."""

    version: Version
    created: bool
    warnings: Sentences


class Versions:
    """The versions of one workspace's strategies; ids come from the registry and are checked again here."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace.resolve()
        self.root = self.workspace / "strategies" / "versions"
        self._guard = threading.Lock()
        self._locks: dict[str, threading.RLock] = {}
        self._prints = Fingerprints()

    @contextmanager
    def _of(self, id: str) -> Iterator[Path]:
        """The folder of one strategy's versions, with its lock held: a slow deploy delays no other strategy."""
        if not id or id in (".", "..") or any(character in id for character in "/\\\0"):
            raise NotFound(f"{id!r} is not a strategy's id", code="STRATEGY_NOT_FOUND")
        with self._guard:
            lock = self._locks.setdefault(id, threading.RLock())
        with lock:
            yield self.root / id

    def list(self, id: str) -> VersionList:
        """All versions, newest first; one with a broken manifest is left out (a start of it is refused)."""
        with self._of(id) as home:
            pointer = versionfiles.read_pointer(home, id)
            found = []
            for n in versionfiles.numbers(home):
                try:
                    found.append(versionfiles.read_version(home, id, n, pointer))
                except (NotFound, Conflict):
                    continue
            return found

    def get(self, id: str, n: int) -> Version:
        """Version `n`; NotFound VERSION_NOT_FOUND."""
        with self._of(id) as home:
            return versionfiles.read_version(home, id, n, versionfiles.read_pointer(home, id))

    def current(self, id: str) -> Version | None:
        """What a start in paper mode runs; None before the first deploy."""
        with self._of(id) as home:
            pointer = versionfiles.read_pointer(home, id)
            return None if pointer.current is None else versionfiles.read_version(home, id, pointer.current, pointer)

    def live(self, id: str) -> Version | None:
        """What a start in live mode runs: the version promoted last; None when none is."""
        with self._of(id) as home:
            pointer = versionfiles.read_pointer(home, id)
            return None if pointer.live is None else versionfiles.read_version(home, id, pointer.live, pointer)

    def newest(self, id: str) -> Version | None:
        """The version made last, current or not; None before the first deploy."""
        with self._of(id) as home:
            found = versionfiles.numbers(home)[:1]
            return versionfiles.read_version(home, id, found[0], versionfiles.read_pointer(home, id)) if found else None

    def to_run(self, id: str, mode: str) -> Version:
        """The version a start in this mode runs, compared byte by byte with its manifest.

        Raises Conflict NOT_DEPLOYED, NOT_PROMOTED or VERSION_DAMAGED, each with the next step.
        """
        version = self.live(id) if mode == "live" else self.current(id)
        if version is not None:
            return self.verify(version)
        if mode == "live" and self.current(id) is not None:
            raise Conflict(
                f"cannot start {id} live: no version is promoted; look at it, then `stratpanel promote {id}`",
                code="NOT_PROMOTED",
            )
        raise Conflict(f"cannot start {id}: nothing is deployed; `stratpanel deploy {id}`", code="NOT_DEPLOYED")

    def verify(self, version: Version) -> Version:
        """`version`, or Conflict VERSION_DAMAGED unless every file is byte for byte what was deployed."""
        require_intact(version)
        return version

    def deploy(self, id: str, path: Path, *, by: str, python: str | None = None, note: str = "") -> Deployed:
        """Copy the working copy at `path` (a script, or a folder with main.py) into a new version and make it current.

        Unchanged since the current version: nothing is written, `created` is False. The new version is not live.
        `python` is the strategy's interpreter, asked about syntax ours does not know.
        Raises InvalidValue SYNTAX_ERROR (file and line) or OUTSIDE_FOLDER, NotFound SCRIPT_MISSING, TooLarge.
        """
        with self._of(id) as home:
            copy = self._working(id, path)
            self._require_syntax(f"cannot deploy {id}", copy, python)
            hashes = {name: hashlib.sha256(data).hexdigest() for name, data in copy.files.items()}
            found = self._warnings(copy)
            pointer = versionfiles.read_pointer(home, id)
            current = self._readable(home, id, pointer)
            if current and current.files == hashes and current.entry == copy.entry:
                return Deployed(current, False, found)
            home.mkdir(parents=True, exist_ok=True)
            n = max((*versionfiles.numbers(home), 0)) + 1
            sha = versionfiles.tree_sha(hashes)
            version = Version(
                id=id,
                n=n,
                sha=sha,
                folder=home / f"{n}-{sha}",
                entry=copy.entry,
                files=hashes,
                size=sum(map(len, copy.files.values())),
                created=versionfiles.now_text(),
                by=by,
                source=self._shown(path),
                note=note,
                warnings=tuple(found),
            )
            versionfiles.write_version(version, copy.files)
            pointer.current = n
            versionfiles.write_pointer(home, pointer)
            return Deployed(replace(version, current=True), True, found)

    def _readable(self, home: Path, id: str, pointer: Pointer) -> Version | None:
        """The current version when it is whole: a damaged one is replaced by a deploy of the same text."""
        if pointer.current is None:
            return None
        try:
            return self.verify(versionfiles.read_version(home, id, pointer.current, pointer))
        except (NotFound, Conflict):
            return None

    def _working(self, id: str, path: Path) -> WorkingCopy:
        return read_working_copy(path, verb=f"cannot deploy {id}", shown=self._shown(path))

    def _require_syntax(self, verb: str, copy: WorkingCopy, python: str | None) -> None:
        for name, data in copy.files.items():
            # a folder may hold templates or tests in other dialects; its main.py must be right
            if name == copy.entry or (name.endswith(".py") and not copy.whole_folder):
                require_syntax(data, self._shown(copy.folder / name), verb, python)

    def _warnings(self, copy: WorkingCopy) -> Sentences:
        found: Sentences = []
        for name, data in copy.files.items():
            if name.endswith(".py"):
                found += surprises(
                    data, name, script_folder=copy.folder, workspace=self.workspace, whole_folder=copy.whole_folder
                )
        return found[:WARNINGS_KEPT]

    def rollback(self, id: str, n: int, *, by: str) -> Version:
        """Make version `n` current. If it was promoted once, live starts run it too.

        Else live starts are refused until a promote: better than running on what one just turned away from.
        """
        with self._of(id) as home:
            pointer = versionfiles.read_pointer(home, id)
            self.verify(versionfiles.read_version(home, id, n, pointer))
            pointer.current = n
            pointer.live = n if str(n) in pointer.promoted else None
            versionfiles.write_pointer(home, pointer)
            return versionfiles.read_version(home, id, n, pointer)

    def promote(self, id: str, *, by: str, n: int | None = None) -> Version:
        """Let live starts run version `n` (default: the current one), which becomes current too."""
        with self._of(id) as home:
            pointer = versionfiles.read_pointer(home, id)
            n = pointer.current if n is None else n
            if n is None:
                raise Conflict(
                    f"cannot promote {id}: nothing is deployed; `stratpanel deploy {id}`", code="NOT_DEPLOYED"
                )
            self.verify(versionfiles.read_version(home, id, n, pointer))
            pointer.current = pointer.live = n
            pointer.promoted[str(n)] = {"by": by, "at": versionfiles.now_text()}
            versionfiles.write_pointer(home, pointer)
            return versionfiles.read_version(home, id, n, pointer)

    def forget(self, id: str) -> None:
        """Remove all versions of a strategy that was removed."""
        with self._of(id) as home:
            shutil.rmtree(home, ignore_errors=True)

    def differs(self, id: str, path: Path, from_: Version | None = None) -> bool:
        """True when the working copy is not `from_` (None: what is deployed), or cannot be read at all."""
        current = from_ or self.current(id)
        if current is None:
            return True
        try:
            copy = self.fingerprint(id, path, strict=True)
        except (NotFound, InvalidValue, Conflict, TooLarge):
            return True
        return (copy.entry, copy.hashes) != (current.entry, current.files)

    def fingerprint(self, id: str, path: Path, *, strict: bool) -> Fingerprint:
        """Which files the working copy has, and their hashes; read only if it changed. See `Fingerprints.of`."""
        return self._prints.of(path, verb=f"cannot compare {id}", shown=self._shown(path), strict=strict)

    def diff(self, id: str, from_: Side = None, to: Side = "working", path: Path | None = None) -> str:
        """Unified text from one side to the other; a side is a number, "working" (needs `path`), or None: current."""
        before_name, before = self._side(id, from_, path)
        after_name, after = self._side(id, to, path)
        return unified(before, after, (before_name, after_name))

    def _side(self, id: str, side: Side, path: Path | None) -> tuple[str, dict[str, bytes]]:
        if side == "working":
            if path is None:
                raise InvalidValue("the working copy can only be compared when its path is given")
            return "working", self._working(id, path).files
        version = self.current(id) if side is None else self.get(id, int(side))
        if version is None:
            return "nothing deployed", {}
        try:
            return f"v{version.n}", {name: (version.folder / name).read_bytes() for name in version.files}
        except OSError:
            self.verify(version)  # says which file, and what to do
            raise

    def _shown(self, path: Path) -> str:
        try:
            return str(path.absolute().relative_to(self.workspace))
        except ValueError:  # a script elsewhere on this machine
            return str(path)
