"""A market's days on the schedule tab: shown, overridden, taken back; everybody sees it, and processes follow."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.conftest import SLOW_MS, Serve, Server, Visit
from tests.support import pid_alive, wait_for
from tests.workbench import Workbench

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW_MS)
SCHEDULE = "/?strategy=ema&tab=schedule"
OWN = """
[[calendar]]
name = "DESK"
timezone = "UTC"
reason = "a market of our own"

[[valid]]
calendar = "DESK"
through = {through}
reason = "all days are entered below"
"""


def next_weekday() -> str:
    """A coming day that is open as shipped, in the fake."""
    return str((datetime.now(UTC) + timedelta(days=2)).date())


def say(page: Page, day: str, why: str, sessions: str = "") -> None:
    """Fill in the form that is open."""
    form = page.get_by_role("dialog")
    form.get_by_label("Day", exact=True).fill(day)
    form.get_by_label("What").select_option("open" if sessions else "closed")
    if sessions:
        form.get_by_placeholder("09:15-15:30").fill(sessions)
    form.get_by_label("Why").fill(why)
    form.get_by_role("button", name="Save").click()


def test_a_day_is_closed_changed_and_taken_back_and_another_operator_sees_it(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page, other = (visit(server, SCHEDULE, ready=".days .day.regular") for _ in range(2))
    day = next_weekday()
    cell, seen = (one.locator(f'.days [data-day="{day}"]') for one in (page, other))
    expect(cell).to_have_class("day regular")
    page.get_by_role("button", name="Add a day").click()
    say(page, day, "")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("is missing; write a reason")
    say(page, day, "<b>election</b>")
    expect(page.get_by_role("dialog")).to_have_count(0)
    for one in (cell, seen):
        expect(one).to_have_class("day holiday own")
        expect(one).to_have_attribute("title", f"{day}: closed, your word: <b>election</b>")
    expect(other.locator(".days .mine li").first).to_contain_text("<b>election</b>")

    cell.click()
    say(page, day, "evening only", "18:00-19:00, 20:00-21:00")
    expect(seen).to_have_class("day regular own")
    expect(other.locator(".days .mine li").first).to_contain_text("open 18:00-19:00, 20:00-21:00")
    put = [body for method, path, body in server.order("calls") if method == "PUT" and "/overrides/" in path][-1]
    assert put["windows"] == [{"open": "18:00", "close": "19:00"}, {"open": "20:00", "close": "21:00"}]

    page.get_by_role("button", name="Add a day").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Day", exact=True).fill(day)
    form.get_by_label("What").select_option("Regular hours from this day on")
    form.get_by_label("Weekdays").fill("mon-tue")
    form.get_by_placeholder("09:15-15:30").fill("09:15-15:45")
    form.get_by_label("Why").fill("circular 45")
    form.get_by_role("button", name="Save").click()
    hours = other.locator(".days .mine li", has_text="regular hours 09:15-15:45 on mon, tue")
    expect(hours).to_contain_text("circular 45")
    put = [body for method, path, body in server.order("calls") if method == "PUT" and "/overrides/" in path][-1]
    assert put == {
        "kind": "hours",
        "why": "circular 45",
        "days": "mon-tue",
        "windows": [{"open": "09:15", "close": "15:45"}],
    }
    hours.get_by_role("button", name=f"remove your word about hours {day}").click()
    box = other.get_by_role("dialog")
    expect(box).to_contain_text("The hours of NSE from that day on are as shipped again")
    box.get_by_role("button", name="Remove").click()
    expect(hours).to_have_count(0)
    expect(other.locator(".days .mine li").first).to_contain_text("evening only")

    other.get_by_role("button", name=f"remove your word about {day}").click()
    other.get_by_role("dialog").get_by_role("button", name="Remove").click()
    for one in (cell, seen):
        expect(one).to_have_class("day regular")
    expect(page.locator(".days .mine")).to_contain_text("None: the days are as shipped.")


def test_months_are_turned_and_days_walked_with_keys(serve: Serve, visit: Visit) -> None:
    page = visit(serve(3), SCHEDULE, ready=".days .day.regular")
    today = page.locator(".days .day.today")
    key = today.get_attribute("data-day")
    assert key is not None
    today.focus()
    page.keyboard.press("ArrowRight")
    tomorrow = str(datetime.fromisoformat(key).date() + timedelta(days=1))
    expect(page.locator(f'.days [data-day="{tomorrow}"]')).to_be_focused()
    page.get_by_role("button", name="later months").click()
    expect(page.locator(".days .day.today")).to_have_count(0)
    page.get_by_role("button", name="earlier months").click()
    expect(page.locator(".days .day.today")).to_have_count(1)


def test_a_viewer_reads_the_days_and_is_told_why_nothing_can_be_changed(serve: Serve, visit: Visit) -> None:
    server = serve(3, toml=f'[roles]\n{getpass.getuser()} = "operator"\n')
    page = visit(server, SCHEDULE, ready=".days .day.regular")
    add = page.get_by_role("button", name="Add a day")
    expect(add).to_be_disabled()
    expect(add).to_have_attribute("title", "Changing a calendar needs the role admin")
    said = page.evaluate(
        "() => [...stratpanelStores.values()][0].ask('override', {calendar: 'NSE', date: '2026-12-01', override: null})"
        ".then(() => 'done', (e) => e.message)"
    )
    assert "needs the role admin" in said
    assert not [path for method, path, _ in server.order("calls") if method == "DELETE"]


def test_closing_today_stops_what_runs_and_opening_it_starts_it(bench: Workbench, real: Server, visit: Visit) -> None:
    today = datetime.now(UTC).date()
    rows = OWN.format(through=today + timedelta(days=300))
    (bench.folder / "strategies" / "calendar_overrides.toml").write_text(rows, encoding="utf-8")
    bench.api.post("/api/reload", {})
    windows = [{"start": "open", "stop": "close", "days": ["mon-sun"], "on_special": True}]
    schedule = {"enabled": True, "calendar": "DESK", "windows": windows}
    bench.register("ema", "import time\nwhile True:\n    time.sleep(1)\n", schedule=schedule)
    bench.cli("deploy", "ema")
    page = visit(real, SCHEDULE, ready=".days .day")
    page.get_by_role("button", name="Add a day").click()
    say(page, str(today), "open all day", "00:00-00:00")
    pid = wait_for(lambda: bench.leader_pid("ema"), 30, "the scheduled start")
    expect(page.locator(".preview .list li.stop").first).to_be_visible()
    page.locator(f'.days [data-day="{today}"]').click()
    say(page, str(today), "closed after all")
    wait_for(lambda: not pid_alive(pid), 30, "the stop")
    said = (bench.folder / "strategies" / "calendar_overrides.toml").read_text(encoding="utf-8")
    assert 'reason = "closed after all"' in said
    assert "open all day" not in said


def test_a_slow_browser_gets_what_was_read_while_it_drew(serve: Serve, chromium: Browser) -> None:
    server = serve(11)
    context = chromium.new_context()
    try:
        page = context.new_page()
        context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 12})
        page.goto(server.base + "/?strategy=ema&tab=schedule")
        page.wait_for_selector(".days .day.regular", state="attached", timeout=60_000)
    finally:
        context.close()
