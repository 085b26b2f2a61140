"""The page over real processes: what the operator clicks is what the processes do."""

from __future__ import annotations

import os
import signal

import pytest
from playwright.sync_api import expect

from tests.dashboard.conftest import SLOW_MS, Server, Visit
from tests.support import pid_alive, wait_for
from tests.workbench import Workbench

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW_MS)
TICKER = """
import time
n = 0
while True:
    print(f'INFO tick {n} <b>x</b>', flush=True)
    n += 1
    time.sleep(0.1)
"""


def test_start_watch_edit_deploy_stop(bench: Workbench, real: Server, visit: Visit) -> None:
    bench.register("tick", TICKER)
    page = visit(real)
    cell = page.locator('.board .row[data-id="tick"] .cell.state')
    expect(cell).to_have_text("stopped")
    page.get_by_role("button", name="start tick", exact=True).click()
    expect(cell).to_have_text("running")
    pid = bench.leader_pid("tick")
    assert pid is not None
    expect(page.locator('.board .row[data-id="tick"] .cell.pid')).to_have_text(str(pid))
    page.locator('.board .row[data-id="tick"] .cell.why').click()
    expect(page.locator(".sp.log .line .text", has_text="<b>x</b>").first).to_be_visible()
    expect(page.locator('.board .row[data-id="tick"] .cell.memory .val')).to_contain_text("MB")

    page.get_by_role("button", name="stop tick", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(cell).to_have_text("stopped")
    assert not pid_alive(pid)
    assert bench.status("tick")["hold"] == "stopped"


THREADS = """() => Bokeh.documents.some((document) => [...document._all_models.values()].some((model) => {
  if (model.type !== "ColumnDataSource") { return false }
  const data = new Map(model.data instanceof Map ? model.data : Object.entries(model.data))
  return (data.get("threads") || []).length > 1
}))"""


def test_threads_of_a_strategy_just_started_are_drawn_soon(bench: Workbench, real: Server, visit: Visit) -> None:
    """They are counted every ten seconds; whoever looks from the first second on must not wait for a minute."""
    bench.register("tick", TICKER)
    page = visit(real, "/?strategy=tick&tab=resources")
    page.get_by_text("no samples in this span").wait_for()
    bench.cli("start", "tick")
    page.wait_for_function(THREADS, timeout=35_000)


def test_a_killed_strategy_is_shown_and_told(bench: Workbench, real: Server, visit: Visit) -> None:
    bench.register("tick", TICKER)
    bench.cli("start", "tick")
    page = visit(real)
    cell = page.locator('.board .row[data-id="tick"] .cell.state')
    expect(cell).to_have_text("running")
    os.kill(bench.leader_pid("tick") or 0, signal.SIGKILL)
    expect(cell).to_have_text("exited")
    expect(page.locator('.board .row[data-id="tick"] .cell.exit')).to_have_text("KILL")
    expect(page.locator(".toast.bad")).to_contain_text("tick")


def test_the_supervisor_goes_and_comes_back_under_an_open_page(bench: Workbench, real: Server, visit: Visit) -> None:
    bench.register("tick", TICKER)
    bench.cli("start", "tick")
    page = visit(real)
    cell = page.locator('.board .row[data-id="tick"] .cell.state')
    expect(cell).to_have_text("running")
    pid = bench.leader_pid("tick")
    bench.cli("down", "--keep")
    expect(page.locator(".notices .line.bad", has_text="does not answer")).to_be_visible()
    expect(page.locator(".sp.board.stale")).to_have_count(1)
    assert pid is not None
    assert pid_alive(pid)
    bench.cli("up")
    expect(page.locator(".sp.board.stale")).to_have_count(0)
    expect(cell).to_have_text("running")
    page.locator('.board .row[data-id="tick"] .cell.why').click()
    expect(page.locator(".sp.log .line .text", has_text="INFO tick").last).to_be_visible()
    assert bench.leader_pid("tick") == pid


def test_panic_from_the_page_ends_every_tree(bench: Workbench, real: Server, visit: Visit) -> None:
    for id_ in ("one", "two"):
        bench.register(id_, TICKER)
    bench.cli("start", "one", "two")
    page = visit(real)
    expect(page.locator(".head .totals")).to_contain_text("2 running")
    pids = [bench.leader_pid("one"), bench.leader_pid("two")]
    page.get_by_role("button", name="PANIC").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop everything").click()
    expect(page.locator(".head .totals")).to_contain_text("0 running")
    wait_for(lambda: not any(pid_alive(pid or 0) for pid in pids), 10)
    page.get_by_role("button", name="start one", exact=True).click()
    expect(page.locator(".toast.bad")).to_contain_text("panic")
    assert bench.leader_pid("one") is None


def test_source_settings_and_schedule_reach_the_supervisor(bench: Workbench, real: Server, visit: Visit) -> None:
    bench.register("tick", TICKER)
    page = visit(real, "/?strategy=tick&tab=source", ready=".code[data-ready=ace]")
    expect(page.locator(".code .ace_keyword").first).to_have_text("import")
    page.locator(".code .ace_text-input").focus()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("print('v2', flush=True)\n")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("saved; the schedule goes on")).to_be_visible()
    assert (bench.folder / "strategies/scripts/tick.py").read_text().startswith("print('v2'")
    page.get_by_role("button", name="Deploy", exact=True).click()
    expect(page.locator(".versions li")).not_to_have_count(0)
    wait_for(lambda: bench.api.get("/api/strategies/tick/versions")["versions"], 20)

    page.get_by_role("tab", name="Schedule").click()
    page.get_by_role("button", name="Add a window").click()
    page.get_by_text("Whether the schedule starts and stops the strategy").click()
    expect(page.locator(".preview .list li")).to_have_count(10)
    page.get_by_role("button", name="Save", exact=True).click()
    wait_for(lambda: bench.status("tick")["scheduled"], 20, "the schedule to be saved")
    assert bench.api.get("/api/strategies/tick")["config"]["schedule"]["windows"][0]["start"] == "09:20"


