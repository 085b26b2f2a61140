"""`up --foreground`: stay as PID 1 of a container or under systemd, reap what is orphaned, and end with `down`.

The launcher runs below this process, so that its death never takes a container's PID namespace with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from stratpanel.cli import DONE, NOT_DONE, offline
from stratpanel.cli.session import who
from stratpanel.client.connection import Api
from stratpanel.model.errors import StratpanelError
from stratpanel.process import ending, wake
from stratpanel.process.paths import Runtime

LOOK_EVERY_S = 1.0
LOOK_WHILE_LEAVING_S = 0.05
GRACE_S = 6.5  # docker stop sends SIGKILL after 10 s, and killing what is left takes a moment


def stay(workspace: Path) -> int:
    """Bring everything up, keep it up, and on SIGTERM or Ctrl-C stop the strategies and leave."""
    from stratpanel.cli.workspace import bring_up

    leaving = threading.Event()

    def leave(_signum: int, _frame: FrameType | None) -> None:
        leaving.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    bring_up(workspace)
    runtime = Runtime.of(workspace)
    print(f"up: {workspace} (SIGTERM or Ctrl-C stops the strategies and leaves)", flush=True)
    while not leaving.wait(LOOK_EVERY_S):
        _reap()
        if not runtime.wanted.exists():
            print("down was asked for elsewhere; leaving", flush=True)
            return DONE
        if not wake.launcher_alive(runtime):
            wake.start_launcher(runtime)
    return _down(workspace)


def _down(workspace: Path) -> int:
    """`down`, with whatever is alive to help; what is left after that gets no more grace.

    When this process is PID 1, its end is everybody's: it must neither leave before a strategy had its grace nor stay
    so long that the container's engine kills all.
    """
    runtime = Runtime.of(workspace)
    deadline = time.monotonic() + GRACE_S

    def ask() -> None:
        try:
            Api(workspace, by=who()).post("/api/down", {"keep": False})
        except StratpanelError as error:
            print(f"stratpanel: {error.message}; ending the trees from here", file=sys.stderr, flush=True)
            offline.down(workspace, keep=False)

    asking = threading.Thread(target=ask, name="stratpanel-down", daemon=True)
    asking.start()
    while time.monotonic() < deadline:
        _reap()
        if not asking.is_alive() and not (wake.supervisor_alive(runtime) or wake.launcher_alive(runtime)):
            break
        time.sleep(LOOK_WHILE_LEAVING_S)
    else:
        print(f"stratpanel: not all ended within {GRACE_S:g} s; killing the rest", file=sys.stderr, flush=True)
        wake.remove_wanted(runtime)
        wake.end_launcher(runtime)
        ending.end_all(runtime, by=who(), reason="down", kill=True)
    _reap()
    left = offline.running_ids(workspace)
    print("down" if not left else f"still alive: {', '.join(left)}", flush=True)
    return NOT_DONE if left else DONE


def _reap() -> None:
    """Collect orphans that re-parented to us as PID 1; nobody else waits for them."""
    with contextlib.suppress(ChildProcessError):  # no children at all
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
