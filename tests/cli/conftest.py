"""A workspace with a real supervisor for tests of the command line; one for each test that may break it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workbench import Workbench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    """A fresh workspace, up and empty; taken down with everything in it."""
    with Workbench.up(tmp_path / "w") as bench:
        yield bench
