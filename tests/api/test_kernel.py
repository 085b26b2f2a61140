"""The client in a real Jupyter kernel: cells see their own changes, watchers run on its thread, nothing piles up."""

from __future__ import annotations

import time
from collections.abc import Iterator

import nbformat
import pytest
from nbclient import NotebookClient

from tests.api.conftest import Served
from tests.support import wait_for


class Cells:
    """A kernel that runs cells one by one."""

    def __init__(self, workspace: str) -> None:
        self.client = NotebookClient(nbformat.v4.new_notebook(), timeout=60, kernel_name="python3")
        self.client.create_kernel_manager()
        self.client.start_new_kernel(cwd=workspace)
        self.client.start_new_kernel_client()

    def run(self, code: str) -> str:
        """A cell's printed output and result; an exception in it is raised here."""
        cell = nbformat.v4.new_code_cell(code)
        self.client.nb.cells.append(cell)
        self.client.execute_cell(cell, len(self.client.nb.cells) - 1)
        texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
        return "".join(texts).strip()

    def close(self) -> None:
        """End the kernel."""
        self.client._cleanup_kernel()


@pytest.fixture
def cells(served: Served) -> Iterator[Cells]:
    """A kernel whose working directory is the workspace."""
    cells = Cells(str(served.workspace))
    yield cells
    cells.close()


def test_a_notebook_session(served: Served, cells: Cells) -> None:
    cells.run("import threading, stratpanel as sp\nws = sp.connect()")
    assert cells.run("print(ws['ema'].state, ws['ema'].start(fast=12).state, ws['ema'].stop().state)") == (
        "stopped running stopped"
    )
    assert served.core.calls[0][3] == {"fast": 12}
    # what happens between cells is there in the next one
    served.on_loop(served.core.change, "rsi", state="running", pid=77)
    assert cells.run("import time; time.sleep(0.5)\nprint(ws['rsi'].pid)") == "77"
    # a view's watcher runs on the kernel's own thread
    cells.run(
        "seen = []\nws.mirror.subscribe(lambda ids, sup: seen.append((threading.current_thread().name, sorted(ids))))"
    )
    served.on_loop(served.core.change, "rsi", state="stopped", pid=None)
    wait_for(lambda: cells.run("print(('MainThread', ['rsi']) in seen)") == "True")
    # running the same cell again keeps one reader
    for _ in range(5):
        cells.run("ws = sp.connect()")
    assert cells.run("print(sum(t.name == 'stratpanel mirror' for t in threading.enumerate()))") == "1"
    assert served.on_loop(lambda: served.api._site.mirror.readers) == 1
    assert cells.run("'pandas' in __import__('sys').modules") == "False"
    assert "ema: stopped" in cells.run("ws")
    assert cells.run("ws['ema'].runs.shape[0]") == "1"
    # a cell that waits in a loop sees the world move
    served.loop.call_soon_threadsafe(served.loop.call_later, 0.5, lambda: served.core.change("rsi", state="running"))
    waiting = "while ws['rsi'].state != 'running' and time.time() < end: time.sleep(0.01)"
    assert cells.run(f"end = time.time() + 10\n{waiting}\nprint(ws['rsi'].state)") == "running"
    # a restarted supervisor is followed by the same objects
    served.stop()
    began = time.monotonic()
    served.start()
    wait_for(lambda: cells.run("print(ws.state)") == "live", 20)
    assert time.monotonic() - began < 20
    assert cells.run("print(ws['rsi'].state)") == "stopped"
