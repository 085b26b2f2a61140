"""What Linux gives us: subreapers, pidfds, /proc, pipes that can be reopened. Tier 1; the other modules follow its
names.

Called through `stratpanel.process.platform` only. Everything here is one system call with its traps explained; it
decides nothing, and it never signals by a bare number where a pidfd can be had.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from stratpanel.process.errors import ProcessError

NAME = "linux"

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_CHILD_SUBREAPER = 36
_PIDFD_SIGNAL_PROCESS_GROUP = 4  # Linux 6.9
_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info), Linux 6.13; the exit part since 6.15
_PIDFD_INFO = struct.Struct("QQ11Ii")
_PIDFD_INFO_EXIT = 1 << 3
_F_SETPIPE_SZ = 1031
_F_GETPIPE_SZ = 1032
PAGE = os.sysconf("SC_PAGE_SIZE")


class Seen(NamedTuple):
    """One process at one moment. `wait_status` means something only when it is not alive, and is None when hidden."""

    pid: int
    ppid: int
    pgrp: int
    session: int
    start_ticks: int
    alive: bool
    wait_status: int | None


def require_supported() -> None:
    """Raise ProcessError when this system cannot keep our promises."""
    if not hasattr(os, "pidfd_open") or not os.path.exists("/proc/self/stat"):
        raise ProcessError("UNSUPPORTED", "cannot supervise here: /proc and pidfds are needed (Linux 5.4 or newer)")


# -- identity ---------------------------------------------------------------------------------------------------------


def boot_id() -> str:
    """Changes with every boot, so a PID recorded before is void."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def pid_namespace() -> int:
    """PIDs mean something only inside it (containers have their own)."""
    return os.stat("/proc/self/ns/pid").st_ino


# -- looking ----------------------------------------------------------------------------------------------------------


def _read(path: str, size: int) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # gone, or another user's
        return None
    try:
        return os.read(fd, size)
    except OSError:  # gone between open and read (ESRCH)
        return None
    finally:
        os.close(fd)


def look_at(pid: int) -> Seen | None:
    """The process that bears this number now, or None."""
    data = _read(f"/proc/{pid}/stat", 2048)
    if not data:
        return None
    # the command's name may hold blanks and parentheses: fields count from the last ")"
    fields = data[data.rfind(b")") + 2 :].split()
    # a leader that is a zombie while other threads of it run is alive: pthread_exit in main does that
    alive = fields[0] not in (b"Z", b"X") or int(fields[17]) > 1
    # 0 in a live process, and to other users always: ptrace_may_access decides who may read it of a zombie
    status = int(fields[49]) if len(fields) > 49 else None
    return Seen(pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]), alive, status)


def look_at_process(pid: int) -> Seen | None:
    """Like `look_at`, but not the threads of a process, which have numbers too."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:  # gone, or a thread
        return None
    os.close(fd)
    return look_at(pid)


def every_process() -> Iterator[Seen]:
    """All processes we can see, about 10 µs each."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            seen = look_at(int(name))
            if seen is not None:
                yield seen


def newest_pid() -> int:
    """The number that was given out last."""
    data = _read("/proc/loadavg", 128) or b"0"
    return int(data.split()[-1])


def children_of(pid: int) -> list[int]:
    """Direct children, of all its threads. A child that ends while we read may hide another: look again."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:  # gone
        return found
    for thread in threads:
        path = f"/proc/{pid}/task/{thread}/children"
        try:
            with open(path, "rb") as file:
                found += map(int, file.read().split())
        except OSError:  # gone
            continue
    return found


def environ_of(pid: int) -> bytes:
    """The environment a process was started with, NUL-separated; empty when it is gone or hidden from us."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def holders_of(path: str) -> dict[int, Seen]:
    """Living processes, other than this one, that have this file open; those of other users stay unseen. Slow."""
    found: dict[int, Seen] = {}
    wanted = os.stat(path)
    for seen in every_process():
        if not seen.alive or seen.pid == os.getpid():
            continue
        try:
            numbers = os.listdir(f"/proc/{seen.pid}/fd")
        except OSError:  # gone, or another user's
            continue
        for number in numbers:
            try:
                info = os.stat(f"/proc/{seen.pid}/fd/{number}")
            except OSError:  # closed meanwhile
                continue
            if (info.st_dev, info.st_ino) == (wanted.st_dev, wanted.st_ino):
                found[seen.pid] = seen
                break
    return found


