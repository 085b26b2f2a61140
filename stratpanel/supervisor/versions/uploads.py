"""Code that arrives from outside: uploaded files and archives, saved source, scripts added from elsewhere.

Everything lands below `strategies/scripts/` or is refused; a name never chooses its folder. Archives are unpacked by
counting what really comes out, so that neither sizes nor names in them are believed. Nothing here is run.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from stratpanel.model.errors import Conflict, InvalidValue, NotFound, TooLarge
from stratpanel.supervisor import durable
from stratpanel.supervisor.versions.source_check import require_syntax
from stratpanel.supervisor.versions.workingcopy import FOLDER_BYTES, read_working_copy

UPLOAD_BYTES = 16 * 1024 * 1024
ARCHIVE_FILES = 2000
ARCHIVE_DEPTH = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}\Z")
_SKIPPED = re.compile(r"(?:^|/)(?:__MACOSX|__pycache__|\.DS_Store|\.git|\.ipynb_checkpoints)(?:/|$)")
_PIECE = 1 << 20


def safe_stem(name: str) -> str:
    """`name` when it can be an id and a file name; raises InvalidValue BAD_NAME."""
    if not _NAME.match(name) or ".." in name or name[-1] in " .":
        shown = name if len(name) <= 60 else f"{name[:60]}…"
        raise InvalidValue(
            f"{shown!r} cannot be a strategy's name; use up to 100 of letters, digits, blank . _ - "
            "and begin with a letter or digit",
            code="BAD_NAME",
            fields={"id": "letters, digits, blank . _ -"},
        )
    return name


def place_upload(scripts: Path, id: str | None, filename: str, data: bytes, *, python: str | None = None) -> Path:
    """Put an uploaded `.py` or `.zip` into `scripts`; returns the working copy (a file, or a folder with main.py).

    Raises TooLarge over 16 MB, InvalidValue (BAD_NAME, SYNTAX_ERROR, BAD_ARCHIVE), Conflict ALREADY_THERE.
    """
    if len(data) > UPLOAD_BYTES:
        raise TooLarge(f"the upload is over {UPLOAD_BYTES >> 20} MB; register a folder by its path instead")
    stem, dot, suffix = filename.rpartition(".")
    if not dot or suffix.lower() not in ("py", "zip"):
        raise InvalidValue("an upload is a .py file or a .zip of a folder with main.py", code="BAD_NAME")
    safe_stem(stem)
    name = stem if id is None else safe_stem(id)
    scripts.mkdir(parents=True, exist_ok=True)
    if suffix.lower() == "py":
        require_syntax(data, f"{stem}.py", f"cannot add {name}", python)
        target = _free(scripts / f"{name}.py", data)
        durable.write_bytes(target, data)
        return target
    target = _free(scripts / name)
    temporary = scripts / f".upload-{secrets.token_hex(6)}"
    try:
        top = unpack(data, temporary)
        if not (top / "main.py").is_file():
            raise InvalidValue(
                f"{filename} has no main.py at its top; a folder is started by its main.py", code="BAD_ARCHIVE"
            )
        require_syntax((top / "main.py").read_bytes(), "main.py", f"cannot add {name}", python)
        os.rename(top, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _free(target: Path, same: bytes | None = None) -> Path:
    """`target`, if nothing of another content is there."""
    if target.is_symlink() or target.exists():
        if same is not None and target.is_file() and not target.is_symlink() and target.read_bytes() == same:
            return target
        raise Conflict(
            f"{target.parent.name}/{target.name} is there already; add it by its path, or choose another name",
            code="ALREADY_THERE",
        )
    return target


def unpack(data: bytes, into: Path, *, most_bytes: int = FOLDER_BYTES) -> Path:
    """Unpack a zip into the new folder `into`; returns it, or the one folder the archive wraps everything in.

    Raises InvalidValue BAD_ARCHIVE for names that leave the folder, links, odd entries and damage; TooLarge for what
    unpacks to more than `most_bytes` or ARCHIVE_FILES files.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _checked_entries(archive.infolist())
            into.mkdir(parents=True)
            left = most_bytes
            for path, info in entries.items():
                target = into / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, open(target, "xb") as file:
                    while piece := source.read(min(_PIECE, left + 1)):
                        left -= len(piece)
                        if left < 0:
                            raise TooLarge(f"the archive unpacks to more than {most_bytes >> 20} MB")
                        file.write(piece)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, OSError, ValueError) as error:
        # RuntimeError: encrypted; NotImplementedError: an odd method; ValueError, OSError: names this disk cannot hold
        raise InvalidValue(f"the archive cannot be unpacked: {error}", code="BAD_ARCHIVE") from error
    except Exception as error:
        if type(error).__module__ in ("zlib", "lzma"):  # damaged streams have error classes of their own
            raise InvalidValue(f"the archive is damaged: {error}", code="BAD_ARCHIVE") from error
        raise
    tops = {path.parts[0] for path in entries}
    if len(tops) == 1 and not (into / "main.py").exists():
        (only,) = tops
        return into / only if (into / only).is_dir() else into
    return into


