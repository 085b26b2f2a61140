"""The notebooks run from top to bottom, each in a workspace of its own, and are stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.pages import ROOT
from tests.workbench import Workbench

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_S = 60

pytestmark = pytest.mark.xdist_group("notebooks")


def named(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    document = nbformat.read(path, as_version=4)
    nbformat.validate(document)
    for cell in document.cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench.make(tmp_path / "trading")
    try:
        monkeypatch.setenv("STRATPANEL_WORKSPACE", str(bench.folder))
        document = nbformat.read(path, as_version=4)
        bench.cli("up")
        NotebookClient(
            document, timeout=CELL_S, kernel_name="python3", resources={"metadata": {"path": str(bench.folder)}}
        ).execute()
        running = [row["id"] for row in bench.api.get("/api/strategies")["strategies"] if row["pid"]]
        assert not running, f"{path.name} leaves {running} running"
        assert any(cell.cell_type == "code" and cell.outputs for cell in document.cells)
    finally:
        bench.close()
