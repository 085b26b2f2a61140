"""A runner: the process that owns one strategy's tree, log, exit status and stop deadline, for one run.

The launcher forks one for each start and one for each run whose runner died. It holds `runner.lock`, serves the run
until its tree is empty, writes the exit record and leaves. It must not die of anything a strategy, a client or a disk
does; and if it dies all the same, nothing of the run may be lost with it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from stratpanel.process import adoption, locks, platform, previous, records, wake
from stratpanel.process.capture import open_first
from stratpanel.process.channel import Channel, ChannelClosed, Message
from stratpanel.process.errors import ProcessError
from stratpanel.process.exitrecord import VERSION
from stratpanel.process.identity import Identity
from stratpanel.process.lifeline import FIRST_TRY_S, NEXT_TRY_S, Lifeline
from stratpanel.process.loop import Loop, random_between
from stratpanel.process.paths import Runtime
from stratpanel.process.run import Run
from stratpanel.process.spawn import SPARE_FD, Forked, fork_strategy
from stratpanel.process.tree import OwnTree

DONE = 0
CRASHED = 70
TAKEN = 75

# What ends other programs waits for ever in a runner: a shutdown's SIGTERM goes to the strategy too, and that end is
# ours to record. Blocked, not ignored: in the strategy's child it stays pending, so one just before exec is not lost.
# The launcher blocks them around each fork, so that they are blocked from the runner's first instruction.
BLOCKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP)


class Ends(NamedTuple):
    """Descriptors a forked runner keeps; -1 where it has none."""

    lifeline: int
    wake: tuple[int, int]
    pipe_read: int = -1
    pipe_write: int = -1
    client: int = -1


def serve_new(runtime: Runtime, spec: dict[str, Any], ends: Ends) -> NoReturn:
    """In the forked child: start the run and serve it. Never returns."""

    def start(loop: Loop) -> int:
        return _start(runtime, loop, spec, ends, Channel(socket.socket(fileno=ends.lifeline)))

    _live(runtime, str(spec["id"]), ends, start)


def serve_spare(runtime: Runtime, ends: Ends) -> NoReturn:
    """In the forked child: wait for an order, then start that run and serve it. Never returns."""
    _live(runtime, "spare", ends, lambda loop: _await_order(runtime, loop, ends))


def serve_adopted(runtime: Runtime, strategy_id: str, ends: Ends) -> NoReturn:
    """In the forked child: take over the run from its dead runner and serve it. Never returns."""
    _live(runtime, strategy_id, ends, lambda loop: _take_over(runtime, loop, strategy_id, ends))


def _live(runtime: Runtime, strategy_id: str, ends: Ends, begin: Callable[[Loop], int]) -> NoReturn:
    code = CRASHED
    try:
        _isolate(strategy_id, ends)
        code = begin(Loop())
    except BaseException:  # noqa: BLE001  never back into the launcher's stack, of which this is a copy
        say(f"runner of {strategy_id}: {_fault()}")
    finally:
        os._exit(code)


def _isolate(strategy_id: str, ends: Ends) -> None:
    """First of all: nothing of the launcher's or of other strategies stays open, and its signals wake it no more."""
    keep = {ends.lifeline, *ends.wake, ends.pipe_read, ends.pipe_write, ends.client}
    platform.close_descriptors_except(keep)
    signal.set_wakeup_fd(-1)
    os.setsid()
    platform.name_process(f"sp:{strategy_id}")


def _fault() -> str:
    """The exception under way with its traceback, imported here: no runner should carry it that never needs it."""
    import traceback

    return traceback.format_exc()


def say(text: str) -> None:
    """A line in the supervisor's log, where the launcher's own output goes."""
    try:
        os.write(2, f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text.rstrip()}\n".encode(errors="replace"))
    except OSError:  # the log's disk is full
        pass


# -- a new run --------------------------------------------------------------------------------------------------------


