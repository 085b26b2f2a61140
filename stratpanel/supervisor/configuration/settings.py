"""`stratpanel.toml`: what the user decides for a whole workspace, checked before anything is done with it.

The supervisor reads it at start and at `reload`; the dashboard and `doctor` read it too. Every field has a default, so
an empty file is valid. A wrong one is refused whole, with file, line and field: half a configuration is never used.
"""

from __future__ import annotations

import os
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stratpanel.model.errors import InvalidValue
from stratpanel.supervisor.configuration.toml_text import Table, TomlFile, nearest_name

FILE_NAME = "stratpanel.toml"
DEFAULT_MEMORY_MB = 1024.0  # the seed's figure
MEMORY_VARIABLE = "STRATEGY_MEMORY_LIMIT_MB"
ALERTS = (
    *("crash", "fatal", "lost", "memory", "quiet", "watchdog", "missed_start", "stop_failed", "calendar", "disk"),
    *("panic", "before_start", "schedule"),
)
EVENT_TYPES = (
    *ALERTS,
    *("started", "stopped", "exited", "restarted", "reset", "deployed", "promoted", "added", "removed", "config"),
    *("source", "pause", "resume", "down", "registry", "clock", "token", "note", "supervisor"),
    *("schedule_missed", "schedule_max_instances", "schedule_error", "log_cleared"),
)
ROLES = ("viewer", "operator", "admin")
# what we set ourselves for each run: a value here would be overwritten without a word
RESERVED = frozenset(
    {"STRATEGY_ID", "STRATEGY_NAME", "STRATEGY_DIR", "STRATEGY_STATE_DIR", "SP_MODE", "STRATPANEL_RUN_ID"}
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class OnEvent:
    """Whom to tell: a command that gets the event as JSON on standard input, and apprise addresses."""

    command: tuple[str, ...] = ()
    types: tuple[str, ...] = ALERTS
    notify: tuple[str, ...] = ()

    @property
    def wanted(self) -> bool:
        return bool(self.command or self.notify)


@dataclass(frozen=True)
class Dashboard:
    """How `serve` offers the page."""

    address: str = "127.0.0.1"
    port: int | None = None
    auth: str = "token"
    users: str | None = None
    oauth_provider: str | None = None
    origins: tuple[str, ...] = ()
    prefix: str | None = None


@dataclass(frozen=True)
class Retention:
    """Days kept; None keeps for ever. Usage has its own fixed steps (see history/usage.py)."""

    runs_days: int | None = 1095
    events_days: int | None = 730
    log_days: int | None = None


@dataclass(frozen=True)
class Settings:
    """The whole file, defaults filled in. `warnings` are sentences for `doctor`, the page and the log."""

    timezone: str
    runtime_dir: Path | None = None
    python: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    memory_mb: float = DEFAULT_MEMORY_MB
    nofile: int = 1024
    on_event: OnEvent = OnEvent()
    panic_then: str | None = None
    dashboard: Dashboard = Dashboard()
    roles: Mapping[str, str] = field(default_factory=dict)
    retention: Retention = Retention()
    warnings: tuple[str, ...] = ()

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.timezone)


def host_timezone(root: Path = Path("/")) -> str:
    """The IANA name of this machine's zone ($TZ, /etc/timezone, /etc/localtime), `UTC` where nothing tells."""
    candidates = [os.environ.get("TZ", "").lstrip(":")] if root == Path("/") else []
    try:
        candidates.append((root / "etc/timezone").read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):  # only Debian's family has it
        pass
    try:
        candidates.append(os.readlink(root / "etc/localtime").partition("zoneinfo/")[2])
    except OSError:  # not a link: a copied file tells no name
        pass
    return next((name for name in candidates if name and timezone_exists(name)), "UTC")


