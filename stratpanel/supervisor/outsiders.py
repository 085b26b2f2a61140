"""Copies of our strategies that somebody else runs: started by hand, by cron, by the product the folder came from.

Asked before a start, and once when a registry that we did not write comes up. Such a process is named, never signalled
and never adopted; while it lives its strategy is not started beside it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

FRESH_S: Final = 1.0  # one look at the process table serves all starts of a second: 10 µs per process
WITH_VALUE: Final = frozenset({"-W", "-X", "--check-hash-based-pycs"})
OURS: Final = b"STRATPANEL_RUN_ID="
PYTHONS: Final = (b"python", b"pypy")
PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
CHUNK: Final = 65_536


class Outsiders:
    """A short memory of which scripts are being run by Pythons that are not our runs. For worker threads."""

    def __init__(self) -> None:
        self._looking = threading.Lock()  # starts that come together share one look
        self._seen: dict[str, list[int]] = {}
        self._at = float("-inf")

    def of(self, script: Path) -> list[int]:
        """PIDs that run this file (a folder: its main.py) without us."""
        with self._looking:
            now = time.monotonic()
            if now - self._at > FRESH_S:
                self._seen, self._at = running_scripts(), now
        entry = script / "main.py" if script.is_dir() else script
        return self._seen.get(os.path.realpath(entry), [])

    def named(self, scripts: Mapping[str, Path]) -> dict[str, list[int]]:
        """By strategy id, only those that somebody runs."""
        found = {id: self.of(script) for id, script in scripts.items()}
        return {id: pids for id, pids in found.items() if pids}


def in_words(pids: Iterable[int], what: str) -> str:
    """The sentence a person reads."""
    listed = ", ".join(map(str, pids))
    return f"{what} is being run outside stratpanel already, PID {listed}; end it first, two copies trade twice"


def running_scripts() -> dict[str, list[int]]:
    """Real paths of scripts that Pythons run at this moment, ours excepted. Empty where there is no /proc."""
    found: dict[str, list[int]] = {}
    try:
        pids = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # macOS, Windows: nothing can be said
        return found
    for pid in pids:
        folder = f"/proc/{pid}"
        try:
            cmdline = _read(f"{folder}/cmdline")
            program = cmdline[: cmdline.find(b"\0")].rpartition(b"/")[2].lower()
            if not program.startswith(PYTHONS):  # nearly everything: one small read each
                continue
            script = script_of([os.fsdecode(arg) for arg in cmdline.split(b"\0")[:-1]])
            if script is None or script.startswith(PACKAGE):  # our own launcher and runners, one for each strategy
                continue
            if b"\0" + OURS in b"\0" + _read(f"{folder}/environ"):
                continue  # before its path is resolved, which costs more than all the rest
            path = os.path.realpath(os.path.join(os.readlink(f"{folder}/cwd"), script))
        except OSError:  # it has just ended, or is another user's
            continue
        if os.path.isdir(path):
            path = os.path.join(path, "__main__.py")
        found.setdefault(path, []).append(int(pid))
    return found


def _read(path: str) -> bytes:
    """All of a small file, in a third of the time that `open` takes."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = part = os.read(fd, CHUNK)
        while len(part) == CHUNK:
            part = os.read(fd, CHUNK)
            data += part
        return data
    finally:
        os.close(fd)


def script_of(argv: list[str]) -> str | None:
    """The script in a Python's arguments; None for `-c`, `-m`, a prompt, and whatever is no Python (an editor, say)."""
    if not argv or not Path(argv[0]).name.lower().startswith(("python", "pypy")):
        return None
    rest = iter(argv[1:])
    for arg in rest:
        if arg in WITH_VALUE:
            next(rest, None)
        elif arg.startswith("--"):
            continue
        elif arg.startswith("-"):
            # single letters may be joined (-Bu); -c and -m end the options and leave no script
            if arg == "-" or (arg[1] not in "WX" and not {"c", "m"}.isdisjoint(arg)):
                return None
        else:
            return arg
    return None
