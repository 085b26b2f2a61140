"""Starting and finding launchers: whoever notices that we are wanted and gone may call this, from any thread.

Used by the supervisor, runners, the command line and clients. Starting one too many is harmless, the lock chooses;
starting one for a workspace that another host serves is refused.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from stratpanel.process import claiming, locks, platform, records
from stratpanel.process.channel import Channel
from stratpanel.process.errors import ProcessError
from stratpanel.process.identity import Identity, boot_id, identity_in, send_signal, this_host
from stratpanel.process.paths import Runtime

# The launcher touches its lock's file every 10 s; past this a host is taken for dead, if a person says so too.
HEARTBEAT_S = 10.0
STALE_S = 60.0
# Ours, or of a strategy that calls us: none of it may reach a launcher, or through it a strategy.
PRIVATE = (
    "STRATPANEL_RUN_ID",
    "STRATEGY_ID",
    "STRATEGY_NAME",
    "STRATEGY_DIR",
    "STRATEGY_STATE_DIR",
    "SP_MODE",
    "SP_PARAMS",
)
REFUSED = 3
# A launcher that is being started has this long to take its lock before another runner tries.
STARTING_S = 1.5
HOLD_OFF_S = 20.0


def launcher_alive(runtime: Runtime) -> bool:
    """True while a launcher serves this workspace."""
    return locks.is_held(runtime.launcher_lock)


def supervisor_alive(runtime: Runtime) -> bool:
    """True while a supervisor serves this workspace."""
    return locks.is_held(runtime.supervisor_lock)


def make_wanted(runtime: Runtime, by: str) -> None:
    """From now on whoever finds us gone brings us back."""
    runtime.make()
    records.write_json(runtime.wanted, {"python": sys.executable, "since": time.time(), "by": by}, fsync=True)


def remove_wanted(runtime: Runtime) -> None:
    """Nobody brings us back; only `down` does this."""
    runtime.wanted.unlink(missing_ok=True)


def start_launcher(runtime: Runtime) -> None:
    """Start a launcher in a session of its own and return when it serves, or when another one does. Raises
    ProcessError.

    Called inside a strategy it does nothing: a launcher below a runner would end with that strategy, and the runner
    brings one back by itself.
    """
    if "STRATPANEL_RUN_ID" in os.environ:
        return
    refuse_foreign(runtime)
    runtime.make()
    if launcher_alive(runtime):
        nudge(runtime)
        return
    _, status = os.waitpid(spawn_launcher(runtime), 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise ProcessError("LAUNCHER_FAILED", f"the launcher could not start; {runtime.supervisor_log} says why")


def spawn_launcher(runtime: Runtime) -> int:
    """Begin to start a launcher. The child whose PID is returned ends, and must be waited for, when the launcher serves
    or has failed. Raises ProcessError.
    """
    argv = [*launcher_command(runtime), "--detach", os.fspath(runtime.workspace), os.fspath(runtime.root)]
    try:
        return platform.spawn_detached(argv, os.fspath(runtime.supervisor_log))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ProcessError("LAUNCHER_FAILED", f"cannot start the launcher with {argv[0]}: {why}") from error


def launcher_command(runtime: Runtime) -> list[str]:
    """What runs a launcher: the wanted interpreter, without `site`, and this very copy of the package."""
    return [_python(runtime), "-S", "-P", os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")]


def being_started(runtime: Runtime) -> bool:
    """True when somebody tried a moment ago, or asked us to wait; else others see from now on that we try."""
    try:
        if time.time() - runtime.starting.stat().st_mtime < STARTING_S:
            return True
    except FileNotFoundError:
        pass
    try:
        runtime.starting.touch()
    except OSError:  # a full disk must not keep the launcher away
        pass
    return False


def hold_off(runtime: Runtime) -> None:
    """No launcher comes back for a while by itself: it was told to end, perhaps since the machine shuts down."""
    try:
        runtime.starting.touch()
        later = time.time() + HOLD_OFF_S
        os.utime(runtime.starting, (later, later))
    except OSError:  # then one comes back at once, which is no harm
        pass


def _python(runtime: Runtime) -> str:
    """The interpreter that was wanted, if it is still there."""
    try:
        record = records.read_json(runtime.wanted) or {}
    except records.RecordError:  # it says nothing we could not guess
        record = {}
    python = str(record.get("python") or "")
    return python if python and os.access(python, os.X_OK) else sys.executable


def nudge(runtime: Runtime) -> None:
    """Have a living launcher start a supervisor that is missing now, whatever it was waiting for."""
    identity = identity_in(locks.holder(runtime.launcher_lock))
    if identity is not None and not supervisor_alive(runtime) and launcher_alive(runtime):
        send_signal(identity, signal.SIGHUP)


def end_launcher(runtime: Runtime) -> None:
    """Ask the launcher to leave; its runners go on. Returns at once, also when there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel = Channel(sock)
    try:
        sock.settimeout(2.0)
        platform.connect_in_folder(sock, os.fspath(runtime.launcher_socket))
        channel.send({"op": "down"})
        return
    except OSError:  # none listens; perhaps one hangs
        pass
    finally:
        channel.close()
    identity = identity_in(locks.holder(runtime.launcher_lock))
    if identity is not None and launcher_alive(runtime):
        send_signal(identity, signal.SIGTERM)


