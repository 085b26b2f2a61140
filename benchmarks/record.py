"""What a measurement says, and how it gets into RESULTS.md.

A row names the thing measured, the budget, our figure and the baseline of the same run. The whole table of a run is
replaced in RESULTS.md, under the heading of its module.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True)
class Row:
    """One figure: what, in which unit, ours, the baseline's (None = there is none), must and aim as text."""

    what: str
    unit: str
    ours: float
    baseline: float | None = None
    must: str = ""
    aim: str = ""
    note: str = ""

    def cells(self) -> list[str]:
        """The row as cells of the table."""
        ratio = "" if not self.baseline else f"{self.ours / self.baseline:.2f}"
        baseline = "" if self.baseline is None else f"{self.baseline:.3g}"
        note = "; ".join(part for part in (self.verdict(), self.note) if part)
        return [self.what, self.unit, f"{self.ours:.3g}", baseline, ratio, self.must, self.aim, note]

    def verdict(self) -> str:
        """Which budget is missed, if one is."""
        if self._misses(self.must):
            return "**misses the must**"
        return "misses the aim" if self._misses(self.aim) else ""

    def _misses(self, budget: str) -> bool:
        """A budget is a plain figure, a ratio to the baseline ("2×"), or a distance from it ("+5 ms")."""
        if not budget:
            return False
        limit = float(re.sub(r"[^\d.]", "", budget))
        if budget.endswith("×"):
            return self.ours > limit * (self.baseline or 0)
        return self.ours > limit + (self.baseline or 0 if budget.startswith("+") else 0)


HEAD = ["what", "unit", "ours", "baseline", "ratio", "must", "aim", "note"]


def table(rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def machine() -> str:
    """Cores, kernel and interpreter; no names."""
    user = "root" if os.getuid() == 0 else "an ordinary user"
    kernel = platform.release().split("-")[0]
    return f"{os.cpu_count()} cores, Linux {kernel}, Python {platform.python_version()}, as {user}"


def keep(name: str, rows: list[Row], load: float) -> None:
    """Replace the section of one module in RESULTS.md; `load` is the machine's before the measurement."""
    today = datetime.now().astimezone().date().isoformat()
    head = f"{today} · `python -m benchmarks {name}` · {machine()}, load before: {load:.1f}"
    section = f"## {name}\n\n{head}\n\n{table(rows)}\n"
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Benchmark results\n\n"
    pattern = re.compile(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    text = pattern.sub(lambda _: section + "\n", text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}"
    RESULTS.write_text(text.rstrip() + "\n", encoding="utf-8")


def quantile(values: list[float], q: float) -> float:
    """The q-quantile (0..1) of a list, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def median(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)
