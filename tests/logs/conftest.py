"""Fixtures of the log tests."""

from __future__ import annotations

import pytest

from stratpanel.process import logpump
from tests.logs.support import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The pump's clock stands still until a test moves it."""
    clock = Clock()
    monkeypatch.setattr(logpump, "time", clock)
    return clock