def timezone_exists(name: str) -> bool:
    """True when `name` is a zone this machine (or tzdata) knows."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # OSError: "Europe" is a folder of the database
        return False
    return True


def default_text(timezone: str | None = None) -> str:
    """The commented file that `init` writes; every line that sets something shows the default."""
    zone = f'timezone = "{timezone}"' if timezone else '# timezone = "Asia/Kolkata"'
    return _DEFAULT.replace("@TIMEZONE@", zone)


def load_settings(workspace: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read `stratpanel.toml` of `workspace`; a missing file means all defaults.

    Raises InvalidValue (code SETTINGS_INVALID or TOML_SYNTAX) naming file, line, field and remedy.
    """
    path = workspace / FILE_NAME
    try:
        file = TomlFile.read(path)
    except FileNotFoundError:
        file = TomlFile(path, "")
    except OSError as error:
        raise InvalidValue(
            f"cannot read {path}: {error.strerror}; make it readable for this user (chmod u+r {path})",
            code="SETTINGS_INVALID",
        ) from error
    top = file.table()
    settings = Settings(
        timezone=_timezone(top),
        runtime_dir=_folder(top, "runtime_dir", workspace),
        python=_interpreter(top, workspace),
        env=_environment(file),
        memory_mb=_memory(file, environ),
        nofile=_nofile(file),
        on_event=_on_event(file),
        panic_then=_panic(file, workspace),
        dashboard=_dashboard(file),
        roles=_roles(file),
        retention=_retention(file),
        warnings=tuple(file.warnings),
    )
    top.finish("env", "limits", "on_event", "panic", "dashboard", "roles", "retention")
    file.raise_problems("SETTINGS_INVALID")
    return settings


def _timezone(top: Table) -> str:
    name = top.text("timezone")
    if name is None:
        return host_timezone()
    if not timezone_exists(name):
        hint = nearest_name(name, zoneinfo.available_timezones()).split("; known here")[0]
        top.complain("timezone", f'"{name}" is not a time zone{hint or "; write a name like Europe/London"}')
        return "UTC"
    return name


def _folder(top: Table, name: str, workspace: Path) -> Path | None:
    value = top.text(name)
    return None if value is None else workspace / Path(value).expanduser()


def _interpreter(top: Table, workspace: Path) -> str | None:
    value = top.text("python")
    if value and not (workspace / Path(value).expanduser()).exists():
        top.file.warn("python", says=f'"{value}" does not exist; strategies without an interpreter of their own fail')
    return value


def _environment(file: TomlFile) -> dict[str, str]:
    table = file.table("env")
    values: dict[str, str] = {}
    for name in table.data:
        if not _VARIABLE.match(name):
            table.complain(name, "is not a variable name; use letters, digits and _")
        elif name in RESERVED:
            table.complain(name, "is set by stratpanel for each run; choose another name")
        elif (value := table.text(name)) is not None:
            values[name] = value
            if re.search(r"(secret|passw|token|api_?key)", name, re.IGNORECASE):
                file.warn(
                    "env", name, says="looks like a secret; secrets.toml keeps it unreadable for others and masked"
                )
    return values


def _memory(file: TomlFile, environ: Mapping[str, str]) -> float:
    table = file.table("limits")
    default = DEFAULT_MEMORY_MB
    wanted = environ.get(MEMORY_VARIABLE, "").strip()
    if wanted:
        try:
            default = float(wanted)
        except ValueError:
            default = 0.0
        if not 16 <= default <= 16_000_000:
            file.warnings.append(f"{MEMORY_VARIABLE}={wanted} is not a number of MiB; {DEFAULT_MEMORY_MB:g} is used")
            default = DEFAULT_MEMORY_MB
    return table.number("memory_mb", default, least=16, most=16_000_000, unit="MiB")


def _nofile(file: TomlFile) -> int:
    table = file.table("limits")
    value = table.whole("nofile", 1024, least=64, most=1_048_576, unit="open files")
    table.finish("memory_mb")
    return value or 1024


def _on_event(file: TomlFile) -> OnEvent:
    table = file.table("on_event")
    if isinstance(table.data.get("command"), str):
        table.complain("command", 'must be a list of words, like ["python3", "notify.py"]; no shell is involved')
        table.data.pop("command")
    command = table.texts("command")
    types = table.texts("types", ALERTS)
    notify = table.texts("notify")
    for name in types:
        if name != "all" and name not in EVENT_TYPES:
            table.complain("types", f'no event is called "{name}"{nearest_name(name, (*EVENT_TYPES, "all"))}')
    table.finish()
    return OnEvent(command, EVENT_TYPES if "all" in types else types, notify)


