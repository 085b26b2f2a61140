"""Fixtures of the supervisor's tests."""

from __future__ import annotations

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
