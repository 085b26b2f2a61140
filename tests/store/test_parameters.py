"""A script's Param class is read without running the script, whatever the script is like."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from stratpanel.model.errors import InvalidValue
from stratpanel.supervisor.live.parameters import check_values, may_declare, read_parameters
from tests.support import pids_marked

EMA = """
import param
from pathlib import Path

SLOWEST = 200

class Params(param.Parameterized):
    fast = param.Integer(9, bounds=(2, 50), doc="span of the fast average")
    slow = param.Integer(21, bounds=(3, SLOWEST))
    symbol = param.Selector(default="AAPL", objects=["AAPL", "MSFT"])
    scale = param.Number(1.5)

Path("ran").write_text("the script was run")
print("noise on standard output")
while True:
    pass
"""


def script(folder: Path, text: str) -> Path:
    path = folder / "ema.py"
    path.write_text(text)
    return path


def test_the_class_is_read_and_nothing_else_runs(tmp_path: Path) -> None:
    found = read_parameters(script(tmp_path, EMA), sys.executable)
    assert found.problem is None
    assert found.class_name == "Params"
    rows = {row["name"]: row for row in found.parameters}
    assert list(rows) == ["fast", "slow", "symbol", "scale"]
    assert (rows["fast"]["default"], rows["fast"]["bounds"], rows["fast"]["type"]) == (9, [2, 50], "Integer")
    assert rows["fast"]["doc"] == "span of the fast average"
    assert rows["slow"]["bounds"] == [3, 200]
    assert rows["symbol"]["objects"] == ["AAPL", "MSFT"]
    assert not (tmp_path / "ran").exists()


def test_a_script_without_a_class_has_no_parameters(tmp_path: Path) -> None:
    found = read_parameters(script(tmp_path, "print('hello')\n"), sys.executable)
    assert (found.class_name, found.parameters, found.problem) == (None, [], None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "import param\nclass Params(param.Parameterized):\n    a = param.Integer('x')\n",
            "declarations raise ValueError",
        ),
        ("class Params:\n    1 / 0\n", "ZeroDivisionError"),
        ("import no_such_package_here\n", "`no_such_package_here` is not installed"),
        ("if x\n", "syntax error on line 1"),
    ],
)
def test_what_goes_wrong_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in (read_parameters(script(tmp_path, text), sys.executable).problem or "")


def test_an_endless_import_is_ended_with_everything_it_started(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "while True: pass\n"
    )
    begun = time.monotonic()
    found = read_parameters(script(tmp_path, "import endless\n"), sys.executable, timeout=1.5)
    assert "took over 1.5 s" in (found.problem or "")
    assert time.monotonic() - begun < 10
    assert pids_marked(str(tmp_path)) == []


def test_a_missing_interpreter_is_a_sentence(tmp_path: Path) -> None:
    assert "cannot be started" in (read_parameters(script(tmp_path, EMA), "/no/such/python").problem or "")


@pytest.mark.parametrize(
    ("text", "may"),
    [
        (EMA, True),
        ("import pandas\nprint(1)\nclass Plain:\n    pass\n", False),
        ("def f():\n    class Inner(dict):\n        pass\n", False),
        ("try:\n    class P(Base):\n        pass\nexcept NameError:\n    pass\n", True),
        ("if x\n", True),
    ],
)
def test_a_script_without_a_class_of_its_own_needs_no_child(tmp_path: Path, text: str, may: bool) -> None:
    assert may_declare(script(tmp_path, text)) is may


def test_good_values_pass(tmp_path: Path) -> None:
    assert check_values(script(tmp_path, EMA), sys.executable, {"fast": 12}) == {"fast": 12}


def test_each_bad_value_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_values(script(tmp_path, EMA), sys.executable, {"fast": 99, "speed": 1, "slow": 30})
    assert set(caught.value.fields) == {"params.fast", "params.speed"}
    assert "50" in caught.value.fields["params.fast"]
    assert "it has fast, scale, slow, symbol" in caught.value.fields["params.speed"]


def test_values_pass_unchecked_when_the_script_declares_nothing(tmp_path: Path) -> None:
    assert check_values(script(tmp_path, "print(1)\n"), sys.executable, {"a": 1}) == {"a": 1}
