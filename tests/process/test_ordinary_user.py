"""What only an ordinary user meets: the limit of processes, and folders that are not his.

The suite often runs as root, who meets neither; then the scenes below run in a child with a user id of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOMEBODY = 64_913  # owns nothing and runs nothing else, so that a limit of processes is ours alone
ROOT = Path(__file__).parents[2]


def reachable() -> bool:
    """Whether that user can run our Python: a virtual environment in root's home is closed to him."""
    look = subprocess.run(
        [sys.executable, "-c", "import stratpanel, psutil, tornado"],
        cwd=ROOT,
        user=SOMEBODY,
        group=SOMEBODY,
        extra_groups=[],
        capture_output=True,
        check=False,
    )
    return look.returncode == 0


def may_change_user() -> bool:
    """Root, with an interpreter that others may run."""
    if os.geteuid() != 0:
        return False
    try:
        return reachable()
    except OSError:  # the interpreter's folder is closed to him
        return False


pytestmark = pytest.mark.skipif(not may_change_user(), reason="needs root, and a Python that another user may run")

SCENE = """
import json, os, resource, sys
from pathlib import Path
from tests.workbench import Workbench
folder = Path(sys.argv[1]) / "w"
said = {}
bench = Workbench.make(folder)
try:
    SCENE_HERE
finally:
    bench.close()
print(json.dumps(said))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of that user, where he can reach it."""
    folder = Path(tempfile.mkdtemp(prefix="sp-user-", dir="/tmp"))
    os.chown(folder, SOMEBODY, SOMEBODY)
    yield folder
    shutil.rmtree(folder)


def play(home: Path, *lines: str) -> dict[str, Any]:
    """Run a scene as that user; what it put into `said`."""
    done = subprocess.run(
        [sys.executable, "-c", SCENE.replace("SCENE_HERE", "\n    ".join(lines)), str(home)],
        cwd=ROOT,
        env={**os.environ, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        user=SOMEBODY,
        group=SOMEBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_no_more_processes_is_a_clear_refusal_and_others_go_on(home: Path) -> None:
    said = play(
        home,
        "bench.cli('up')",
        "sleeps = 'import time; time.sleep(600)'",
        "for name in ('first', 'second'):",
        "    bench.register(name, sleeps, start_seconds=0.05)",
        "bench.api.post('/api/strategies/first/start')",
        "mine = [int(p) for p in os.listdir('/proc') if p.isdigit() and os.stat(f'/proc/{p}').st_uid == os.getuid()]",
        "names = {pid: Path(f'/proc/{pid}/comm').read_text().strip() for pid in mine}",
        "hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]",
        "few = [pid for pid, name in names.items() if name in ('sp-launcher', 'sp:spare')]",
        "for pid in few:",
        "    resource.prlimit(pid, resource.RLIMIT_NPROC, (len(mine), hard))",
        "said['error'] = bench.cli('start', 'second', check=False).stderr",
        "said['second'] = bench.status('second')",
        "said['first'] = bench.status('first')",
        "for pid in few:",
        "    if os.path.exists(f'/proc/{pid}'):",
        "        resource.prlimit(pid, resource.RLIMIT_NPROC, (hard, hard))",
        "said['again'] = bench.cli('start', 'second').returncode",
    )
    assert "limit of processes" in said["error"], said
    assert said["second"]["state"] == "fatal"
    assert said["second"]["pid"] is None
    assert said["first"]["state"] == "running"
    assert said["again"] == 0


def test_a_folder_that_is_not_ours_is_named(home: Path) -> None:
    said = play(
        home,
        "locked = folder / 'log' / 'strategies'",
        "bench.cli('up')",
        "bench.register('one', 'print(1)', start_seconds=0.05)",
        "locked.mkdir(parents=True, exist_ok=True)",
        "locked.chmod(0o500)",
        "said['error'] = bench.cli('start', 'one', check=False).stderr",
        "said['one'] = bench.status('one')",
        "locked.chmod(0o700)",
        "said['again'] = bench.cli('start', 'one').returncode",
    )
    assert "log/strategies" in said["error"], said
    assert "permission denied" in said["error"].lower()
    assert said["one"]["state"] == "fatal"
    assert said["again"] == 0
