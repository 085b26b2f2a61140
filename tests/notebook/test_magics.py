"""The magics in a real IPython shell over a real workspace."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_code_cell, new_notebook

from stratpanel.notebook.magics import StrategyMagics, load_ipython_extension
from tests.support import wait_for
from tests.workbench import Workbench

CELL = "import time\nprint('v1', flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def magics(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrategyMagics]:
    monkeypatch.setenv("STRATPANEL_WORKSPACE", str(bench.folder))
    shell = InteractiveShell.instance()
    load_ipython_extension(shell)
    yield StrategyMagics(shell)
    InteractiveShell.clear_instance()


def test_a_window_that_is_open_starts_the_new_version_and_says_so(
    bench: Workbench, magics: StrategyMagics, capsys: pytest.CaptureFixture[str]
) -> None:
    magics.strategy("ema", CELL)
    assert "stopped; start it with --start" in capsys.readouterr().out
    hours = '--schedule "00:00..00:00" --days mon,tue,wed,thu,fri,sat,sun'
    magics.strategy(f"ema {hours}", CELL.replace("v1", "v2"))
    said = capsys.readouterr().out
    assert "deployed version 2" in said
    assert "its schedule starts and stops it" in said
    wait_for(lambda: "v2" in bench.log("ema"), 10, "the second version's line")
    assert "v1" not in bench.log("ema")
    magics.strategy(f"ema {hours}", CELL.replace("v1", "v3"))
    assert "runs on with its earlier version" in capsys.readouterr().out

    with pytest.raises(UsageError, match="NZE"):
        magics.strategy(f"other {hours} --calendar NZE", CELL)
    assert "other" not in {row["id"] for row in bench.api.get("/api/strategies")["strategies"]}


def test_a_cell_becomes_a_strategy_and_nothing_starts_unless_asked(
    bench: Workbench, magics: StrategyMagics, capsys: pytest.CaptureFixture[str]
) -> None:
    day = f"{datetime.now(UTC) + timedelta(days=3):%a}".lower()  # its market must not be open just now
    day = day if day not in ("sat", "sun") else "mon"
    magics.strategy(f'ema --schedule "open+5m..close-10m" --calendar NSE --days {day}', CELL)
    assert "registered, version 1" in capsys.readouterr().out
    row = bench.status("ema")
    assert row["state"] == "stopped"
    assert row["config"]["schedule"]["windows"][0]["start"] == "open+5m"
    assert row["config"]["schedule"]["calendar"] == "NSE"
    assert row["next_start"]

    magics.strategy("ema", CELL)
    assert "unchanged, version 1" in capsys.readouterr().out

    magics.strategy("ema --start", CELL)
    wait_for(lambda: "v1" in bench.log("ema"), 10, "the first version's line")
    magics.strategy("ema --start", CELL.replace("v1", "v2"))
    assert "deployed version 2" in capsys.readouterr().out
    wait_for(lambda: "v2" in bench.log("ema"), 10, "the second version's line")
    assert bench.status("ema")["version"] == 2
    magics.strategy("ema", CELL.replace("v1", "v2"))
    said = capsys.readouterr().out
    assert "unchanged, version 2" in said
    assert "earlier version" not in said

    magics.strategy("ema", CELL.replace("v1", "v3"))
    assert "runs on with its earlier version" in capsys.readouterr().out
    assert bench.status("ema")["version"] == 2

    magics.strategies("")
    assert "ema" in capsys.readouterr().out
    magics.logs("ema -n 1")
    assert capsys.readouterr().out == "v2\n"
    magics.stop("ema")
    assert "stopped" in capsys.readouterr().out
    assert bench.leader_pid("ema") is None
    assert "ema" in magics.known_ids()


@pytest.mark.parametrize(
    ("line", "cell", "sentence"),
    [
        ("ema", "print(model)\n", "`model` is defined in your notebook"),
        ("ema", "api_key = 'a1b2c3d4e5f6'\n", "looks like a secret"),
        ("ema", "if x\n", "this is not Python"),
        ("ema", "import no_such_package_here\n", "is not installed for"),
        ("ema --mode live", CELL, "promote it"),
        ("ema --schedule nonsense", CELL, "is not START..STOP"),
        ("ema --days mon", CELL, "belongs to --schedule"),
        ("", CELL, "NAME"),
        ("../x", CELL, "id"),
        ('ema --schedule "25:99..26:00"', CELL, "25:99"),
        ("ema --with helpers", CELL, "cannot tell which notebook"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(
    bench: Workbench, magics: StrategyMagics, line: str, cell: str, sentence: str
) -> None:
    magics.shell.user_ns["model"] = object()
    with pytest.raises(UsageError, match="(?s).*" + sentence.replace("(", r"\(").replace(")", r"\)")):
        magics.strategy(line, cell)


def test_cells_with_a_tag_come_first(
    bench: Workbench, magics: StrategyMagics, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "n.ipynb"
    cells = [
        new_code_cell("def helper():\n    return 'helped'", metadata={"tags": ["helpers"]}),
        new_code_cell("x = 1"),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    magics.strategy("ema --with helpers --start", "print(helper(), flush=True)\nimport time\ntime.sleep(60)\n")
    wait_for(lambda: "helped" in bench.log("ema"), 10, "the helper's line")
    with pytest.raises(UsageError, match=r"no cell of n\.ipynb has the tag"):
        magics.strategy("ema --with nothing", CELL)
