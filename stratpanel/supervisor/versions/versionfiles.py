"""One version on disk: its folder, the manifest beside it, and the pointer that says which version runs.

Only `versions.py` calls this. Manifests and pointers are files a person can edit, so nothing read from them is trusted
to stay inside its folder; what cannot be read is refused with the next step, never guessed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from stratpanel.model.errors import Conflict, NotFound
from stratpanel.supervisor import durable

FOLDER_NAME = re.compile(r"(\d+)-([0-9a-f]{12})\Z")


@dataclass(frozen=True)
class Version:
    """One immutable copy. `files` maps paths relative to `folder` to SHA-256; `entry` is the one that is run."""

    id: str
    n: int
    sha: str
    folder: Path
    entry: str
    files: dict[str, str]
    size: int
    created: str
    by: str
    source: str
    note: str = ""
    warnings: tuple[str, ...] = ()
    current: bool = False
    live: bool = False
    promoted_by: str | None = None
    promoted_at: str | None = None

    @property
    def entry_path(self) -> Path:
        """The file a start runs, absolute."""
        return self.folder / self.entry

    def to_json(self) -> dict[str, object]:
        """What the API shows of it."""
        return {
            "version": self.n,
            "n": self.n,
            "sha": self.sha,
            "created": self.created,
            "by": self.by,
            "source": self.source,
            "note": self.note,
            "entry": self.entry,
            "files": sorted(self.files),
            "size": self.size,
            "warnings": list(self.warnings),
            "current": self.current,
            "live": self.live,
            "promoted_by": self.promoted_by,
            "promoted_at": self.promoted_at,
        }


@dataclass
class Pointer:
    """`current.json`: which version paper and live starts run, and who promoted what."""

    current: int | None = None
    live: int | None = None
    promoted: dict[str, dict[str, str]] = field(default_factory=dict)


def now_text() -> str:
    """This moment as RFC 3339 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def tree_sha(hashes: dict[str, str]) -> str:
    """Twelve hex digits that stand for all names and contents."""
    lines = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def numbers(home: Path) -> list[int]:
    """The numbers of the versions in `home`, newest first."""
    try:
        return sorted((int(m.group(1)) for name in os.listdir(home) if (m := FOLDER_NAME.match(name))), reverse=True)
    except FileNotFoundError:
        return []


def write_version(version: Version, files: dict[str, bytes]) -> None:
    """Write under a temporary name, flush to disk, then rename: a version is there whole or not at all."""
    home = version.folder.parent
    for stale in home.glob(".new-*"):  # a deploy that was killed
        shutil.rmtree(stale, ignore_errors=True)
    temporary = home / f".new-{version.folder.name}"
    folders = {temporary}
    for name, data in files.items():
        target = temporary / name
        target.parent.mkdir(parents=True, exist_ok=True)
        folders.update(parent for parent in target.parents if parent.is_relative_to(temporary))
        with open(target, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        target.chmod(0o444)
    for folder in folders:
        durable.sync_folder(folder)
    durable.write_bytes(home / f"{version.folder.name}.json", _manifest(version), mode=0o444)
    os.rename(temporary, version.folder)
    durable.sync_folder(home)


def _manifest(version: Version) -> bytes:
    body = {
        "v": 1,
        "id": version.id,
        "n": version.n,
        "sha": version.sha,
        "entry": version.entry,
        "created": version.created,
        "by": version.by,
        "source": version.source,
        "note": version.note,
        "size": version.size,
        "warnings": list(version.warnings),
        "files": version.files,
    }
    return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


def read_version(home: Path, id: str, n: int, pointer: Pointer) -> Version:
    """Version `n` by its manifest. Raises NotFound VERSION_NOT_FOUND, Conflict VERSION_DAMAGED."""
    manifests = _manifests(home, int(n))
    if len(manifests) > 1:
        # a deploy killed between manifest and folder leaves a manifest alone, and its number is used again
        manifests = [path for path in manifests if path.with_suffix("").is_dir()] or manifests
    if not manifests:
        raise NotFound(
            f"{id} has no version {n}; `stratpanel versions {id}` lists what there is", code="VERSION_NOT_FOUND"
        )
    try:
        body = json.loads(manifests[0].read_bytes())
        promoted = pointer.promoted.get(str(n), {})
        return Version(
            id=id,
            n=n,
            sha=str(body["sha"]),
            folder=manifests[0].with_suffix(""),
            entry=_inside(str(body["entry"])),
            files={_inside(str(name)): str(sha) for name, sha in body["files"].items()},
            size=int(body["size"]),
            created=str(body["created"]),
            by=str(body["by"]),
            source=str(body["source"]),
            note=str(body.get("note", "")),
            warnings=tuple(map(str, body.get("warnings", ()))),
            current=pointer.current == n,
            live=pointer.live == n,
            promoted_by=promoted.get("by"),
            promoted_at=promoted.get("at"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Conflict(
            f"the manifest of version {n} of {id} cannot be read ({manifests[0]}: {error}); "
            f"deploy again (`stratpanel deploy {id}`)",
            code="VERSION_DAMAGED",
        ) from error


def _manifests(home: Path, n: int) -> list[Path]:
    try:
        names = os.listdir(home)
    except (FileNotFoundError, NotADirectoryError):  # nothing was ever deployed
        return []
    return [home / name for name in sorted(names) if name.startswith(f"{n}-") and name.endswith(".json")]


def _inside(name: str) -> str:
    if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise ValueError(f"{name!r} leaves the folder")
    return name


def read_pointer(home: Path, id: str) -> Pointer:
    """What `current.json` says; an empty pointer before the first deploy."""
    path = home / "current.json"
    try:
        body = json.loads(path.read_bytes())
        promoted = {str(n): {"by": str(w["by"]), "at": str(w["at"])} for n, w in body["promoted"].items()}
        current, live = body["current"], body["live"]
        return Pointer(None if current is None else int(current), None if live is None else int(live), promoted)
    except FileNotFoundError:
        return Pointer()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Conflict(
            f"{path} cannot be read ({error}); remove it and choose the version again (`stratpanel rollback {id} N`)",
            code="VERSION_DAMAGED",
        ) from error


def write_pointer(home: Path, pointer: Pointer) -> None:
    """Replace `current.json`, durably."""
    body = {"v": 1, "current": pointer.current, "live": pointer.live, "promoted": pointer.promoted}
    durable.write_bytes(home / "current.json", (json.dumps(body, indent=1) + "\n").encode())


def require_intact(version: Version) -> None:
    """Raise Conflict VERSION_DAMAGED unless every file is byte for byte what was deployed."""
    what = _damage(version)
    if what:
        raise Conflict(
            f"version {version.n} of {version.id} is not what was deployed: {what} in {version.folder}; "
            f"deploy again (`stratpanel deploy {version.id}`) or roll back to another version",
            code="VERSION_DAMAGED",
        )


def _damage(version: Version) -> str | None:
    if tree_sha(version.files) != version.sha or version.entry not in version.files:
        return "the manifest was changed"
    for name, expected in version.files.items():
        path = version.folder / name
        try:
            if path.is_symlink():
                return f"{name} was replaced by a link"
            with open(path, "rb", buffering=0) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    return f"{name} was changed"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    for here, folders, names in os.walk(version.folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            relative = os.path.relpath(os.path.join(here, name), version.folder)
            if name.endswith((".py", ".so", ".pyc")) and relative not in version.files:
                return f"{relative} was added, which could shadow what the strategy imports,"
    return None
