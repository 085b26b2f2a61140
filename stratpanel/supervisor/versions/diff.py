"""Unified text of the differences between two sets of files, as people read it in a terminal or on the page.

Called by `versions.py`. Binary files and very large ones are only named; nothing is read from disk here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

DIFF_BYTES = 2 * 1024 * 1024
DIFF_LINES = 20_000  # difflib's time grows with the square of changed lines


def unified(before: Mapping[str, bytes], after: Mapping[str, bytes], names: tuple[str, str]) -> str:
    """All files that differ, in the order of their names; "" when none does."""
    changed = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    return "".join(_one_file(name, before.get(name), after.get(name), names) for name in changed)


def _one_file(name: str, old: bytes | None, new: bytes | None, sides: tuple[str, str]) -> str:
    if any(b"\0" in data[:8192] for data in (old, new) if data is not None):
        return f"binary file {name} differs\n"
    before = (old or b"").decode("utf-8", "replace").splitlines(keepends=True)
    after = (new or b"").decode("utf-8", "replace").splitlines(keepends=True)
    if max(len(old or b""), len(new or b"")) > DIFF_BYTES or max(len(before), len(after)) > DIFF_LINES:
        return f"{name} differs; over {DIFF_BYTES >> 20} MB or {DIFF_LINES} lines, not shown\n"
    lines = difflib.unified_diff(
        before,
        after,
        f"{sides[0]}/{name}" if old is not None else "/dev/null",
        f"{sides[1]}/{name}" if new is not None else "/dev/null",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
