"""The trader's own script after a panic that no supervisor saw: bring one up for it, and say what came of that.

Called by `panic` when everything is ended and `[panic] then` names a script. Safe because the panic's file lies on disk
first: a supervisor that finds it starts nothing but that script, and so does every runner and launcher.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Final

from stratpanel.cli import DONE, NOT_DONE
from stratpanel.client.connection import Api, runtime_of
from stratpanel.model.errors import NotFound, StratpanelError

BEGINS_S: Final = 20.0  # from the supervisor's first answer to the script's first sign of life
LOOK_EVERY_S: Final = 0.1
AFTER_PANIC: Final = "after-panic"
BY_HAND: Final = (
    "look at your broker and run it by hand, or mend that and `stratpanel up` within 10 minutes of the panic"
)


def run_script(api: Api, script: str) -> int:
    """Start a supervisor that runs `script` and wait until it runs, or has run; the exit code of the command."""
    if not runtime_of(api.workspace).panic.exists():
        return _not_run(script, "the panic could not be kept on disk, so a supervisor might start strategies too")
    print(f"no supervisor lives; starting one to run {script}")
    try:
        api.ensure()
        status = _begun(api)
    except StratpanelError as error:
        return _not_run(script, error.message)
    if status is None:
        return _not_run(script, f"it did not begin within {BEGINS_S:g} s; see `stratpanel events`")
    if status["state"] in ("fatal", "stopped") or (status["state"] == "exited" and status["exit_code"] != 0):
        return _not_run(script, str(status["why"]), "did not do its work")
    print(f"{script}: {status['state']} ({status['why']}); its output: `stratpanel logs {AFTER_PANIC} -f`")
    print("the supervisor stays up, in panic")
    return DONE


def _begun(api: Api) -> dict[str, Any] | None:
    deadline = time.monotonic() + BEGINS_S
    while time.monotonic() < deadline:
        try:
            status = dict(api.get(f"/api/strategies/{AFTER_PANIC}"))
        except NotFound:  # the supervisor first makes sure that nothing lives
            status = {"state": "starting"}
        if status["state"] != "starting":
            return status
        time.sleep(LOOK_EVERY_S)
    return None


def _not_run(script: str, why: str, what: str = "was not run") -> int:
    print(f"stratpanel: {script} {what}: {why}; {BY_HAND}", file=sys.stderr)
    return NOT_DONE
