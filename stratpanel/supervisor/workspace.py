"""A workspace on disk: how `init` makes one, what its first `up` registers, and where it must not lie.

Called by the command line and by the supervisor before anything else. What exists is never overwritten. Locks and
SQLite do not hold on network file systems, so such a place is refused with the way out.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from stratpanel.model.errors import Conflict
from stratpanel.supervisor.configuration import secrets, settings
from stratpanel.supervisor.configuration.settings import host_timezone
from stratpanel.supervisor.versions.uploads import place_copy

FOLDERS = ("strategies/scripts", "strategies/examples", "strategies/versions", "strategies/state", "log/strategies")
REGISTRY = "strategies/strategy_configs.json"
FIRST_STRATEGY = "simple_ema"
# fields that OpenAlgo writes and we do not
_OPENALGO_FIELDS = frozenset({"exchange", "file_name", "is_error", "error_message", "paused_reason", "paused_message"})
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs", "lustre"}
    | {"fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.davfs", "davfs", "beegfs", "gpfs", "orangefs"}
    | {"fuse.juicefs", "fuse.blobfuse", "fuse.blobfuse2", "ncpfs", "coda"}
)
GITIGNORE = """\
# what stratpanel writes while it runs, and what must not be published
.stratpanel/
/log/*
/strategies/versions/
/strategies/state/
/strategies/strategy_configs.json
/secrets.toml
__pycache__/
"""


@dataclass
class InitReport:
    """What `init` did: paths it made, relative to the workspace, and sentences for the person."""

    created: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def init(folder: Path, *, timezone: str | None = None) -> InitReport:
    """Make `folder` a workspace; what is there stays untouched. Raises Conflict READ_ONLY or NETWORK_FILESYSTEM."""
    report = InitReport()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_workspace(folder, _configured_runtime_dir(folder))
        for name in FOLDERS:
            if not (folder / name).is_dir():
                (folder / name).mkdir(parents=True)
                report.created.append(f"{name}/")
        timezone = timezone or ("Asia/Kolkata" if is_openalgo(folder) else host_timezone())
        _write_new(folder, settings.FILE_NAME, settings.default_text(timezone), report)
        _write_new(folder, secrets.FILE_NAME, secrets.TEMPLATE, report, mode=0o600)
        _write_new(folder, ".gitignore", GITIGNORE, report)
        if secrets.FILE_NAME not in (folder / ".gitignore").read_text(encoding="utf-8", errors="replace"):
            report.messages.append(f".gitignore does not name {secrets.FILE_NAME}; add these lines to it:\n{GITIGNORE}")
        for example in examples():
            _write_new(folder, f"strategies/examples/{example.name}", example.read_text(encoding="utf-8"), report)
    except OSError as error:
        raise Conflict(
            f"cannot make a workspace in {folder}: {error.strerror} ({error.filename}); choose a folder you can write",
            code="READ_ONLY",
        ) from error
    if is_openalgo(folder):
        report.messages.append(
            "this is an OpenAlgo folder: times are read as Asia/Kolkata, and nothing starts before `stratpanel resume`"
        )
    if "strategies/" in "".join(report.created) and settings.FILE_NAME not in report.created:
        report.messages.append(f"{settings.FILE_NAME} was there already and stays as it is")
    return report


def _configured_runtime_dir(folder: Path) -> Path | None:
    """`runtime_dir` of a settings file that is there already: the way out of a network file system."""
    if not (folder / settings.FILE_NAME).exists():
        return None
    return settings.load_settings(folder).runtime_dir


def _write_new(folder: Path, name: str, text: str, report: InitReport, *, mode: int = 0o644) -> None:
    try:
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    report.created.append(name)


def examples() -> list[Path]:
    """The template strategies that come with stratpanel: installed with it, or those of its repository."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "examples", package.parent / "strategies" / "examples"):
        found = sorted(folder.glob("*.py"))
        if found:
            return [path for path in found if path.name != "__init__.py"]
    return []


def is_openalgo(workspace: Path) -> bool:
    """True when the registry there shows OpenAlgo's fields."""
    try:
        entries = json.loads((workspace / REGISTRY).read_bytes())
    except (OSError, ValueError):  # none yet, or broken: the registry's own reader says so
        return False
    if not isinstance(entries, dict):
        return False
    return any(isinstance(entry, dict) and _OPENALGO_FIELDS & entry.keys() for entry in entries.values())


def first_strategy(workspace: Path) -> tuple[str, Path] | None:
    """(id, working copy) to register in a workspace that has never had a registry, or None.

    Copies the example and the modules it imports into `strategies/scripts/`, so that it is the user's to edit.
    """
    if (workspace / REGISTRY).exists():
        return None
    example = workspace / "strategies" / "examples" / f"{FIRST_STRATEGY}.py"
    if not example.is_file():
        return None
    try:
        return FIRST_STRATEGY, place_copy(workspace / "strategies" / "scripts", example)
    except Conflict:  # a script of that name is there and is the user's own: it is not ours to register
        return None


def database_path(workspace: Path, runtime_dir: Path | None = None) -> Path:
    """Where the history lives: `log/stratpanel.db`, or in the runtime folder when log/ is on a network file system."""
    if runtime_dir is not None and file_system(workspace)[0] in NETWORK_FILE_SYSTEMS:
        return runtime_dir / "stratpanel.db"
    return workspace / "log" / "stratpanel.db"


def file_system(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> tuple[str, bool]:
    """(type, read-only) of the file system `path` lies on, from the kernel's table; ("", False) where there is none."""
    path = path.resolve()
    best, found = -1, ("", False)
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return found
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, after = left.split(), right.split()
        if len(fields) < 6 or len(after) < 1:
            continue
        point = Path(fields[4].encode().decode("unicode_escape") if "\\" in fields[4] else fields[4])
        if path.is_relative_to(point) and len(point.parts) >= best:  # the last of equals is mounted on top
            best = len(point.parts)
            found = (after[0], "ro" in fields[5].split(","))
    return found


def check_workspace(workspace: Path, runtime_dir: Path | None = None) -> None:
    """Raise Conflict NETWORK_FILESYSTEM or READ_ONLY, with the remedy, when locks or files cannot work here."""
    runtime = runtime_dir or workspace / ".stratpanel"
    place = next((folder for folder in (runtime, *runtime.parents) if folder.exists()), workspace)
    kind, _read_only = file_system(place)
    if kind in NETWORK_FILE_SYSTEMS:
        advice = f'runtime_dir = "/var/tmp/stratpanel-{os.environ.get("USER", "me")}"'
        raise Conflict(
            f"{place} is on a network file system ({kind}), where locks do not hold: a strategy could run twice; "
            f"set {advice} in {workspace / settings.FILE_NAME}, or move the workspace to a local disk",
            code="NETWORK_FILESYSTEM",
        )
    for folder in (workspace, place):
        _require_writable(folder)


def _require_writable(folder: Path) -> None:
    """Try it: permission bits, mount flags, quotas and full disks are only known by writing."""
    probe = folder / f".stratpanel-probe-{os.getpid()}"
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.close(descriptor)
        os.unlink(probe)
    except FileExistsError:  # another thread of ours is at it, so it can be written
        return
    except OSError as error:
        kind, read_only = file_system(folder)
        why = f"the file system ({kind}) is mounted read-only" if read_only else (error.strerror or str(error)).lower()
        raise Conflict(
            f"cannot write in {folder}: {why}; mount it writable, or chown -R {os.geteuid()} {folder}",
            code="READ_ONLY",
        ) from error
