"""What is wrong with a cell before it becomes a strategy: syntax, names, secrets, imports.

Called by the magic, by promotion and by `Strategy.check()`. It reads the source as text and never runs the strategy.
Only the look for missing packages starts a process: the strategy's own interpreter, asked which modules it can find.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import subprocess
import symtable
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMPORT_TIMEOUT_S = 10.0
ALWAYS_DEFINED = frozenset(dir(builtins)) | {
    "__file__",
    "__name__",
    "__doc__",
    "__spec__",
    "__package__",
    "__builtins__",
}
SECRET_NAME = re.compile(r"(?i)(secret|passw(or)?d|api_?key|access_?token|auth_?token|private_?key|totp)")
KNOWN_PREFIX = re.compile(r"^(sk_live_|sk-|ghp_|xox[bp]-|AKIA|eyJ)[A-Za-z0-9_.-]{12,}")

# run by the strategy's interpreter: argv[1] is JSON [module names, folders to look into first]
FIND_MODULES = """
import importlib.util, json, sys
names, folders = json.loads(sys.argv[1])
sys.path[:0] = folders
print(json.dumps([name for name in names if importlib.util.find_spec(name) is None]))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in a sentence that tells what to do; `line` counts from 1 in the source."""

    kind: str  # syntax | name | secret | import
    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


def check(source: str, *, notebook_names: Iterable[str] = (), interpreter: str | None = None) -> list[Finding]:
    """All findings, in order of line; a syntax error is the only finding where there is one."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:  # ValueError: a NUL byte
        line = getattr(error, "lineno", None) or 1
        return [Finding("syntax", line, f"this is not Python: {getattr(error, 'msg', error)}")]
    found = [*_undefined(source, tree, frozenset(notebook_names)), *_secrets(tree)]
    if interpreter is not None:
        found += _missing_imports(tree, interpreter)
    return sorted(found, key=lambda finding: finding.line)


def interpreter_of(config: Mapping[str, Any]) -> str | None:
    """The interpreter to look for imports in; None (not checked) where it is a folder."""
    chosen = config.get("interpreter")
    if not chosen:
        return sys.executable
    return str(chosen) if Path(chosen).is_file() else None


def _undefined(source: str, tree: ast.Module, notebook: frozenset[str]) -> Iterator[Finding]:
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)):
        return  # a star import may define anything
    table = symtable.symtable(source, "<strategy>", "exec")
    defined = {
        symbol.get_name()
        for symbol in table.get_symbols()
        # from Python 3.12 on a comprehension has no table of its own, and what := binds in it is said to be global here
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_declared_global()
    }
    defined |= _declared_global(table) | ALWAYS_DEFINED
    wanted = {name for name in _global_reads(table) if name not in defined}
    lines = _first_lines(tree)
    for name in sorted(wanted):
        line = lines.get(name, 1)
        if name in notebook:
            where = "is defined in your notebook, not in this cell; define it here, or add its cell with --with"
            yield Finding("name", line, f"`{name}` {where}")
        else:
            yield Finding("name", line, f"`{name}` is not defined anywhere in this cell; define or import it")


def _global_reads(table: symtable.SymbolTable) -> Iterator[str]:
    """Names that a scope looks up in the module: read there, or global in something nested."""
    for symbol in table.get_symbols():
        reads_module = table.get_type() == "module" or symbol.is_global()
        if symbol.is_referenced() and reads_module:
            yield symbol.get_name()
    for child in table.get_children():
        yield from _global_reads(child)


def _declared_global(table: symtable.SymbolTable) -> set[str]:
    """Names that some function assigns through a `global` statement."""
    found = {s.get_name() for s in table.get_symbols() if s.is_declared_global() and s.is_assigned()}
    for child in table.get_children():
        found |= _declared_global(child)
    return found


def _first_lines(tree: ast.Module) -> dict[str, int]:
    lines: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            lines[node.id] = min(lines.get(node.id, node.lineno), node.lineno)
    return lines


def _secrets(tree: ast.Module) -> Iterator[Finding]:
    remedy = "put it into secrets.toml and read it from os.environ"
    for node in ast.walk(tree):
        for name, text, line in _named_strings(node):
            if SECRET_NAME.search(name) and len(text) >= 8 and not text.startswith("$"):
                yield Finding("secret", line, f"the text given to `{name}` looks like a secret; {remedy}")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and KNOWN_PREFIX.match(node.value):
            yield Finding(
                "secret", node.lineno, f"a text that starts with {node.value[:4]!r} looks like a key; {remedy}"
            )


def _named_strings(node: ast.AST) -> Iterator[tuple[str, str, int]]:
    """(name, text, line) of `name = "text"`, `f(name="text")` and `{"name": "text"}`."""
    pairs: list[tuple[str, ast.expr | None]] = []
    if isinstance(node, ast.Assign):
        for target in node.targets:
            name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")
            pairs.append((name, node.value))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        pairs.append((node.target.id, node.value))
    elif isinstance(node, ast.keyword) and node.arg:
        pairs.append((node.arg, node.value))
    elif isinstance(node, ast.Dict):
        pairs += [(str(k.value), v) for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant)]
    for name, value in pairs:
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and not _is_reference(value.value):
            yield name, value.value, value.lineno


def _is_reference(text: str) -> bool:
    """True for the name of a variable or secret rather than its value, such as "BROKER_KEY" or "your-key-here"."""
    return bool(re.fullmatch(r"[A-Z][A-Z0-9_]*", text) or re.search(r"(?i)your|example|changeme|<.*>|\.\.\.", text))


def _imports(tree: ast.Module) -> dict[str, int]:
    """Top-level module names that the source imports outside of try blocks, with their lines."""
    found: dict[str, int] = {}
    guarded = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in guarded or not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif node.module and not node.level:
            names = [node.module]
        for name in names:
            found.setdefault(name.partition(".")[0], node.lineno)
    return found


def _missing_imports(tree: ast.Module, interpreter: str, *, folders: Iterable[str] = ()) -> list[Finding]:
    wanted = _imports(tree)
    if not wanted:
        return []
    try:
        done = subprocess.run(
            [interpreter, "-c", FIND_MODULES, json.dumps([list(wanted), list(folders)])],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT_S,
            check=True,
        )
        missing = json.loads(done.stdout)
    except FileNotFoundError:
        return [Finding("import", 1, f"the interpreter {interpreter} does not exist; choose another")]
    except (subprocess.SubprocessError, ValueError) as error:
        return [Finding("import", 1, f"the interpreter {interpreter} did not say what it can import: {error}")]
    return [
        Finding(
            "import", wanted[name], f"`{name}` is not installed for {interpreter}: {interpreter} -m pip install {name}"
        )
        for name in missing
    ]
