"""What a cell is told before it becomes a strategy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stratpanel.notebook.checks import check

EXAMPLES = Path(__file__).resolve().parents[2] / "strategies" / "examples"


def messages(source: str, **options: object) -> list[str]:
    return [str(finding) for finding in check(source, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_the_examples_have_nothing_against_them(script: str) -> None:
    assert messages((EXAMPLES / script).read_text()) == []


def test_a_name_of_the_notebook_is_named_with_the_way_on() -> None:
    found = messages("import math\nprint(model.predict(math.pi))\n", notebook_names=["model"])
    assert found == [
        "line 2: `model` is defined in your notebook, not in this cell; define it here, or add its cell with --with"
    ]


def test_a_name_defined_nowhere_is_found_inside_functions_and_classes() -> None:
    source = "class A:\n    x = 1\n    def f(self):\n        return [np.sqrt(y) for y in range(x)]\n"
    assert messages(source) == [
        "line 4: `np` is not defined anywhere in this cell; define or import it",
        "line 4: `x` is not defined anywhere in this cell; define or import it",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    global total\n    total = 1\ndef g():\n    return total\n",
        "from numpy import *\nprint(sqrt(2))\n",
        "try:\n    import fast as impl\nexcept ImportError:\n    impl = None\nprint(impl)\n",
        "for i in range(3):\n    print(i, __file__, __name__)\n",
        "with open('a') as f:\n    data = f.read()\nprint([c for c in data if (n := len(c))], n)\n",
        "def f(a, *b, c=1, **d):\n    def inner():\n        return a, b, c, d\n    return inner\n",
        "import os.path\nprint(os.path.sep)\n",
        "match 3:\n    case int(v):\n        print(v)\n",
    ],
)
def test_python_that_defines_its_names_in_its_own_ways_is_fine(source: str) -> None:
    assert messages(source) == []


def test_a_syntax_error_is_the_only_finding_and_has_its_line() -> None:
    found = check("x = 1\nif x\n    print(undefined)\n")
    assert [(finding.kind, finding.line) for finding in found] == [("syntax", 2)]


def test_a_nul_byte_is_a_finding_not_a_crash() -> None:
    assert [finding.kind for finding in check("x = 1\0")] == ["syntax"]


@pytest.mark.parametrize(
    "source",
    [
        "api_key = 'a8f3c9d2e1b4'\n",
        "client = connect(password='hunter2hunter2')\n",
        "settings = {'access_token': 'zzzzyyyyxxxx1234'}\n",
        "print('ghp_0123456789abcdefABCDEF')\n",
    ],
)
def test_a_literal_that_looks_like_a_secret_is_found(source: str) -> None:
    defined = "def connect(**k): ...\n" + source
    assert [finding.kind for finding in check(defined)] == ["secret"]


@pytest.mark.parametrize(
    "source",
    ["import os\napi_key = os.environ['BROKER_KEY']\n", "api_key = 'YOUR_KEY_HERE'\n", "secret_name = 'BROKER_KEY'\n"],
)
def test_a_reference_to_a_secret_is_fine(source: str) -> None:
    assert messages(source) == []


def test_a_package_the_interpreter_lacks_is_named_with_the_command() -> None:
    found = messages("import json\nimport no_such_package_here\n", interpreter=sys.executable)
    assert len(found) == 1
    assert f"{sys.executable} -m pip install no_such_package_here" in found[0]


def test_a_guarded_import_may_be_missing() -> None:
    source = "try:\n    import no_such_package_here\nexcept ImportError:\n    pass\n"
    assert messages(source, interpreter=sys.executable) == []


def test_a_missing_interpreter_is_said() -> None:
    assert "does not exist" in messages("import json\n", interpreter="/no/such/python")[0]
