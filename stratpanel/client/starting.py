"""Starts a supervisor for a client and waits until it answers, or says in words why none can run.

Called by `Api.ensure` and by the mirror's reader. It only ever starts the launcher, which starts the supervisor; losers
of a race between several clients are sorted out by the launcher's lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from stratpanel.client.connection import NoSupervisor, runtime_of
from stratpanel.process.errors import ProcessError

if TYPE_CHECKING:
    from stratpanel.client.connection import Api
    from stratpanel.process.paths import Runtime

LOOK_EVERY_S: Final = 0.02
NUDGE_EVERY_S: Final = 1.0


def start_supervisor(api: Api, timeout: float) -> None:
    """Bring the workspace up; raises NoSupervisor with the reason.

    `.stratpanel/paused` stays as it is: after a `down` a client's start comes up paused; `up` removes it first.
    """
    from stratpanel.process import wake

    runtime = runtime_of(api.workspace)
    began = time.time()
    try:
        wake.refuse_foreign(runtime)
        wake.make_wanted(runtime, api.by)
        wake.start_launcher(runtime)
    except ProcessError as error:
        raise NoSupervisor(error.message, code=error.code) from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise NoSupervisor(f"cannot start a supervisor for {api.workspace}: {why} ({error.filename})") from error
    _await_answer(api, runtime, began, timeout)


def _await_answer(api: Api, runtime: Runtime, began: float, timeout: float) -> None:
    from stratpanel.process import wake

    deadline = time.monotonic() + timeout
    nudged = time.monotonic()
    while not api.reachable():
        now = time.monotonic()
        why = refusal(runtime, since=began if now < deadline else 0)
        if why:
            raise NoSupervisor(why, code="REFUSED")
        if now > deadline:
            raise NoSupervisor(
                f"the supervisor of {api.workspace} did not answer within {timeout:g} s; see {runtime.supervisor_log}"
            )
        if now - nudged > NUDGE_EVERY_S:
            nudged = now
            revive(runtime)
            wake.nudge(runtime)
        time.sleep(LOOK_EVERY_S)


def refusal(runtime: Runtime, since: float) -> str:
    """What the supervisor wrote when it refused to start, after `since` (epoch seconds); "" if it did not."""
    import json

    path = runtime.root / "refused.json"
    try:
        written = path.stat().st_mtime
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):  # not refused
        return ""
    if written < since:
        return ""
    return str(record.get("message", "")) if isinstance(record, dict) else ""


def revive(runtime: Runtime) -> bool:
    """Start the launcher again if the workspace is meant to be up and nothing of ours lives; True if it was started."""
    from stratpanel.process import wake

    if not runtime.wanted.exists() or wake.launcher_alive(runtime) or wake.supervisor_alive(runtime):
        return False
    try:
        wake.start_launcher(runtime)
    except (ProcessError, OSError):  # whoever looks next tries again
        return False
    return True
