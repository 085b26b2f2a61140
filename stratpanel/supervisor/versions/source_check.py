"""What can be said about a script before it runs: its syntax, and lines that will surprise in a deployed copy.

Called at deploy and when source is saved. The script's text is parsed, never imported. A deployed copy lives in a
folder of its own, new at each deploy, so what a script keeps beside `__file__` is missing or forgotten there.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from stratpanel.model.errors import InvalidValue
from stratpanel.supervisor.versions.imports import PARSED_BYTES, parse

CHECK_SECONDS = 10.0
# what only makes paths and names, or touches no file of the strategy's
_HARMLESS = frozenset(
    {
        "Path",
        "PurePath",
        "str",
        "repr",
        "print",
        "len",
        "isinstance",
        "dirname",
        "basename",
        "abspath",
        "realpath",
        "join",
    }
    | {"joinpath", "resolve", "absolute", "split", "splitext", "with_name", "with_suffix", "with_stem", "relative_to"}
    | {
        "normpath",
        "exists",
        "is_file",
        "is_dir",
        "isfile",
        "isdir",
        "append",
        "insert",
        "getLogger",
        "fspath",
        "format",
    }
    | {"info", "debug", "warning", "error", "as_posix", "samefile", "expanduser", "spec_from_file_location"}
)
_WRITING = frozenset(
    {
        "write_text",
        "write_bytes",
        "mkdir",
        "makedirs",
        "touch",
        "unlink",
        "rename",
        "replace",
        "remove",
        "rmdir",
        "rmtree",
    }
    | {"to_csv", "to_parquet", "to_pickle", "to_json", "to_excel", "to_hdf", "to_feather", "to_sql", "save", "savez"}
    | {"savez_compressed", "savetxt", "savefig", "dump", "FileHandler", "RotatingFileHandler", "copyfile", "copy2"}
    | {"TimedRotatingFileHandler", "connect", "copy", "move", "chdir"}
)


def syntax_error(source: bytes, name: str, python: str | None = None) -> tuple[int, str] | None:
    """(line, sentence) of the first syntax error, or None; `python` is asked where it may know a newer grammar."""
    if len(source) > PARSED_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, name, "exec", dont_inherit=True)
        return None
    except SyntaxError as error:
        found = (error.lineno or 1, error.msg)
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes; nesting beyond the parser
        return (1, str(error) or type(error).__name__)
    if python and Path(python) != Path(sys.executable) and _other_accepts(source, python):
        return None
    return found


def _other_accepts(source: bytes, python: str) -> bool:
    """True when another interpreter compiles what ours refused (a newer grammar)."""
    program = "import sys; compile(sys.stdin.buffer.read(), 'strategy', 'exec', dont_inherit=True)"
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-c", program], input=source, capture_output=True, timeout=CHECK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):  # it cannot be asked: our own verdict stands
        return False
    return done.returncode == 0


def require_syntax(source: bytes, shown: str, verb: str, python: str | None = None) -> None:
    """Raise InvalidValue (SYNTAX_ERROR) naming file and line; `verb` begins the sentence ("cannot deploy ema")."""
    found = syntax_error(source, shown, python)
    if found:
        line, says = found
        raise InvalidValue(
            f"{verb}: {shown} has a syntax error on line {line}: {says}",
            code="SYNTAX_ERROR",
            fields={f"{shown}:{line}": says},
        )


def surprises(source: bytes, name: str, *, script_folder: Path, workspace: Path, whole_folder: bool) -> list[str]:
    """Sentences with the line for reads and writes that behave differently in a deployed copy."""
    tree = parse(source, name) if len(source) <= PARSED_BYTES else None
    if tree is None:
        return []
    found: dict[int, str] = {}
    tainted = _names_from_file(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = _called(node)
        if _touches(node, tainted) and called not in _HARMLESS:
            writes = called in _WRITING or (called == "open" and _opens_for_writing(node))
            if writes:
                found[node.lineno] = (
                    f"{name} line {node.lineno}: {called}() writes beside the script; each version has its own "
                    "folder, so this is forgotten at the next deploy: write to os.environ['STRATEGY_STATE_DIR']"
                )
            elif not whole_folder:
                found[node.lineno] = (
                    f"{name} line {node.lineno}: {called}() reads beside the script, where a deployed copy has only "
                    "the modules it imports: read from os.environ['STRATEGY_DIR'], or make it a folder with main.py"
                )
        elif called in ("open", "read_csv", "read_parquet", "read_json", "read_text", "load", "loadtxt"):
            literal = _literal_path(node)
            if literal and (script_folder / literal).is_file() and not (workspace / literal).exists():
                found[node.lineno] = (
                    f"{name} line {node.lineno}: {called}({literal!r}) is looked for in the working directory "
                    f"({workspace}), not beside the script: use os.environ['STRATEGY_DIR'], or set cwd"
                )
    return [found[line] for line in sorted(found)]


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "a call")


def _names_from_file(tree: ast.Module) -> set[str]:
    """`__file__` and every name that is assigned, somewhere, from an expression with one of them in it."""
    tainted = {"__file__"}
    assignments: list[tuple[list[str], ast.expr]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            assignments.append(([n for target in node.targets for n in _stored(target)], node.value))
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            assignments.append((list(_stored(node.target)), node.value))
    changed = True
    while changed:
        changed = False
        for names, value in assignments:
            if not tainted.issuperset(names) and _mentions_path(value, tainted):
                tainted.update(names)
                changed = True
    return tainted


def _stored(target: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Attribute):
        yield f".{target.attr}"
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from _stored(element)


def _mentions_path(value: ast.expr, tainted: set[str]) -> bool:
    """True when the value is still a path: what a read returned is data and taints nothing."""
    if isinstance(value, ast.Call):
        if _called(value) not in _HARMLESS:
            return False
        inner: list[ast.expr] = [*value.args]
        if isinstance(value.func, ast.Attribute):
            inner.append(value.func.value)
        return any(_mentions_path(item, tainted) for item in inner)
    if isinstance(value, ast.Name):
        return value.id in tainted
    if isinstance(value, ast.Attribute):
        return f".{value.attr}" in tainted or _mentions_path(value.value, tainted)
    return any(_mentions_path(child, tainted) for child in ast.iter_child_nodes(value) if isinstance(child, ast.expr))


def _touches(node: ast.Call, tainted: set[str]) -> bool:
    """True when the call gets such a path as an argument, or is a method of one."""
    inner: list[ast.expr] = [*node.args, *(keyword.value for keyword in node.keywords)]
    if isinstance(node.func, ast.Attribute):
        inner.append(node.func.value)
    return any(_mentions_path(item, tainted) for item in inner)


def _opens_for_writing(node: ast.Call) -> bool:
    is_method = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") not in (
        "io",
        "gzip",
        "codecs",
    )
    position = 0 if is_method else 1
    modes: list[ast.expr] = [keyword.value for keyword in node.keywords if keyword.arg == "mode"]
    modes += node.args[position : position + 1]
    return any(isinstance(mode, ast.Constant) and any(c in str(mode.value) for c in "wax+") for mode in modes)


def _literal_path(node: ast.Call) -> str | None:
    candidates: list[ast.expr] = [*node.args[:1]]
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call):
        candidates += node.func.value.args[:1]  # Path("data.csv").read_text()
    for item in candidates:
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            text = item.value
            if text and len(text) < 256 and "\0" not in text and not text.startswith(("/", "~")) and "://" not in text:
                return text
    return None
