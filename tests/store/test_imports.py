"""What belongs to a script is found by reading it; what will surprise in a deployed copy is said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stratpanel.supervisor.versions.imports import Outside, siblings
from stratpanel.supervisor.versions.source_check import surprises


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__slash__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "main.py"


def names(script: Path) -> list[str]:
    return sorted(path.as_posix() for path in siblings(script).files)


def test_imports_are_followed_recursively_and_in_circles(tmp_path: Path) -> None:
    script = write(tmp_path, main="import a", a="from b import x", b="import c, a", c="", unused="")
    assert names(script) == ["a.py", "b.py", "c.py", "main.py"]


@pytest.mark.parametrize(
    "text",
    [
        "import a",
        "import a as other",
        "from a import something",
        "def f():\n    import a",
        "try:\n    import a\nexcept ImportError:\n    pass",
        "if False:\n    import a",
        "import importlib\nm = importlib.import_module('a')",
        "m = __import__('a')",
        "import runpy\nrunpy.run_module('a')",
        "import json, a, sys",
    ],
)
def test_every_way_to_import_counts(tmp_path: Path, text: str) -> None:
    assert names(write(tmp_path, main=text, a="", b="")) == ["a.py", "main.py"]


def test_a_package_is_taken_whole_with_its_data(tmp_path: Path) -> None:
    script = write(
        tmp_path, main="from pkg.sub import x", pkg__slash____init__="", pkg__slash__sub="import other", other=""
    )
    (tmp_path / "pkg" / "table.csv").write_text("1")
    (tmp_path / "pkg" / "__pycache__").mkdir()
    (tmp_path / "pkg" / "__pycache__" / "sub.pyc").write_bytes(b"")
    assert names(script) == ["main.py", "other.py", "pkg/__init__.py", "pkg/sub.py", "pkg/table.csv"]


def test_of_a_folder_without_init_only_the_module_named_is_taken(tmp_path: Path) -> None:
    script = write(
        tmp_path, main="import lib.a\nfrom lib import b", lib__slash__a="", lib__slash__b="", lib__slash__c=""
    )
    assert names(script) == ["lib/a.py", "lib/b.py", "main.py"]


def test_built_in_modules_are_never_siblings(tmp_path: Path) -> None:
    assert names(write(tmp_path, main="import time, sys", time="", sys="")) == ["main.py"]


def test_a_sibling_wins_over_the_standard_library_as_it_does_when_run(tmp_path: Path) -> None:
    assert names(write(tmp_path, main="import random", random="")) == ["main.py", "random.py"]


def test_odd_code_imports_nothing_and_raises_nothing(tmp_path: Path) -> None:
    script = write(tmp_path, main="import a\nimport importlib\nimportlib.import_module(name)\n", a="def f(:")
    assert names(script) == ["a.py", "main.py"]
    script.write_bytes(b"\0\xff" * 100)
    assert names(script) == ["main.py"]
    script.write_text("import os; __import__('..'); __import__('../x'); __import__('')")
    assert names(script) == ["main.py"]


def test_an_enormous_module_is_not_parsed(tmp_path: Path) -> None:
    script = write(tmp_path, main="import big")
    (tmp_path / "big.py").write_text("#" * (4 * 1024 * 1024) + "\nimport a")
    (tmp_path / "a.py").write_text("")
    found = siblings(script)
    assert sorted(map(str, found.files)) == ["big.py", "main.py"]
    assert list(map(str, found.oversized)) == ["big.py"]


def test_a_package_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "__init__.py").write_text("")
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "pkg").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Outside, match="symbolic link"):
        siblings(write(folder, main="import pkg"))


def warned(tmp_path: Path, text: str, *, whole_folder: bool = False) -> list[str]:
    return surprises(
        text.encode(), "s.py", script_folder=tmp_path / "scripts", workspace=tmp_path, whole_folder=whole_folder
    )


@pytest.mark.parametrize(
    ("text", "line", "verb"),
    [
        ("import os\nopen(os.path.join(os.path.dirname(__file__), 'd.csv')).read()", 2, "reads"),
        ("from pathlib import Path\nHERE = Path(__file__).parent\nx = 1\ndf = pd.read_csv(HERE / 'd.csv')", 4, "reads"),
        ("from pathlib import Path\nP = Path(__file__).with_name('s.json')\nP.write_text('x')", 3, "writes"),
        (
            "import os\nD = os.path.dirname(os.path.abspath(__file__))\nF = f'{D}/log.txt'\nf = open(F, 'a')",
            4,
            "writes",
        ),
        ("import sqlite3, pathlib\nsqlite3.connect(pathlib.Path(__file__).parent / 'trades.db')", 2, "writes"),
        (
            "class A:\n  def f(self):\n    self.p = __file__ + '.state'\n  def g(self):\n    open(self.p, mode='wb')",
            5,
            "writes",
        ),
        ("from pathlib import Path\n(Path(__file__).parent / 'x').open('w')", 2, "writes"),
    ],
)
def test_what_is_kept_beside_the_script_is_said_with_its_line(tmp_path: Path, text: str, line: int, verb: str) -> None:
    (sentence,) = warned(tmp_path, text)
    assert sentence.startswith(f"s.py line {line}: ")
    assert f"{verb} beside the script" in sentence
    assert "STRATEGY_" in sentence


@pytest.mark.parametrize(
    "text",
    [
        "print(__file__)",
        "import logging\nlog = logging.getLogger(__file__)",
        "import sys, os\nsys.path.insert(0, os.path.dirname(__file__))",
        "from pathlib import Path\nNAME = Path(__file__).stem\nprint(NAME)",
        "open('/tmp/x', 'w')",
        "def f(:",
        "import os\nopen(os.environ['STRATEGY_STATE_DIR'] + '/x', 'w')",
    ],
)
def test_what_does_no_harm_is_not_warned_of(tmp_path: Path, text: str) -> None:
    assert warned(tmp_path, text) == []


def test_a_folder_brings_its_data_along_so_only_writing_surprises(tmp_path: Path) -> None:
    text = "from pathlib import Path\nH = Path(__file__).parent\n(H / 'd').read_text()\n(H / 'd').write_text('')"
    (sentence,) = warned(tmp_path, text, whole_folder=True)
    assert "line 4" in sentence


def test_a_relative_name_that_lies_beside_the_script_is_said(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "data.csv").write_text("")
    (sentence,) = warned(tmp_path, "x = 1\nopen('data.csv')")
    assert "line 2" in sentence
    assert "working directory" in sentence
    (tmp_path / "data.csv").write_text("")  # there it is found
    assert warned(tmp_path, "open('data.csv')") == []
