"""Starts a workspace with the machine: a systemd user unit, or a line for cron where there is no systemd.

`stratpanel service print|install`. Stopping or restarting the unit leaves the strategies to their runners, and the next
start finds them; only when the machine goes down are they stopped, gracefully. Nothing is installed that `print` does
not show; no root is needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from stratpanel.model.errors import Conflict

COMMAND_SECONDS = 20.0


def unit_name(workspace: Path) -> str:
    """One unit per workspace: its folder's name and eight digits of its path."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", workspace.name) or "workspace"
    return f"stratpanel-{stem}-{hashlib.sha256(str(workspace).encode()).hexdigest()[:8]}.service"


def unit_text(workspace: Path, python: str = sys.executable) -> str:
    """The systemd user unit of a workspace."""
    return f"""\
[Unit]
Description=stratpanel in {_unit_escape(str(workspace))}
# never give up: a supervisor that cannot start now may be able to in a minute
StartLimitIntervalSec=0

[Service]
Type=exec
WorkingDirectory={_unit_escape(str(workspace))}
ExecStart={_unit_quote(python)} -m stratpanel -w {_unit_quote(str(workspace))} up --foreground
# strategies run on under their runners when this unit stops or restarts; they end only with the machine
ExecStop={_unit_quote(python)} -m stratpanel.service {_unit_quote(str(workspace))}
Restart=on-failure
RestartSec=5
KillMode=process
# SIGTERM would mean `down` to our main process, strategies included; `stratpanel down` is there for that
KillSignal=SIGHUP
SuccessExitStatus=SIGHUP
TimeoutStopSec=60
LimitNOFILE=65536
TasksMax=infinity
OOMPolicy=continue

[Install]
WantedBy=default.target
"""


def _unit_escape(text: str) -> str:
    """systemd expands % and $ in values (systemd.unit(5), systemd.service(5))."""
    return text.replace("%", "%%")


def _unit_quote(text: str) -> str:
    escaped = _unit_escape(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def leave(workspace: Path) -> list[str]:
    """The command of the unit's stop: strategies are stopped when the machine or the login goes down, else kept."""
    states = (_output("systemctl", "is-system-running"), _output("systemctl", "--user", "is-system-running"))
    keep = [] if "stopping" in states else ["--keep"]
    return [sys.executable, "-m", "stratpanel", "-w", str(workspace), "down", *keep]


def cron_line(workspace: Path, python: str = sys.executable) -> str:
    """The line for `crontab -e`; cron turns an unescaped % into a line break."""
    command = f"{shlex.quote(python)} -m stratpanel -w {shlex.quote(str(workspace))} up"
    return f"@reboot {command} >> {shlex.quote(str(workspace / 'log' / 'cron.log'))} 2>&1".replace("%", r"\%")


def has_systemd() -> bool:
    """True when this user can have systemd units."""
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def _unit_path(workspace: Path) -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "systemd" / "user" / unit_name(workspace)


def _output(*command: str) -> str:
    """What a command prints; nothing when it is not there. `is-system-running` prints although it exits with 1."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def installed(workspace: Path) -> bool:
    """True when a unit or a cron line of ours starts this workspace."""
    workspace = workspace.resolve()
    if _unit_path(workspace).exists():
        return True
    marks = (f"-w {shlex.quote(str(workspace))} up".replace("%", r"\%"), "@reboot")
    return any(all(mark in line for mark in marks) for line in _output("crontab", "-l").splitlines())


def print_service(workspace: Path) -> None:
    """The systemd unit on standard output, for here or to be copied elsewhere; what `install` would do on the other."""
    workspace = workspace.resolve()
    print(unit_text(workspace), end="")
    sys.stdout.flush()
    if has_systemd():
        print(
            f"goes to {_unit_path(workspace)}; then: systemctl --user enable --now {unit_name(workspace)} && "
            f"loginctl enable-linger {_user()}",
            file=sys.stderr,
        )
    else:
        print(f"no systemd here; `install` adds this line to your crontab:\n{cron_line(workspace)}", file=sys.stderr)


def install(workspace: Path) -> int:
    """Write the unit and enable it, or add the cron line; 0 when the workspace will start with the machine."""
    workspace = workspace.resolve()
    return _install_unit(workspace) if has_systemd() else _install_cron(workspace)


def _install_unit(workspace: Path) -> int:
    path = _unit_path(workspace)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(unit_text(workspace), encoding="utf-8")
    print(f"wrote {path}")
    for command in (
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", path.name],
        ["loginctl", "enable-linger", _user()],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
        if done.returncode != 0:
            why = (done.stderr or done.stdout).strip() or f"exit {done.returncode}"
            raise Conflict(f"`{shlex.join(command)}` failed: {why}; run it yourself, the unit is written")
        print(f"ran {shlex.join(command)}")
    print(f"starts with the machine; to take it over now: stratpanel down --keep && systemctl --user start {path.name}")
    return 0


def _install_cron(workspace: Path) -> int:
    if installed(workspace):
        print("the cron line is there already")
        return 0
    line = cron_line(workspace)
    if shutil.which("crontab") is None:
        raise Conflict(
            "there is neither systemd nor crontab here; in a container make `stratpanel up --foreground` its command",
            code="NO_SERVICE",
        )
    table = _output("crontab", "-l")
    table += "" if not table or table.endswith("\n") else "\n"
    done = subprocess.run(
        ["crontab", "-"],
        input=f"{table}{line}\n",
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise Conflict(f"crontab refused the line: {done.stderr.strip()}; add it with `crontab -e`: {line}")
    print(f"added to your crontab: {line}")
    return 0


def _user() -> str:
    return os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())


if __name__ == "__main__":
    farewell = leave(Path(sys.argv[1]))
    os.execv(farewell[0], farewell)
