"""What a new strategy may start from: the examples of the workspace, and a blank that ends cleanly when it is stopped.

Read by the office for the pages; no view opens a file.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

BLANK = '''"""Say in one line what this strategy does."""

import signal
import time

running = True


def leave(_signal, _frame):
    """Stop asks with SIGTERM first: cancel orders and save state before the grace period ends."""
    global running
    running = False


signal.signal(signal.SIGTERM, leave)

print("started", flush=True)
while running:
    # one step of the strategy
    time.sleep(1)
print("left cleanly", flush=True)
'''


@dataclass(frozen=True)
class Template:
    """One example: its file relative to the workspace, what it says of itself, and its text."""

    name: str
    path: str
    title: str
    source: str


def templates(workspace: Path) -> list[Template]:
    """The examples that are strategies: they do something when run, rather than being imported by others."""
    found = []
    for path in sorted((workspace / "strategies" / "examples").glob("*.py")):
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (OSError, SyntaxError, ValueError):  # not readable as Python: nothing to start from
            continue
        runs = any(
            isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Expr) and not _text(node)
            for node in tree.body
        )
        if runs:
            title = (ast.get_docstring(tree) or "").strip().split("\n")[0]
            found.append(Template(path.stem, str(path.relative_to(workspace)), title, source))
    return found


def _text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
