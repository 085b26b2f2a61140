"""The dashboard as operators have it open: how soon it shows, what it costs the server, how soon a line is in the DOM.

Real strategies, supervisor, server and Chromium; the server's CPU and memory are taken with thin pages (`pages.Thin`),
since twenty Chromium pages would need the cores that are to be measured. One of the strategies prints 100 lines a
second, and every page shows its log. A plain Panel page of as many rows stands beside it in the same run.
FLEET_OF_MANY=1000 says how many strategies "many" are.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from playwright.sync_api import CDPSession
from playwright.sync_api import TimeoutError as TookTooLong

from benchmarks.pages import SLOW_MS, Served, Thin, chromium, dashboard, opened, plain
from benchmarks.record import Row, median, quantile
from benchmarks.workspace import cpu_seconds, pss_mb, workspace
from tests.workbench import Workbench

FEW = 50
MANY = int(os.environ.get("FLEET_OF_MANY", "1000"))
LOADS = 5
SETTLE_S = 3.0
QUIET_S = 8.0
WATCH_S = 12.0
VISITS = 500
AT_A_TIME = 25
FILL = 150  # visits after which as many closed pages are kept (15 s each) as ever will be
FORGET_S = 25.0  # a closed page's session is kept for 15 s, and looked for every 2

FIRST, FLOOD = "s0000", "z-flood"
PRINTS = """
import os, time
due = time.monotonic()
n = 0
while True:
    due += 1 / LINES_PER_S
    time.sleep(max(0.0, due - time.monotonic()))
    n += 1
    os.write(1, f"{time.time():.6f} INFO line {n} of some length, with a price of 1234.5 in it\\n".encode())
"""
WORKS = """
import time
while True:
    print("a line now and then", flush=True)
    sum(range(100_000))
    time.sleep(EVERY_S)
"""
# Delays of the lines as they get into the page, by the clock that the strategy printed: the same machine's.
WATCH = """() => {
  const find = (root) => {
    for (const node of root.querySelectorAll("*")) {
      if (node.matches(".sp.log .rows")) { return node }
      const below = node.shadowRoot && find(node.shadowRoot)
      if (below) { return below }
    }
    return null
  }
  const rows = find(document), seen = new Set()
  window.delays = []
  const look = (collect) => {
    const now = Date.now()
    for (const row of rows.children) {
      const text = row.lastChild.textContent, at = 1000 * parseFloat(text)
      if (!seen.has(text)) { seen.add(text); if (collect && at) { window.delays.push(now - at) } }
    }
  }
  look(false)
  new MutationObserver(() => look(true)).observe(rows, {subtree: true, childList: true, characterData: true})
}"""
FRAMES = """(seconds) => new Promise((done) => {
  const gaps = []
  let last = performance.now()
  const begun = last
  const frame = (now) => {
    gaps.push(now - last)
    last = now
    now - begun < 1000 * seconds ? requestAnimationFrame(frame) : done(gaps)
  }
  requestAnimationFrame(frame)
})"""


def measure() -> list[Row]:
    """Rows of this module."""
    rows = []
    with workspace() as bench:
        started(bench, FEW)
        rows += of_size(bench, FEW)
    if MANY > FEW:
        with workspace() as bench:
            started(bench, MANY)
            rows += of_size(bench, MANY)
    return rows


def started(bench: Workbench, size: int) -> None:
    """As many running strategies; the first prints 100 lines a second, of the others about 50 a second do a little."""
    bench.api.delete("/api/strategies/simple_ema")
    works = WORKS.replace("EVERY_S", str(size / FEW))  # 1,000 that work each second would leave no core for us
    for n in range(size):
        bench.register(f"s{n:04}", works if n else PRINTS.replace("LINES_PER_S", "100"))
    bench.cli("start", "--all", timeout=600)
    bench.register(FLOOD, PRINTS.replace("LINES_PER_S", "1000"))


def of_size(bench: Workbench, size: int) -> list[Row]:
    """Rows for one workspace."""
    with dashboard(bench.folder) as ours, plain(size) as baseline:
        time.sleep(SETTLE_S)  # both servers have imported what they need, as after `stratpanel serve`
        parts: list[Callable[[], list[Row]]] = [
            lambda: loads(ours, baseline, size),
            lambda: server_cpu(bench, ours, baseline, size),
        ]
        parts += [lambda: lines(ours), lambda: flood(bench, ours), lambda: memory(ours)] if size == FEW else []
        rows: list[Row] = []
        for part in parts:
            begun = time.perf_counter()
            rows += part()
            print(f"{rows[-1].what}: {rows[-1].ours:.3g} ({time.perf_counter() - begun:.0f} s)", file=sys.stderr)
    return rows


def loads(ours: Served, baseline: Served, size: int) -> list[Row]:
    """From the navigation to the first row, each time in a fresh browser with an empty cache."""
    must, aim = ("2", "1.2") if size == FEW else ("3", "1.3")
    times = [cold(ours, ".board .row") for _ in range(LOADS)]
    plains = [shown for _ in range(3 if size == FEW else 1) if (shown := patient(baseline))]
    note = f"{min(times):.2f} to {max(times):.2f}" + ("" if plains else "; the plain page did not show in a minute")
    beside = median(plains) if plains else None
    return [Row(f"{size} strategies: cold page, table visible, p50", "s", median(times), beside, must, aim, note)]


def patient(baseline: Served) -> float | None:
    """Seconds of a visit to the plain page, None if it shows nothing in a minute; that must not end our measurement."""
    try:
        return cold(baseline, ".tabulator-row")
    except TookTooLong:
        return None


def cold(served: Served, ready: str) -> float:
    """Seconds of one visit."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(SLOW_MS)
        begun = time.perf_counter()
        page.goto(served.base, wait_until="commit")
        page.wait_for_selector(ready)
        return time.perf_counter() - begun


