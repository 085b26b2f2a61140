"""The Live tab: what a strategy reports is drawn and listed, grows without being read again, and runs are compared."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from stratpanel.dashboard.reported import started_of
from tests.dashboard.conftest import SLOW_MS, Serve, Server, Visit
from tests.dashboard.fake_reports import HOSTILE
from tests.support import wait_for

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW_MS)
EARLIER = "ema~20261101T091500~00000001"
LIVE = "/?strategy=ema&tab=live"
FIGURES = ".sp-reported .bk-Figure"

# points of each named figure's line renderers, the shapes of its markers, and where its time axis starts
DRAWN = """
() => {
  const found = {}
  for (const doc of Bokeh.documents) {
    for (const model of doc._all_models.values()) {
      if (model.type !== "Figure" || !model.name) { continue }
      const of = (kind) => model.renderers.filter((r) => r.glyph && r.glyph.type === kind)
      found[model.name] = {
        points: of("Line").map((r) => r.data_source.data.x.length),
        last: of("Line").map((r) => Array.from(r.data_source.data.y).at(-1)),
        first: of("Line").map((r) => Array.from(r.data_source.data.x)[0]),
        shapes: of("Scatter").flatMap((r) => Array.from(r.data_source.data.marker)),
        words: of("Text").flatMap((r) => Array.from(r.data_source.data.side)),
        dashes: of("Line").map((r) => String(r.glyph.line_dash.value)),
        range: model.x_range.id,
      }
    }
  }
  return found
}
"""


def drawn(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(DRAWN)
    return found


def run_of(server: Server) -> str:
    return str(server.order("row", "ema")["run_id"])


def reporting(serve: Serve, points: int = 400) -> Server:
    """A strategy whose run under way and one before it have reported."""
    server = serve(3)
    now = time.time()
    server.order("report", "ema", "run", run_of(server), now - 10 * points, points, 2.0)
    server.order("report", "ema", "run", EARLIER, started_of(EARLIER), points // 2, -1.0)
    return server


def test_nothing_reported_says_how_to(serve: Serve, visit: Visit) -> None:
    page = visit(serve(3), LIVE, ready=".live .empty")
    expect(page.get_by_text("This strategy has reported nothing yet")).to_be_visible()
    expect(page.locator(".live .empty pre")).to_contain_text("live.metric(pnl=120.5, position=3)")
    expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")


def test_the_tab_opens_on_a_page_that_was_drawn_without_it(serve: Serve, visit: Visit) -> None:
    page = visit(reporting(serve), "/?strategy=ema&tab=logs", ready=".strategy h1")
    page.get_by_role("tab", name="Live").click()
    expect(page.locator(".livelist li").first).to_be_visible()


def test_metrics_signals_and_notes_are_drawn_and_grow(serve: Serve, visit: Visit) -> None:
    server = reporting(serve)
    page = visit(server, LIVE, ready=FIGURES)
    charts = wait_for(lambda: len(drawn(page)) == 3 and drawn(page), 20, "three charts")
    assert set(charts) == {"signals", "metric pnl", "metric position"}
    assert charts["metric pnl"]["points"] == [400]
    assert charts["metric position"]["points"] == [100], "a metric has points only where it was reported"
    assert {"triangle", "inverted_triangle", "diamond"} == set(charts["metric pnl"]["shapes"])
    assert charts["signals"]["words"][:3] == ["BUY", "SELL", "roll"]
    assert len({chart["range"] for chart in charts.values()}) == 1, "one zoom for all"

    asked = len(full_reads(server))
    run = run_of(server)
    server.order("report", "ema", "more", run, pnl=1234.5)
    server.order("report", "ema", "say", run, "a fresh note")
    server.order("report", "ema", "say", run, "a fresh signal", "SELL")
    wait_for(lambda: drawn(page)["metric pnl"]["last"] == [1234.5], 20, "the new point")
    expect(page.locator(".livelist li").first).to_contain_text("a fresh")
    expect(page.locator(".livelist li.down").first).to_contain_text("SELL")
    wait_for(lambda: len(drawn(page)["signals"]["words"]) == len(charts["signals"]["words"]) + 1, 20, "the new mark")
    assert len(full_reads(server)) == asked, "points are added, nothing is read again"

    server.order("report", "ema", "more", run, slippage=0.5)
    wait_for(lambda: "metric slippage" in drawn(page), 20, "a chart for a metric that is new")


def full_reads(server: Server) -> list[str]:
    """Reads of a whole run; following one asks for what came after."""
    return [path for path in server.order("reads", "ema") if "after" not in path]


def test_markup_in_signals_and_notes_stays_text(serve: Serve, visit: Visit) -> None:
    page = visit(reporting(serve), LIVE, ready=".livelist li")
    expect(page.locator(".livelist li.said").first).to_contain_text(HOSTILE)
    expect(page.locator(".livelist li.signal").first).to_contain_text(HOSTILE)
    assert page.locator(".livelist img, .livelist li .text b b").count() == 0
    plot = page.locator(FIGURES).first
    expect(plot).to_be_visible()
    box = plot.bounding_box()
    assert box is not None
    for x in range(70, int(box["width"]) - 10, 6):  # over every mark of the strip
        page.mouse.move(box["x"] + x, box["y"] + 32)
        if page.locator(".bk-tooltip-content, .bk-Tooltip").count():
            break
    else:
        pytest.fail("no tooltip on the strip of signals")
    expect(page.locator(".bk-Tooltip").first).to_contain_text("<img src=x")
    assert page.locator(".bk-Tooltip img").count() == 0


def test_a_past_run_is_chosen_and_two_are_compared(serve: Serve, visit: Visit) -> None:
    server = reporting(serve)
    page = visit(server, LIVE, ready=FIGURES)
    chooser = page.locator(".live select[aria-label=run]")
    expect(chooser.locator("option")).to_have_count(3)
    chooser.select_option(EARLIER)
    wait_for(lambda: drawn(page)["metric pnl"]["points"] == [200], 20, "the earlier run")
    chooser.select_option("")
    wait_for(lambda: drawn(page)["metric pnl"]["points"] == [400], 20, "the newest run")

    page.get_by_role("button", name="Compare…").click()
    box = page.get_by_role("dialog")
    box.get_by_role("checkbox").check()
    box.get_by_role("button", name="Compare", exact=True).click()
    charts = wait_for(
        lambda: len(drawn(page)["metric pnl"]["points"]) == 2 and drawn(page), 20, "both runs in one chart"
    )
    assert charts["metric pnl"]["points"] == [400, 200]
    assert len(set(charts["metric pnl"]["dashes"])) == 2, "not told by colour alone"
    assert max(charts["metric pnl"]["first"]) < 1e6, "seconds since each start, not epochs"
    expect(page.locator(".live .chips .run")).to_have_count(2)
    expect(page.locator(".livelist .letter").first).to_be_visible()
    page.get_by_label("time axis").select_option("clock")
    wait_for(lambda: min(drawn(page)["metric pnl"]["first"]) > 1e12, 20, "by the clock")
    page.get_by_role("button", name="compare no more with run B").click()
    wait_for(lambda: drawn(page)["metric pnl"]["points"] == [400], 20, "one run again")


@pytest.mark.parametrize("dark", [False, True])
def test_it_looks_right_in_both_schemes(serve: Serve, visit: Visit, dark: bool, tmp_path: Any) -> None:
    page = visit(reporting(serve), LIVE, ready=FIGURES, dark=dark)
    wait_for(lambda: len(drawn(page)) == 3, 20, "the charts")
    ground = page.evaluate(
        "() => [...Bokeh.documents].flatMap(d => [...d._all_models.values()])"
        ".filter(m => m.type === 'Figure' && m.name === 'signals').map(m => m.background_fill_color)[0]"
    )
    assert ground == ("#12171e" if dark else "#ffffff")
    page.screenshot(path=tmp_path / f"live-{dark}.png")
