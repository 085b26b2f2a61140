"""`make soak`: a page open for ten minutes over 50 busy strategies; does anything grow?

Each figure is read every few seconds and fitted by a straight line (least squares). The row is its slope; the note
gives the 95 % confidence interval and the mean. A leak is a slope whose interval lies above zero, and that is worth an
hour's look when it is more than about 1 % of the mean an hour. SOAK_S=600 says how long.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from playwright.sync_api import CDPSession

from benchmarks.pages import chromium, dashboard
from benchmarks.record import Row
from benchmarks.workspace import pss_mb, workspace
from tests.workbench import Workbench

FLEET = 50
SOAK_S = float(os.environ.get("SOAK_S", "600"))
WARM_S = min(60.0, SOAK_S / 5)
EVERY_S = 5.0
T_95 = 1.98  # Student's t for about a hundred samples
BUSY = """
import os, time
n = 0
while True:
    n += 1
    level = "ERROR" if n % 50 == 0 else "INFO"
    os.write(1, f"{level} bar {n}: a line of some length, with a price of {n % 977}.5 in it\\n".encode())
    sum(range(10_000 * (1 + n % 10)))
    time.sleep(0.2)
"""
# The one whose log is shown. A page keeps 60,000 lines: first as many come as it keeps, so that what follows replaces
# others and a growing heap would be a leak.
SHOWN = """
import os, time
from pathlib import Path
here = Path(os.environ["STRATEGY_STATE_DIR"])
here.mkdir(parents=True, exist_ok=True)
while not (here / "go").exists():
    os.write(1, b"not yet\\n")
    time.sleep(0.1)
n = 0
while True:
    n += 1
    os.write(1, f"INFO bar {n}: a line of some length, with a price of {n % 977}.5 in it\\n".encode())
    time.sleep(WARM / 70_000 if n < 60_000 else 0.01)
"""
NODES = """() => {
  const count = (root) => {
    let n = 0
    for (const node of root.querySelectorAll("*")) { n += 1 + (node.shadowRoot ? count(node.shadowRoot) : 0) }
    return n
  }
  return count(document)
}"""
UNITS = {
    "DOM nodes of the page": "nodes",
    "DOM nodes Chromium keeps": "nodes",
    "JS heap after garbage collection": "MiB",
    "event listeners": "",
    "PSS of the page server": "MiB",
    "PSS of the supervisor": "MiB",
}


def measure() -> list[Row]:
    """Rows of this module."""
    with workspace() as bench:
        bench.api.delete("/api/strategies/simple_ema")
        for n in range(FLEET):
            bench.register(f"s{n:04}", BUSY if n else SHOWN.replace("WARM", str(WARM_S)))
        bench.cli("start", "--all", timeout=300)
        return watched(bench)


def watched(bench: Workbench) -> list[Row]:
    """Open the page, look every few seconds, and say how what was seen changes with time."""
    supervisor = bench.supervisor_pid()
    assert supervisor is not None
    wrong: list[str] = []
    times: list[float] = []
    series: dict[str, list[float]] = {name: [] for name in UNITS}
    with dashboard(bench.folder) as served, chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(served.base, wait_until="commit")
        page.wait_for_selector(".log .line .text")
        chromiums = page.context.new_cdp_session(page)
        chromiums.send("Performance.enable")
        (bench.folder / "strategies" / "state" / "s0000" / "go").touch()
        page.wait_for_timeout(1000 * WARM_S)
        begun = due = time.monotonic()
        while time.monotonic() - begun < SOAK_S:
            due += EVERY_S
            page.wait_for_timeout(max(1.0, 1000 * (due - time.monotonic())))
            figures = {"DOM nodes of the page": float(page.evaluate(NODES)), **collected(chromiums)}
            figures |= {"PSS of the page server": pss_mb(served.pid), "PSS of the supervisor": pss_mb(supervisor)}
            times.append(time.monotonic() - begun)
            for name, value in figures.items():
                series[name].append(value)
        seen = page.locator(".board .row").count()
    assert seen > 5, f"only {seen} rows were left on the page"
    for text in wrong[:10]:
        print(f"console: {text}", file=sys.stderr)
    return [
        *(row(name, times, values) for name, values in series.items()),
        Row(f"errors on the page's console in {times[-1] / 60:.0f} minutes", "", len(wrong), None, "0", "0"),
    ]


def collected(chromiums: CDPSession) -> dict[str, float]:
    """Chromium's counts after a forced garbage collection."""
    chromiums.send("HeapProfiler.collectGarbage")
    answer: dict[str, Any] = chromiums.send("Performance.getMetrics")
    metrics = {item["name"]: float(item["value"]) for item in answer["metrics"]}
    return {
        "JS heap after garbage collection": metrics["JSHeapUsedSize"] / 2**20,
        "DOM nodes Chromium keeps": metrics["Nodes"],
        "event listeners": metrics["JSEventListeners"],
    }


def row(name: str, times: Sequence[float], values: Sequence[float]) -> Row:
    """The slope of one series an hour, with its interval and the mean."""
    slope, either_way = (3600 * part for part in fitted(times, values))
    mean = statistics.fmean(values)
    note = f"± {either_way:.3g} (95 %) around a mean of {mean:.4g}; {values[0]:.4g} at first, {values[-1]:.4g} at last"
    if slope - either_way > 0.01 * mean:
        note += "; **grows**"
    return Row(name, f"{UNITS[name]} an hour".strip(), slope, None, "", "", note)


def fitted(times: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Slope of the least-squares line and half its 95 % interval, per unit of time.

    Neighbouring samples of a sawtooth (a heap, a cache that is trimmed) resemble each other, so the error is that of as
    many samples as are independent: their number is shrunk by the residuals' correlation with their next.
    """
    slope, intercept = statistics.linear_regression(times, values)
    off = [value - intercept - slope * at for at, value in zip(times, values, strict=True)]
    spread = sum(part * part for part in off)
    if not spread:
        return slope, 0.0
    alike = max(0.0, min(0.95, sum(a * b for a, b in pairwise(off)) / spread))
    count = max(3.0, len(times) * (1 - alike) / (1 + alike))
    middle = statistics.fmean(times)
    width = sum((at - middle) ** 2 for at in times) * count / len(times)
    return slope, T_95 * math.sqrt(spread / len(times) * count / (count - 2) / width)
