"""`python -m stratpanel.supervisor WORKSPACE [RUNTIME_DIR]`: the supervisor's process, started by the launcher alone.

It takes `supervisor.lock` or leaves silently, refuses a broken registry with exit 78 (message in
`.stratpanel/refused.json`) unless strategies live, and otherwise serves until `down` or SIGTERM. Its end never
touches a strategy.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from stratpanel.model.errors import StratpanelError
from stratpanel.process import ending, locks
from stratpanel.process.errors import ProcessError
from stratpanel.process.identity import Identity
from stratpanel.process.paths import Runtime
from stratpanel.process.records import write_json
from stratpanel.supervisor.configuration.secrets import FILE_NAME, Secrets
from stratpanel.supervisor.configuration.settings import Settings, load_settings
from stratpanel.supervisor.core import Core
from stratpanel.supervisor.history.history import History
from stratpanel.supervisor.hooks.hooks import Hooks
from stratpanel.supervisor.ownlog import start_log
from stratpanel.supervisor.workspace import check_workspace, database_path

log = logging.getLogger("stratpanel.supervisor")

REFUSED: Final = 78  # EX_CONFIG of sysexits.h: the launcher waits for a change instead of trying again
LEAVE_HOOKS_S: Final = 2.0  # for the news that we leave; a command under way goes on by itself
LEAVE_S: Final = 8.0  # a container's runtime kills us 10 s after SIGTERM
LOCK_EVERY_S: Final = 2.0  # a look at whether our lock is still the workspace's


def main(argv: list[str]) -> int:
    """Run until told to leave; returns the exit code."""
    if not 2 <= len(argv) <= 3:
        print("usage: python -m stratpanel.supervisor WORKSPACE [RUNTIME_DIR]", file=sys.stderr)
        return 2
    workspace = Path(argv[1])
    secrets = Secrets(workspace / FILE_NAME)
    start_log(secrets.mask)
    runtime = Runtime(workspace, Path(argv[2])) if len(argv) == 3 else Runtime.of(workspace)
    refused = runtime.root / "refused.json"
    try:
        runtime.make()
        lock = locks.acquire(runtime.supervisor_lock, Identity.of(os.getpid()).to_json())
        if lock is None:
            return 0  # another supervisor was faster; that is no error
        raise_open_files()
        check_workspace(runtime.workspace, runtime.root)
        secrets.learn(keyring=False)
        settings = load_settings(runtime.workspace)
        with lock_held(lock):
            return asyncio.run(serve(runtime, settings, secrets, refused, lock))
    except Refused as error:
        return refuse(refused, error.code, secrets.mask(error.message))
    except (StratpanelError, ProcessError) as error:
        return refuse(refused, error.code, secrets.mask(error.message))


class Refused(Exception):
    """The registry cannot be used and nothing lives that would need us."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@contextlib.contextmanager
def lock_held(lock: locks.Lock) -> Any:
    """Let go of the lock whatever happens."""
    try:
        yield
    finally:
        lock.release()


def refuse(path: Path, code: str, message: str) -> int:
    """Leave the reason where the command line finds it."""
    log.error("%s", message)
    try:
        write_json(path, {"code": code, "message": message})
    except OSError as error:
        log.error("cannot write %s: %s", path, error)
    return REFUSED


def raise_open_files() -> None:
    """Take all the descriptors we may have: one per runner, stream and file."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS refuses "unlimited"; the soft limit then stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def leave_with(lock: locks.Lock, leave: asyncio.Event) -> None:
    """Give the word to leave when the runtime folder was deleted or replaced: another supervisor may serve already."""
    while not leave.is_set():
        if not lock.still_named():
            log.error("the lock was deleted with its folder: the supervisor leaves, runners and strategies go on")
            leave.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(leave.wait(), LOCK_EVERY_S)


async def serve(runtime: Runtime, settings: Settings, secrets: Secrets, refused: Path, lock: locks.Lock) -> int:
    """Bring the core and its API up, wait for the word to leave, and go."""
    from stratpanel.supervisor.api.server import serve_api
    from stratpanel.supervisor.front import Front

    loop = asyncio.get_running_loop()
    told: list[Core] = []

    def disk(problem: str | None) -> None:
        if told:
            loop.call_soon_threadsafe(told[0].happened, "disk", None, "history", problem or "history is written again")

    history = History(
        database_path(runtime.workspace, runtime.root),
        zone=settings.zone,
        on_problem=disk,
        runs_days=settings.retention.runs_days,
        events_days=settings.retention.events_days,
    )
    core = Core(runtime, settings, history=history, secrets=secrets)
    told.append(core)
    if history.damaged is not None:
        core.happened("disk", None, "history", f"the history was damaged and set aside as {history.damaged.name}")
    if history.problem is not None:
        disk(history.problem)

    def hook_failed(event: dict[str, object]) -> None:
        loop.call_soon_threadsafe(report_hook, core, event)

    hooks = Hooks(
        settings.on_event,
        workspace=runtime.workspace,
        env=settings.env,
        report=hook_failed,
        mask=secrets.mask,
        address=secrets.notify_address,
    )
    core.events.forward_to(hooks.offer)
    core.on_settings.append(lambda changed: hooks.configure(changed.on_event, changed.env))
    problem = core.load()
    if problem is not None:
        if not await asyncio.to_thread(ending.live_runs, runtime):
            hooks.close()
            history.close()
            raise Refused("REGISTRY_INVALID", problem)
        core.degraded = problem
        log.error("degraded: %s", problem)
    refused.unlink(missing_ok=True)
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, core.left.set)
    core.do(leave_with(lock, core.left))
    await core.open()
    if any(unit.is_live for unit in core.units.values()):  # they may have what only the key store knows
        core.do(asyncio.to_thread(secrets.learn, keyring=True))
    api = await serve_api(Front(core), runtime.connection)
    core.url = api.url
    core.supervisor_changed()
    gc.collect()
    gc.freeze()  # what lives now lives for ever: keep the collector from walking, and so touching, all of it
    try:
        await core.left.wait()
    finally:
        with contextlib.suppress(TimeoutError):  # a stream that does not end must not keep us
            await asyncio.wait_for(api.close(), LEAVE_S)
        await core.close()
        hooks.close(LEAVE_HOOKS_S)
        history.close()
    return 0


def report_hook(core: Core, event: dict[str, Any]) -> None:
    """A hook's own failure becomes an event."""
    unit = core.units.get(str(event.get("id")))
    core.happened(str(event.get("type") or "hook"), unit, "hooks", str(event.get("message") or ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