def _await_order(runtime: Runtime, loop: Loop, ends: Ends) -> int:
    """A spare's life: it costs nothing while it waits, and leaves when there is a launcher that is not its own."""
    channel = Channel(socket.socket(fileno=ends.lifeline))
    ready = select.poll()
    ready.register(channel.fileno(), select.POLLIN)
    messages: list[Message] = []
    while not messages:
        ready.poll()
        try:
            messages = channel.receive()
        except ChannelClosed:
            _bring_back(runtime)
            return DONE
    spec = messages[0]["spec"]
    read_end, write_end, *client = channel.take_fds()
    platform.name_process(f"sp:{spec['id']}")
    ends = Ends(-1, ends.wake, read_end, write_end, client[0] if client else -1)
    return _start(runtime, loop, spec, ends, channel)


def _bring_back(runtime: Runtime) -> None:
    """The launcher is dead, and a spare may be the last of us: with no run alive, or all runners killed with it."""
    pause = FIRST_TRY_S
    while runtime.wanted.exists():
        time.sleep(random_between(*pause))
        if wake.launcher_alive(runtime):
            return
        if runtime.wanted.exists() and not wake.being_started(runtime):
            with suppress(ProcessError, OSError):  # its reason is in the supervisor's log; later it may work
                wake.start_launcher(runtime)
        pause = NEXT_TRY_S


def _start(runtime: Runtime, loop: Loop, spec: dict[str, Any], ends: Ends, lifeline: Channel) -> int:
    client = socket.socket(fileno=ends.client) if ends.client >= 0 else None
    try:
        run, forked = _begin(runtime, loop, spec, ends)
    except ProcessError as error:
        _refuse(client, error)
        return DONE
    if client is not None:
        run.clients.add(client, run.news())
    run.guard(forked)
    _listen(run)
    return _serve(loop, run, Lifeline(runtime, loop, run, lifeline, None))


def _begin(runtime: Runtime, loop: Loop, spec: dict[str, Any], ends: Ends) -> tuple[Run, Forked]:
    """Everything up to the strategy's first instruction. Raises ProcessError; then nothing of it runs."""
    strategy_id = str(spec["id"])
    folder = runtime.folder(strategy_id)
    try:
        if not os.path.isdir(folder.path):
            os.makedirs(folder.path, mode=0o700, exist_ok=True)
        lock = _lock(runtime, strategy_id)
        _refuse_in_panic(runtime, spec)
        run_lock = locks.acquire(folder.run_lock)
        previous.refuse_if_alive(runtime, strategy_id, locked=run_lock is None)
        assert run_lock is not None
        records.remove_leftovers(folder.path)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ProcessError("RUNTIME_UNWRITABLE", f"cannot start {strategy_id}: {error.filename}: {why}") from error
    capture = open_first(loop, ends.pipe_read, spec["log"], strategy_id)
    platform.become_subreaper()
    status = first_status(spec, ends.pipe_read)
    run = Run(runtime, loop, status, lock, capture)
    run.run_lock = run_lock
    loop.on_signal(set(), run.look, ends.wake)  # of SIGCHLD, for which the launcher's handler came with the fork
    forked = fork_strategy(spec, run_lock.fd, ends.pipe_read, ends.pipe_write)
    try:
        status["leader"] = Identity.of(forked.pid).to_json()
        status["session"] = forked.pid
        status["members"] = [forked.pid]
        _put_on_record(runtime, run, spec)
        _refuse_in_panic(runtime, spec)
    except (ProcessError, ProcessLookupError):
        forked.close()  # the child sees its gate close and leaves
        os.waitpid(forked.pid, 0)
        status["phase"] = "ended"
        with suppress(OSError):  # not written: then the next start looks for processes of this run, and finds none
            run.save()
        raise
    run.watch_over(OwnTree(forked.pid, lambda wait_status: run.leader_exited(wait_status, "parent")))
    forked.let_go()
    os.close(ends.pipe_write)
    return run, forked


