"""The overview, as an operator sees and uses it, over a fake supervisor whose calls are recorded."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import SLOW_MS, Serve, Visit
from tests.support import wait_for

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW_MS)


def row(page: Page, id_: str) -> object:
    return page.locator(f'.board .row[data-id="{id_}"]')


def names(page: Page) -> list[str]:
    rows = page.locator(".board .row").all()
    placed = sorted(
        (float(re.sub("[^0-9.]", "", r.evaluate("e => e.style.top"))), r.get_attribute("data-id")) for r in rows
    )
    return [str(name) for _, name in placed]


def test_every_strategy_shows_its_state_in_words_and_the_header_counts_them(serve: Serve, visit: Visit) -> None:
    page = visit(serve(11))
    expect(page.locator(".board .row")).to_have_count(11)
    expect(row(page, "ema").locator(".cell.state")).to_have_text("running")
    expect(row(page, "carry").locator(".cell.state")).to_have_text("quiet")
    expect(row(page, "momentum").locator(".cell.state")).to_have_text("fatal")
    expect(row(page, "momentum").locator(".cell.why")).to_have_text("gave up: 5 crashes in 600 s")
    expect(row(page, "ema").locator(".cell.pid")).to_have_text("20000")
    expect(row(page, "pairs").locator(".cell.name")).to_contain_text("LIVE")
    expect(page.locator(".head .totals")).to_contain_text("6 running")
    expect(page.locator(".head .totals")).to_contain_text("1 fatal")
    expect(page.locator(".head .totals")).to_contain_text("1 quiet")
    expect(row(page, "ema").locator(".cell.memory")).to_contain_text("MB")


def test_an_empty_workspace_says_what_to_do_and_one_strategy_is_shown_alone(serve: Serve, visit: Visit) -> None:
    page = visit(serve(0))
    expect(page.locator(".board .empty")).to_contain_text("No strategies yet")
    expect(page.locator(".board .empty")).to_contain_text("stratpanel add my_strategy.py")
    alone = visit(serve(1))
    expect(alone.locator(".board .row")).to_have_count(1)
    expect(alone.locator(".board .count")).to_have_text("1 strategy")


def test_a_thousand_strategies_put_only_the_rows_in_view_into_the_page(serve: Serve, visit: Visit) -> None:
    server = serve(1000)
    page = visit(server)
    expect(page.locator(".board .count")).to_have_text("1000 strategies")
    assert page.locator(".board .row").count() < 60
    page.locator(".board .table").focus()
    page.keyboard.press("End")
    expect(page.locator(".board .row.current")).to_have_attribute("data-id", "vwap-70")
    page.locator(".board .find .field").fill("ema-7 running")
    wait_for(lambda: "of 1000" in page.locator(".board .count").inner_text(), 10)
    assert all("ema-7" in name for name in names(page))


def test_filter_sort_and_groups_are_kept_over_updates(serve: Serve, visit: Visit) -> None:
    server = serve(11)
    page = visit(server)
    expect(page.locator(".board .row")).to_have_count(11)
    page.keyboard.press("/")
    page.keyboard.type("index slow")
    expect(page.locator(".board .count")).to_have_text("4 of 11")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="State", exact=True).click()
    assert names(page)[0] == "momentum", "what is worst comes first"
    server.order("change", "ema", state="fatal", why="now it is the first")
    expect(row(page, "ema").locator(".cell.state")).to_have_text("fatal")
    wait_for(lambda: names(page)[0] == "ema", 10, "the changed row in its new place")
    page.get_by_label("group by").select_option("calendar")
    expect(page.locator(".board .group")).to_have_count(3)
    expect(page.locator(".board .group").first).to_contain_text("MCX")


def test_a_stop_asks_says_that_positions_stay_open_shows_pending_and_then_the_outcome(
    serve: Serve, visit: Visit
) -> None:
    server = serve(11)
    server.order("set", delay_s=3.0)
    page = visit(server)
    page.get_by_role("button", name="stop ema").click()
    box = page.get_by_role("dialog", name="Stop ema?")
    expect(box).to_contain_text("does not close positions")
    page.keyboard.press("Escape")
    expect(box).to_have_count(0)
    assert server.calls("/api/strategies/ema/stop") == []
    page.get_by_role("button", name="stop ema").click()
    took = page.evaluate(
        """async () => {
            const walk = (node, sel) => {
                const hit = node.querySelector(sel)
                if (hit) { return hit }
                for (const e of node.querySelectorAll("*")) {
                    const below = e.shadowRoot && walk(e.shadowRoot, sel)
                    if (below) { return below }
                }
                return null
            }
            const rooted = (sel) => walk(document, sel)
            const start = performance.now()
            rooted("dialog .danger").click()
            while (!rooted('.row[data-id="ema"] .chip.pending')) { await new Promise(r => setTimeout(r, 4)) }
            return performance.now() - start }"""
    )
    assert took < 2000, f"pending was shown after {took:.0f} ms: only with the answer, it seems"
    expect(row(page, "ema").locator(".cell.state")).to_have_text("stopping…")
    expect(row(page, "ema").locator(".cell.state")).to_have_text("stopped")
    expect(row(page, "ema").locator(".cell.why")).to_have_text("stopped by hand")
    assert len(server.calls("/api/strategies/ema/stop")) == 1


def test_every_action_shows_within_100_ms_that_it_is_under_way(serve: Serve, visit: Visit) -> None:
    server = serve(11)
    page = visit(server)
    expect(row(page, "ema")).to_be_visible()
    server.order("set", delay_s=1.0)  # the supervisor takes its time
    for verb in ("stop", "start", "restart", "kill", "reset", "pause", "resume", "deploy"):
        took = page.evaluate(
            """async (verb) => {
                const walk = (node) => {
                    const hit = node.querySelector('.row[data-id="ema"] .cell.state')
                    if (hit) { return hit }
                    for (const e of node.querySelectorAll("*")) {
                        const below = e.shadowRoot && walk(e.shadowRoot)
                        if (below) { return below }
                    }
                    return null
                }
                const cell = walk(document), start = performance.now()
                const done = [...stratpanelStores.values()][0].act(verb, ["ema"])
                while (!cell.querySelector(".chip.pending")) { await new Promise(requestAnimationFrame) }
                const shown = performance.now() - start
                await done
                return [shown, performance.now() - start]
            }""",
            verb,
        )
        assert took[0] < 100, f"{verb} was shown as pending after {took[0]:.0f} ms"
        assert took[1] >= 1000, f"{verb} was answered by the slow server"


def test_an_error_is_said_in_words_and_stays_text(serve: Serve, visit: Visit) -> None:
    server = serve(1)
    server.order("add", "refuse-me", "stopped", 5)
    server.order("change", "refuse-me", why="<img src=x onerror=alert(1)>", name="<b>bold</b>")
    page = visit(server)
    expect(row(page, "refuse-me").locator(".cell.why")).to_have_text("<img src=x onerror=alert(1)>")
    expect(row(page, "refuse-me").locator(".cell.name")).to_contain_text("<b>bold</b>")
    page.get_by_role("button", name="start refuse-me", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Start").click()
    expect(page.locator(".toast.bad")).to_contain_text("has a syntax error on line 12")
    expect(row(page, "refuse-me").locator(".cell.state")).to_have_text("stopped")
    assert page.locator(".board img").count() == 0


def test_keys_move_open_start_and_stop(serve: Serve, visit: Visit) -> None:
    server = serve(11)
    page = visit(server)
    expect(page.locator(".board .row.current")).to_have_attribute("data-id", "breakout")
    page.locator(".board .table").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".board .row.current")).to_have_attribute("data-id", "ema")
    active = page.locator(".board .table").get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("data-id") == "ema"
    page.keyboard.press("x")
    expect(page.get_by_role("dialog", name="Stop ema?")).to_be_visible()
    page.keyboard.press("Enter")
    expect(row(page, "ema").locator(".cell.state")).to_have_text("stopped")
    page.keyboard.press("s")
    expect(row(page, "ema").locator(".cell.state")).to_have_text("running")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="keyboard")).to_contain_text("stop, after a question")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator(".strategy h1")).to_have_text("ema")
    assert "strategy=ema" in page.url


def test_picked_strategies_are_stopped_together(serve: Serve, visit: Visit) -> None:
    server = serve(11)
    page = visit(server)
    page.get_by_label("pick breakout").click()
    page.get_by_label("pick ema").click(modifiers=["Shift"])
    expect(page.locator(".board .bulk")).to_contain_text("3 picked")
    page.locator(".board .bulk").get_by_role("button", name="Stop").click()
    box = page.get_by_role("dialog")
    expect(box).to_contain_text("breakout, carry, ema")
    box.get_by_role("button", name="Stop 3").click()
    for id_ in ("breakout", "carry", "ema"):
        expect(row(page, id_).locator(".cell.state")).to_have_text("stopped")
        assert len(server.calls(f"/api/strategies/{id_}/stop")) == 1


def test_panic_names_live_money_and_stops_everything(serve: Serve, visit: Visit) -> None:
    server = serve(11)
    page = visit(server)
    expect(page.locator(".board .row")).to_have_count(11)
    page.get_by_role("button", name="PANIC").click()
    box = page.get_by_role("dialog")
    expect(box).to_contain_text("real money: pairs")
    expect(box).to_contain_text("does not close positions")
    box.get_by_role("button", name="Stop everything").click()
    expect(page.locator(".toast.good")).to_contain_text("Positions are not closed")
    expect(page.locator(".head .totals")).to_contain_text("0 running")
    assert server.calls("/api/panic") == [{"why": "from the dashboard by root"}] or server.calls("/api/panic")


def test_resume_lists_what_would_start_before_it_does(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page = visit(server)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator(".notices .line").last).to_contain_text("Paused: paused by tester")
    page.get_by_role("button", name="Resume").click()
    box = page.get_by_role("dialog")
    expect(box).to_contain_text("ema: in its window")
    box.get_by_role("button", name="Resume and start 1").click()
    wait_for(lambda: {"confirm": True} in server.calls("/api/resume"), 10)


def test_without_a_supervisor_the_last_data_is_grey_with_its_age_and_comes_back(serve: Serve, visit: Visit) -> None:
    server = serve(11)
    page = visit(server)
    expect(page.locator(".board .row")).to_have_count(11)
    server.order("set_link", "down")
    line = page.locator(".notices .line.bad")
    expect(line).to_contain_text("The supervisor does not answer")
    expect(line).to_contain_text("Strategies go on under their runners")
    expect(page.locator(".board.stale")).to_have_count(1)
    expect(page.locator(".board .row")).to_have_count(11)
    expect(page.locator(".head .pulse")).to_contain_text("no answer for")
    server.order("set_link", "live")
    expect(page.locator(".board.stale")).to_have_count(0)
    expect(line).to_be_hidden()


def test_crashes_are_told_by_a_toast_and_listed_with_who_did_what(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page = visit(server)
    server.order("happen", "crash", "ema", "ema crashed with code 1: <script>alert(1)</script>")
    expect(page.locator(".toast.bad")).to_contain_text("<script>alert(1)</script>")
    page.get_by_role("button", name="activity").click()
    expect(page.locator(".activity li").first).to_contain_text("ema crashed with code 1")
    expect(page.locator(".activity li").first).to_contain_text("supervisor")


def test_what_one_operator_does_another_sees_at_once_and_new_strategies_appear(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    first, second = visit(server), visit(server)
    first.get_by_role("button", name="stop ema").click()
    first.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(row(second, "ema").locator(".cell.state")).to_have_text("stopped")
    server.order("appear", "fresh")
    expect(row(second, "fresh").locator(".cell.state")).to_have_text("stopped")
    server.order("remove", "fresh")
    expect(row(second, "fresh")).to_have_count(0)


def test_a_lost_message_is_noticed_and_healed(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page = visit(server)
    expect(page.locator(".board .row")).to_have_count(3)
    page.evaluate(
        "() => { const s = [...stratpanelStores.values()][0]; s.seq -= 5; s.rows.get('ema').state = 'fatal' }"
    )
    expect(row(page, "ema").locator(".cell.state")).to_have_text("running")


@pytest.mark.parametrize("state", ["-1", "null"])
def test_a_snapshot_that_never_came_is_asked_for_again(serve: Serve, visit: Visit, state: str) -> None:
    page = visit(serve(3))
    page.evaluate(f"() => {{ const s = [...stratpanelStores.values()][0]; s.seq = {state}; s.rows.clear() }}")
    expect(page.locator(".board .row")).to_have_count(3)
    page.wait_for_function("() => [...stratpanelStores.values()][0].rows.size === 3")


def test_a_phone_gets_list_stop_and_panic(serve: Serve, visit: Visit) -> None:
    server = serve(11)
    page = visit(server, width=390, height=844)
    expect(row(page, "ema").locator(".cell.name")).to_be_visible()
    expect(page.get_by_role("button", name="PANIC")).to_be_visible()
    stop = page.get_by_role("button", name="stop ema")
    box = stop.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 40, "a thumb must hit it"
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    stop.click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(row(page, "ema").locator(".cell.state")).to_have_text("stopped")


def test_the_scheme_is_switched_and_remembered(serve: Serve, visit: Visit) -> None:
    server = serve(3)
    page = visit(server)
    expect(page.locator(".sp.board")).to_have_attribute("data-scheme", "light")
    page.get_by_role("button", name="switch between light and dark").click()
    expect(page.locator(".sp.board")).to_have_attribute("data-scheme", "dark")
    page.reload()
    expect(page.locator(".sp.board")).to_have_attribute("data-scheme", "dark")


def test_a_viewer_is_shown_no_action_and_refused_one(serve: Serve, visit: Visit) -> None:
    import getpass

    server = serve(3, toml=f'[roles]\n{getpass.getuser()} = "viewer"\n')
    page = visit(server)
    expect(page.get_by_role("button", name="stop ema")).to_be_disabled()
    panic = page.get_by_role("button", name="PANIC")
    expect(panic).to_be_disabled()
    expect(panic).to_have_attribute("title", "Your role is viewer: it may look, not act")
    said = page.evaluate(
        "() => [...stratpanelStores.values()][0].ask('act', {verb: 'stop', id: 'ema'}).then(() => '', (e) => e.message)"
    )
    assert "needs the role operator" in said
    said = page.evaluate(
        "() => [...stratpanelStores.values()][0].ask('workspace', {verb: 'panic'}).then(() => 'done', (e) => e.message)"
    )
    assert "needs the role operator" in said
    assert server.calls("/api/strategies/ema/stop") == []
    assert server.calls("/api/panic") == []
