"""The live log, as it is read: lines as text, following, pausing, searching, older pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.dashboard.conftest import Serve, Visit
from tests.support import wait_for

pytestmark = pytest.mark.browser


def test_lines_arrive_as_text_with_colours_as_classes_and_levels(serve: Serve, visit: Visit) -> None:
    server = serve(2)
    page = visit(server, "/?strategy=ema&tab=logs", ready=".sp.log.full .line")
    server.order(
        "print", "ema", "<b>bold</b> <script>alert(1)</script> & \x1b[31mred\x1b[0m \x07bell \x1b]0;title\x07end"
    )
    line = page.locator(".sp.log.full .line", has_text="<script>alert(1)</script>")
    expect(line.locator(".text")).to_have_text("<b>bold</b> <script>alert(1)</script> & red ␇bell end")
    expect(line.locator(".f1")).to_have_text("red")
    assert page.locator(".sp.log b:not(.title)").count() == 0
    server.order("print", "ema", "ERROR order rejected")
    expect(page.locator(".sp.log.full .line.error .text")).to_have_text("ERROR order rejected")


def test_pausing_keeps_the_place_and_counts_what_came(serve: Serve, visit: Visit) -> None:
    server = serve(2)
    page = visit(server, "/?strategy=ema&tab=logs", ready=".sp.log.full .line")
    page.locator(".log.full .follow").click()
    expect(page.locator(".log.full .follow")).to_have_text("Paused")
    before = page.locator(".log.full .scroll").evaluate("e => e.scrollTop")
    for n in range(40):
        server.order("print", "ema", f"INFO later {n}")
    expect(page.locator(".log.full .jump")).to_have_text("40 new")
    assert page.locator(".log.full .scroll").evaluate("e => e.scrollTop") == before
    page.locator(".log.full .jump").click()
    expect(page.locator(".log.full .line .text").last).to_have_text("INFO later 39")


def test_search_counts_and_jumps_and_levels_filter(serve: Serve, visit: Visit) -> None:
    server = serve(2)
    page = visit(server, "/?strategy=ema&tab=logs", ready=".sp.log.full .line")
    page.locator(".log.full .find input").fill("bar 123")
    expect(page.locator(".log.full .bar > .find + .count")).to_have_text("1")
    page.locator(".log.full .find input").press("Enter")
    expect(page.locator(".log.full .line.hit mark")).to_have_text("bar 123")
    page.locator(".log.full .find input").fill("")
    page.get_by_label("level", exact=True).last.select_option("2")
    shown = page.locator(".log.full .line .text")
    expect(shown.first).to_contain_text("WARNING")
    assert all("WARNING" in text for text in shown.all_inner_texts())


def test_older_pages_come_on_scroll(serve: Serve, visit: Visit) -> None:
    server = serve(1)
    for n in range(1200):
        server.order("print", "ema", f"line {n}")
    page = visit(server, "/?strategy=ema&tab=logs", ready=".sp.log.full .line")
    expect(page.locator(".log.full .line .text").last).to_have_text("line 1199")
    scroll = page.locator(".log.full .scroll")

    def at_the_top() -> bool:
        scroll.evaluate("e => { e.scrollTop = 0 }")
        return "bar 0 " in page.locator(".log.full .line .text").first.inner_text()

    wait_for(at_the_top, 20, "the first line of the file", every=0.3)


def test_a_thousand_lines_a_second_keep_the_page_quick_and_bounded(serve: Serve, visit: Visit) -> None:
    server = serve(1)
    page = visit(server, "/?strategy=ema&tab=logs", ready=".sp.log.full .line")
    server.order("flood", "ema", 4000)
    expect(page.locator(".log.full .line .text").last).to_have_text("flood 3999")
    assert page.locator(".log.full .line").count() < 80
    lines = page.locator(".log.full .pad").evaluate("e => e.offsetHeight / 18")
    assert lines == 4300, "every line is there, once"


def test_the_whole_log_is_downloaded_however_little_of_it_is_on_the_page(serve: Serve, visit: Visit) -> None:
    server = serve(1)
    server.order("flood", "ema", 70_000)  # more than a page keeps
    page = visit(server, "/?strategy=ema&tab=logs", ready=".sp.log.full .line")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="download the log").click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert waiting.value.suggested_filename == "ema.log"
    lines = text.splitlines()
    assert len(lines) == 70_300
    assert [line.split(" ", 1)[1] for line in lines[-70_000:]] == [f"flood {n}" for n in range(70_000)]
    assert lines[0].split(" ", 1)[1].startswith("WARNING bar 0")
    expect(page.get_by_role("button", name="download the log")).to_be_visible()


def test_a_log_too_large_for_a_browser_is_saved_in_part_and_says_so(serve: Serve, visit: Visit) -> None:
    server = serve(1)
    server.order("flood", "ema", 30_000)
    page = visit(server, "/?strategy=ema&tab=logs", ready=".sp.log.full .line")
    server.order("set", endless=True)  # there is always an older page
    with page.expect_download() as waiting:
        page.get_by_role("button", name="download the log").click()
    assert Path(waiting.value.path()).stat().st_size > 100_000_000
    expect(page.locator(".toast.warn")).to_contain_text("older ones are in log/strategies/ema.log")