def test_what_another_person_saves_is_shown_and_never_overwritten(bench: Workbench, real: Server, visit: Visit) -> None:
    bench.register("tick", TICKER)
    path = "/api/strategies/tick"
    page = visit(real, "/?strategy=tick&tab=settings", ready=".strategy")
    memory, notes = page.get_by_label("Memory, MiB"), page.get_by_label("Notes")
    save = page.get_by_role("button", name="Save", exact=True)
    expect(memory).to_have_value("1024")
    bench.api.patch(path, {"notes": "from ravi"})
    expect(notes).to_have_value("from ravi")
    memory.fill("600")
    expect(save).to_be_enabled()
    bench.api.patch(path, {"notes": "again from ravi"})
    expect(notes).to_have_value("again from ravi")
    expect(memory).to_have_value("600")
    bench.api.patch(path, {"limits": {"memory_mb": 700}})
    expect(page.get_by_text("somebody else changed limits meanwhile")).to_be_visible()
    save.click()
    expect(page.get_by_text("somebody else saved first")).to_be_visible()
    expect(memory).to_have_value("700")
    assert bench.api.get(path)["config"]["limits"]["memory_mb"] == 700
    memory.fill("800")
    expect(save).to_be_enabled()
    save.click()
    wait_for(lambda: bench.api.get(path)["config"]["limits"]["memory_mb"] == 800, 20, "the second try")

    page.get_by_role("tab", name="Schedule").click()
    page.get_by_role("button", name="Add a window").click()
    expect(page.get_by_text("not saved")).to_be_visible()
    bench.api.patch(path, {"notes": "about something else"})
    wait_for(lambda: bench.api.get(path)["config"]["notes"] == "about something else", 10)
    theirs = {"enabled": True, "windows": [{"start": "10:10", "stop": "11:11", "days": ["mon"]}]}
    bench.api.patch(path, {"schedule": theirs})
    expect(page.get_by_text("somebody else changed the schedule meanwhile")).to_be_visible()
    page.get_by_role("button", name="Undo changes").click()
    expect(page.get_by_label("Start", exact=True)).to_have_value("10:10")
    page.get_by_label("Stop", exact=True).fill("11:30")
    save.click()
    wait_for(
        lambda: bench.api.get(path)["config"]["schedule"]["windows"][0]["stop"] == "11:30", 20, "the mended schedule"
    )
