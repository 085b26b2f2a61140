"""What ends or stops our processes from outside: logins that end, systemd, idle cullers, suspend, a drifting clock."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from stratpanel.doctor.finding import Finding, Level
from stratpanel.doctor.machine import Machine

_CULLERS = re.compile(r"^[^#\n]*(shutdown_no_activity_timeout|cull_idle_timeout)[\"']?\s*[=:]\s*([0-9]+)", re.MULTILINE)
_SLEEP_TARGETS = "sleep.target suspend.target hibernate.target hybrid-sleep.target"


def root_user(machine: Machine) -> list[Finding]:
    """Strategies should not be able to do what root can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return []
    if machine.in_container:
        return [Finding("user", Level.NOTE, "running as root in a container; strategies can change all of it")]
    return [
        Finding(
            "user",
            Level.WARNING,
            "running as root: so would every strategy",
            "use an account of its own: adduser trader",
        )
    ]


def logout(machine: Machine) -> list[Finding]:
    """systemd-logind may kill everything of a user when the last login ends."""
    kills = ""
    files = [
        machine.path("/etc/systemd/logind.conf"),
        *sorted(machine.path("/etc/systemd/logind.conf.d").glob("*.conf")),
    ]
    for path in files:
        found = re.findall(
            r"^\s*KillUserProcesses\s*=\s*(\S+)", machine.text(_below(machine, path)) or "", re.MULTILINE
        )
        kills = found[-1] if found else kills
    user = machine.environ.get("USER") or machine.environ.get("LOGNAME") or "$USER"
    lingers = machine.path(f"/var/lib/systemd/linger/{user}").exists()
    if kills.lower() in ("yes", "true", "1", "on"):
        return [
            Finding(
                "logout",
                Level.ERROR,
                "KillUserProcesses=yes: logging out kills supervisor and strategies",
                f"stratpanel service install && loginctl enable-linger {user}",
            )
        ]
    if machine.has_systemd and not lingers and os.environ.get("XDG_SESSION_ID"):
        return [
            Finding(
                "logout",
                Level.NOTE,
                "without lingering, user services end with the last login",
                f"loginctl enable-linger {user}",
            )
        ]
    return []


def service_unit(machine: Machine) -> list[Finding]:
    """A systemd unit without KillMode=process takes every strategy with it when it stops or restarts."""
    unit = next(
        (
            part
            for line in (machine.text("/proc/self/cgroup") or "").splitlines()
            for part in reversed(line.split("/"))
            if part.endswith(".service") and not part.startswith("user@")
        ),
        None,
    )
    if unit is None or not machine.has_systemd:
        return []
    scope = ["--user"] if "user@" in (machine.text("/proc/self/cgroup") or "") else []
    mode = machine.run("systemctl", *scope, "show", "-p", "KillMode", "--value", unit)
    if mode and mode not in ("process", "none"):
        return [
            Finding(
                "systemd unit",
                Level.ERROR,
                f"{unit} has KillMode={mode}: stopping or restarting it kills all strategies",
                f"systemctl {' '.join([*scope, 'edit', unit])}  # [Service] KillMode=process",
            )
        ]
    return [Finding("systemd unit", Level.GOOD, f"{unit} has KillMode={mode}")] if mode else []


def jupyter(machine: Machine) -> list[Finding]:
    """JupyterHub and Jupyter servers that stop what they think is idle."""
    found: list[Finding] = []
    if "JUPYTERHUB_USER" in machine.environ or "JUPYTERHUB_API_URL" in machine.environ:
        found.append(
            Finding(
                "JupyterHub",
                Level.WARNING,
                "the hub may stop this server when no browser is open, and strategies with it",
                "ask the hub's administrator to exempt it from jupyterhub-idle-culler, or run stratpanel elsewhere",
            )
        )
    first = machine.first_process
    inside = "jupyter" in first
    for path in _jupyter_files(machine):
        for name, seconds in _CULLERS.findall(machine.text(_below(machine, path)) or ""):
            if int(seconds) > 0 and (name == "shutdown_no_activity_timeout" and inside):
                found.append(
                    Finding(
                        "Jupyter",
                        Level.ERROR,
                        f"{path.name}: {name} = {seconds}; Jupyter is process 1 here, so when it ends everything does",
                        f"set {name} to 0 in {path}",
                    )
                )
            elif int(seconds) > 0:
                found.append(
                    Finding(
                        "Jupyter",
                        Level.NOTE,
                        f"{path.name}: {name} = {seconds}; kernels end, strategies started from them go on",
                    )
                )
    return found


