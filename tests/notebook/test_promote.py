"""Notebooks become scripts: the tagged cells and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from stratpanel.model.errors import InvalidValue, StratpanelError
from stratpanel.notebook.promote import script_of


def write(path: Path, *cells: tuple[str, list[str]]) -> Path:
    made = [new_code_cell(source, metadata={"tags": tags}) for source, tags in cells]
    made[0].outputs = [new_output("stream", text="a plot of my positions")]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Research"), *made]), path)
    return path


def test_only_tagged_cells_become_the_script(tmp_path: Path) -> None:
    path = write(
        tmp_path / "research.ipynb",
        ("import pandas as pd\nframe = pd.read_csv('big.csv')", []),
        ("fast = 9\nslow = 21", ["parameters"]),
        ("def crossed(a, b):\n    return a > b", ["strategy"]),
        ("frame.plot()", []),
        ("print(crossed(fast, slow))", ["strategy", "live"]),
    )
    script = script_of(path)
    assert "research.ipynb: 3 of its 6 cells" in script
    assert "read_csv" not in script
    assert "a plot of my positions" not in script
    scope: dict[str, object] = {}
    exec(compile(ast.parse(script), "script", "exec"), scope)
    assert (scope["fast"], scope["slow"]) == (9, 21)


def test_promoting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "n.ipynb", ("x = 1", ["strategy"]))
    assert script_of(path) == script_of(path)
    assert "jupytext" not in script_of(path)


def test_the_magic_of_a_strategy_cell_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "n.ipynb", ("%%strategy ema --start\nx = 1", ["strategy"]))
    assert script_of(path).rstrip().endswith("x = 1")


@pytest.mark.parametrize("line", ["%matplotlib inline", "!pip install x", "frame?"])
def test_a_notebook_only_line_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "n.ipynb", (f"x = 1\n{line}", ["strategy"]))
    with pytest.raises(InvalidValue, match=r"cell 2 of n\.ipynb, line 2"):
        script_of(path)


def test_no_tagged_cell_is_refused_with_the_way_on(tmp_path: Path) -> None:
    path = write(tmp_path / "n.ipynb", ("x = 1", ["parameters"]))
    with pytest.raises(InvalidValue, match="tagged `strategy`; tag the cells"):
        script_of(path)


def test_a_file_that_is_no_notebook_is_said(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text("{broken")
    with pytest.raises(StratpanelError, match="cannot read"):
        script_of(path)
