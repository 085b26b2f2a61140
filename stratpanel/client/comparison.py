"""Runs beside each other: paper and live, before and after a version, one strategy and another.

Made by `Strategy.compare`. It reads what the runs reported; drawing is left to the dashboard's figures, looked up by
name, and a cell shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from stratpanel.client.connection import strategy_path
from stratpanel.client.reports import Reports
from stratpanel.client.showing import show
from stratpanel.model.errors import InvalidValue, NotFound

if TYPE_CHECKING:
    import pandas as pd

    from stratpanel.client.strategy import Strategy

Basis = Literal["clock", "start"]

FIGURES = "stratpanel.dashboard.metrics"
MOST = 6
LIMIT = 20_000


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison; `label` names it in columns and figures, `body` is the API's answer."""

    run_id: str
    label: str
    started: datetime
    body: dict[str, Any]

    @property
    def reports(self) -> Reports:
        """Its reports as DataFrames."""
        return Reports.of(self.body)


@dataclass(frozen=True)
class Comparison:
    """Runs to look at together: shown in a cell as figures, `frame("pnl")` as a DataFrame."""

    runs: tuple[ComparedRun, ...]
    metric: str | None
    by: Basis

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that any of the runs reported."""
        return list(dict.fromkeys(name for run in self.runs for name in run.body["metrics"]))

    def frame(self, metric: str | None = None, by: Basis | None = None) -> pd.DataFrame:
        """One metric, a column for each run, by time since each start (Timedelta) or by local time.

        Runs report at moments of their own: between two reports a run keeps its last value. Raises InvalidValue for a
        metric that none of them reported.
        """
        import pandas as pd

        name = metric or self.metric or (self.metrics[0] if self.metrics else "")
        if name not in self.metrics:
            known = ", ".join(self.metrics) or "none"
            raise InvalidValue(f"none of these runs reported a metric {name!r}; they reported {known}")
        columns = []
        for run in self.runs:
            if name in run.body["metrics"]:
                column = run.reports.metrics[name].dropna()
                column = column[~column.index.duplicated(keep="last")].rename(run.label)
                if (by or self.by) == "start":
                    column.index = (column.index - pd.Timestamp(run.started)).rename("since_start")
                columns.append(column)
        frame = pd.concat(columns, axis=1).sort_index()
        for place, column in enumerate(columns):
            within = frame.index <= column.index[-1]
            frame.iloc[within, place] = frame.iloc[within, place].ffill()
        return frame

    @property
    def figures(self) -> list[Any]:
        """The Bokeh figures, new ones at each look."""
        module = import_module(FIGURES)
        return list(module.comparison(self.runs, self.metric, self.by))

    def __repr__(self) -> str:
        rows = [f"  {letter}  {run.label}" for letter, run in zip("ABCDEF", self.runs, strict=False)]
        return "\n".join([f"{len(self.runs)} runs, metrics {', '.join(self.metrics) or 'none'}:", *rows])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return show(self, include, exclude)


def compared(
    strategy: Strategy, which: Sequence[str | int | Strategy], *, metric: str | None = None, by: Basis = "start"
) -> Comparison:
    """The runs that were named, completed to two by the strategy's newest. Raises NotFound, InvalidValue."""
    if by not in ("start", "clock"):
        raise InvalidValue(f'by is {by!r}; it is "start" or "clock"')
    shelves: dict[str, _Shelf] = {}

    def shelf_of(owner: Strategy) -> _Shelf:
        return shelves.setdefault(owner.id, _Shelf(owner))

    chosen: dict[str, _Shelf] = {}
    for one in which:
        if isinstance(one, str | int):
            chosen[shelf_of(strategy).find(one)] = shelf_of(strategy)
        else:
            chosen[shelf_of(one).find(None)] = shelf_of(one)
    own = shelf_of(strategy)
    missing = [run_id for run_id in own.reporting if run_id not in chosen][: max(0, 2 - len(chosen))]
    order = {**dict.fromkeys(missing, own), **chosen} if which else dict.fromkeys(reversed(missing), own)
    if not order:
        raise NotFound(f"no run of {strategy.id} has reported anything; live.metric(pnl=…) in the script does")
    if len(order) > MOST:
        raise InvalidValue(f"{len(order)} runs are too many for one figure; it takes {MOST}")
    return Comparison(tuple(shelf.read(run_id) for run_id, shelf in order.items()), metric, by)


class _Shelf:
    """The runs of one strategy that reported anything, newest first."""

    def __init__(self, strategy: Strategy) -> None:
        self._api = strategy.workspace.api
        self._id = strategy.id
        self._path = strategy_path(strategy.id, "live")
        rows = self._api.get(strategy_path(strategy.id, "runs"), {"limit": 1000})["runs"]
        self._known: dict[str, dict[str, Any]] = {row["run_id"]: row for row in rows}
        self.reporting: list[str] = self._api.get(self._path, {"limit": 1})["runs"]

    def find(self, which: str | int | None) -> str:
        """A run id: the one named, the newest of a version or mode, or the newest of all."""
        for run_id in self.reporting:
            row = self._known.get(run_id, {})
            if which is None or which == run_id or which == row.get("mode"):
                return run_id
            if isinstance(which, int) and row.get("version") == which:
                return run_id
        what = "no run" if which is None else f"no run of version {which}" if isinstance(which, int) else f"no {which}"
        raise NotFound(f"{what} of {self._id} has reported anything", code="RUN_NOT_FOUND")

    def read(self, run_id: str) -> ComparedRun:
        """Everything of one run."""
        body = self._api.get(self._path, {"run": run_id, "limit": LIMIT})
        row = self._known.get(run_id, {})
        first = min(
            [*body["t"][:1], *(entry["t"] for entry in (*body["signals"][:1], *body["notes"][:1]))], default=0.0
        )
        zone = datetime.now().astimezone().tzinfo
        told = row.get("started")
        started = datetime.fromisoformat(told) if told else datetime.fromtimestamp(first, zone)
        words = [self._id, f"v{row['version']}" if row.get("version") is not None else "", str(row.get("mode") or "")]
        label = " ".join([*(word for word in words if word), f"{started.astimezone(zone):%d %b %H:%M:%S}"])
        return ComparedRun(run_id, label, started, body)