def _checked_entries(infos: list[zipfile.ZipInfo]) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of an archive by their path inside the folder."""
    if len(infos) > ARCHIVE_FILES * 2:
        raise TooLarge(f"the archive has {len(infos)} entries; at most {ARCHIVE_FILES} files are unpacked")
    entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    for info in infos:
        if _SKIPPED.search(info.filename):
            continue
        path = _inside(info)
        if info.is_dir():
            continue
        if str(path).lower() in taken:
            raise InvalidValue(f"the archive has {info.filename!r} twice", code="BAD_ARCHIVE")
        taken.add(str(path).lower())
        entries[path] = info
    if len(entries) > ARCHIVE_FILES:
        raise TooLarge(f"the archive has {len(entries)} files; at most {ARCHIVE_FILES} are unpacked")
    if not entries:
        raise InvalidValue("the archive is empty", code="BAD_ARCHIVE")
    return entries


def _inside(info: zipfile.ZipInfo) -> PurePosixPath:
    """The entry's path, if it is a plain file or folder that stays where it is unpacked."""
    name = info.orig_filename  # zipfile cuts at NUL and turns backslashes on Windows: look at what was written
    parts = PurePosixPath(name).parts
    kind = stat.S_IFMT(info.external_attr >> 16)

    def refuse(why: str) -> InvalidValue:
        return InvalidValue(f"the archive's entry {name[:80]!r} {why}; nothing was unpacked", code="BAD_ARCHIVE")

    if kind == stat.S_IFLNK:
        raise refuse("is a symbolic link")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refuse("is neither a file nor a folder")
    if not parts or name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name) or ".." in parts:
        raise refuse("leaves the folder it is unpacked into")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise refuse("has control characters in its name")
    if len(parts) > ARCHIVE_DEPTH or any(len(os.fsencode(part)) > 200 for part in parts):
        raise refuse("has too long a name")
    if info.flag_bits & 1:
        raise refuse("is encrypted")
    return PurePosixPath(*parts)


def place_copy(scripts: Path, source: Path) -> Path:
    """Copy a script from elsewhere with the modules beside it that it imports, or a folder; returns the working copy.

    A file that is there already with the same content is kept; with another one it is a Conflict ALREADY_THERE.
    """
    copy = read_working_copy(source, verb=f"cannot add {source.name}", shown=str(source))
    safe_stem(source.stem if not copy.whole_folder else source.name)
    scripts.mkdir(parents=True, exist_ok=True)
    base = scripts / source.name if copy.whole_folder else scripts
    if copy.whole_folder:
        _free(base)
    targets = {base / name: data for name, data in copy.files.items()}
    for target, data in targets.items():
        _free(target, data)
    for target, data in targets.items():
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            durable.write_bytes(target, data)
    return base if copy.whole_folder else scripts / copy.entry


def entry_of(path: Path) -> Path:
    """The file a person edits: the script itself, or a folder's main.py."""
    return path / "main.py" if path.is_dir() else path


def read_source(path: Path) -> str:
    """The working copy's text. Raises NotFound SCRIPT_MISSING, InvalidValue NOT_TEXT, TooLarge."""
    entry = entry_of(path)
    try:
        if entry.stat().st_size > UPLOAD_BYTES:
            raise TooLarge(f"{entry.name} is over {UPLOAD_BYTES >> 20} MB")
        return entry.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(
            f"{entry} does not exist; write it there or register another path", code="SCRIPT_MISSING"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{entry.name} is not UTF-8 (byte {error.start})", code="NOT_TEXT") from error


def write_source(path: Path, text: str, python: str | None = None) -> Path:
    """Replace the working copy's text, whole or not at all; returns the file written.

    Raises InvalidValue SYNTAX_ERROR (line), TooLarge, Conflict OUTSIDE_FOLDER for a link.
    """
    entry = entry_of(path)
    data = text.encode("utf-8")
    if len(data) > UPLOAD_BYTES:
        raise TooLarge(f"the source is over {UPLOAD_BYTES >> 20} MB")
    if entry.is_symlink():
        raise Conflict(f"{entry} is a symbolic link; put a copy there instead", code="OUTSIDE_FOLDER")
    require_syntax(data, entry.name, f"cannot save {entry.name}", python)
    entry.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(entry.stat().st_mode) if entry.exists() else 0o644
    durable.write_bytes(entry, data, mode=mode)
    return entry
