"""The page of one strategy: its tabs, forms and editors, over a fake supervisor whose calls are recorded."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.dashboard.conftest import SLOW_MS, TABS, Serve, Visit
from tests.support import wait_for

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW_MS)
EMA = "/api/strategies/ema"


def patched(server: object) -> list[object]:
    return [body for method, path, body in server.order("calls") if method == "PATCH" and path == EMA]  # type: ignore[attr-defined]


def type_until(page: Page, label: str, text: str, sees: str) -> None:
    """Type into a field until the page says what it should; Material's fields are deaf for a moment at first."""

    def said() -> bool:
        page.get_by_label(label, exact=True).fill("")
        page.get_by_label(label, exact=True).fill(text)
        try:
            page.get_by_text(sees).first.wait_for(timeout=3000)
        except PlaywrightTimeout:
            return False
        return True

    wait_for(said, 30, f"{label} = {text} to be answered by {sees!r}")


def test_deep_links_tabs_back_and_forward(serve: Serve, visit: Visit) -> None:
    page = visit(serve(3), "/?strategy=ema&tab=runs", ready=".sp.runs tbody tr")
    expect(page.locator(".strategy h1")).to_have_text("ema")
    expect(page.get_by_role("tab", name="Runs")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".runs td.reason").nth(1)).to_have_text("crashed <b>hard</b>")
    page.get_by_role("tab", name="Logs").click()
    expect(page.locator(".sp.log.full .line").first).to_be_visible()
    page.wait_for_url("**/?strategy=ema&tab=logs")
    page.go_back()
    expect(page.get_by_role("tab", name="Runs")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    expect(page.locator(".board .row").first).to_be_visible()
    page.wait_for_url(lambda url: "strategy" not in url)


def test_settings_are_checked_while_typing_and_saved_as_a_patch(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page = visit(server, "/?strategy=ema&tab=settings", ready=".strategy")
    memory = page.get_by_label("Memory, MiB")
    type_until(page, "Memory, MiB", "lots", '"lots" is not a number')
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    memory.fill("0.5")
    expect(page.get_by_text("1 to correct")).to_be_visible()
    memory.fill("2048")
    page.get_by_label("Environment").fill("A=1\nB=two=2")
    expect(page.get_by_text("from the next start on; restart to apply now")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("saved;")).to_be_visible()
    body = patched(server)[-1]
    assert body["limits"]["memory_mb"] == 2048
    assert body["env"] == {"A": "1", "B": "two=2"}
    assert "schedule" not in body, "only what changed"


def test_a_schedule_is_checked_and_foreseen_as_one_types(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page = visit(server, "/?strategy=ema&tab=schedule", ready=".preview .list li.start")
    expect(page.locator(".preview .list li")).to_have_count(10)
    start = page.get_by_label("Start", exact=True)
    start.fill("25:99")
    expect(page.locator(".preview .said.bad")).to_contain_text('"25:99" is not HH:MM')
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    start.fill("open+7m")
    expect(page.locator(".preview .rule").first).to_have_text("open+7m")
    page.get_by_role("button", name="Save").click()
    wait_for(lambda: patched(server), 20, "the patch")
    assert patched(server)[-1]["schedule"]["windows"][0]["start"] == "open+7m"


def test_source_is_edited_saved_deployed_and_compared(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page = visit(server, "/?strategy=ema&tab=source", ready=".code[data-ready=ace]")
    expect(page.locator(".code .ace_keyword, .code .ace_support").first).to_have_text("print")
    page.locator(".code .ace_text-input").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("def broken(:")
    expect(page.get_by_text("line 1: invalid syntax")).to_be_visible()
    page.keyboard.press("Control+A")
    page.keyboard.type("print('new')")
    expect(page.get_by_text("not saved")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("saved; the schedule goes on")).to_be_visible()
    assert [body for method, path, body in server.order("calls") if method == "PUT"] == ["print('new')"]
    page.get_by_role("button", name="Deploy", exact=True).click()
    wait_for(lambda: len(server.calls(f"{EMA}/deploy")) == 1, 20, "the deploy")
    page.get_by_role("button", name="Diff", exact=True).first.click()
    expect(page.locator(".diff .plus")).to_have_text("+print('<b>new</b>')")
    page.get_by_role("button", name="Roll back to it").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    wait_for(lambda: server.calls(f"{EMA}/rollback"), 20)
    assert server.calls(f"{EMA}/rollback") == [{"n": 1}]


def test_promoting_wants_the_name_typed(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page = visit(server, "/?strategy=ema&tab=source", ready=".versions li")
    page.get_by_role("button", name="Promote").first.click()
    box = page.get_by_role("dialog")
    yes = box.get_by_role("button", name="Promote to live")
    expect(yes).to_be_disabled()
    box.get_by_role("textbox").fill("em")
    expect(yes).to_be_disabled()
    box.get_by_role("textbox").fill("ema")
    yes.click()
    wait_for(lambda: server.calls(f"{EMA}/promote"), 20)
    assert server.calls(f"{EMA}/promote") == [{"version": 2, "mode": "live"}]


def test_removing_wants_the_name_typed_and_leads_back(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    server.order("change", "ema", state="stopped", pid=None)
    page = visit(server, "/?strategy=ema&tab=runs", ready=".strategy")
    page.get_by_role("button", name="more actions").last.click()
    page.get_by_role("menuitem", name="Remove…").click()
    box = page.get_by_role("dialog")
    box.get_by_role("textbox").fill("ema")
    box.get_by_role("button", name="Remove").click()
    expect(page.locator(".board .row")).to_have_count(2)


def test_a_new_strategy_is_made_from_a_blank(serve: Serve, visit: Visit) -> None:
    server = serve(2)
    page = visit(server, "/?page=new", ready=".code[data-ready=ace]")
    page.get_by_label("Id", exact=True).fill("../evil")
    expect(page.get_by_role("button", name="Make it")).to_be_disabled()
    page.get_by_label("Id", exact=True).fill("fresh")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".strategy h1")).to_have_text("fresh")
    made = server.calls("/api/strategies")
    assert made[0]["id"] == "fresh"
    assert "signal.SIGTERM" in made[0]["source"]


def test_the_week_shows_each_window_and_opens_its_schedule(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page = visit(server, "/?page=week", ready=".week .window")
    expect(page.locator(".week .row")).to_have_count(3)
    expect(page.locator(".week .row .name .icon.dot")).to_have_count(3)  # running: also when the week was read first
    expect(page.locator(".week .session").first).to_be_attached()
    server.order("change", "ema", state="stopped", pid=None)
    expect(page.locator(".week .row", has_text="ema").locator(".name .icon.stop")).to_have_count(1)
    asked = len([path for _, path, _ in server.order("calls") if path == "/api/week"])
    server.order("change", "ema", next_start="2026-11-24T03:50:00+00:00")
    wait_for(lambda: len([path for _, path, _ in server.order("calls") if path == "/api/week"]) > asked, 20, "a read")
    page.locator(".week .window").first.click()
    expect(page.get_by_role("tab", name="Schedule")).to_have_attribute("aria-selected", "true")


def test_resources_draw_history(serve: Serve, visit: Visit) -> None:
    page = visit(serve(2), "/?strategy=ema&tab=resources", ready=".bk-Figure canvas, .bk-Canvas canvas")
    expect(page.get_by_text("1 start in this span: dotted lines")).to_be_visible()
    page.get_by_role("button", name="6 h").click()
    said = re.compile(r"3 starts in this span: dotted lines; [12] bad ends?: solid lines")
    expect(page.get_by_text(said)).to_be_visible()


def test_charts_without_a_sample_have_axes_and_say_so(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    server.order("set", samples=False)  # the pages' fixture refuses warnings of the console, Bokeh's about ranges too
    page = visit(server, "/?strategy=ema&tab=resources", ready=".bk-Figure")
    expect(page.get_by_text("no samples in this span")).to_be_visible()
    page.get_by_role("button", name="30 days").click()
    month_ago = "m => m.start < Date.now() - 29 * 86400e3"
    page.wait_for_function(f"() => Bokeh.documents.some(d => [...d._all_models.values()].some({month_ago}))")
    visit(server, "/")


def test_on_a_phone_no_tab_pushes_the_buttons_off_the_screen(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page = visit(server, "/?strategy=ema&tab=logs", width=390, height=844, ready=".strategy")
    for tab, drawn in TABS.items():
        page.get_by_role("tab", name=tab.title(), exact=True).click()
        expect(page.get_by_role("tab", name=tab.title(), exact=True)).to_have_attribute("aria-selected", "true")
        # left before it is drawn, Panel's React views complain on the console of a root that never came
        page.locator(drawn).first.wait_for(state="attached")
        if tab == "schedule":
            expect(page.locator(".preview .list li").first).to_be_attached()
        for name in ("Stop", "Restart"):
            box = page.get_by_role("button", name=name, exact=True).first.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= 390, f"{name} on {tab}"
