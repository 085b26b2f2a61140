"""The machine as `doctor` sees it: files below a root, a few commands, limits; all of it replaceable in tests."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

COMMAND_SECONDS = 3.0


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2); only `status` is read, the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_char * 256),
    )


@dataclass
class Machine:
    """`commands` maps a command line to its output (None: it fails), for tests; without it the real ones are run."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    commands: Mapping[str, str | None] | None = None
    clock_synchronized: bool | None = None

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str | None:
        """The file's text, None when it cannot be read."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace")
        except OSError:  # not this kernel, or not for us
            return None

    def number(self, name: str) -> int | None:
        """The one number in a file of the kernel."""
        text = (self.text(name) or "").split()
        return int(text[0]) if text and text[0].lstrip("-").isdigit() else None

    def run(self, *command: str) -> str | None:
        """The command's output, stripped; None when it is missing, fails or takes too long."""
        if self.commands is not None:
            return self.commands.get(" ".join(command))
        if shutil.which(command[0]) is None:
            return None
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired):  # a command that hangs tells us nothing
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    @property
    def is_linux(self) -> bool:
        return sys.platform == "linux"

    @property
    def in_container(self) -> bool:
        """True in Docker, Podman, Kubernetes and the like."""
        if self.path("/.dockerenv").exists() or self.path("/run/.containerenv").exists():
            return True
        first = self.text("/proc/1/environ") or ""
        return "container=" in first or "KUBERNETES_SERVICE_HOST" in self.environ

    @property
    def first_process(self) -> str:
        """The command line of PID 1."""
        return (self.text("/proc/1/cmdline") or self.text("/proc/1/comm") or "").replace("\0", " ").strip()

    @property
    def has_systemd(self) -> bool:
        """True when systemd is PID 1, so that its commands mean something."""
        return (self.text("/proc/1/comm") or "").strip() == "systemd"

    def clock_in_step(self) -> bool | None:
        """Whether the kernel's clock is disciplined (adjtimex(2): STA_UNSYNC clear); None where nobody tells."""
        if self.clock_synchronized is not None or self.root != Path("/") or not self.is_linux:
            return self.clock_synchronized
        timex = _Timex()
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
        if state < 0:  # a sandbox that forbids even looking
            return None
        return state != 5 and not timex.status & 0x40
