"""What strategies report through `stratpanel.live`: metrics, signals and notes, one file of JSON lines for each run.

The strategy itself appends to `log/live/<id>/<run_id>.jsonl`, so nothing of ours stands between a report and the disk.
The API reads the end of a file in a worker thread; old files go with the retention of runs.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stratpanel.model.kinds import nested_deeper

KEEP_FILES: Final = 200
"""Runs of one strategy whose reports are kept."""
READ_BYTES: Final = 16 * 1024 * 1024
"""At most this much of a file's end is read for one answer: about 150,000 metric lines."""
NONE: Final[Mapping[str, Any]] = {
    "t": [],
    "metrics": {},
    "signals": [],
    "notes": [],
    "heartbeat": None,
    "cut": False,
    "next": 0,
}


def folder_of(workspace: Path, id: str) -> Path:
    """Where the reports of one strategy's runs are."""
    return workspace / "log" / "live" / id


def file_of(workspace: Path, id: str, run_id: str) -> Path:
    """The file one run reports to."""
    return folder_of(workspace, id) / f"{run_id}.jsonl"


def runs_with_reports(workspace: Path, id: str) -> list[str]:
    """Run ids that reported anything, newest first (run ids begin with their UTC time)."""
    try:
        names = [entry.name for entry in os.scandir(folder_of(workspace, id)) if entry.name.endswith(".jsonl")]
    except FileNotFoundError:
        return []
    return sorted((name.removesuffix(".jsonl") for name in names), reverse=True)


def read(path: Path, *, since: float | None = None, after: int = 0, limit: int = 5000) -> dict[str, Any]:
    """Metrics as columns, signals and notes as rows, the last heartbeat; each at most `limit` newest, oldest first.

    `{"t": [epoch s], "metrics": {name: [number|null]}, "signals": [{"t", "side", "fields"}], "notes": [{"t", "text"}],
    "heartbeat": {"t", "within"}|null, "cut": bool, "next": int}`; `t` and every column have equal lengths. `next` given
    as `after` reads only what came since, so that following a run costs what it reports. A file that is missing gives
    empty lists; lines that are no reports of ours are skipped.
    """
    points: list[tuple[float, Mapping[str, Any]]] = []
    signals: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    heartbeat: dict[str, Any] | None = None
    lines, cut, end = _lines_after(path, after)
    for line in lines:
        entry = _report_in(line)
        if entry is None or (since is not None and entry["t"] <= since):
            continue
        at, kind = entry["t"], entry.get("kind")
        if kind == "metric" and isinstance(entry.get("values"), dict):
            points.append((at, entry["values"]))
        elif kind == "signal":
            signals.append({"t": at, "side": str(entry.get("side")), "fields": entry.get("fields") or {}})
        elif kind == "note":
            notes.append({"t": at, "text": str(entry.get("text"))})
        elif kind == "heartbeat":
            heartbeat = {"t": at, "within": entry.get("within")}
    names = dict.fromkeys(name for _, values in points[-limit:] for name in values)
    return {
        "t": [at for at, _ in points[-limit:]],
        "metrics": {name: [_number(values.get(name)) for _, values in points[-limit:]] for name in names},
        "signals": signals[-limit:],
        "notes": notes[-limit:],
        "heartbeat": heartbeat,
        "cut": cut or max(len(points), len(signals), len(notes)) > limit,
        "next": end,
    }


def prune(workspace: Path, id: str) -> None:
    """Delete the reports of all but the newest KEEP_FILES runs. Raises OSError."""
    for run_id in runs_with_reports(workspace, id)[KEEP_FILES:]:
        file_of(workspace, id, run_id).unlink(missing_ok=True)


def _lines_after(path: Path, after: int) -> tuple[list[bytes], bool, int]:
    """Whole lines from byte `after` on, whether some were left out, and the byte after them.

    The writer may be half-way through the last line. A file shorter than `after` is another one: it is read whole.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin = after if 0 < after <= size else 0
            start = max(begin, size - READ_BYTES)
            file.seek(start)
            data = file.read(READ_BYTES)
    except FileNotFoundError:
        return [], False, 0
    lines, cut = data.split(b"\n"), start > begin
    return lines[1 if cut else 0 : -1], cut, start + len(data) - len(lines[-1])


def _report_in(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):  # the strategy may write what it likes; a torn line after a power cut
        return None
    if not isinstance(entry, dict) or isinstance(entry.get("t"), bool) or not isinstance(entry.get("t"), int | float):
        return None
    return entry if math.isfinite(entry["t"]) and not nested_deeper(entry) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
