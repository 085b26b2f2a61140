"""A real workspace, up, and the notebook's view of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import stratpanel
from stratpanel.client.connect import Workspace
from tests.workbench import Workbench

PAPER_AND_LIVE = '[paper]\nBROKER_KEY = "paper-key-123456"\n[live]\nBROKER_KEY = "live-key-abcdef"\n'


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    with Workbench.up(tmp_path / "w", secrets=PAPER_AND_LIVE) as bench:
        yield bench


@pytest.fixture
def ws(bench: Workbench) -> Iterator[Workspace]:
    workspace = stratpanel.connect(bench.folder)
    yield workspace
    workspace.mirror.close()
