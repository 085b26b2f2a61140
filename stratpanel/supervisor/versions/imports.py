"""Which files beside a script belong to it: found by reading, never by running anything.

Deploying and adding a script copy what it imports from its own folder. The finder errs on the side of copying: a name
that could be a sibling is taken. It raises nothing for odd code; a file that does not parse simply imports nothing.
"""

from __future__ import annotations

import ast
import stat
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SKIPPED_FOLDERS = frozenset(
    {"__pycache__", ".git", ".hg", ".svn", ".ipynb_checkpoints", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".idea"}
)
PARSED_BYTES = 4 * 1024 * 1024  # the parser needs about 100 times the source in memory


class Outside(Exception):
    """A path leaves its folder by a symbolic link, or is no regular file."""


@dataclass
class Found:
    """The files of a script, relative to its folder, the script first; `oversized` were not read for imports. In
    `folders` a module that appears may become one of them."""

    files: list[Path] = field(default_factory=list)
    oversized: list[Path] = field(default_factory=list)
    folders: set[Path] = field(default_factory=set)


def parse(source: bytes, name: str) -> ast.Module | None:
    """The syntax tree, or None for what this interpreter cannot parse (the syntax check says so elsewhere)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's script is not our warning
            return ast.parse(source, filename=name)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def checked(path: Path, folder: Path) -> Path:
    """`path` itself when it is a regular file whose real place lies in `folder`; raises Outside else."""
    real = path.resolve()
    if not real.is_relative_to(folder.resolve()):
        raise Outside(f"{path} is a symbolic link to {real}, outside of {folder}; put a copy there instead")
    if not stat.S_ISREG(real.stat().st_mode):
        raise Outside(f"{path} is not a regular file; remove it or move it elsewhere")
    return path


def is_environment(folder: Path) -> bool:
    """True for a virtual environment, which is never part of a strategy."""
    return (folder / "pyvenv.cfg").exists()


def walk(folder: Path) -> Iterator[Path]:
    """Every file below `folder` that belongs to a strategy, sorted; raises Outside for links out and odd files."""
    top = folder.resolve()
    pending = [folder]
    while pending:
        here = pending.pop()
        for entry in sorted(here.iterdir()):
            if entry.is_symlink():
                if not (real := entry.resolve()).is_relative_to(top):
                    raise Outside(
                        f"{entry} is a symbolic link to {real}, outside of {folder}; put a copy there instead"
                    )
                if entry.is_dir():  # a link to a folder of the tree could be a circle
                    raise Outside(f"{entry} is a symbolic link to a folder; put a copy there instead")
            if entry.is_dir():
                if entry.name not in SKIPPED_FOLDERS and not is_environment(entry):
                    pending.append(entry)
            elif not entry.name.endswith((".pyc", ".pyo")):
                yield checked(entry, folder)


def siblings(script: Path) -> Found:
    """The script and, recursively, the modules beside it that it imports; packages are taken whole, data included.

    Raises Outside when one of them is a link out of the folder, OSError when it cannot be read.
    """
    folder = script.parent
    found = Found(folders={folder})
    seen: set[Path] = set()
    pending = [checked(script, folder)]
    while pending:
        path = pending.pop(0)
        if path in seen:
            continue
        seen.add(path)
        found.files.append(path.relative_to(folder))
        if path.suffix != ".py":
            continue
        if path.stat().st_size > PARSED_BYTES:
            found.oversized.append(path.relative_to(folder))
            continue
        tree = parse(path.read_bytes(), str(path))
        for name in sorted(_imported(tree) if tree else ()):
            pending.extend(_files_of(name, folder))
            found.folders.update(_folders_of(name, folder))
    return found


def _imported(tree: ast.Module) -> set[str]:
    """Absolute names a module imports, at any depth of its code; literals given to import_module count."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            name = node.args[0].value
            if called in ("import_module", "__import__", "run_module") and isinstance(name, str) and name.strip("."):
                names.add(name)
    return names


def _files_of(name: str, folder: Path) -> list[Path]:
    """The files in `folder` that `import name` would read; none for what is not there or is built into Python."""
    parts = name.split(".")
    if parts[0] in sys.builtin_module_names or not all(part.isidentifier() for part in parts):
        return []  # a sibling called time.py is never imported: built-in modules win over the path
    package = folder / parts[0]
    if (package / "__init__.py").is_file():
        return list(walk(_inside(package, folder)))
    module = folder / f"{parts[0]}.py"
    if module.is_file():
        return [checked(module, folder)]
    extensions = [*folder.glob(f"{parts[0]}.*.so"), folder / f"{parts[0]}.so"]
    compiled = [checked(entry, folder) for entry in extensions if entry.is_file()]
    if compiled or not package.is_dir() or len(parts) == 1:
        return compiled
    # a folder without __init__.py: only the modules named, since such a folder may be anything
    inner = folder.joinpath(*parts)
    if (inner / "__init__.py").is_file():
        return list(walk(_inside(inner, folder)))
    source = inner.with_name(f"{inner.name}.py")
    return [checked(source, folder)] if source.is_file() else []


def _folders_of(name: str, folder: Path) -> list[Path]:
    """The folders that there are on the way to a module, outermost first."""
    found: list[Path] = []
    for part in name.split("."):
        folder = folder / part
        if not part.isidentifier() or not folder.is_dir():
            break
        found.append(folder)
    return found


def _inside(package: Path, folder: Path) -> Path:
    if not package.resolve().is_relative_to(folder.resolve()):
        raise Outside(
            f"{package} is a symbolic link to {package.resolve()}, outside of {folder}; put a copy there instead"
        )
    return package
