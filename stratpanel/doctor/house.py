"""The workspace itself: its place on disk, settings, secrets, calendars, and whether it comes back after a reboot."""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from stratpanel.doctor.finding import Finding, Level
from stratpanel.doctor.machine import Machine
from stratpanel.model.errors import StratpanelError

DISK_ERROR_MB, DISK_WARNING_MB = 200, 2048


def examine(workspace: Path, machine: Machine, now: datetime | None = None) -> list[Finding]:
    """All findings about one workspace."""
    return [
        *place(workspace),
        *disk(workspace),
        *configuration(workspace),
        *calendars(workspace, now or datetime.now(UTC)),
        *reboot(workspace, machine),
    ]


def place(workspace: Path) -> list[Finding]:
    """A file system where locks hold and files last."""
    from stratpanel.process.paths import Runtime
    from stratpanel.supervisor.workspace import check_workspace, file_system

    try:
        runtime = Runtime.of(workspace)
        check_workspace(workspace, runtime.root if runtime.root.parent != workspace else None)
    except StratpanelError as error:
        return [Finding("workspace", Level.ERROR, error.message, "see above")]
    kind, _read_only = file_system(workspace)
    if kind in ("tmpfs", "ramfs"):
        says = f"{workspace} is in memory ({kind}): everything is gone after a reboot"
        return [Finding("workspace", Level.WARNING, says, f"move it to a disk: mv {workspace} ~/")]
    if kind in ("9p", "virtiofs", "drvfs", "fuse.grpcfuse", "fakeowner"):
        says = f"{workspace} is shared with a host ({kind}): locks may not hold against processes there"
        return [Finding("workspace", Level.WARNING, says, "use a folder of this machine or a Docker volume")]
    return [Finding("workspace", Level.GOOD, f"{workspace}" + (f" on {kind}" if kind else ""))]


def disk(workspace: Path) -> list[Finding]:
    """Room for logs and history."""
    usage = shutil.disk_usage(workspace)
    free_mb = usage.free / 1_048_576
    says = f"{free_mb / 1024:.1f} GiB free ({usage.free / max(usage.total, 1):.0%})"
    mend = f"du -sh {workspace}/log/* | sort -h   # then remove or move what is large"
    if free_mb < DISK_ERROR_MB:
        return [Finding("disk", Level.ERROR, f"{says}: logs are about to be dropped", mend)]
    if hasattr(os, "statvfs"):
        inodes = os.statvfs(workspace)
        if inodes.f_files and inodes.f_favail < 1000:
            return [Finding("disk", Level.ERROR, f"only {inodes.f_favail} more files can be made", mend)]
    if free_mb < DISK_WARNING_MB:
        return [Finding("disk", Level.WARNING, says, mend)]
    return [Finding("disk", Level.GOOD, says)]


def configuration(workspace: Path) -> list[Finding]:
    """Settings and secrets, as a start would read them."""
    from stratpanel.supervisor.configuration.secrets import FILE_NAME as SECRETS
    from stratpanel.supervisor.configuration.secrets import Secrets
    from stratpanel.supervisor.configuration.settings import FILE_NAME as SETTINGS
    from stratpanel.supervisor.configuration.settings import load_settings

    found: list[Finding] = []
    try:
        settings = load_settings(workspace)
        found += [Finding("settings", Level.WARNING, warning, f"edit {SETTINGS}") for warning in settings.warnings]
        if not found:
            found.append(Finding("settings", Level.GOOD, f"{SETTINGS} is in order; time zone {settings.timezone}"))
    except StratpanelError as error:
        found.append(
            Finding("settings", Level.ERROR, error.message, f"edit {workspace / SETTINGS}, then stratpanel reload")
        )
    try:
        Secrets(workspace / SECRETS).read()
    except StratpanelError as error:
        mend = f"chmod 600 {workspace / SECRETS}" if error.code == "SECRETS_READABLE" else f"edit {workspace / SECRETS}"
        found.append(Finding("secrets", Level.ERROR, error.message, mend))
    return found


def calendars(workspace: Path, now: datetime) -> list[Finding]:
    """Calendars whose data ends soon or cannot be read; those that strategies use count more."""
    from stratpanel.market.store import CalendarStore
    from stratpanel.process.paths import Runtime

    store = CalendarStore(
        compiled_dir=Runtime.of(workspace).root / "calendars",
        overrides_file=workspace / "strategies" / "calendar_overrides.toml",
    )
    used = _calendars_in_use(workspace)
    mend = f"{sys.executable} -m pip install -U stratpanel   # or add days to strategies/calendar_overrides.toml"
    found: list[Finding] = []
    idle: list[str] = []
    for warning in store.warnings(now):
        if warning.calendar and warning.calendar.upper() not in used:
            idle.append(warning.calendar + (f" ({warning.ends})" if warning.ends else ""))
        else:
            level = Level.ERROR if warning.red else Level.WARNING
            found.append(Finding("calendars", level, warning.message, mend))
    if idle:
        says = f"data ends soon for calendars that no strategy uses: {', '.join(idle)}"
        found.append(Finding("calendars", Level.NOTE, says, mend))
    return found or [Finding("calendars", Level.GOOD, f"{len(store.names())} known, none ends within 45 days")]


def _calendars_in_use(workspace: Path) -> set[str]:
    try:
        entries = json.loads((workspace / "strategies" / "strategy_configs.json").read_bytes())
        named = [entry.get("calendar") or entry.get("exchange") for entry in entries.values()]
    except (OSError, ValueError, AttributeError):  # none yet, or broken: `up` says so
        return set()
    return {str(name).upper() for name in named if name}


def reboot(workspace: Path, machine: Machine) -> list[Finding]:
    """Whether anything starts this workspace with the machine."""
    from stratpanel import service

    if machine.in_container and not machine.has_systemd:
        return []  # the container's own restart policy decides
    if service.installed(workspace):
        return [Finding("reboot", Level.GOOD, "starts with the machine")]
    return [Finding("reboot", Level.NOTE, "nothing starts this workspace after a reboot", "stratpanel service install")]
