"""Reading a working copy: the bytes of a script with the modules it imports, or of a folder, within limits.

Used by deploys and comparisons. What is returned is read once and is what gets checked, hashed and written, so an edit
in between cannot slip in. Nothing is followed out of the folder, and only regular files are opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stratpanel.model.errors import Conflict, InvalidValue, NotFound, TooLarge
from stratpanel.supervisor.versions.imports import Outside, siblings, walk

FOLDER_BYTES = 50 * 1024 * 1024
FOLDER_FILES = 10_000


@dataclass(frozen=True)
class WorkingCopy:
    """`files` maps POSIX paths relative to `folder` to contents; `entry` is the one that is run. In the folders
    `beside` a new file could become part of it."""

    entry: str
    files: dict[str, bytes]
    folder: Path
    whole_folder: bool
    beside: frozenset[Path] = frozenset()


def read_working_copy(path: Path, *, verb: str, shown: str) -> WorkingCopy:
    """The working copy at `path`: a script, or a folder with main.py.

    Messages begin with `verb` ("cannot deploy ema") and call the path `shown`. Raises NotFound SCRIPT_MISSING,
    InvalidValue OUTSIDE_FOLDER, TooLarge VERSION_TOO_LARGE, Conflict SCRIPT_UNREADABLE.
    """
    try:
        if path.is_dir():
            if not (path / "main.py").is_file():
                raise NotFound(
                    f"{verb}: {shown} has no main.py; a folder is started by its main.py", code="SCRIPT_MISSING"
                )
            names = _within(path, (file.relative_to(path) for file in walk(path)), f"{verb}: {shown}")
            return WorkingCopy("main.py", {n.as_posix(): (path / n).read_bytes() for n in names}, path, True)
        path.stat()
        found = siblings(path)
        names = _within(path.parent, found.files, f"{verb}: {shown}")
        files = {n.as_posix(): (path.parent / n).read_bytes() for n in names}
        return WorkingCopy(path.name, files, path.parent, False, frozenset(found.folders))
    except FileNotFoundError as error:
        missing = "" if error.filename in (None, str(path)) else f" ({error.filename})"
        raise NotFound(
            f"{verb}: {shown} does not exist{missing}; write it there or register another path", code="SCRIPT_MISSING"
        ) from error
    except Outside as error:
        raise InvalidValue(f"{verb}: {error}", code="OUTSIDE_FOLDER") from error
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle; ValueError: NUL in the path
        raise Conflict(
            f"{verb}: {getattr(error, 'filename', None) or shown} cannot be read: "
            f"{getattr(error, 'strerror', None) or error}; make it readable for this user",
            code="SCRIPT_UNREADABLE",
        ) from error


def _within(folder: Path, names: Iterable[Path], subject: str) -> list[Path]:
    """The names as a list, stopped as soon as there are too many or they are too large together."""
    kept: list[Path] = []
    size = 0
    for name in names:
        kept.append(name)
        size += (folder / name).stat().st_size
        if size > FOLDER_BYTES or len(kept) > FOLDER_FILES:
            raise TooLarge(
                f"{subject} has more than {FOLDER_BYTES >> 20} MB or {FOLDER_FILES} files; "
                "keep data in the strategy's state folder and read it from os.environ['STRATEGY_STATE_DIR']",
                code="VERSION_TOO_LARGE",
            )
    return kept
