"""Fixtures of the supervisor's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.supervisor.fakes import Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A core on fakes, open."""
    bench = await Bench(tmp_path).open()
    yield bench
    await bench.close()