def working_folder(pid: int) -> str:
    """Where a process works; empty when it is gone or hidden."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


# -- signals and ends -------------------------------------------------------------------------------------------------


def open_process(pid: int, start_ticks: int) -> int | None:
    """A pidfd of exactly this process, or None when it is gone: the number is compared again after opening."""
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):  # gone, or a thread
            return None
        raise
    seen = look_at(pid)
    if seen is None or seen.start_ticks != start_ticks:
        os.close(fd)
        return None
    return fd


def signal_process(pidfd: int, number: int, *, group: bool = False) -> bool:
    """Signal through a pidfd; with `group` its whole process group in one step. False when it is gone."""
    try:
        signal.pidfd_send_signal(pidfd, number, None, _PIDFD_SIGNAL_PROCESS_GROUP if group else 0)
    except ProcessLookupError:
        return False
    return True


def can_signal_groups(pidfd: int) -> bool:
    """True where `signal_process(…, group=True)` works (Linux 6.9)."""
    try:
        signal.pidfd_send_signal(pidfd, 0, None, _PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as error:
        return error.errno != errno.EINVAL
    return True


def exit_status(pidfd: int) -> int | None:
    """Wait status of a process that somebody else reaped; None when it is not reaped yet or the kernel cannot tell."""
    info = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, 0, *([0] * 12)))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:  # older kernel (ENOTTY), or the information is gone with the process (ESRCH)
        return None
    values = _PIDFD_INFO.unpack(info)
    return int(values[-1]) if values[0] & _PIDFD_INFO_EXIT else None


def become_subreaper(wanted: bool = True) -> None:
    """Orphans among our descendants become our children, instead of init's."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise ProcessError("UNSUPPORTED", f"cannot become a subreaper: {os.strerror(code).lower()}")


def name_process(name: str) -> None:
    """What `ps` and `top` show; 15 bytes."""
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # a sandbox with a read-only /proc: it is only a name
        return
    os.write(fd, name.encode()[:15])
    os.close(fd)


def set_oom_score(value: int) -> None:
    """How gladly the kernel takes this process when memory is out; raising it needs no rights. Raises OSError."""
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % value)
    finally:
        os.close(fd)


# -- descriptors, pipes, locks, sockets -------------------------------------------------------------------------------


def close_descriptors_except(keep: set[int]) -> None:
    """Close everything above 2 that is not in `keep`. closerange is close_range(2): one call for each gap."""
    low = 3
    for fd in sorted(keep):  # -1 stands for one that is not there
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1
    os.closerange(low, 1 << 30)


def try_lock(fd: int) -> bool:
    """Take the whole-file lock; False when another open file has it. Raises OSError where there are no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def pipe_inode(fd: int) -> int:
    """What identifies a pipe through all its descriptors."""
    return os.fstat(fd).st_ino


def reopen_pipe(fd: int, flags: int) -> int:
    """Another open file on the same pipe, either end, with flags of its own."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


def find_pipe(pid: int, inode: int, hint: int | None = None) -> int | None:
    """A new read end of the pipe, through any descriptor of it that the process has; None if it has none."""
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:  # gone, or not dumpable
        return None
    if hint is not None and str(hint) in numbers:
        numbers.insert(0, str(hint))
    for number in numbers:
        path = f"/proc/{pid}/fd/{number}"
        try:
            if os.stat(path).st_ino != inode or not os.readlink(path).startswith("pipe:"):
                continue
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # closed meanwhile
            continue
        if pipe_inode(fd) == inode:
            return fd
        os.close(fd)
    return None


def pipe_pages(fd: int) -> int:
    """Pages this pipe counts for against the user's limit."""
    return fcntl.fcntl(fd, _F_GETPIPE_SZ) // PAGE


def pipe_pages_allowed() -> int:
    """Pages of pipe buffers a user has before every further pipe is 8 KiB (`pipe-user-pages-soft`); 0 = no limit."""
    try:
        with open("/proc/sys/fs/pipe-user-pages-soft", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):  # hidden in this container: the kernel's default
        return 16384


def resize_pipe(fd: int, size: int) -> bool:
    """Make the pipe hold `size` bytes; False when the user's limit is reached."""
    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, size)
    except OSError:  # EPERM past the limit: 64 KiB do as well
        return False
    return True


def bind_in_folder(sock: socket.socket, path: str) -> None:
    """Bind a unix socket at any depth: `sun_path` holds 107 bytes, so the name goes by the folder's descriptor."""
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.bind(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)


def connect_in_folder(sock: socket.socket, path: str) -> None:
    """Connect to a unix socket at any depth. Raises OSError."""
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)


def spawn_detached(argv: list[str], log_path: str) -> int:
    """Start a program with /dev/null as input and the log as output; the caller waits for it. Thread-safe."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        argv[0],
        argv,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log_path, flags, 0o640),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsigmask=[],
        setsigdef=[number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)],
    )


assert sys.platform == "linux"
