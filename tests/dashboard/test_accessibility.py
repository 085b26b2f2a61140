"""Contrast, labels and names of every page, judged by axe-core (WCAG 2 A and AA), in both schemes; the focus order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import SLOW_MS, TABS, Server, Visit, fake_server

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW_MS)
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
PAGES = {
    "/": ".board .row",
    **{f"/?strategy=ema&tab={tab}": ready for tab, ready in TABS.items()},
    "/?page=new": ".code[data-ready]",
    "/?page=week": ".week .window",
}


def violations(page: Page) -> list[str]:
    """What axe-core finds, a line for each element."""
    found: dict[str, Any] = Axe().run(page, options=RULES).response
    return [
        f"{rule['id']}: {node['target'][-1]} {node['html'][:160]} {node['failureSummary'][:300]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all pages of this module are looked at on."""
    server = fake_server(tmp_path_factory.mktemp("desk") / "w")
    server.order("change", "ema", working_copy_differs=True, deployed_version=2, version=2)
    yield server
    server.close()


def switch_scheme(page: Page) -> None:
    """Have the page in its other scheme; Material's forms follow a moment later."""
    head = page.locator(".sp.head")
    other = "light" if head.get_attribute("data-scheme") == "dark" else "dark"
    page.get_by_role("button", name="switch between light and dark").click()
    expect(head).to_have_attribute("data-scheme", other)


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_in_light_and_dark(desk: Server, visit: Visit, path: str) -> None:
    page = visit(desk, path, ready=PAGES[path])
    expect(page.locator(".sp.head .total").first).to_be_visible()
    assert violations(page) == [], "light"
    switch_scheme(page)
    deadline = time.monotonic() + SLOW_MS / 1000
    while (left := violations(page)) and time.monotonic() < deadline:
        page.wait_for_timeout(300)
    assert left == [], "dark"


def test_axe_finds_nothing_in_the_activity_list_and_a_dialog(desk: Server, visit: Visit) -> None:
    page = visit(desk)
    page.get_by_role("button", name="activity: who did what").click()
    page.get_by_role("button", name="PANIC").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []


def test_tab_walks_from_the_header_over_the_list_to_the_log_and_every_stop_has_a_name(
    desk: Server, visit: Visit
) -> None:
    page = visit(desk)
    expect(page.locator(".board .row.current")).to_have_count(1)
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => {
                let node = document.activeElement
                while (node?.shadowRoot?.activeElement) { node = node.shadowRoot.activeElement }
                const label = node.getAttribute("aria-label") || node.textContent.trim() || node.title || ""
                return [node.closest(".sp.head") ? "head" : node.closest(".board") ? "board"
                        : node.closest(".log") ? "log"
                        : node.tagName === "BODY" ? "end" : "other", label.slice(0, 40), node.tagName]
            }"""
        )
        if stop[0] == "end":
            break
        stops.append(stop)
    places = [place for place, _, _ in stops if place != "other"]
    order = [place for at, place in enumerate(places) if not at or places[at - 1] != place]
    assert order[:3] == ["head", "board", "log"], stops
    assert [stop for stop in stops if not stop[1] and stop[0] != "other"] == []
    names = [name for _, name, _ in stops]
    assert any("PANIC" in name for name in names), names
    assert "filter strategies" in names