def server_cpu(bench: Workbench, ours: Served, baseline: Served, size: int) -> list[Row]:
    """CPU of the server with 1, 10 and 20 pages; bytes to one of them; the supervisor's CPU beside it."""
    budgets = {(FEW, 10): ("15", "2"), (FEW, 20): ("30", "3"), (MANY, 10): ("20", "3")}
    supervisor = bench.supervisor_pid()
    assert supervisor is not None
    what, rows = f"{size} strategies, 100 log lines/s", []
    most = 20 if size == FEW else 10
    for pages in sorted({1, 10, most}):
        used, received, behind = standing(ours, FIRST, pages, supervisor)
        # With more, the plain page's server has not a moment left to open the next.
        beside = standing(baseline, "", pages, supervisor)[0] if pages * size <= 10 * FEW else None
        must, aim = budgets.get((size, pages), ("", ""))
        rows += [Row(f"{what}: server's CPU, {pages} pages", "% of a core", used, beside, must, aim)]
    return [
        *rows,
        Row(f"{what}: to each of {most} pages", "kB/s", received / 1000),
        Row(f"{what}: supervisor's CPU meanwhile", "% of a core", behind),
    ]


def standing(served: Served, chosen: str, pages: int, supervisor: int) -> tuple[float, float, float]:
    """With so many pages open: the server's CPU, bytes a second to each page, the supervisor's CPU."""
    with Thin(served, chosen) as thin:
        thin.open(pages)
        time.sleep(SETTLE_S)
        before, behind, thin.received, begun = cpu_seconds(served.pid), cpu_seconds(supervisor), 0, time.perf_counter()
        time.sleep(QUIET_S)
        took = time.perf_counter() - begun
        used, behind = cpu_seconds(served.pid) - before, cpu_seconds(supervisor) - behind
        return used / took * 100, thin.received / took / pages, behind / took * 100


def lines(ours: Served) -> list[Row]:
    """From `write` in the strategy to the text in the page's DOM, and what the page costs its browser."""
    with chromium() as browser:
        page = opened(browser, ours, "/", ".log .line .text")
        page.evaluate(WATCH)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        before = busy_seconds(session)
        page.wait_for_timeout(1000 * WATCH_S)
        busy = (busy_seconds(session) - before) / WATCH_S * 100
        delays = [float(delay) for delay in page.evaluate("() => window.delays")]
    assert len(delays) > 50 * WATCH_S, f"only {len(delays)} lines were seen in the page"
    return [
        Row("line printed to in the browser's DOM, 100 Hz, p50", "ms", median(delays)),
        Row("line printed to in the browser's DOM, 100 Hz, p99", "ms", quantile(delays, 0.99), None, "300", "100"),
        Row("page's main thread in Chromium, 50 strategies, 100 lines/s", "% of a core", busy),
    ]


def busy_seconds(session: CDPSession) -> float:
    """What the page's main thread has worked so far, by Chromium's own count."""
    metrics = {item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])


def flood(bench: Workbench, ours: Served) -> list[Row]:
    """Frames of a page that shows 1,000 new lines a second."""
    bench.cli("start", FLOOD)
    with chromium() as browser:
        page = opened(browser, ours, f"/?strategy={FLOOD}&tab=logs", ".log.full .line .text")
        page.wait_for_timeout(1000 * SETTLE_S)
        gaps = [float(gap) for gap in page.evaluate(FRAMES, WATCH_S / 2)]
    bench.cli("stop", FLOOD)
    slow = sum(gap > 20.5 for gap in gaps) / len(gaps) * 100
    return [
        Row("1,000 lines/s: mean time of a frame (50 fps)", "ms", sum(gaps) / len(gaps), None, "20", "17"),
        Row("1,000 lines/s: frames later than 20 ms", "%", slow),
        Row("1,000 lines/s: longest frame", "ms", max(gaps)),
    ]


def memory(ours: Served) -> list[Row]:
    """Memory of the server after many pages were opened and closed.

    The first visits fill caches, and the interpreter keeps the room that the most pages at once have needed (at this
    pace some seventy-five, closed ones included), so they come before.
    """

    def visits(count: int) -> float:
        with Thin(ours, FIRST) as thin:
            for _ in range(count // AT_A_TIME):
                thin.open(AT_A_TIME)
                thin.close()
        time.sleep(FORGET_S)
        return pss_mb(ours.pid)

    before = visits(FILL)
    begun = time.perf_counter()
    used = cpu_seconds(ours.pid)
    after = visits(VISITS)
    used = (cpu_seconds(ours.pid) - used) / VISITS
    took = time.perf_counter() - begun - FORGET_S
    return [
        Row(f"server's PSS after {VISITS} opened and closed pages", "MiB", after, before, "1.1×", "1.02×"),
        Row("server's CPU for a page, opened and closed", "ms", used * 1000, None, "", "", f"in {took:.0f} s"),
    ]
