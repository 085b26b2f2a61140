"""The parameters of a strategy: a `param.Parameterized` class in its script, read without running the script.

The supervisor never imports a user's code: a child process in the strategy's own interpreter executes only the script's
imports, constants, functions and classes (`parameters_child.py`) and tells what it found, within a time limit.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stratpanel.model.errors import InvalidValue

READ_TIMEOUT_S = 10.0  # importing pandas on a busy small machine takes two
MAX_ANSWER_BYTES = 1_000_000
CHILD = Path(__file__).with_name("parameters_child.py")


@dataclass(frozen=True)
class Parameters:
    """What a script declares: class name (None = it declares none), one dict a parameter, or the problem in words."""

    class_name: str | None = None
    parameters: list[dict[str, Any]] = field(default_factory=list)
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The body of `GET …/parameters`."""
        return {"class": self.class_name, "parameters": self.parameters, "problem": self.problem}


def may_declare(script: Path) -> bool:
    """Whether the script has a class with a base at its top: only then a Param class can be its own.

    A look at the text, in milliseconds: most strategies have none, and their start then waits for no child process.
    True for what is no Python, so that the child says what is wrong with it.
    """
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # the child tells which, in words
        return True
    blocks = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.Try))]
    return any(isinstance(node, ast.ClassDef) and node.bases for block in blocks for node in block)


def read_parameters(script: Path, interpreter: str, *, timeout: float = READ_TIMEOUT_S) -> Parameters:
    """What the script declares. Never raises for anything the script does: that is the `problem`."""
    return _parameters_of(_ask(script, interpreter, None, timeout))


def check_values(
    script: Path, interpreter: str, values: Mapping[str, Any], *, timeout: float = READ_TIMEOUT_S
) -> dict[str, Any]:
    """The values as the class takes them; InvalidValue with `params.<name>` for each that it refuses."""
    answer = _ask(script, interpreter, dict(values), timeout)
    found = _parameters_of(answer)
    if found.problem:
        raise InvalidValue(f"cannot check the parameters: {found.problem}", fields={"params": found.problem})
    if found.class_name is None:
        return dict(values)
    refused = answer.get("refused", {})
    if refused:
        fields = {f"params.{name}": text for name, text in refused.items()}
        raise InvalidValue(f"parameters of {found.class_name} refused: {', '.join(sorted(refused))}", fields=fields)
    return dict(values)


def _parameters_of(answer: dict[str, Any]) -> Parameters:
    return Parameters(answer.get("class"), answer.get("parameters", []), answer.get("problem"))


def _ask(script: Path, interpreter: str, values: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
    question = json.dumps({"script": str(script), "values": values})
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TZ") if name in os.environ}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        child = subprocess.Popen(
            [interpreter, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=script.parent,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        return {"problem": f"the interpreter {interpreter} cannot be started: {error.strerror}"}
    try:
        answer, _ = child.communicate(question.encode(), timeout)
    except subprocess.TimeoutExpired:
        return {"problem": f"reading the parameters took over {timeout:g} s: look for a slow or endless import"}
    finally:
        _end(child)
    last = answer[-MAX_ANSWER_BYTES:].splitlines()[-1:] or [b""]
    try:
        found = json.loads(last[0])
    except (ValueError, RecursionError):
        return {"problem": f"reading the parameters ended with exit code {child.returncode} and no answer"}
    return found if isinstance(found, dict) else {"problem": "reading the parameters gave no answer"}


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child's whole session, whatever it started, and collect it."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # already gone
        pass
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
