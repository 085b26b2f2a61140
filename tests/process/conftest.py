"""A workspace with a real launcher, and everything it started ended afterwards, by PID."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stratpanel.process import wake
from stratpanel.process.paths import Runtime
from tests.process.bench import MARK, Bench, marked_pids
from tests.support import wait_for


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A fresh workspace; `bench.launch()` brings its launcher up."""
    mark = secrets.token_hex(8)
    monkeypatch.setenv(MARK, mark)
    bench = Bench(Runtime(tmp_path / "ws"), mark)
    bench.runtime.make()
    yield bench
    wake.remove_wanted(bench.runtime)
    bench.close()

    def all_gone() -> bool:
        for pid in marked_pids(mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not marked_pids(mark)

    wait_for(all_gone, 10, "the end of everything this test started", every=0.02)