def _jupyter_files(machine: Machine) -> list[Path]:
    home = machine.path(machine.environ.get("HOME", "/root"))
    folders = [machine.path("/etc/jupyter"), machine.path("/usr/local/etc/jupyter"), home / ".jupyter"]
    names = ("jupyter_server_config", "jupyter_notebook_config", "jupyter_config", "jupyter_lab_config")
    return [
        folder / f"{name}{suffix}"
        for folder in folders
        for name in names
        for suffix in (".py", ".json")
        if (folder / f"{name}{suffix}").is_file()
    ]


def _below(machine: Machine, path: Path) -> str:
    return str(path.relative_to(machine.root))


def first_process(machine: Machine) -> list[Finding]:
    """In a container, PID 1 decides how long everything lives and who reaps zombies."""
    if not machine.in_container or machine.has_systemd:
        return []
    first = machine.first_process
    if re.search(r"\b(tini|dumb-init|docker-init|s6-svscan|catatonit|stratpanel)\b", first):
        return [Finding("process 1", Level.GOOD, f"`{first[:60]}` reaps and passes signals on")]
    return [
        Finding(
            "process 1",
            Level.NOTE,
            f"`{first[:60]}` is process 1 of this container: when it ends, every strategy does",
            "docker run --init …, or make `stratpanel up --foreground` the container's command",
        )
    ]


def clock(machine: Machine) -> list[Finding]:
    """Market hours need a clock that somebody keeps in step."""
    in_step = machine.clock_in_step()
    if in_step is None:
        return [Finding("clock", Level.NOTE, "cannot tell whether the clock is kept in step")]
    if in_step:
        return [Finding("clock", Level.GOOD, "kept in step (NTP or the host)")]
    where = "on the host" if machine.in_container else "here"
    return [
        Finding(
            "clock",
            Level.WARNING,
            "not synchronised: starts and stops drift from the market's time",
            f"{where}: sudo timedatectl set-ntp true   # or: sudo apt install chrony",
        )
    ]


def suspend(machine: Machine) -> list[Finding]:
    """A machine that sleeps does not stop its strategies at the close."""
    if machine.in_container or not machine.has_systemd or "mem" not in (machine.text("/sys/power/state") or ""):
        return []
    masked = machine.run("systemctl", "is-enabled", "suspend.target") or ""
    if "masked" in masked or machine.path("/etc/systemd/system/suspend.target").is_symlink():
        return [Finding("suspend", Level.GOOD, "suspend is switched off")]
    types = [
        machine.text(_below(machine, entry / "type")) or ""
        for entry in machine.path("/sys/class/power_supply").glob("*")
    ]
    battery = any(kind.strip() == "Battery" for kind in types)
    return [
        Finding(
            "suspend",
            Level.WARNING if battery else Level.NOTE,
            ("this laptop" if battery else "this machine") + " may suspend: strategies then stop late, on waking",
            f"sudo systemctl mask {_SLEEP_TARGETS}",
        )
    ]


def memory_daemon(machine: Machine) -> list[Finding]:
    """systemd-oomd and earlyoom kill by their own rules before any limit of ours."""
    if not machine.has_systemd:
        return []
    return [
        Finding("memory daemon", Level.NOTE, f"{name} may kill strategies under memory pressure before their limits do")
        for name in ("systemd-oomd", "earlyoom")
        if machine.run("systemctl", "is-active", name) == "active"
    ]


def kubernetes(machine: Machine) -> list[Finding]:
    """A pod is not a place to stay."""
    if "KUBERNETES_SERVICE_HOST" not in machine.environ:
        return []
    says = "this is a Kubernetes pod: it may be evicted or moved at any time, and strategies end with it"
    return [Finding("Kubernetes", Level.NOTE, says, "set requests = limits (QoS Guaranteed) and a priorityClassName")]


CHECKS: tuple[Callable[[Machine], list[Finding]], ...] = (
    root_user,
    logout,
    service_unit,
    jupyter,
    first_process,
    clock,
    suspend,
    memory_daemon,
    kubernetes,
)
