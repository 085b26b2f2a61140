"""When a strategy last said "I am alive" through `stratpanel.live.heartbeat`, read from the file it reports to.

The sampler's thread asks once a second for the strategies that have a watchdog; only what was appended is read. It
decides nothing: what follows from silence is the watch's.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import Final

FIRST_LOOK_BYTES: Final = 256 * 1024
MARK: Final = b'"heartbeat"'


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat: when (epoch seconds), and within how many seconds it promised the next one."""

    t: float
    within: float | None


class Heartbeats:
    """The last beat of each run that is asked for."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, int, Beat | None]] = {}  # id → file, bytes read, last beat

    def of(self, id: str, path: str) -> Beat | None:
        """The newest heartbeat in the file; None before the first. A file that cannot be read has none."""
        known, done, beat = self._places.get(id, (path, -1, None))
        if known != path:
            done, beat = -1, None
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                begin = max(0, size - FIRST_LOOK_BYTES) if done < 0 or size < done else done
                file.seek(begin)
                data = file.read(size - begin)
        except OSError:  # it has reported nothing yet
            data, begin = b"", max(0, done)
        whole = data.rfind(b"\n") + 1
        for line in reversed(data[:whole].split(b"\n")):
            found = _beat_in(line)
            if found is not None:
                beat = found
                break
        self._places[id] = (path, begin + whole, beat)
        return beat

    def keep(self, ids: set[str]) -> None:
        """Forget all others."""
        for id in self._places.keys() - ids:
            del self._places[id]


def _beat_in(line: bytes) -> Beat | None:
    if MARK not in line:
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):  # the strategy may write what it likes into its file
        return None
    if not isinstance(entry, dict) or entry.get("kind") != "heartbeat":
        return None
    at, within = _number(entry.get("t")), _number(entry.get("within"))
    return None if at is None else Beat(at, within if within and within > 0 else None)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
