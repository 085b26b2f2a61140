"""`up --foreground` as PID 1, as in a container: SIGTERM gives strategies their grace and ends well before 8 s."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import wait_for

POLITE = """import signal, sys, time
def bye(*_):
    print("bye", flush=True)
    time.sleep(1)
    open("left in order", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, bye)
print("hi", flush=True)
while True:
    time.sleep(0.1)
"""
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True:\n    time.sleep(1)\n"
WITHIN_S = 8.0


class Container:
    """A PID namespace whose first process is `stratpanel up --foreground`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = [sys.executable, "-m", "stratpanel", "-w", str(folder)]
        subprocess.run([sys.executable, "-m", "stratpanel", "init", str(folder)], check=True, capture_output=True)
        space = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        self.outside = subprocess.Popen(
            [*space, *self.command, "up", "--foreground"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.outside.stdout is not None
        said = self.outside.stdout.readline()
        assert said.startswith("up: "), said
        children = Path(f"/proc/{self.outside.pid}/task/{self.outside.pid}/children").read_text().split()
        self.first = int(children[0])

    def cli(self, *arguments: str) -> None:
        inside = ["nsenter", "--target", str(self.first), "--pid", "--mount"]
        done = subprocess.run([*inside, *self.command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)

    def start(self, id: str, source: str) -> None:
        script = self.folder / "strategies/scripts" / f"{id}.py"
        script.write_text(source)
        self.cli("add", str(script))
        self.cli("start", id)

    def terminate(self) -> tuple[str, float]:
        """`docker stop`: what it said, and after how many seconds everything was gone."""
        begun = time.monotonic()
        os.kill(self.first, signal.SIGTERM)
        said, _ = self.outside.communicate(timeout=30)
        return said, time.monotonic() - begun


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    """Up; killed whole afterwards."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("util-linux is not here")
    probe = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("no PID namespace can be made here")
    container = Container(tmp_path / "ws")
    yield container
    container.outside.kill()
    container.outside.wait()


def test_sigterm_gives_each_its_grace_and_leaves_in_order(container: Container) -> None:
    container.start("polite", POLITE)
    log = container.folder / "log/strategies/polite.log"
    wait_for(lambda: log.exists() and "hi" in log.read_text(), 10, "its first line")
    said, took = container.terminate()
    assert container.outside.returncode == 0, said
    assert said.strip().endswith("down")
    assert took < WITHIN_S
    assert (container.folder / "left in order").exists(), "it had its grace"
    assert log.read_text().splitlines() == ["hi", "bye"]
    record = json.loads((container.folder / ".stratpanel/runs/polite/exit.json").read_text())
    assert (record["exit_code"], record["stop"]["reason"]) == (0, "down")


def test_what_does_not_obey_is_killed_in_time(container: Container) -> None:
    container.start("stubborn", STUBBORN)
    said, took = container.terminate()
    assert container.outside.returncode == 0, said
    assert took < WITHIN_S
    assert (container.folder / ".stratpanel/runs/stubborn/exit.json").exists()
