"""Param objects of mirrored strategies, to bind to: `pn.bind(view, ws["ema"].model.param.state)`.

Made by the mirror for the strategies somebody asked for, and changed by its applier alone, in one update per batch.
Figures that change every second are not Param events: they stay None here, see `Mirror.usage`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from stratpanel.model import schema
from stratpanel.model.strategy import Strategy, report

SAMPLED = ("uptime_s", "cpu_percent", "memory_mb")


class Models:
    """The Param objects that are in use; a forgotten one costs nothing any more."""

    def __init__(self) -> None:
        self._live: weakref.WeakValueDictionary[str, Strategy] = weakref.WeakValueDictionary()

    def of(self, id: str, row: Mapping[str, Any]) -> Strategy:
        """The object of a strategy, the same one for everybody who asks while it is in use."""
        found = self._live.get(id)
        if found is None:
            found = self._live[id] = Strategy(**reported(row))
        return found

    def follow(self, ids: Iterable[str], rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Bring the objects of `ids` up to their rows; a removed strategy's keeps its last values."""
        for id in ids:
            found, row = self._live.get(id), rows.get(id)
            if found is not None and row is not None:
                report(found, **reported(row))


def reported(row: Mapping[str, Any]) -> dict[str, Any]:
    """The reported values of a row as the model has them: times as datetimes, the hold as an object."""
    known = schema.fields(Strategy, schema.is_reported)
    data = {name: row[name] for name in known if name in row and name not in SAMPLED}
    data["hold"] = row.get("hold_detail") or {"kind": row.get("hold", "none")}
    return schema.read(Strategy, data, which=schema.is_reported, keep_unknown=True)
