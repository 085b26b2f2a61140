"""Forks a strategy: prepared at once, let go only when it is on record, reported when its program has begun.

Called by the runner that starts a run. The child waits at a gate: a byte lets it exec, the
runner's death makes it leave without a trace, an error travels back, and the exec itself closes it. So nothing ever
runs that is not on record. Between fork and exec there is only this one thread.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
from typing import Any

from stratpanel.process import platform
from stratpanel.process.errors import ProcessError

# Out of the way of programs that expect 3 to be the next free descriptor, and below select()'s 1024.
LOCK_FD = 198
SPARE_FD = 199
NEVER_BEGAN = 125
GO = b"g"


class Forked:
    """A child that waits at its gate: `go` is written to let it pass, `said` is read to hear how it went."""

    def __init__(self, pid: int, go: int, said: int) -> None:
        self.pid = pid
        self.said = said
        self._go = go

    def __repr__(self) -> str:
        return f"<Forked {self.pid}>"

    def let_go(self) -> None:
        """Let it exec. A child that failed before the gate has already said so there."""
        try:
            os.write(self._go, GO)
        except BrokenPipeError:  # it is dead; what it said tells why
            pass

    def outcome(self) -> ProcessError | bool | None:
        """True: the program has begun, or the child died, which its status tells. An error: it cannot. None: wait."""
        try:
            said = os.read(self.said, 65536)
        except BlockingIOError:
            return None
        if not said:
            return True
        found = json.loads(said)
        return ProcessError(found["code"], found["message"])

    def close(self) -> None:
        """Done with the gate."""
        os.close(self._go)
        os.close(self.said)


def fork_strategy(spec: dict[str, Any], lock_fd: int, read_end: int, write_end: int) -> Forked:
    """Fork the leader of a run. Raises ProcessError(CANNOT_FORK)."""
    wait, go = os.pipe2(os.O_CLOEXEC)
    said, say = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError as error:
        for fd in (wait, go, said, say):
            os.close(fd)
        raise cannot_fork(f"cannot start {spec['id']}", error) from error
    if pid == 0:
        os.close(go)
        os.close(said)
        _become(spec, wait, say, lock_fd, read_end, write_end)
    os.close(wait)
    os.close(say)
    os.set_blocking(said, False)
    return Forked(pid, go, said)


def cannot_fork(what: str, error: OSError) -> ProcessError:
    """Why no process can be made, with the remedy."""
    if error.errno == errno.EAGAIN:
        why = "the limit of processes is reached; end some, or raise `ulimit -u` (in a container: pids.max)"
    elif error.errno == errno.ENOMEM:
        why = "memory is out; stop something first"
    else:
        why = (error.strerror or str(error)).lower()
    return ProcessError("CANNOT_FORK", f"{what}: {why}")


def _become(spec: dict[str, Any], wait: int, say: int, lock_fd: int, read_end: int, write_end: int) -> None:
    """The child's whole life before its program; never returns."""
    try:
        # a launcher of many runs hands us descriptors of any number, 198 and 199 among them
        wait, say = _far(wait), _far(say)
        _prepare(spec, _far(lock_fd), _far(read_end), _far(write_end))
        if os.read(wait, 1) != GO:
            os._exit(NEVER_BEGAN)  # the runner died before this run was on record
        _exec(spec)
    except ProcessError as error:
        _report(say, error.code, error.message)
    except BaseException as error:  # noqa: BLE001  whatever it is, this process must not go on as a second runner
        _report(say, "START_FAILED", f"cannot start {spec['id']}: {type(error).__name__}: {error}")
    os._exit(NEVER_BEGAN)


def _far(fd: int) -> int:
    """A duplicate, closed by exec, that is in nobody's way."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, SPARE_FD + 1)


def _report(say: int, code: str, message: str) -> None:
    try:
        os.write(say, json.dumps({"code": code, "message": message}).encode())
    except OSError:  # the runner died meanwhile: nobody asks any more
        pass


_noted: tuple[int, ...] | None = None


def _handled() -> tuple[int, ...]:
    """Signals whose action is not the default one here: our own handlers, and what was ignored before us."""
    numbers = (int(number) for number in signal.valid_signals())
    return tuple(number for number in numbers if signal.getsignal(number) != signal.SIG_DFL)


def note_signals() -> None:
    """Look once at what every child will have to put back; for a process that changes no handler from now on.

    To ask for all 62 costs each start a third of a millisecond.
    """
    global _noted
    _noted = _handled()


def _prepare(spec: dict[str, Any], lock_fd: int, read_end: int, write_end: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in _handled() if _noted is None else _noted:
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(write_end, 1)
    os.dup2(write_end, 2)
    os.dup2(lock_fd, LOCK_FD)
    os.dup2(read_end, SPARE_FD)
    if null > 2:
        os.close(null)
    _limit(spec)
    try:
        os.chdir(spec["cwd"])
    except OSError as error:
        raise ProcessError(
            "CWD_MISSING",
            f"cannot start {spec['id']}: its working directory {spec['cwd']} cannot be entered: "
            f"{(error.strerror or '').lower()}; make it, or change cwd",
        ) from error


def _limit(spec: dict[str, Any]) -> None:
    """Descriptors, no core files, nice level, and first in line when the kernel needs memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = int(spec.get("nofile") or 1024)
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nice = spec.get("nice")
    if nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, int(nice))
        except OSError as error:
            raise ProcessError(
                "LIMIT_REFUSED",
                f"cannot start {spec['id']}: nice {nice} is refused ({(error.strerror or '').lower()}); use 0 to 19",
            ) from error
    try:
        platform.set_oom_score(int(spec.get("oom_score_adj") or 500))
    except OSError:  # a sandbox with a read-only /proc: the strategy runs all the same, only less expendable
        pass


def _exec(spec: dict[str, Any]) -> None:
    argv = [str(part) for part in spec["argv"]]
    env = {**spec["env"], "STRATPANEL_RUN_ID": spec["run_id"]}
    program = argv[0]
    candidates = [program] if os.sep in program else [os.path.join(folder, program) for folder in os.get_exec_path(env)]
    refused: OSError | None = None
    # last of all: until here a SIGTERM waits, afterwards it means this program
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for path in candidates:
        try:
            os.execve(path, argv, env)
        except (FileNotFoundError, NotADirectoryError) as error:
            refused = refused or error
        except OSError as error:
            refused = error
    raise _exec_failed(spec, program, refused)


def _exec_failed(spec: dict[str, Any], program: str, error: OSError | None) -> ProcessError:
    number = error.errno if error is not None else errno.ENOENT
    start = f"cannot start {spec['id']}: "
    if number == errno.ENOENT and os.path.exists(program):
        return ProcessError(
            "INTERPRETER_MISSING", f"{start}{program} needs an interpreter or loader that does not exist"
        )
    if number in (errno.ENOENT, errno.ENOTDIR):
        return ProcessError("INTERPRETER_MISSING", f"{start}{program} does not exist; set its interpreter to a python")
    if number in (errno.EACCES, errno.ENOEXEC, errno.EPERM, errno.EISDIR):
        why = os.strerror(number).lower()
        return ProcessError(
            "NOT_EXECUTABLE", f"{start}{program} cannot be executed ({why}); set its interpreter to a python"
        )
    if number in (errno.EAGAIN, errno.ENOMEM):
        return cannot_fork(start.rstrip(": "), error or OSError(number, os.strerror(number)))
    return ProcessError("START_FAILED", f"{start}{program}: {os.strerror(number or 0).lower()}")
