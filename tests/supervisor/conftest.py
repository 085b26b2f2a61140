"""Fixtures of the supervisor's tests."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.supervisor.fakes import Bench
from tests.supervisor.house import House


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A core on fakes, open."""
    bench = await Bench(tmp_path).open()
    yield bench
    await bench.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A real workspace, not up yet."""
    house = House(tmp_path / "ws")
    yield house
    house.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