def _lock(runtime: Runtime, strategy_id: str) -> locks.Lock:
    lock = locks.acquire(runtime.folder(strategy_id).runner_lock, Identity.of(os.getpid()).to_json())
    if lock is None:
        raise ProcessError("LOCKED", f"cannot start {strategy_id}: another runner serves it; stop that run first")
    return lock


def _refuse_in_panic(runtime: Runtime, spec: dict[str, Any]) -> None:
    if os.path.exists(runtime.panic_text) and not spec.get("despite_panic"):
        raise ProcessError("PANIC", f"cannot start {spec['id']}: panic is on; `stratpanel resume` lifts it")


def first_status(spec: dict[str, Any], read_end: int) -> dict[str, Any]:
    """The status record of a run that has no leader yet."""
    return {
        "v": VERSION,
        "id": spec["id"],
        "run_id": spec["run_id"],
        "phase": "forked",
        "runner": Identity.of(os.getpid()).to_json(),
        "leader": None,
        "leader_exit": None,
        "members": [],
        "session": None,
        "pipe_inode": platform.pipe_inode(read_end),
        "spare_fd": SPARE_FD,
        "started": time.time(),
        "stop_at": spec.get("stop_at"),
        "stop_at_reason": spec.get("stop_at_reason") or "window",
        "stop": None,
        "dropped_bytes": 0,
        "log_path": spec["log"]["path"],
        "spec": {key: value for key, value in spec.items() if key != "env"},
    }


def _put_on_record(runtime: Runtime, run: Run, spec: dict[str, Any]) -> None:
    """First the new run, then away with the old one's end: in every moment one of them is on record."""
    try:
        run.save()
        with suppress(FileNotFoundError):
            os.unlink(run.folder.exit)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ProcessError(
            "RUNTIME_UNWRITABLE", f"cannot start {spec['id']}: {run.folder.status} cannot be written: {why}"
        ) from error


def _refuse(client: socket.socket | None, error: ProcessError) -> None:
    if client is None:
        say(error.message)
        return
    channel = Channel(client)
    try:
        channel.send({"ev": "refused", "code": error.code, "message": error.message, "pids": list(error.pids)})
    except ChannelClosed:  # whoever asked is gone; the next one asks again
        pass
    channel.close()


# -- an adopted run ---------------------------------------------------------------------------------------------------


def _take_over(runtime: Runtime, loop: Loop, strategy_id: str, ends: Ends) -> int:
    lock = locks.acquire(runtime.folder(strategy_id).runner_lock, Identity.of(os.getpid()).to_json())
    if lock is None:
        return TAKEN  # somebody serves it already, or the dead runner's last child is just leaving
    records.remove_leftovers(runtime.folder(strategy_id).path)
    adopted = adoption.adopt(runtime, loop, strategy_id, lock, ends.pipe_read if ends.pipe_read >= 0 else None)
    lifeline = Channel(socket.socket(fileno=ends.lifeline))
    if adopted is None:
        return DONE
    run, watch = adopted
    _listen(run)
    line = Lifeline(runtime, loop, run, lifeline, watch)
    adoption.go_on(run)
    return _serve(loop, run, line)


# -- both -------------------------------------------------------------------------------------------------------------


def _listen(run: Run) -> None:
    try:
        run.clients.listen(run.folder.socket)
    except OSError as error:  # a full disk: the run goes on, deaf; its lock's record still names us
        say(f"runner of {run.id}: cannot listen: {(error.strerror or str(error)).lower()}")


def _serve(loop: Loop, run: Run, line: Lifeline) -> int:
    while not run.finished:
        try:
            loop.run_once()
        except Exception:  # noqa: BLE001  a defect of ours in one event must not end the watch over a live strategy
            say(f"runner of {run.id}: {_fault()}")
            time.sleep(0.05)  # were it every event, this keeps the processor free
    line.close()
    return DONE


assert sys.platform != "win32"
