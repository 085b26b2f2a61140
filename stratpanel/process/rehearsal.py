"""What a runner will do, done a few times by the launcher before it forks the first one.

Python specialises code while it runs, fills caches, and counts references: every page that this touches in a runner is
a private copy. Done beforehand, some of it stays shared: 0.15 MB of 2.8 a runner, measured on Python 3.11 with twenty.
Most of the rest are objects that are only counted: of 569 private pages 212 end with the bytes they began with. It
happens in a scratch folder, starts nothing, and a failure here only costs that gain.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from stratpanel.process import locks, previous, records
from stratpanel.process.capture import Capture
from stratpanel.process.channel import Channel
from stratpanel.process.errors import ProcessError
from stratpanel.process.identity import Identity
from stratpanel.process.loop import Loop
from stratpanel.process.paths import Runtime
from stratpanel.process.run import Run
from stratpanel.process.runner import first_status
from stratpanel.process.tree import OwnTree, descendants

ROUNDS = 12  # the interpreter looks at code again after 8 calls


def rehearse(runtime: Runtime) -> None:
    """Go through a runner's life without a strategy. Never raises."""
    folder = runtime.root / f"rehearsal-{os.getpid()}"
    scratch = Runtime(folder, folder)
    try:
        for number in range(ROUNDS):
            _life(scratch, f"r{number}")
    except (OSError, ProcessError):  # a start in such a place will say what is wrong with it
        pass
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """All of it; `shutil` would bring three libraries into every runner."""
    for here, folders, files in os.walk(folder, topdown=False):
        with suppress(OSError):
            for name in files:
                os.unlink(os.path.join(here, name))
            for name in folders:
                os.rmdir(os.path.join(here, name))
    with suppress(OSError):
        os.rmdir(folder)


def _life(runtime: Runtime, strategy_id: str) -> None:
    folder = runtime.folder(strategy_id)
    os.makedirs(folder.path, mode=0o700)
    identity = Identity.of(os.getpid()).to_json()
    lock = locks.acquire(folder.runner_lock, identity)
    run_lock = locks.acquire(folder.run_lock)
    if lock is None or run_lock is None:
        return
    previous.refuse_if_alive(runtime, strategy_id, locked=False)
    records.remove_leftovers(folder.path)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    loop = Loop()
    log = {"path": os.fspath(runtime.root / "log" / f"{strategy_id}.log"), "max_bytes": 1 << 20, "keep": 1}
    capture = Capture(loop, read_end, log, required=True)
    run = Run(runtime, loop, first_status(_spec(strategy_id, log), read_end), lock, capture)
    run.run_lock = run_lock
    run.status["leader"] = identity
    run.save()
    ours, theirs = socket.socketpair()
    run.clients.add(ours)
    listener = Channel(theirs)
    listener.send({"op": "ping", "n": 1})
    run.clients.listen(folder.socket)
    run.tree = tree = OwnTree(0, lambda _status: None)
    os.write(write_end, b"a line\n")
    loop.run_once(0.0)
    run.set_phase("running")
    run.leader_exited(0, "parent")
    loop.run_once(0.0)
    listener.receive()
    descendants([os.getpid()])
    tree.exact = True
    run.rehearse_end()
    listener.close()
    loop.close()
    os.close(write_end)


def _spec(strategy_id: str, log: dict[str, Any]) -> dict[str, Any]:
    return {"id": strategy_id, "run_id": f"{strategy_id}~rehearsal", "log": log, "grace_s": 1.0, "env": {}}
