"""What a run reported through `stratpanel.live`, as DataFrames for the notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Reports:
    """One run's reports; all indexed by local time. `run_id` is None when no run has reported anything."""

    run_id: str | None
    metrics: pd.DataFrame
    signals: pd.DataFrame
    notes: pd.DataFrame

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Reports:
        """Made of the answer of `GET …/live`."""
        import pandas as pd

        zone = datetime.now().astimezone().tzinfo

        def by_time(times: list[float]) -> pd.DatetimeIndex:
            return pd.to_datetime(times, unit="s", utc=True).tz_convert(zone).rename("time")

        signals = [{"side": row["side"], **row["fields"]} for row in body["signals"]]
        return cls(
            run_id=body["run_id"],
            metrics=pd.DataFrame(body["metrics"], index=by_time(body["t"]), dtype="float64"),
            signals=pd.DataFrame(signals, index=by_time([row["t"] for row in body["signals"]])),
            notes=pd.DataFrame(
                {"text": [row["text"] for row in body["notes"]]}, index=by_time([row["t"] for row in body["notes"]])
            ),
        )
