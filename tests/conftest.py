"""What holds for the whole suite: nothing of ours is left behind, and the checkout's own workspace is never touched.

All temporary folders of a session lie below one folder with the session's mark in its name. Every process the suite
starts has that mark in its environment, command line or working directory, so the controller can look for survivors
when the last worker has finished.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PARTS = {"browser": ("dashboard", "notebook"), "chaos": ("chaos", "logs")}  # as the Makefile runs them
SESSION_MARK = "STRATPANEL_TEST_SESSION"
_BEFORE: pytest.StashKey[dict[str, int]] = pytest.StashKey()
_OWN_FOLDER: pytest.StashKey[Path] = pytest.StashKey()


def _is_controller(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Mark the session before workers start, so that all their children inherit the mark."""
    os.environ.pop("STRATPANEL_WORKSPACE", None)
    if not _is_controller(config):
        return
    mark = secrets.token_hex(6)
    os.environ[SESSION_MARK] = mark
    config.stash[_BEFORE] = _workspace_traces()
    if config.option.basetemp is None:
        config.stash[_OWN_FOLDER] = Path(tempfile.gettempdir()) / f"sp-{mark}"
        config.option.basetemp = str(config.stash[_OWN_FOLDER])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for the clock for minutes goes first, then the other groups, so that nobody waits for them at the end.

    For `--no-loadscope-reorder`, which hands groups out in this order.
    """

    def rank(item: pytest.Item) -> int:
        group = item.get_closest_marker("xdist_group")
        return 2 if group is None else 0 if str(group.args[0]).startswith("minutes") else 1

    items.sort(key=rank)
    for item in items:
        room = item.path.relative_to(CHECKOUT / "tests").parts[0]
        for part, rooms in PARTS.items():
            if item.get_closest_marker(part) is not None and room not in rooms:
                raise pytest.UsageError(f"{item.nodeid}: {part} tests live in tests/{' or tests/'.join(rooms)}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run when xdist does not keep groups together, as with a pytest that it does not know."""
    if getattr(session.config.option, "loadgroup", False):  # set by xdist in its workers
        for item in session.items:
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
                raise pytest.UsageError(f"{item.nodeid} has lost its group: pytest {pytest.__version__} and xdist")


def _workspace_traces() -> dict[str, int]:
    """Files in the checkout that only a running workspace writes, with their change times in ns."""
    found: dict[str, int] = {}
    for pattern in (".stratpanel/**/*", "log/*", "log/strategies/*", "strategies/*.json", "strategies/versions/*"):
        for path in CHECKOUT.glob(pattern):
            try:
                found[str(path)] = path.stat().st_mtime_ns
            except FileNotFoundError:  # a workspace in use may remove files while we look
                continue
    return found


def _survivors(needles: list[bytes]) -> list[str]:
    """One line for each living process, other than this one, that bears one of the marks."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in (os.getpid(), os.getppid()):
            continue
        folder = Path("/proc") / entry
        try:
            stat = (folder / "stat").read_text(errors="replace")
            cmdline = (folder / "cmdline").read_bytes()
            seen = (folder / "environ").read_bytes() + cmdline + os.fsencode(os.readlink(folder / "cwd"))
        except OSError:  # ended meanwhile, or another user's
            continue
        if stat.rpartition(")")[2].split()[0] != "Z" and any(needle in seen for needle in needles):
            found.append(f"{entry}: {cmdline.replace(bytes(1), b' ').decode(errors='replace')[:200]}")
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the whole suite when a process it started still lives, or when the checkout's workspace changed."""
    config = session.config
    if not _is_controller(config):
        return
    needles = [f"{SESSION_MARK}={os.environ[SESSION_MARK]}".encode(), os.fsencode(str(config.option.basetemp))]
    deadline = time.monotonic() + 5
    while (left := _survivors(needles)) and time.monotonic() < deadline:
        time.sleep(0.1)
    problems = [f"process left behind: {line}" for line in left]
    before = config.stash[_BEFORE]
    if not (CHECKOUT / ".stratpanel" / "wanted").exists():  # else the developer's own supervisor is at work there
        touched = sorted(path for path, at in _workspace_traces().items() if before.get(path) != at)
        problems += [f"the suite touched the checkout's own workspace: {path}" for path in touched]
    if problems:
        print("\n" + "\n".join(problems))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif session.exitstatus == pytest.ExitCode.OK and _OWN_FOLDER in config.stash:
        shutil.rmtree(config.stash[_OWN_FOLDER], ignore_errors=True)
