"""What strategies of the fake workspace report, and the parameters of their scripts, in the shapes of the API."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from stratpanel.model.errors import NotFound

HOSTILE = "<img src=x onerror=alert(1)> & <b>bold</b>"


class Reporting:
    """Runs of one strategy with their reports; `more` adds to the newest."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def run(self, run_id: str, started: float, points: int, slope: float) -> None:
        """A run that reported `points` metrics, ten seconds apart."""
        t = [started + 10 * n for n in range(points)]
        self.runs[run_id] = {
            "t": t,
            "metrics": {
                "pnl": [slope * n + 40 * math.sin(n / 9) for n in range(points)],
                "position": [float(n // 40 % 3 - 1) if n % 4 == 0 else None for n in range(points)],
            },
            "signals": [
                {
                    "t": at,
                    "side": ("BUY", "SELL", "roll")[n % 3],
                    "fields": {"symbol": "SBIN", "price": 812.5 + n, "why": HOSTILE},
                }
                for n, at in enumerate(t[20::60])
            ],
            "notes": [{"t": at, "text": f"note {n} {HOSTILE}"} for n, at in enumerate(t[33::90])],
            "heartbeat": {"t": t[-1], "within": 30.0} if t else None,
        }

    def more(self, run_id: str, **values: float) -> None:
        """One more metric line, now."""
        body = self.runs[run_id]
        body["t"].append(time.time())
        for name in {*body["metrics"], *values}:
            column = body["metrics"].setdefault(name, [None] * (len(body["t"]) - 1))
            column.append(values.get(name))

    def say(self, run_id: str, text: str, side: str = "") -> None:
        """A note, or a signal where a side is given, now."""
        if side:
            self.runs[run_id]["signals"].append({"t": time.time(), "side": side, "fields": {"why": text}})
        else:
            self.runs[run_id]["notes"].append({"t": time.time(), "text": text})

    def answer(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """GET …/live; `next` counts reports instead of bytes."""
        ids = sorted(self.runs, reverse=True)
        chosen = query.get("run") or (ids[0] if ids else None)
        if chosen is None:
            return {"run_id": None, "runs": [], "t": [], "metrics": {}, "signals": [], "notes": [], "heartbeat": None,
                    "cut": False, "next": 0}  # fmt: skip
        if chosen not in self.runs:
            raise NotFound(f"no run {chosen} with reports", code="RUN_NOT_FOUND")
        body = self.runs[chosen]
        after = int(query.get("after") or 0)
        points, signals, notes = after % 10**6, after // 10**6 % 10**4, after // 10**10
        end = len(body["t"]) + 10**6 * len(body["signals"]) + 10**10 * len(body["notes"])
        columns = {name: column[points:] for name, column in body["metrics"].items()}
        return {
            "run_id": chosen,
            "runs": ids,
            "t": body["t"][points:],
            "metrics": {name: column for name, column in columns.items() if any(v is not None for v in column)},
            "signals": body["signals"][signals:],
            "notes": body["notes"][notes:],
            "heartbeat": body["heartbeat"],
            "cut": False,
            "next": end,
        }


PARAMETERS = {
    "class": "Settings",
    "problem": None,
    "parameters": [
        {"name": "fast", "type": "Integer", "default": 9, "bounds": [2, 100], "inclusive_bounds": [True, True],
         "doc": "bars of the fast average <b>", "allow_None": False, "constant": False},
        {"name": "ratio", "type": "Number", "default": 0.5, "bounds": [0, 1], "inclusive_bounds": [False, True],
         "doc": "", "allow_None": False, "constant": False},
        {"name": "symbol", "type": "Selector", "default": "AAPL", "objects": ["AAPL", "GOOG"], "doc": "what it trades",
         "allow_None": False, "constant": False},
        {"name": "dry", "type": "Boolean", "default": True, "doc": "place no orders", "allow_None": False,
         "constant": False},
        {"name": "tag", "type": "String", "default": "x", "regex": "^[a-z]*$", "doc": "", "allow_None": False,
         "constant": False},
        {"name": "limit", "type": "Integer", "default": None, "doc": "empty: none", "allow_None": True,
         "constant": False},
    ],
}  # fmt: skip