def _panic(file: TomlFile, workspace: Path) -> str | None:
    table = file.table("panic")
    then = table.text("then")
    if then and not (workspace / then).is_file():
        file.warn(
            "panic", "then", says=f'"{then}" does not exist (seen from {workspace}); after a panic nothing will run'
        )
    table.finish()
    return then


def _dashboard(file: TomlFile) -> Dashboard:
    table = file.table("dashboard")
    address = table.text("address", "127.0.0.1") or "127.0.0.1"
    auth = table.text("auth", "token", choices=("token", "basic", "oauth", "none")) or "token"
    loopback = address in ("localhost", "::1") or address.startswith("127.")
    if auth == "none" and not loopback:
        table.complain("auth", f'"none" with address {address} gives everybody a shell; use "basic" or "oauth"')
    users = table.text("users")
    if auth == "basic" and not users:
        table.complain("auth", '"basic" needs users = "users.json", a file of {"name": "password"}')
    provider = table.text("oauth_provider")
    if auth == "oauth" and not provider:
        table.complain("auth", '"oauth" needs oauth_provider = "github" (or another of Panel\'s providers)')
    result = Dashboard(
        address,
        table.whole("port", None, least=0, most=65535, unit="a port"),
        auth,
        users,
        provider,
        table.texts("origins"),
        table.text("prefix"),
    )
    table.finish()
    return result


def _roles(file: TomlFile) -> dict[str, str]:
    table = file.table("roles")
    return {name: role for name in table.data if (role := table.text(name, choices=ROLES)) is not None}


def _retention(file: TomlFile) -> Retention:
    table = file.table("retention")
    default = Retention()

    def days(name: str, otherwise: int | None) -> int | None:
        value = table.whole(name, otherwise, least=0, most=36_500, unit="days (0 keeps for ever)")
        return value or None

    result = Retention(
        days("runs_days", default.runs_days), days("events_days", default.events_days), days("log_days", None)
    )
    table.finish()
    return result


_DEFAULT = """\
# Settings of this stratpanel workspace. Lines that begin with # show the default or an example.
# A change counts after `stratpanel reload`; mistakes are refused with line and field, never guessed at.

# Zone of schedules that name none and have no calendar; without it the machine's own zone.
@TIMEZONE@

# Interpreter of strategies that name none: a path, or a virtual environment's folder. Default: stratpanel's own.
# python = ".venv"

# Where sockets, locks and status files live. Needed only when this folder is on a network file system.
# runtime_dir = "/var/tmp/stratpanel-me"

# Variables for every strategy. Not for secrets: those belong into secrets.toml.
[env]
# OPENALGO_HOST = "http://127.0.0.1:5000"

# What a strategy gets that sets no limit of its own.
[limits]
# memory_mb = 1024        # whole process tree, MiB; $STRATEGY_MEMORY_LIMIT_MB changes this default
# nofile = 1024           # open files

# Who is told. The command gets the event as JSON on standard input and has 10 seconds.
# Types, default: the first line.
#   crash fatal lost memory quiet watchdog missed_start stop_failed calendar disk panic before_start schedule
#   started stopped exited restarted reset deployed promoted added removed config source
#   pause resume down registry clock note supervisor schedule_missed schedule_max_instances schedule_error log_cleared,
#   or "all"
[on_event]
# command = ["python3", "strategies/scripts/notify.py"]
# types = ["crash", "fatal", "memory", "missed_start"]
# notify = ["phone"]      # apprise addresses, or names from [notify] of secrets.toml; pip install 'stratpanel[notify]'

# Your own script, run once after `panic` has ended everything: flatten positions, cancel orders.
[panic]
# then = "strategies/scripts/flatten.py"

# The web page. An address other than this machine's needs real authentication: "basic" or "oauth".
[dashboard]
# address = "127.0.0.1"
# port = 5006
# auth = "token"          # token | basic | oauth | none
# users = "users.json"    # for basic: {"name": "password"}, chmod 600
# oauth_provider = "github"
# origins = ["panel.example.com"]
# prefix = "/stratpanel"

# Who may do what: viewer (look), operator (start, stop), admin (change). Without this table every known user is admin.
[roles]
# alice = "admin"
# bob = "viewer"

# How long history is kept, in days; 0 keeps for ever.
[retention]
# runs_days = 1095
# events_days = 730
# log_days = 0
"""