# -- other hosts ------------------------------------------------------------------------------------------------------


def _foreign(path: Path) -> Identity | None:
    """Who holds, or last held, this lock, if that is another machine or PID namespace.

    On this very kernel a free lock proves that its holder is gone, whatever its namespace was. Across machines it
    proves nothing: on a shared file system locks may not reach so far.
    """
    identity = identity_in(locks.holder(path))
    if identity is None or identity.where() != "elsewhere":
        return None
    same_kernel = identity.boot_id == boot_id()
    return identity if not same_kernel or locks.is_held(path) else None


def foreign_owner(runtime: Runtime) -> str | None:
    """Name of the other host whose launcher or supervisor has, or had and never gave up, this workspace."""
    for path in (runtime.launcher_lock, runtime.supervisor_lock):
        identity = _foreign(path)
        if identity is not None:
            return identity.host
    return None


def heartbeat_age(runtime: Runtime) -> float:
    """Seconds since the last sign of life of whoever has or had the launcher's lock."""
    try:
        return max(time.time() - runtime.launcher_lock.stat().st_mtime, 0.0)
    except FileNotFoundError:
        return float("inf")


def refuse_foreign(runtime: Runtime) -> None:
    """Raise ProcessError(FOREIGN_HOST) when another host has this workspace."""
    host = foreign_owner(runtime)
    if host is None:
        return
    age = heartbeat_age(runtime)
    where = "another container of this machine" if host == this_host() else f"the host {host}"
    remedy = (
        f"run it there; if {host} is gone for good: stratpanel up --takeover {host}"
        if age > STALE_S
        else f"it gave a sign of life {age:.0f} s ago; run the command there, or end it there first"
    )
    raise ProcessError("FOREIGN_HOST", f"this workspace belongs to {where}: {remedy}")


def take_over(runtime: Runtime, host: str) -> None:
    """Take the workspace from a host that is gone; `host` is its name, typed by a person. Raises ProcessError."""
    owner = foreign_owner(runtime)
    if owner is None:
        return
    if host != owner:
        raise ProcessError("FOREIGN_HOST", f"this workspace belongs to {owner}, not to {host}; type that name")
    age = heartbeat_age(runtime)
    if age <= STALE_S:
        raise ProcessError(
            "FOREIGN_HOST", f"{owner} gave a sign of life {age:.0f} s ago; wait until it is silent for {STALE_S:.0f} s"
        )
    claiming.disown_foreign(runtime)
    for path in (runtime.launcher_lock, runtime.supervisor_lock):
        if _foreign(path) is not None:
            path.unlink(missing_ok=True)
