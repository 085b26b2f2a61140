"""Runs in the strategy's interpreter as a program: reads one script's Param class and prints it as one line of JSON.

Only imports, plain assignments, functions and classes of the script are executed; calls at module level and everything
below `if __name__ == "__main__"` are left out, so that reading a strategy never trades. It imports nothing of ours.
"""

from __future__ import annotations

import ast
import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

PREFERRED = ("Params", "Parameters", "Config")


def declarations(source: str, name: str) -> ast.Module:
    """The script reduced to what declares: imports, constants, functions, classes, and try/if around imports."""
    tree = ast.parse(source, name)
    kept = [node for node in tree.body if _declares(node)]
    return ast.Module(body=kept, type_ignores=[])


def _declares(node: ast.stmt) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return True
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        value = node.value
        return value is None or not any(isinstance(part, (ast.Call, ast.Await, ast.Yield)) for part in ast.walk(value))
    if isinstance(node, ast.Try):
        return all(_declares(part) for part in node.body)
    return False


def find_class(scope: Mapping[str, Any], module_name: str) -> Any:
    """The script's own Param class: named Params if there are several; None when it has none."""
    param = sys.modules.get("param")
    if param is None:
        return None
    own = [
        value
        for value in scope.values()
        if isinstance(value, type) and issubclass(value, param.Parameterized) and value.__module__ == module_name
    ]
    named = [cls for cls in own if cls.__name__ in PREFERRED]
    if named or len(own) == 1:
        return (named or own)[0]
    return None


def plain(value: Any) -> Any:
    """The value as JSON can say it; None stands for what it cannot."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def describe(name: str, parameter: Any) -> dict[str, Any]:
    """One parameter as the dashboard's form needs it."""
    row = {
        "name": name,
        "type": type(parameter).__name__,
        "default": plain(parameter.default),
        "doc": parameter.doc or "",
    }
    for key in (
        "bounds",
        "softbounds",
        "inclusive_bounds",
        "step",
        "objects",
        "regex",
        "constant",
        "allow_None",
        "label",
    ):
        value = getattr(parameter, key, None)
        if value is not None:
            row[key] = plain(list(value) if key == "objects" else value)
    return row


def refused_values(cls: Any, values: Mapping[str, Any]) -> dict[str, str]:
    """{name: sentence} of the values the class does not take."""
    refused: dict[str, str] = {}
    for name, value in values.items():
        if name == "name" or name not in cls.param:
            known = ", ".join(sorted(key for key in cls.param if key != "name"))
            refused[name] = f"is no parameter of {cls.__name__}; it has {known}"
            continue
        try:
            cls(**{name: value})
        except Exception as error:  # noqa: BLE001  a user's class may refuse with anything
            refused[name] = str(error) or type(error).__name__
    return refused


def answer(question: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON answer for one question."""
    script = question["script"]
    with open(script, "rb") as file:
        source = file.read().decode("utf-8", "replace")
    module_name = "__strategy__"
    scope: dict[str, Any] = {"__name__": module_name, "__file__": script}
    try:
        module = declarations(source, script)
    except SyntaxError as error:
        return {"problem": f"the script has a syntax error on line {error.lineno}: {error.msg}"}
    sys.path.insert(0, os.path.dirname(script))
    try:
        exec(compile(module, script, "exec"), scope)
    except ModuleNotFoundError as error:
        return {"problem": f"`{error.name}` is not installed for {sys.executable}"}
    except Exception as error:  # noqa: BLE001  a user's class body may raise anything
        return {"problem": f"the script's declarations raise {type(error).__name__}: {error}"}
    cls = find_class(scope, module_name)
    if cls is None:
        return {"class": None, "parameters": []}
    rows = [describe(name, cls.param[name]) for name in cls.param if name != "name"]
    found: dict[str, Any] = {"class": cls.__name__, "parameters": rows}
    if question.get("values") is not None:
        found["refused"] = refused_values(cls, question["values"])
    return found


def main() -> None:
    """One question on standard input, one line of JSON as the last line of standard output."""
    question = json.loads(sys.stdin.read())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the script prints while it is read goes nowhere
    print(json.dumps(answer(question)), file=out, flush=True)


if __name__ == "__main__":
    main()
